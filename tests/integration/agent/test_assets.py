"""What a task on the shim sees of assets and says of its outlets, from the file to the stored outcome."""

from __future__ import annotations

from datetime import UTC, datetime

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.asset_spec import AssetEventFacts, AssetRecord
from tests.fakes.fake_control_plane import Facts
from tests.integration.agent.harness import HEADER, run_one

TASKS = """
from airflow.sdk import Asset, AssetAlias, Metadata
one, alias = Asset("one", "s3://b/one"), AssetAlias("al")
@task(outlets=[one, alias], inlets=[one])
def run(inlet_events, outlet_events, triggering_asset_events, dag_run):
    yield Metadata(one, {"n": 1})
    outlet_events[alias].add(Asset("new", "s3://b/new"), extra={"k": 2})
    started = triggering_asset_events[one] + dag_run.consumed_asset_events
    return [[event.id, event.extra, event.source_dag_id] for event in [inlet_events[one][-1], *started]]
run()
"""


def test_events_are_seen_and_records_go_with_the_outcome() -> None:
    event = AssetEventFacts(
        id=3,
        timestamp=datetime(2026, 1, 2, tzinfo=UTC),
        name="one",
        uri="s3://b/one",
        extra='{"e": 1}',
        source_dag_id="other",
    )
    facts = Facts(asset_events=(event,))
    ended = run_one(TASKS, facts=facts, dag_run={"run_type": "asset_triggered"})
    assert ended.xcoms["return_value"] == [[3, {"e": 1}, "other"]] * 3, ended.events
    assert ended.outcome.assets == (
        AssetRecord(name="one", uri="s3://b/one", extra='{"n": 1}'),
        AssetRecord(name="new", uri="s3://b/new", alias="al", extra='{"k": 2}'),
    )
    assert [(ask.triggering, ask.name) for ask in facts.asset_asks] == [(True, None), (False, "one")]


def test_what_cannot_be_said_fails_the_task() -> None:
    tasks = """
        from airflow.sdk import Asset
        @task(outlets=[Asset("a")])
        def run(outlet_events): outlet_events[Asset("a")].extra = {"f": print}
        run()
    """
    ended = run_one(tasks, header=HEADER)
    assert ended.outcome.kind is OutcomeKind.FAILED
    assert "the extra of asset 'a'" in ended.outcome.because
