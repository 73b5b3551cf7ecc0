"""Dag runs as people and timetables make them. The scheduler's own writes are in `store.transitions`.

Every function here raises the run's `revision`, which tells the scheduler that its cached view is no longer true, and
sends a hint. Lock order (ADR 22): dag, dag runs by id, task instances.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
import psycopg

from leoflowd.contract.errors import Conflict, NotFound
from leoflowd.contract.states import DagRunState, DagRunType, TriggeredBy
from leoflowd.contract.values import conf_text
from leoflowd.core.by_hand import plan_mark_run
from leoflowd.core.dag_shape import TaskNode
from leoflowd.core.timetable import RunSlot, run_id_for
from leoflowd.store.canaries import Canary, canary_of_run, give_run
from leoflowd.store.dags import VersionRow, fetch_version_by_id, off_loop, shape_of_version
from leoflowd.store.database import Connection, fetch_all, fetch_one, fetch_value, statements
from leoflowd.store.deadlines import insert_deadlines
from leoflowd.store.held_runs import hold_runs, list_held, touch_runs, write_changes
from leoflowd.store.hints import send_hint

_SQL = statements("dag_runs")


class DagRunRow(msgspec.Struct, frozen=True):
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
    end_date: datetime | None
    conf: str
    """JSON text."""
    triggered_by: str | None
    triggering_user_name: str | None
    note: str | None
    revision: int


async def insert_dag_run(
    conn: Connection,
    *,
    version: VersionRow,
    run_id: str,
    run_type: DagRunType,
    logical_date: datetime | None,
    data_interval_start: datetime | None,
    data_interval_end: datetime | None,
    run_after: datetime,
    conf: dict[str, Any],
    triggered_by: TriggeredBy,
    triggering_user_name: str | None,
    note: str | None,
    now: datetime,
    partition_key: str | None = None,
    partition_date: datetime | None = None,
) -> int:
    """A queued run with all its task instances; returns its `dag_run.id`.

    It is of the canary of its DAG instead of `version` when its id is among those (ADR 81).

    Raises `Conflict` when the DAG has a run of this id or this logical date, `Invalid` for a conf that cannot be kept.
    """
    version, canary = await version_of_new_run(conn, version, run_id, now)
    try:
        dag_run_id: int = await fetch_value(
            conn,
            _SQL.insert_dag_run,
            dag_id=version.dag_id,
            run_id=run_id,
            version_id=version.id,
            run_type=run_type,
            logical_date=logical_date,
            start=data_interval_start,
            end=data_interval_end,
            run_after=run_after,
            conf=conf_text(conf),
            triggered_by=triggered_by,
            user=triggering_user_name,
            note=note,
            partition_key=partition_key,
            partition_date=partition_date,
            now=now,
        )
    except psycopg.errors.UniqueViolation as error:
        raise Conflict(_duplicate(version.dag_id, run_id, logical_date, error)) from error
    if canary is not None:
        await give_run(conn, canary, dag_run_id)
    await insert_task_instances(conn, dag_run_id, version, now)
    if version.spec.deadlines:
        specs = version.spec.deadlines
        await insert_deadlines(conn, dag_run_id, specs, dag_id=version.dag_id, logical_date=logical_date, now=now)
    await send_hint(conn, "run", dag_run_id)
    return dag_run_id


async def insert_slot_run(
    conn: Connection,
    version: VersionRow,
    slot: RunSlot,
    *,
    run_id: str,
    run_type: DagRunType,
    conf: dict[str, Any],
    triggered_by: TriggeredBy,
    triggering_user_name: str | None,
    now: datetime,
) -> int:
    """The run that a timetable asks for, with a date or with a partition. Raises as `insert_dag_run`."""
    dated = slot.partition_key is None
    return await insert_dag_run(
        conn,
        version=version,
        run_id=run_id,
        run_type=run_type,
        logical_date=slot.logical_date if dated else None,
        data_interval_start=slot.data_interval_start if dated else None,
        data_interval_end=slot.data_interval_end if dated else None,
        run_after=slot.run_after,
        conf=conf,
        triggered_by=triggered_by,
        triggering_user_name=triggering_user_name,
        note=None,
        partition_key=slot.partition_key,
        partition_date=slot.partition_date,
        now=now,
    )


async def version_of_new_run(
    conn: Connection, version: VersionRow, run_id: str, now: datetime
) -> tuple[VersionRow, Canary | None]:
    """Of this DAG's current version, or of the canary that this run is one of; asking again in the transaction answers
    the same."""
    canary = await canary_of_run(conn, version.dag_id, run_id, now)
    return (version if canary is None else await fetch_version_by_id(conn, canary.dag_version_id)), canary


def _duplicate(dag_id: str, run_id: str, logical_date: datetime | None, error: psycopg.errors.UniqueViolation) -> str:
    if "logical_date" in (error.diag.constraint_name or ""):
        return f"A run of Dag `{dag_id}` with logical date {logical_date} already exists; choose another, or null"
    return f"The Dag run with ID `{run_id}` of Dag `{dag_id}` already exists; choose another dag_run_id"


async def insert_task_instances(conn: Connection, dag_run_id: int, version: VersionRow, now: datetime) -> None:
    """One row per task that has none yet, in state none."""
    nodes = shape_of_version(version.id, version.spec).nodes
    rows = await off_loop(lambda: _instance_rows(nodes), size=len(nodes))
    await conn.execute(
        _SQL.insert_task_instances,
        {"dag_run_id": dag_run_id, "version_id": version.id, "now": now, "rows": rows},
    )


def _instance_rows(nodes: tuple[TaskNode, ...]) -> str:
    """As one JSON text: nine arrays of ten thousand values would hold up the event loop while they are written."""
    tasks = [(node.spec, node.weight) for node in nodes]
    rows = [
        {
            "task_id": task.task_id,
            "max_tries": task.retries,
            "operator": task.operator,
            "operator_name": task.operator_name or task.operator,
            "name": task.task_display_name or task.task_id,
            "pool": task.pool,
            "slots": task.pool_slots,
            "queue": task.queue,
            "weight": weight,
        }
        for task, weight in tasks
    ]
    return msgspec.json.encode(rows).decode()


async def fetch_dag_run(conn: Connection, dag_id: str, run_id: str) -> DagRunRow:
    """Raises `NotFound`."""
    row = await fetch_one(conn, _SQL.fetch_dag_run, DagRunRow, dag_id=dag_id, run_id=run_id)
    return _found(row, dag_id, run_id)


async def lock_dag_run(conn: Connection, dag_id: str, run_id: str) -> DagRunRow:
    """The run, locked until the transaction ends. Raises `NotFound`."""
    locked = await lock_dag_runs(conn, dag_id, [run_id])
    return _found(locked[0] if locked else None, dag_id, run_id)


async def lock_dag_runs(conn: Connection, dag_id: str, run_ids: Sequence[str]) -> tuple[DagRunRow, ...]:
    """The same for several, in the one order in which runs are locked: call it once in a transaction (ADR 22).

    Those that are gone are left out.
    """
    return await fetch_all(conn, _SQL.lock_dag_runs, DagRunRow, dag_id=dag_id, run_ids=list(run_ids))


def _found(row: DagRunRow | None, dag_id: str, run_id: str) -> DagRunRow:
    if row is None:
        raise NotFound(f"The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found")
    return row


async def touch_dag_run(conn: Connection, dag_run_id: int, now: datetime) -> None:
    """The run's rows were changed by other than the scheduler: raise the revision, send the hint."""
    await touch_runs(conn, [dag_run_id], now)


