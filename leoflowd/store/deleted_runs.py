"""Dag runs that are deleted while something of them is left beside the database. A trigger writes the rows; ADR 96."""

from __future__ import annotations

from datetime import datetime

import msgspec

from leoflowd.contract.values import shown
from leoflowd.store.database import Connection, execute, fetch_all, fetch_value, statements

_SQL = statements("deleted_runs")


class DeletedRun(msgspec.Struct, frozen=True):
    dag_run_id: int
    dag_id: str
    run_id: str
    places: tuple[str, ...]
    """Of its XCom values, as their rows named them."""
    attempts: int
    is_clean: bool
    """All that there was is gone; this is the look for stragglers."""


async def list_due(conn: Connection, now: datetime, *, limit: int) -> tuple[DeletedRun, ...]:
    """New ones first."""
    return await fetch_all(conn, _SQL.list_due, DeletedRun, now=now, limit=limit)


async def fetch_last_failure(conn: Connection, *, attempts: int) -> str | None:
    """Why one that failed so often in a row did so; None: there is none."""
    because: str | None = await fetch_value(conn, _SQL.fetch_last_failure, attempts=attempts)
    return because


async def mark_clean(conn: Connection, dag_run_id: int, again_at: datetime) -> None:
    await execute(conn, _SQL.mark_clean, dag_run_id=dag_run_id, again_at=again_at)


async def mark_failed(conn: Connection, dag_run_id: int, because: str, again_at: datetime) -> None:
    await execute(conn, _SQL.mark_failed, dag_run_id=dag_run_id, because=shown(because, 300), again_at=again_at)


async def delete_deleted_run(conn: Connection, dag_run_id: int) -> None:
    await execute(conn, _SQL.delete_deleted_run, dag_run_id=dag_run_id)
