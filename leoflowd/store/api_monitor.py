"""Who leads, and which schema this is, as every replica can read it. Called by the API's health routes and probes."""

from __future__ import annotations

from datetime import datetime

import msgspec

from leoflowd.store.database import Connection, fetch_one, statements

_SQL = statements("api_monitor")


class Leader(msgspec.Struct, frozen=True):
    holder: str
    term: int
    heartbeat_at: datetime | None


async def fetch_leader(conn: Connection) -> Leader:
    """The row exists from the first migration on."""
    found = await fetch_one(conn, _SQL.fetch_leader, Leader)
    assert found is not None
    return found


async def fetch_schema_number(conn: Connection) -> int:
    """Of the last migration that was applied."""
    cursor = await conn.execute(_SQL.fetch_schema_number)
    found = await cursor.fetchone()
    assert found is not None
    return int(found[0])
