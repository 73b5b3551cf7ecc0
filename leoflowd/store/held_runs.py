"""Dag runs that a person changes: locked, read, and written by the statements of the scheduler's batches (ADR 30).

`task_instances` and `dag_runs` ask `core.by_hand` what the request means for what they hold here. Each write raises the
run's `revision`, which tells the scheduler that its view is no longer true, and sends a hint.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import msgspec

from leoflowd.contract.dag_spec import TaskSpec
from leoflowd.contract.states import DagRunState
from leoflowd.core.by_hand import GONE, Change, Held
from leoflowd.core.dag_shape import DagShape, TaskNode
from leoflowd.core.run_view import RunFacts
from leoflowd.store.dags import LARGE, VersionRow, fetch_version_by_id, off_loop, shape_of_version
from leoflowd.store.database import Connection, fetch_all, statements
from leoflowd.store.hints import send_hint
from leoflowd.store.run_views import InstanceRow, facts_of, list_chosen_instances, list_instances
from leoflowd.store.transitions import Batch, EndedTry, InstanceWrite, RunWrite, write_held
from leoflowd.store.waits import InstanceKey, instance_keys

_SQL = statements("held_runs")

T = TypeVar("T")


class HeldRun(msgspec.Struct, frozen=True):
    """A run that is locked until the transaction ends, and the version that what is changed in it is to have."""

    id: int
    facts: RunFacts
    revision: int
    version: VersionRow


class _RunRow(msgspec.Struct, frozen=True):
    id: int
    dag_version_id: UUID
    state: str
    start_date: datetime | None
    end_date: datetime | None
    because: str | None
    revision: int


async def hold_runs(
    conn: Connection, dag_run_ids: Collection[int], version: VersionRow | None = None
) -> tuple[HeldRun, ...]:
    """Lock these runs in order of id; those that are gone are left out. None: each keeps its version."""
    rows = await fetch_all(conn, _SQL.hold_runs, _RunRow, ids=list(dag_run_ids))
    runs = []
    for row in rows:
        own = version or await fetch_version_by_id(conn, row.dag_version_id)
        runs.append(HeldRun(row.id, _run_facts(row), row.revision, own))
    return tuple(runs)


def _run_facts(row: _RunRow) -> RunFacts:
    return RunFacts(
        state=DagRunState(row.state), start_date=row.start_date, end_date=row.end_date, because=row.because or ""
    )


async def list_held(
    conn: Connection, runs: Sequence[HeldRun], keys: Collection[InstanceKey] | None = None
) -> tuple[Held, ...]:
    """The task instances of these runs, or those that `keys` name."""
    rows = [] if keys is not None else [*await list_instances(conn, [run.id for run in runs])]
    for some in _portions(tuple(keys or ())):
        rows += await list_chosen_instances(conn, some)
    shapes = {run.id: shape_of_version(run.version.id, run.version.spec) for run in runs}
    return await off_loop(
        lambda: tuple(_held(row, shapes[row.dag_run_id]) for row in rows if row.dag_run_id in shapes), size=len(rows)
    )


def _held(row: InstanceRow, shape: DagShape) -> Held:
    index = shape.index_of.get(row.task_id, GONE)
    node = (
        TaskNode(index=GONE, spec=TaskSpec(task_id=row.task_id, operator=row.operator))
        if index == GONE
        else shape.nodes[index]
    )
    return Held(row.dag_run_id, node, facts_of(row, index))


async def write_changes(
    conn: Connection,
    runs: Sequence[HeldRun],
    changes: Sequence[Change],
    *,
    now: datetime,
    moved_runs: Mapping[int, RunFacts] | None = None,
    version_id: UUID | None = None,
) -> None:
    """What was decided about what is held, and what follows for whoever has a view of it.

    `moved_runs`: the runs themselves, as they are from now on. `version_id`: the version of the DAG that they move to.
    """
    for some in _portions(changes):
        await write_held(conn, _batch(some), now=now)
    moved = moved_runs or {}
    await write_held(conn, Batch(runs=tuple(_run_write(r, moved.get(r.id, r.facts)) for r in runs)), now=now)
    await touch_runs(conn, [run.id for run in runs], now, version_id=version_id)


def _portions(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """What one statement carries: parameters of ten thousand rows would hold up the event loop for too long."""
    return (rows[at : at + LARGE] for at in range(0, len(rows), LARGE))


def _batch(changes: Sequence[Change]) -> Batch:
    return Batch(
        instances=tuple(
            InstanceWrite(
                dag_run_id=change.held.dag_run_id,
                task_id=change.held.node.spec.task_id,
                before=change.held.facts,
                after=change.after,
            )
            for change in changes
        ),
        ended_tries=tuple(EndedTry(facts=change.ended) for change in changes if change.ended is not None),
        emptied=tuple(change.held.facts.id for change in changes if change.forgets_xcoms),
        # Also rows of which nothing is known: a wait that had ended would come to life when its instance runs again.
        ended_waits=tuple(change.held.key for change in changes),
    )


def _run_write(run: HeldRun, after: RunFacts) -> RunWrite:
    return RunWrite(
        dag_run_id=run.id,
        revision=run.revision,
        state=None if after is run.facts else after.state.value,
        start_date=after.start_date,
        end_date=after.end_date,
        because=after.because or None,
        has_deadlines=bool(run.version.spec.deadlines),
    )


async def set_versions(conn: Connection, versions: Mapping[InstanceKey, UUID]) -> None:
    """Which version of the DAG these instances are of."""
    for some in _portions(tuple(versions)):
        parameters = {**instance_keys(some), "versions": [versions[key] for key in some]}
        await conn.execute(_SQL.set_versions, parameters)


async def touch_runs(
    conn: Connection, dag_run_ids: Collection[int], now: datetime, *, version_id: UUID | None = None
) -> None:
    """Their rows were changed by other than the scheduler: raise the revision, send the hints."""
    await conn.execute(_SQL.touch_runs, {"ids": list(dag_run_ids), "version_id": version_id, "now": now})
    for dag_run_id in dag_run_ids:
        await send_hint(conn, "run", dag_run_id)
