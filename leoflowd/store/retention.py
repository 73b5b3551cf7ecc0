"""Dag runs that are too old, or too many, and that nobody needs any more: what they are, and their end (ADR 93).

Called by `scheduler.retention` and, for people, by `api.own.retention`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from leoflowd.store.database import Connection, execute, fetch_all, long_statement, statements

_SQL = statements("retention")

RUNS_PER_BATCH = 200
INSTANCES_PER_BATCH = 2_000
"""About; a run is never divided. Some 50 ms of Postgres."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Both None: nothing is ever removed."""

    before: datetime | None = None
    """Of runs that were due, and ended, earlier."""
    keep: int | None = None
    """Ended runs of each DAG that stay, the newest."""

    @property
    def is_set(self) -> bool:
        return self.before is not None or self.keep is not None


class WouldGo(msgspec.Struct, frozen=True):
    dag_id: str
    runs: int
    task_instances: int
    oldest: datetime
    """By `run_after`."""
    newest: datetime


class RemovedRun(msgspec.Struct, frozen=True):
    dag_run_id: int
    dag_id: str
    run_id: str


class _Id(msgspec.Struct, frozen=True):
    id: int


async def list_what_would_go(conn: Connection, limits: Limits) -> tuple[WouldGo, ...]:
    """Per DAG. Reads all of the history that is concerned."""
    async with long_statement(conn):
        return await fetch_all(
            conn, _statement(_SQL.list_what_would_go), WouldGo, before=limits.before, keep=limits.keep
        )


async def remove_batch(conn: Connection, limits: Limits, now: datetime) -> int:
    """Remove the oldest with all their rows; how many. Their logs and values are to be removed after the commit."""
    async with long_statement(conn):
        chosen = await fetch_all(
            conn,
            _statement(_SQL.list_removable),
            _Id,
            before=limits.before,
            keep=limits.keep,
            limit=RUNS_PER_BATCH,
            instances=INSTANCES_PER_BATCH,
        )
        return await remove_runs(conn, [one.id for one in chosen], now)


async def remove_runs(conn: Connection, dag_run_ids: Sequence[int], now: datetime) -> int:
    """Those of them that have ended and that nobody holds; in the caller's transaction."""
    return await execute(conn, _SQL.remove_runs, ids=list(dag_run_ids), now=now) if dag_run_ids else 0


async def list_removed(conn: Connection) -> tuple[RemovedRun, ...]:
    """Some whose logs and values may still be there."""
    return await fetch_all(conn, _SQL.list_removed, RemovedRun, limit=RUNS_PER_BATCH)


async def forget_removed(conn: Connection, dag_run_id: int) -> None:
    await execute(conn, _SQL.forget_removed, dag_run_id=dag_run_id)


def _statement(of_removable: bytes) -> bytes:
    return _SQL.candidate + b"\n" + of_removable
