"""The leadership row: a term that grows with each leader, behind a session advisory lock."""

from __future__ import annotations

from datetime import datetime

import msgspec

from leoflowd.store.database import Connection, execute, fetch_one, fetch_value, statements
from leoflowd.store.migrations import ADVISORY_LOCK

_SQL = statements("leadership")
LOCK_KEY = ADVISORY_LOCK + 1


class LeaderRow(msgspec.Struct, frozen=True):
    term: int
    holder: str
    heartbeat_at: datetime | None


async def try_lock(conn: Connection) -> bool:
    """Held by this session until it ends."""
    return bool(await fetch_value(conn, _SQL.try_lock, key=LOCK_KEY))


async def begin_term(conn: Connection, *, holder: str, now: datetime) -> int:
    """The new leader's term; waits for the last batch of an older leader to end."""
    term: int = await fetch_value(conn, _SQL.begin_term, holder=holder, now=now)
    return term


async def end_silent_pipelines(conn: Connection, *, silent_s: float) -> int:
    """How many sessions of ours were ended because their process stopped between two statements of a pipeline. What
    they had locked, such as the leadership row, is free."""
    return int(await fetch_value(conn, _SQL.end_silent_pipelines, silent_s=silent_s))


async def beat(conn: Connection, *, term: int, now: datetime) -> bool:
    """False: another leader's term began."""
    return bool(await execute(conn, _SQL.beat, term=term, now=now))


async def fetch_leader(conn: Connection) -> LeaderRow:
    row = await fetch_one(conn, _SQL.fetch_leader, LeaderRow)
    assert row is not None, "migration 0001 inserts the row"
    return row
