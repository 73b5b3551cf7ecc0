"""What the scheduler reads: a dag run with its task instances as a `core.run_view.RunView`, pools, paused DAGs."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

import msgspec

from leoflowd.contract.agent_messages import DagRunFacts
from leoflowd.contract.errors import LeoflowError, NotFound
from leoflowd.contract.states import DagRunState, DagRunType, TaskInstanceState
from leoflowd.contract.xcoms import RETURN_KEY, ValueGone, ValuesUnavailable
from leoflowd.core.choices import CHOICE_KEY, Choice, read_choice
from leoflowd.core.dag_shape import DagShape
from leoflowd.core.run_view import InstanceFacts, RunView, WaitStatus
from leoflowd.core.try_spec import Artifact, TryFacts
from leoflowd.store.content_errors import CONTENT_ERRORS
from leoflowd.store.dags import VersionRow, fetch_version_by_id, off_loop, shape_of_version
from leoflowd.store.database import Connection, fetch_all, fetch_one, fetch_value, statements
from leoflowd.store.waits import InstanceKey, instance_keys
from leoflowd.store.xcoms import xcoms_of

_SQL = statements("run_views")


NO_LENGTHS: Mapping[InstanceKey, int] = {}


class Quota(NamedTuple):
    """Whose limit of active runs a run counts against: its DAG's (0), or that of the backfill which asked for it."""

    dag_id: str
    backfill_id: int = 0


class BrokenRun(LeoflowError):
    """Its stored artifact or rows are not what this release can read."""


_UNREADABLE = (*CONTENT_ERRORS, LookupError, NotFound)
"""What content can do to whoever reads it; `NotFound`: its version is gone, and the run with it in a moment."""


class LoadedRun(msgspec.Struct, frozen=True):
    """A view and what the shell knows beside it."""

    view: RunView
    version: VersionRow
    facts: DagRunFacts
    """The run as templates see it."""
    is_paused: bool
    max_active_runs: int
    """Of its quota."""
    quota: Quota
    ordinal: int
    """Its place in the order of its backfill; 0 without one."""

    @property
    def run_now(self) -> DagRunFacts:
        """`facts` with the state and the start that the view has now."""
        return msgspec.structs.replace(self.facts, state=self.view.state.value, start_date=self.view.start_date)

    def try_facts(self, i: int) -> TryFacts:
        """The try of the instance at this position, as the view has it now."""
        artifact = _artifact(self.version, self.view.shape)
        return TryFacts(
            dag_run_id=self.view.dag_run_id,
            facts=self.view.facts[i],
            run=self.run_now,
            artifact=artifact,
            items=self.view.items_of(i),
        )


class _RunRow(msgspec.Struct, frozen=True):
    id: int
    dag_id: str
    run_id: str
    dag_version_id: uuid.UUID
    run_type: str
    state: str
    logical_date: datetime | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    run_after: datetime
    queued_at: datetime | None
    start_date: datetime | None
    conf: str
    triggered_by: str | None
    triggering_user_name: str | None
    note: str | None
    partition_key: str | None
    partition_date: datetime | None
    because: str | None
    revision: int
    is_paused: bool
    max_active_runs: int
    backfill_id: int
    ordinal: int


class InstanceRow(msgspec.Struct, frozen=True):
    dag_run_id: int
    id: uuid.UUID
    task_id: str
    map_index: int
    operator: str
    state: str | None
    try_number: int
    max_tries: int
    infra_faults: int
    scheduled_at: datetime | None
    queued_at: datetime | None
    start_date: datetime | None
    end_date: datetime | None
    due_at: datetime | None
    because: str | None
    launcher: str
    wait: WaitStatus


class _PastRow(msgspec.Struct, frozen=True):
    task_id: str
    is_done: bool
    downstream_done: bool


