"""Who leads, as every replica can read it. Called by the API's health and jobs routes."""

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
