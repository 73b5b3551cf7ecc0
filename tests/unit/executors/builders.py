"""Tries for the tests of executors."""

from __future__ import annotations

from datetime import UTC, datetime

from leoflowd.contract.agent_messages import DagRunFacts, TrySpec


def try_spec(try_id: str) -> TrySpec:
    run = DagRunFacts(dag_id="d", run_id="r", run_type="manual", run_after=datetime(2026, 1, 1, tzinfo=UTC))
    return TrySpec(
        try_id=try_id,
        dag_run=run,
        task_id="t",
        try_number=1,
        max_tries=0,
        kind="python",
        operator="PythonOperator",
        bundle_digest="x",
    )
