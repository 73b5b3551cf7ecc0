"""Backfills: asked for, made run by run, paused, cancelled. ADR 49.

Callers: `api.public.backfills` for people, `scheduler.backfills` for the runs. Lock order (ADR 22): dag, backfill, dag
runs by id. A moment is decided in the transaction that makes its run, so that a kill neither loses nor doubles one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
import psycopg

from leoflowd.contract.errors import Conflict, Invalid, NotFound
from leoflowd.contract.states import DagRunState, DagRunType, TriggeredBy
from leoflowd.contract.values import conf_text
from leoflowd.core.backfills import (
    Asked,
    Preview,
    Reprocess,
    SkipReason,
    plan_slots,
    preview,
    skip_reason,
    slots_to_run,
)
from leoflowd.core.by_hand import plan_mark_run
from leoflowd.core.timetable import RunSlot, run_id_of_slot
from leoflowd.store import api_dags, dags
from leoflowd.store.dag_runs import insert_slot_run
from leoflowd.store.dags import VersionRow, off_loop
from leoflowd.store.database import Connection, execute, fetch_all, fetch_one, fetch_value, statements
from leoflowd.store.held_runs import hold_runs, list_held, write_changes
from leoflowd.store.hints import send_hint
from leoflowd.store.task_instances import clear_in_runs

_SQL = statements("backfills")

MADE_AT_ONCE = 25
"""Runs in one transaction: its locks are short, and whoever pauses or cancels waits for no more than this."""


class NewBackfill(msgspec.Struct, frozen=True, kw_only=True):
    dag_id: str
    asked: Asked
    max_active_runs: int
    run_on_latest_version: bool
    user: str


class DryRun(msgspec.Struct, frozen=True):
    slots: tuple[RunSlot, ...]
    """That would run now, in the order in which they start."""
    preview: Preview


class OpenBackfill(msgspec.Struct, frozen=True):
    id: int
    dag_id: str
    is_paused: bool


class _Held(msgspec.Struct, frozen=True):
    id: int
    dag_id: str
    conf: str | None
    reprocess_behavior: str
    run_on_latest_version: bool
    is_paused: bool
    triggering_user_name: str | None
    completed_at: datetime | None


class _Existing(msgspec.Struct, frozen=True):
    id: int
    state: DagRunState


class _Pending(RunSlot, frozen=True, kw_only=True):
    sort_ordinal: int


# --- asked for -------------------------------------------------------------------------------------------------------


async def dry_run(conn: Connection, new: NewBackfill, now: datetime) -> DryRun:
    """What `insert_backfill` would begin. Raises `NotFound`, `Invalid`."""
    version, slots = await _plan(conn, new, now)
    states = {key: run.state for key, run in (await _list_existing(conn, new.dag_id, slots)).items()}
    chosen = slots_to_run(slots, states, new.asked.reprocess)
    cursor = await conn.execute(_SQL.list_durations, {"dag_id": new.dag_id})
    durations = [row[0] for row in await cursor.fetchall()]
    return DryRun(
        chosen, preview(version.spec, len(chosen), max_active_runs=new.max_active_runs, durations_s=durations)
    )


async def insert_backfill(conn: Connection, new: NewBackfill, now: datetime) -> int:
    """A backfill whose runs `make_some` makes from now on; its id.

    Raises `NotFound`, `Invalid`, and `Conflict` when the DAG has one that is not over.
    """
    _, slots = await _plan(conn, new, now)
    if not slots:
        raise Invalid(
            f"No runs to create for Dag {new.dag_id}: its timetable has none in this range whose interval is over",
            location=("body",),
        )
    try:
        backfill_id: int = await fetch_value(
            conn,
            _SQL.insert_backfill,
            dag_id=new.dag_id,
            from_date=new.asked.from_date,
            to_date=new.asked.to_date,
            conf=None if new.asked.conf is None else conf_text(new.asked.conf),
            reprocess=new.asked.reprocess,
            max_active_runs=new.max_active_runs,
            latest=new.run_on_latest_version,
            user=new.user,
            now=now,
        )
    except psycopg.errors.UniqueViolation as error:
        raise Conflict(f"There is already a running backfill for dag {new.dag_id}") from error
    await conn.execute(
        _SQL.insert_slots,
        {
            "id": backfill_id,
            "logical_dates": [slot.logical_date for slot in slots],
            "starts": [slot.data_interval_start for slot in slots],
            "ends": [slot.data_interval_end for slot in slots],
            "run_afters": [slot.run_after for slot in slots],
            "keys": [slot.partition_key for slot in slots],
            "partition_dates": [slot.partition_date for slot in slots],
        },
    )
    await send_hint(conn, "dag", new.dag_id)
    return backfill_id


async def _plan(conn: Connection, new: NewBackfill, now: datetime) -> tuple[VersionRow, tuple[RunSlot, ...]]:
    dag = await api_dags.fetch_dag(conn, new.dag_id)
    if dag["is_stale"]:
        raise NotFound(f"Could not find dag {new.dag_id}: its project is gone")
    version = await dags.fetch_version(conn, new.dag_id)
    # A timetable may have ten thousand moments, or be asked for as many before it says that there is none.
    return version, await off_loop(lambda: plan_slots(version.spec, new.asked, now), size=dags.LARGE)


# --- by hand -----------------------------------------------------------------------------------------------------


async def set_paused(conn: Connection, backfill_id: int, paused: bool, now: datetime) -> str:
    """Its queued runs do not start while it is paused, and none are made; what runs goes on. The id of its DAG.

    Raises `NotFound`, and `Conflict` for one that is over.
    """
    held = await _hold_open(conn, backfill_id)
    await conn.execute(_SQL.update_paused, {"id": backfill_id, "paused": paused, "now": now})
    await send_hint(conn, "dag", held.dag_id)
    return held.dag_id


async def cancel(conn: Connection, backfill_id: int, *, now: datetime, because: str) -> str:
    """It is over: its queued runs fail, none are made, what runs goes on. The id of its DAG. Raises as above."""
    held = await _hold_open(conn, backfill_id)
    cursor = await conn.execute(_SQL.list_queued, {"id": backfill_id})
    runs = await hold_runs(conn, [row[0] for row in await cursor.fetchall()])
    # As Airflow: the runs alone, their task instances have not begun.
    failed = {run.id: plan_mark_run((), run.facts, DagRunState.FAILED, now, because=because)[1] for run in runs}
    await write_changes(conn, runs, (), now=now, moved_runs=failed)
    await conn.execute(_SQL.update_paused, {"id": backfill_id, "paused": True, "now": now})
    await conn.execute(_SQL.complete, {"id": backfill_id, "now": now})
    await send_hint(conn, "dag", held.dag_id)
    return held.dag_id


async def _hold(conn: Connection, backfill_id: int) -> _Held | None:
    await conn.execute(_SQL.lock_dag_of, {"id": backfill_id})
    return await fetch_one(conn, _SQL.lock_backfill, _Held, id=backfill_id)


async def _hold_open(conn: Connection, backfill_id: int) -> _Held:
    held = await _hold(conn, backfill_id)
    if held is None:
        raise NotFound(f"Could not find backfill with id {backfill_id}")
    if held.completed_at is not None:
        raise Conflict("Backfill is already completed.")
    return held


# --- its runs ----------------------------------------------------------------------------------------------------


async def list_open(conn: Connection) -> tuple[OpenBackfill, ...]:
    """Those that are not over."""
    return await fetch_all(conn, _SQL.list_open, OpenBackfill)


async def complete_finished(conn: Connection, now: datetime) -> int:
    """Close those in which everything is decided and nothing is queued or runs; how many."""
    return await execute(conn, _SQL.complete_finished, now=now)


async def make_some(conn: Connection, backfill_id: int, now: datetime) -> int:
    """Decide on its next moments, at most `MADE_AT_ONCE`; how many it were. 0: paused, over, or all are decided.

    As Airflow: a moment without a run gets one, and a run that is to be reprocessed is cleared and becomes one of
    this backfill; of a partition that is to be reprocessed another run is made. Raises `NotFound` when the DAG is gone.
    """
    held = await _hold(conn, backfill_id)
    if held is None or held.is_paused or held.completed_at is not None:
        return 0
    slots = await fetch_all(conn, _SQL.list_pending, _Pending, id=backfill_id, limit=MADE_AT_ONCE)
    if not slots:
        return 0
    version = await dags.fetch_version(conn, held.dag_id)
    existing = await _list_existing(conn, held.dag_id, slots, lock=True)
    made: dict[int, int] = {}
    again: dict[int, int] = {}
    skipped: dict[int, SkipReason] = {}
    for slot in slots:
        found = existing.get(slot.key)
        reason = skip_reason(None if found is None else found.state, Reprocess(held.reprocess_behavior))
        if reason is not None:
            skipped[slot.sort_ordinal] = reason
        elif found is not None and slot.partition_key is None:
            again[slot.sort_ordinal] = found.id
        else:
            dag_run_id = await _insert_run(conn, held, version, slot, now)
            if dag_run_id is None:
                skipped[slot.sort_ordinal] = SkipReason.IN_FLIGHT
            else:
                made[slot.sort_ordinal] = dag_run_id
                existing[slot.key] = _Existing(dag_run_id, DagRunState.QUEUED)
    await _run_again(conn, held, again.values(), version if held.run_on_latest_version else None, now)
    await _join(conn, held, made | again, now)
    await _decide(conn, held, slots, made | again, skipped, now)
    return len(slots)


async def _list_existing(
    conn: Connection, dag_id: str, slots: Sequence[RunSlot], *, lock: bool = False
) -> dict[datetime | str, _Existing]:
    """The runs that these slots have already, by the slots' keys. `lock`: those with a date, which may run again."""
    dates = [slot.logical_date for slot in slots if slot.partition_key is None]
    keys = [slot.partition_key for slot in slots if slot.partition_key is not None]
    dated = _SQL.lock_existing if lock else _SQL.list_existing
    found: dict[datetime | str, _Existing] = {}
    for statement, parameters in ((dated, {"logical_dates": dates}), (_SQL.list_partitions, {"keys": keys})):
        cursor = await conn.execute(statement, {"dag_id": dag_id, **parameters})
        found |= {key: _Existing(run, DagRunState(state)) for run, key, state in await cursor.fetchall()}
    return found


