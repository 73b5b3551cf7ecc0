"""What an agent is told of a try: built from facts that the leader has in memory, and the store reads as well.

The outboxes call this for every launch, and the agents' service for a try that asks for its spec (a pod's). What only
the place knows where the try runs (interpreter, folder of the code) is left empty for whoever launches it there.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from leoflowd.contract import staging
from leoflowd.contract.agent_messages import DagRunFacts, ResumeCall, TrySpec, XComInput
from leoflowd.contract.callback_spec import NewCallback
from leoflowd.contract.dag_spec import DagSpec, TaskSpec, runtime_of
from leoflowd.contract.states import DagRunType
from leoflowd.contract.values import byte_size
from leoflowd.contract.xcoms import RETURN_KEY
from leoflowd.core.dag_shape import DagShape, TaskNode
from leoflowd.core.expansion import split_items, wanted_items
from leoflowd.core.run_view import InstanceFacts
from leoflowd.core.timetable import latest_window, neighbours

NEIGHBOURED = (DagRunType.SCHEDULED, DagRunType.BACKFILL)
"""Runs that have one before and one after them; one that somebody asked for stands alone."""
CALLBACK_KIND = "callback"
HTTP_KIND = "http"
"""`TaskSpec.kind` of inline HTTP tasks."""
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
    items: dict[str, Any] | None = None
    """What the daemon puts into its wait or call, by argument (`RunView.items_of`)."""

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
    def node(self) -> TaskNode:
        return self.artifact.shape.nodes[self.facts.node]

    @property
    def wanted_xcoms(self) -> list[tuple[int, str]]:
        """(dag_run_id, task_id) of the tasks whose outputs its arguments use whole, each once.

        Of a mapped task that something is mapped over they may be thousands: the runner asks for those that it needs.
        """
        if self.is_call:
            return []
        shape = self.artifact.shape
        wanted = dict.fromkeys(ref.task_id for ref in self.task.xcom_refs if not self._is_beside(ref.task_id))
        if self.node.mapped is not None:
            needs = self.node.mapped.needs
            wanted |= dict.fromkeys(one for one in needs if shape.nodes[shape.index_of[one]].mapped is None)
        return [(self.dag_run_id, task_id) for task_id in wanted]

    @property
    def wanted_instances(self) -> list[tuple[int, str, int]]:
        """Inside of a mapped group: the instances with its own map index, whose outputs its arguments use."""
        beside = dict.fromkeys(ref.task_id for ref in self.task.xcom_refs if self._is_beside(ref.task_id))
        return [(self.dag_run_id, task_id, self.facts.map_index) for task_id in beside]

    def _is_beside(self, task_id: str) -> bool:
        """Is it in the same mapped group?"""
        index = self.artifact.shape.index_of.get(task_id)
        group = self.node.mapped_group
        return bool(group) and index is not None and self.artifact.shape.nodes[index].mapped_group == group

    @property
    def is_call(self) -> bool:
        """Is it made by the daemon, without an agent?"""
        return self.task.kind == HTTP_KIND or (self.task.http is not None and self.items is not None)

    @property
    def goes_on(self) -> bool:
        """It deferred, and is to be told what came of that."""
        return self.facts.wait == "fired"


def build_try_spec(one: TryFacts, xcoms: Iterable[XComInput] = (), resume: ResumeCall | None = None) -> TrySpec:
    """`xcoms`: what those of `wanted_xcoms` and `wanted_instances` pushed, each in order of map index; `resume`: if it
    goes on."""
    task, facts, artifact = one.task, one.facts, one.artifact
    kind = HTTP_KIND if one.is_call else task.kind
    runtime = runtime_of(kind, artifact.spec.environment, artifact.spec.loaded_by)
    along = _along(one, xcoms, is_whole=runtime != "shim")
    before, after = _neighbours(one.run, artifact.spec)
    return TrySpec(
        try_id=facts.id,
        dag_run=one.run,
        task_id=task.task_id,
        map_index=facts.map_index,
        try_number=facts.try_number,
        max_tries=facts.max_tries,
        kind=kind,
        operator=task.operator,
        bundle_digest=artifact.bundle_digest,
        source_path=artifact.spec.source_path,
        import_paths=artifact.spec.import_paths,
        env=task.env if not artifact.spec.staging.get("enabled") else {**task.env, staging.VARIABLE: staging.IN_POD},
        execution_timeout_s=task.execution_timeout_s,
        do_xcom_push=task.do_xcom_push,
        xcoms=along or (),
        xcoms_complete=along is not None,
        dag_version_number=artifact.version_number,
        resume=resume,
        first_started_at=facts.start_date,
        prev_logical_date=before,
        next_logical_date=after,
        runtime=runtime,
        latest_window=_latest_window(task, one.run, artifact.spec),
    )


def _latest_window(task: TaskSpec, run: DagRunFacts, spec: DagSpec) -> tuple[datetime, datetime] | None:
    """Only deciders ask for it, and only in runs of the timetable."""
    if not task.decides or run.run_type == DagRunType.MANUAL:
        return None
    at = run.logical_date or run.run_after
    return latest_window(spec.timetable, run.data_interval_start or at, run.data_interval_end or at)


def _neighbours(run: DagRunFacts, spec: DagSpec) -> tuple[datetime | None, datetime | None]:
    if run.run_type not in NEIGHBOURED or run.logical_date is None:
        return None, None
    return neighbours(spec.timetable, run.logical_date)


def build_callback_spec(
    new: NewCallback, try_id: str, run: DagRunFacts, artifact: Artifact, *, timeout_s: float
) -> TrySpec:
    """The process that a callback runs in. Outputs of tasks are asked for when somebody wants them."""
    spec = artifact.spec
    index = artifact.shape.index_of.get(new.task_id or "")
    task = None if index is None else artifact.shape.nodes[index].spec
    before, after = _neighbours(run, spec)
    return TrySpec(
        try_id=try_id,
        dag_run=run,
        task_id=new.task_id or "",
        map_index=new.map_index,
        try_number=max(1, new.try_number),
        max_tries=new.max_tries,
        kind=CALLBACK_KIND,
        operator="" if task is None else task.operator,
        bundle_digest=artifact.bundle_digest,
        source_path=spec.source_path,
        import_paths=spec.import_paths,
        env={} if task is None else task.env,
        execution_timeout_s=spec.callback_timeout_s or timeout_s,
        do_xcom_push=False,
        xcoms_complete=False,
        dag_version_number=artifact.version_number,
        prev_logical_date=before,
        next_logical_date=after,
        # Mails and alerts alone need nothing of the author's.
        runtime=runtime_of("python", spec.environment, spec.loaded_by) if new.call.calls_functions else "shim",
        callback=new.call,
    )


def _along(one: TryFacts, xcoms: Iterable[XComInput], *, is_whole: bool) -> tuple[XComInput, ...] | None:
    """The values of the task's references, in their order, and what it is mapped over; None when they are too large."""
    pushed: dict[tuple[str, str], list[XComInput]] = {}
    for xcom in xcoms:
        pushed.setdefault((xcom.task_id, xcom.key), []).append(xcom)
    refs = [(ref.task_id, ref.key) for ref in one.task.xcom_refs]
    along = [xcom for ref in refs for xcom in pushed.get(ref, ())]
    if one.node.mapped is not None:
        values = {
            task_id: pushed[task_id, RETURN_KEY][0]
            for task_id in one.node.mapped.needs
            if (task_id, RETURN_KEY) in pushed and (task_id, RETURN_KEY) not in refs
        }
        along += values.values() if is_whole else _items_of(one, values)
    return tuple(along) if sum(byte_size(xcom.value) for xcom in along) <= XCOM_BYTES_ALONG else None


def _items_of(one: TryFacts, values: dict[str, XComInput]) -> list[XComInput]:
    """Of lists that it is mapped over only what its map index takes: ten thousand tries of one list stay small."""
    assert one.node.mapped is not None
    items = {task_id: split_items(xcom.value) for task_id, xcom in values.items()}
    lengths = {task_id: len(found.texts) for task_id, found in items.items() if found is not None}
    wanted = wanted_items(one.node.mapped, lengths.get, one.facts.map_index)
    if wanted is None:
        return list(values.values())
    found = []
    for task_id, xcom in values.items():
        texts = items[task_id]
        assert texts is not None, "its length was known"
        chosen = ",".join(f'"{item}":{texts.texts[item]}' for item in sorted(wanted[task_id]))
        found.append(
            msgspec.structs.replace(xcom, value=f"{{{chosen}}}", length=len(texts.texts), is_dict=texts.is_dict)
        )
    return found