class RunHead(msgspec.Struct, frozen=True):
    """A run as far as it takes to know whether it must be read."""

    id: int
    dag_id: str
    state: str
    run_after: datetime
    revision: int
    is_paused: bool
    max_active_runs: int
    """Of its quota."""
    backfill_id: int
    ordinal: int
    is_held: bool
    """Its backfill is paused: it does not start, and goes on if it has started."""
    is_live: bool
    """Has it live tries? Not asked for, and False, when all active runs are listed."""

    @property
    def quota(self) -> Quota:
        return Quota(self.dag_id, self.backfill_id)


async def list_heads(conn: Connection, dag_run_ids: Sequence[int]) -> tuple[RunHead, ...]:
    """These runs, in whatever state; one that was deleted is not there."""
    return await fetch_all(conn, _SQL.list_heads, RunHead, ids=list(dag_run_ids))


async def list_active_heads(conn: Connection, dag_id: str | None = None) -> tuple[RunHead, ...]:
    """Queued and running runs, of one DAG or of all, oldest `run_after` first."""
    return await fetch_all(conn, _SQL.list_active_heads, RunHead, dag_id=dag_id)


async def load_view(conn: Connection, dag_run_id: int) -> LoadedRun | None:
    """The run as it stands; None when it was deleted. Raises `BrokenRun`."""
    try:
        return await _load_view(conn, dag_run_id)
    except _UNREADABLE as error:
        raise BrokenRun(f"dag run {dag_run_id} cannot be read: {error}") from error


async def _load_view(conn: Connection, dag_run_id: int) -> LoadedRun | None:
    run = await fetch_one(conn, _SQL.fetch_run, _RunRow, dag_run_id=dag_run_id)
    if run is None:
        return None
    version = await fetch_version_by_id(conn, run.dag_version_id)
    rows = await list_instances(conn, [dag_run_id])
    shape = shape_of_version(version.id, version.spec)
    known = [row for row in rows if row.task_id in shape.index_of]
    past_ok = await _past(conn, run, version)
    lengths = await _lengths(conn, dag_run_id, shape)
    choices = await _choices(conn, run.id, shape, known)
    build = partial(
        RunView,
        dag_run_id=run.id,
        dag_id=run.dag_id,
        run_id=run.run_id,
        shape=shape,
        state=DagRunState(run.state),
        start_date=run.start_date,
        logical_date=run.logical_date,
        run_type=DagRunType(run.run_type),
        because=run.because or "",
        revision=run.revision,
        max_active_tasks=version.spec.max_active_tasks,
        dagrun_timeout_s=version.spec.dagrun_timeout_s,
        past_ok=past_ok,
        choices=choices,
        returned=await _returned(conn, dag_run_id, shape),
    )
    view = await off_loop(
        lambda: build(facts=[facts_of(row, shape.index_of[row.task_id], lengths) for row in known]), size=len(known)
    )
    quota = Quota(run.dag_id, run.backfill_id)
    return LoadedRun(view, version, _run_facts(run), run.is_paused, run.max_active_runs, quota, run.ordinal)


async def load_try(conn: Connection, dag_run_id: int, try_id: str) -> TryFacts | None:
    """The same as `LoadedRun.try_facts`, from the rows of this try; None when it is gone. Raises `BrokenRun`."""
    try:
        return await _load_try(conn, dag_run_id, try_id)
    except _UNREADABLE as error:
        raise BrokenRun(f"try {try_id} cannot be read: {error}") from error


async def _load_try(conn: Connection, dag_run_id: int, try_id: str) -> TryFacts | None:
    run = await fetch_one(conn, _SQL.fetch_run, _RunRow, dag_run_id=dag_run_id)
    row = await fetch_one(conn, _SQL.instances + b" " + _SQL.of_try, InstanceRow, try_id=try_id)
    if run is None or row is None:
        return None
    version = await fetch_version_by_id(conn, run.dag_version_id)
    shape = shape_of_version(version.id, version.spec)
    facts = facts_of(row, shape.index_of[row.task_id])
    return TryFacts(dag_run_id=run.id, facts=facts, run=_run_facts(run), artifact=_artifact(version, shape))


