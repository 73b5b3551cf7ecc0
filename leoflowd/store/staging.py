"""What the collectors of staging volumes ask about dag runs."""

from __future__ import annotations

from collections.abc import Collection

from leoflowd.core.staging import RunEnd
from leoflowd.store.database import Connection, fetch_all, statements

_SQL = statements("staging")


async def list_run_ends(conn: Connection, ids: Collection[int]) -> dict[int, RunEnd]:
    """By id, those that there are."""
    return {row.id: row for row in await fetch_all(conn, _SQL.list_run_ends, RunEnd, ids=list(ids))}
