"""Dag runs that are too old, or too many, and that nobody needs any more: what they are, and their end (ADR 93).

Called by `scheduler.retention` and, for people, by `api.own.retention`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from leoflowd.store.database import Connection, execute, fetch_all, long_statement, statements

_SQL = statements("retention")

LISTED = 5_000
"""Runs that are looked for at once: to find them costs more than to remove some."""
RUNS_PER_BATCH = 200
INSTANCES_PER_BATCH = 2_000
"""About; a run is never divided."""


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


class Removable(msgspec.Struct, frozen=True):
    id: int
    instances: int


async def list_what_would_go(conn: Connection, limits: Limits) -> tuple[WouldGo, ...]:
    """Per DAG. Reads all of the history that is concerned."""
    statement = _SQL.beyond_limits + _SQL.removable + b"\n" + _SQL.list_what_would_go
    async with long_statement(conn):
        return await fetch_all(conn, statement, WouldGo, before=limits.before, keep=limits.keep)


async def list_removable(conn: Connection, limits: Limits) -> tuple[Removable, ...]:
    """The oldest, at most `LISTED`."""
    statement = _SQL.beyond_limits + _SQL.removable + b"\n" + _SQL.list_removable
    async with long_statement(conn):
        return await fetch_all(conn, statement, Removable, before=limits.before, keep=limits.keep, limit=LISTED)


def batches_of(runs: Sequence[Removable]) -> Iterator[list[int]]:
    """What one transaction removes: ids of runs, in the order given."""
    batch, instances = [], 0
    for run in runs:
        batch.append(run.id)
        instances += run.instances
        if len(batch) == RUNS_PER_BATCH or instances >= INSTANCES_PER_BATCH:
            yield batch
            batch, instances = [], 0
    if batch:
        yield batch


async def remove_runs(conn: Connection, dag_run_ids: Sequence[int]) -> int:
    """Remove with all their rows those that nobody needs, still, and nobody holds; how many. Their logs and values are
    left to `scheduler.deleted_runs`, as of every run that is deleted."""
    statement = _SQL.of_these + _SQL.removable + b"\n" + _SQL.remove
    async with long_statement(conn):
        return await execute(conn, statement, ids=list(dag_run_ids))
