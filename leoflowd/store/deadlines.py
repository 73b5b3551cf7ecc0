"""Rows of `deadline`: when a dag run is to have succeeded (ADR 58). Written and pruned with the run, missed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from leoflowd.contract.callback_spec import NewCallback
from leoflowd.contract.deadline_spec import DeadlineSpec, MissedDeadline
from leoflowd.core.deadlines import callback_of, plan_deadlines, runs_averaged
from leoflowd.core.rights import Dags
from leoflowd.store.callbacks import insert_callbacks
from leoflowd.store.database import Connection, fetch_all, fetch_value, statements
from leoflowd.store.hints import send_hint
from leoflowd.store.ui_ordering import ordered

_SQL = statements("deadlines")
ORDERINGS = {name: f"d.{name}".encode() for name in ("id", "deadline_time", "created_at", "missed", "dag_id")} | {
    "alert_name": b"d.position",
    "dag_run_id": b"d.run_id",
}
"""What the UI may sort by: an alert has no name, only a place in its DAG."""
AT_MOST = 256
"""Runs of which deadlines are declared missed in one transaction."""


class _MissedRow(msgspec.Struct, frozen=True):
    id: str
    dag_run_id: int
    position: int
    deadline_time: datetime
    state: str
    start_date: datetime | None
    end_date: datetime | None


async def insert_deadlines(
    conn: Connection,
    dag_run_id: int,
    specs: Sequence[DeadlineSpec],
    *,
    dag_id: str,
    logical_date: datetime | None,
    now: datetime,
) -> None:
    """Of a run that is made in this transaction; the hint moves the timer of the leader."""
    durations_s = await _list_durations(conn, dag_id, runs_averaged(specs))
    new = plan_deadlines(specs, logical_date=logical_date, durations_s=durations_s, now=now)
    if not new:
        return
    parameters = {
        "dag_run_id": dag_run_id,
        "positions": [one.position for one in new],
        "times": [one.deadline_time for one in new],
        "after_queued": [one.after_queued_s for one in new],
        "now": now,
    }
    await conn.execute(_SQL.insert_deadlines, parameters)
    await send_hint(conn, "deadlines")


async def _list_durations(conn: Connection, dag_id: str, at_most: int) -> list[float]:
    if not at_most:
        return []
    cursor = await conn.execute(_SQL.list_durations, {"dag_id": dag_id, "at_most": at_most})
    return [row[0] for row in await cursor.fetchall()]


async def delete_met(conn: Connection, dag_run_ids: Sequence[int]) -> None:
    """Of runs that succeed in this transaction, those that lie behind their end."""
    await conn.execute(_SQL.delete_met, {"runs": list(dag_run_ids)})


async def move_queued(conn: Connection, dag_run_ids: Sequence[int], now: datetime) -> None:
    """Of runs that are queued once more in this transaction, those that are reckoned from there."""
    await conn.execute(_SQL.move_queued, {"runs": list(dag_run_ids), "now": now})


async def miss_due(conn: Connection, now: datetime) -> int:
    """Declares what is due as missed, and writes what that calls for; how many there were."""
    cursor = await conn.execute(_SQL.lock_due, {"now": now, "at_most": AT_MOST})
    runs = [row[0] for row in await cursor.fetchall()]
    if not runs:
        return 0
    missed = await fetch_all(conn, _SQL.mark_missed, _MissedRow, runs=runs, now=now)
    in_order = sorted(missed, key=lambda row: (row.deadline_time, row.dag_run_id, row.position))
    await insert_callbacks(conn, [_callback(row) for row in in_order], now)
    return len(missed)


def _callback(row: _MissedRow) -> NewCallback:
    missed = MissedDeadline(id=row.id, deadline_time=row.deadline_time, position=row.position)
    return callback_of(row.dag_run_id, missed, state=row.state, start_date=row.start_date, end_date=row.end_date)


async def fetch_next(conn: Connection) -> datetime | None:
    """When the next one is due that is not missed yet."""
    found: datetime | None = await fetch_value(conn, _SQL.fetch_next)
    return found


class DeadlinePage(msgspec.Struct, frozen=True, kw_only=True):
    dag_id: str | None
    """None: of all DAGs."""
    dag_run_id: int | None
    order_by: Sequence[str]
    limit: int
    offset: int
    filters: Mapping[str, Any]
    """missed, deadline_time_gte, _gt, _lte, _lt; None is any."""


async def list_deadlines(conn: Connection, page: DeadlinePage, *, dags: Dags) -> str:
    """Airflow's answer, as JSON text: those that are open or missed, and how many there are."""
    found: str = await fetch_value(
        conn,
        ordered(_SQL.list_deadlines, page.order_by, ORDERINGS, b"d.id"),
        visible=dags.parameter(),
        dag_id=page.dag_id,
        dag_run_id=page.dag_run_id,
        limit=page.limit,
        offset=page.offset,
        **page.filters,
    )
    return found