async def load_artifact(conn: Connection, dag_run_id: int) -> tuple[DagRunFacts, Artifact] | None:
    """The run as it stands, and the version that it runs; None when it is gone. Raises `BrokenRun`."""
    try:
        run = await fetch_one(conn, _SQL.fetch_run, _RunRow, dag_run_id=dag_run_id)
        if run is None:
            return None
        version = await fetch_version_by_id(conn, run.dag_version_id)
        return _run_facts(run), _artifact(version, shape_of_version(version.id, version.spec))
    except _UNREADABLE as error:
        raise BrokenRun(f"dag run {dag_run_id} cannot be read: {error}") from error


def _artifact(version: VersionRow, shape: DagShape) -> Artifact:
    return Artifact(
        spec=version.spec,
        shape=shape,
        bundle_digest=version.bundle_digest,
        version_number=version.version_number,
    )


def _run_facts(run: _RunRow) -> DagRunFacts:
    return DagRunFacts(
        dag_id=run.dag_id,
        run_id=run.run_id,
        run_type=run.run_type,
        state=run.state,
        run_after=run.run_after,
        logical_date=run.logical_date,
        data_interval_start=run.data_interval_start,
        data_interval_end=run.data_interval_end,
        start_date=run.start_date,
        queued_at=run.queued_at,
        triggered_by=run.triggered_by,
        triggering_user_name=run.triggering_user_name,
        conf=run.conf,
        note=run.note,
        partition_key=run.partition_key,
        partition_date=run.partition_date,
    )


async def list_instances(conn: Connection, dag_run_ids: Sequence[int]) -> tuple[InstanceRow, ...]:
    """All of these runs, by run, task and map index."""
    return await fetch_all(conn, _SQL.instances + b" " + _SQL.of_runs, InstanceRow, ids=list(dag_run_ids))


async def list_chosen_instances(conn: Connection, keys: Collection[InstanceKey]) -> tuple[InstanceRow, ...]:
    """These, in no order; those that are gone are left out."""
    return await fetch_all(conn, _SQL.instances + b" " + _SQL.of_keys, InstanceRow, **instance_keys(keys))


def facts_of(row: InstanceRow, node: int, lengths: Mapping[InstanceKey, int] = NO_LENGTHS) -> InstanceFacts:
    """`lengths`: what the outputs of this run count that something maps over."""
    return InstanceFacts(
        id=str(row.id),
        node=node,
        map_index=row.map_index,
        state=TaskInstanceState(row.state or "none"),
        try_number=row.try_number,
        max_tries=row.max_tries,
        infra_faults=row.infra_faults,
        scheduled_at=row.scheduled_at,
        queued_at=row.queued_at,
        start_date=row.start_date,
        end_date=row.end_date,
        due_at=row.due_at,
        because=row.because or "",
        launcher=row.launcher,
        wait=row.wait,
        length=lengths.get((row.dag_run_id, row.task_id, row.map_index)) if row.state == "success" else None,
    )


async def _lengths(conn: Connection, dag_run_id: int, shape: DagShape) -> dict[InstanceKey, int]:
    """As `Succeed.length` has it. Values of tasks that are not mapped themselves are read; there are few of them."""
    sources = [node for node in shape.nodes if node.is_source]
    plain = [(dag_run_id, node.spec.task_id) for node in sources if node.mapped is None]
    mapped = [(dag_run_id, node.spec.task_id) for node in sources if node.mapped is not None]
    found: dict[InstanceKey, int] = dict.fromkeys(await xcoms_of(conn).returned(mapped), 1) if mapped else {}
    if plain:
        found |= await xcoms_of(conn).lengths(plain)
    return found


