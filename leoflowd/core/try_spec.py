"""What an agent is told of a try: built from facts that the leader has in memory, and the store reads as well.

The outboxes call this for every launch, and the agents' service for a try that asks for its spec (a pod's). What only
the place knows where the try runs (interpreter, folder of the code) is left empty for whoever launches it there.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from leoflowd.contract.agent_messages import DagRunFacts, ResumeCall, TrySpec, XComInput
from leoflowd.contract.dag_spec import DagSpec, TaskSpec, runtime_of
from leoflowd.contract.states import DagRunType
from leoflowd.contract.values import byte_size
from leoflowd.core.dag_shape import DagShape
from leoflowd.core.run_view import InstanceFacts
from leoflowd.core.timetable import latest_window, neighbours

NEIGHBOURED = (DagRunType.SCHEDULED, DagRunType.BACKFILL)
"""Runs that have one before and one after them; one that somebody asked for stands alone."""
XCOM_BYTES_ALONG = 4 * 1024 * 1024
"""Upstream outputs larger than this in all are not sent with the try; the runner pulls each when it needs it."""


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """The version of a DAG that a dag run runs."""

    spec: DagSpec
    shape: DagShape
    bundle_digest: str
    version_number: int


class TryFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A try and where it belongs, as committed."""

    dag_run_id: int
    facts: InstanceFacts
    run: DagRunFacts
    """With the state and the start that the dag run has now."""
    artifact: Artifact

    @property
    def try_id(self) -> str:
        return self.facts.id

    @property
    def task(self) -> TaskSpec:
        return self.artifact.shape.nodes[self.facts.node].spec

    @property
    def key(self) -> tuple[int, str, int]:
        """(dag_run_id, task_id, map_index)"""
        return self.dag_run_id, self.task.task_id, self.facts.map_index

    @property
    def wanted_xcoms(self) -> list[tuple[int, str]]:
        """(dag_run_id, task_id) of the upstream outputs that its arguments use, each once."""
        return [(self.dag_run_id, task_id) for task_id in dict.fromkeys(ref.task_id for ref in self.task.xcom_refs)]

    @property
    def goes_on(self) -> bool:
        """It deferred, and is to be told what came of that."""
        return self.facts.wait == "fired"


def build_try_spec(one: TryFacts, xcoms: Iterable[XComInput] = (), resume: ResumeCall | None = None) -> TrySpec:
    """`xcoms`: what the tasks of `wanted_xcoms` pushed, each in order of map index; `resume`: only if it goes on."""
    task, facts, artifact = one.task, one.facts, one.artifact
    along = _along(task, xcoms)
    before, after = _neighbours(one)
    return TrySpec(
        try_id=facts.id,
        dag_run=one.run,
        task_id=task.task_id,
        map_index=facts.map_index,
        try_number=facts.try_number,
        max_tries=facts.max_tries,
        kind=task.kind,
        operator=task.operator,
        bundle_digest=artifact.bundle_digest,
        source_path=artifact.spec.source_path,
        env=task.env,
        execution_timeout_s=task.execution_timeout_s,
        do_xcom_push=task.do_xcom_push,
        xcoms=along or (),
        xcoms_complete=along is not None,
        dag_version_number=artifact.version_number,
        resume=resume,
        first_started_at=facts.start_date,
        prev_logical_date=before,
        next_logical_date=after,
        runtime=runtime_of(task.kind, artifact.spec.environment),
        latest_window=_latest_window(task, one.run, artifact.spec),
    )


def _latest_window(task: TaskSpec, run: DagRunFacts, spec: DagSpec) -> tuple[datetime, datetime] | None:
    """Only deciders ask for it, and only in runs of the timetable."""
    if not task.decides or run.run_type == DagRunType.MANUAL:
        return None
    at = run.logical_date or run.run_after
    return latest_window(spec.timetable, run.data_interval_start or at, run.data_interval_end or at)


def _neighbours(one: TryFacts) -> tuple[datetime | None, datetime | None]:
    if one.run.run_type not in NEIGHBOURED or one.run.logical_date is None:
        return None, None
    return neighbours(one.artifact.spec.timetable, one.run.logical_date)


def _along(task: TaskSpec, xcoms: Iterable[XComInput]) -> tuple[XComInput, ...] | None:
    """The values of the task's references, in their order; None when they are too large to be sent along."""
    pushed: dict[tuple[str, str], list[XComInput]] = {}
    for one in xcoms:
        pushed.setdefault((one.task_id, one.key), []).append(one)
    along = tuple(one for ref in task.xcom_refs for one in pushed.get((ref.task_id, ref.key), ()))
    return along if sum(byte_size(one.value) for one in along) <= XCOM_BYTES_ALONG else None