async def mark_dag_run(conn: Connection, dag_run_id: int, state: DagRunState, *, now: datetime, because: str) -> None:
    """Set the run's state as Airflow's PATCH does: see `core.by_hand.plan_mark_run`."""
    for run in await hold_runs(conn, [dag_run_id]):
        held = await list_held(conn, [run])
        plan = partial(plan_mark_run, held, run.facts, state, now, because=because)
        changes, after = await off_loop(plan, size=len(held))
        await write_changes(conn, [run], changes, now=now, moved_runs={run.id: after})


async def set_because(conn: Connection, dag_run_id: int, because: str, now: datetime) -> None:
    """Why the run is as it is, for people; changes nothing that is decided on."""
    await conn.execute(_SQL.update_because, {"dag_run_id": dag_run_id, "because": because, "now": now})


async def forget_because(conn: Connection, dag_run_ids: Collection[int], beginning: str, now: datetime) -> None:
    """It is so no longer; a reason that somebody else gave meanwhile stays."""
    await conn.execute(_SQL.forget_because, {"ids": sorted(dag_run_ids), "beginning": beginning, "now": now})


async def set_dag_run_note(conn: Connection, dag_run_id: int, note: str | None, now: datetime) -> None:
    await conn.execute(_SQL.update_note, {"dag_run_id": dag_run_id, "note": note, "now": now})


async def delete_dag_run(conn: Connection, dag_run_id: int) -> None:
    """Forget the run; live tries of it are stopped because their ids match no row any more.

    Its DAG has room for another run then, and a new run before the next one: whoever knows only the DAG is told too.
    """
    dag_id = await fetch_value(conn, _SQL.delete_dag_run, dag_run_id=dag_run_id)
    await send_hint(conn, "run", dag_run_id)
    if dag_id is not None:
        await send_hint(conn, "dag", dag_id)


async def fetch_previous_run(conn: Connection, dag_run_id: int, *, only_success: bool) -> DagRunRow | None:
    """The run before this one by logical date."""
    return await fetch_one(conn, _SQL.fetch_previous_run, DagRunRow, dag_run_id=dag_run_id, only_success=only_success)


async def insert_asset_run(
    conn: Connection,
    version: VersionRow,
    *,
    because_of: int,
    run_after: datetime,
    now: datetime,
    partition_key: str | None = None,
) -> tuple[int, str]:
    """A run that events of assets started: its id and run id. `because_of`, an id of its DAG's, makes that its own."""
    unique = hashlib.sha256(f"{version.dag_id}:{because_of}".encode()).hexdigest()[:8]
    run_id = run_id_for(DagRunType.ASSET_TRIGGERED, run_after, unique=unique)
    dag_run_id = await insert_dag_run(
        conn,
        version=version,
        run_id=run_id,
        run_type=DagRunType.ASSET_TRIGGERED,
        logical_date=None,
        data_interval_start=None,
        data_interval_end=None,
        run_after=run_after,
        conf={},
        triggered_by=TriggeredBy.ASSET,
        triggering_user_name=None,
        note=None,
        partition_key=partition_key,
        now=now,
    )
    return dag_run_id, run_id