async def _returned(conn: Connection, dag_run_id: int, shape: DagShape) -> dict[int, str]:
    """What those tasks returned whose items the daemon puts into waits and calls. Where it cannot be read now,
    processes ask for their items."""
    givers = [(dag_run_id, node.spec.task_id) for node in shape.nodes if node.gives_items]
    try:
        found = await xcoms_of(conn).outputs(givers, key=RETURN_KEY) if givers else ()
    except (ValuesUnavailable, ValueGone):
        return {}
    return {shape.index_of[xcom.task_id]: xcom.value for xcom in found}


async def _past(conn: Connection, run: _RunRow, version: VersionRow) -> dict[int, bool]:
    """For tasks that depend on the past: did the same task of the previous run end as success or skipped?"""
    asking = [t for t in version.spec.tasks if t.depends_on_past or t.wait_for_downstream]
    index_of = shape_of_version(version.id, version.spec).index_of
    if not asking or run.logical_date is None:
        # A run without a logical date has no place in the order of runs, hence no past.
        return {index_of[task.task_id]: True for task in asking}
    rows = await fetch_all(
        conn,
        _SQL.list_past,
        _PastRow,
        dag_id=run.dag_id,
        logical_date=run.logical_date,
        task_ids=[t.task_id for t in asking],
        spec_edges=[f"{up}>{t.task_id}" for t in version.spec.tasks for up in t.upstream_task_ids],
    )
    past = {row.task_id: row for row in rows}
    where = {"dag_id": run.dag_id, "logical_date": run.logical_date}
    has_previous_run = bool(await fetch_value(conn, _SQL.has_previous_run, **where))
    ever_ran: list[str] = await fetch_value(conn, _SQL.fetch_tasks_with_a_past, **where) or []
    result: dict[int, bool] = {}
    for task in asking:
        row = past.get(task.task_id)
        if row is not None:
            ok = row.is_done and (row.downstream_done or not task.wait_for_downstream)
        else:
            # As Airflow: the DAG's first run waits for nothing, a task that is new in it says whether it does.
            is_new = task.task_id not in ever_ran
            ok = not has_previous_run or (task.ignore_first_depends_on_past and is_new)
        result[index_of[task.task_id]] = ok
    return result


async def _choices(
    conn: Connection, dag_run_id: int, shape: DagShape, rows: Sequence[InstanceRow]
) -> dict[tuple[int, int], Choice]:
    """What the deciders that succeeded chose, by (node, map_index)."""
    deciders = {node.spec.task_id for node in shape.nodes if node.spec.decides}
    done = {(row.task_id, row.map_index) for row in rows if row.task_id in deciders and row.state == "success"}
    if not done:
        return {}
    tasks = sorted({task_id for task_id, _ in done})
    return {
        (shape.index_of[xcom.task_id], xcom.map_index): choice
        for xcom in await xcoms_of(conn).outputs([(dag_run_id, task_id) for task_id in tasks], key=CHOICE_KEY)
        if (xcom.task_id, xcom.map_index) in done and (choice := read_choice(xcom.value)) is not None
    }


async def list_runs_holding_slots(conn: Connection) -> tuple[int, ...]:
    """Runs with live tries, or with waits in pools that count deferred tasks."""
    cursor = await conn.execute(_SQL.list_runs_holding_slots)
    return tuple(row[0] for row in await cursor.fetchall())


class PreviousRun(msgspec.Struct, frozen=True):
    """The run before `id` by logical date, if there is one."""

    id: int
    previous_id: int | None
    revision: int | None


async def list_previous(conn: Connection, dag_run_ids: Sequence[int]) -> tuple[PreviousRun, ...]:
    return await fetch_all(conn, _SQL.list_previous, PreviousRun, ids=list(dag_run_ids))


class PoolRow(msgspec.Struct, frozen=True):
    name: str
    slots: int
    include_deferred: bool


async def list_pools(conn: Connection) -> tuple[PoolRow, ...]:
    return await fetch_all(conn, _SQL.list_pools, PoolRow)