async def _insert_run(conn: Connection, held: _Held, version: VersionRow, slot: _Pending, now: datetime) -> int | None:
    """None: somebody made a run of this moment, or of this id, a moment ago."""
    try:
        async with conn.transaction():
            return await insert_slot_run(
                conn,
                version,
                slot,
                run_id=run_id_of_slot(DagRunType.BACKFILL, slot, asked_by=f"{held.dag_id}:{held.id}"),
                run_type=DagRunType.BACKFILL,
                conf=_conf(held) or {},
                triggered_by=TriggeredBy.BACKFILL,
                triggering_user_name=held.triggering_user_name,
                now=now,
            )
    except Conflict:
        return None


def _conf(held: _Held) -> dict[str, Any] | None:
    return None if held.conf is None else msgspec.json.decode(held.conf, type=dict[str, Any])


async def _run_again(
    conn: Connection, held: _Held, dag_run_ids: Collection[int], version: VersionRow | None, now: datetime
) -> None:
    if not dag_run_ids:
        return
    runs = await hold_runs(conn, dag_run_ids)
    keys: dict[int, list[tuple[str, int]]] = {run.id: [] for run in runs}
    for one in await list_held(conn, runs):
        keys[one.dag_run_id].append((one.node.spec.task_id, one.facts.map_index))
    because = f"cleared by backfill {held.id}"
    await clear_in_runs(conn, keys, now=now, because=because, reset_dag_run=True, version=version)


async def _join(conn: Connection, held: _Held, runs: dict[int, int], now: datetime) -> None:
    """They start in the order of the backfill, and are counted with it."""
    await conn.execute(
        _SQL.join_backfill,
        {"id": held.id, "runs": list(runs.values()), "ordinals": list(runs), "conf": held.conf, "now": now},
    )


async def _decide(
    conn: Connection,
    held: _Held,
    slots: Sequence[_Pending],
    runs: dict[int, int],
    skipped: dict[int, SkipReason],
    now: datetime,
) -> None:
    ordinals = [slot.sort_ordinal for slot in slots]
    await conn.execute(
        _SQL.decide_slots,
        {
            "id": held.id,
            "ordinals": ordinals,
            "runs": [runs.get(ordinal) for ordinal in ordinals],
            "reasons": [skipped.get(ordinal) for ordinal in ordinals],
            "now": now,
        },
    )
