"""Reports that wait for the leader: written by the daemon that was told, deleted when the leader has decided them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec

from leoflowd.store.database import Connection, execute, fetch_all, fetch_value, statements
from leoflowd.store.hints import send_hint

_SQL = statements("reports")
AT_ONCE = 256


class ReportRow(msgspec.Struct, frozen=True):
    id: int
    body: str
    """JSON text."""


async def insert_reports(conn: Connection, bodies: Sequence[str], now: datetime) -> None:
    """In this order. The leader hears of them after the commit."""
    await conn.execute(_SQL.insert_reports, {"bodies": list(bodies), "now": now})
    await send_hint(conn, "reports")


async def list_reports(conn: Connection, *, after: int) -> tuple[ReportRow, ...]:
    """At most `AT_ONCE`, oldest first. A row may still come up behind a younger one, as transactions commit."""
    return await fetch_all(conn, _SQL.list_reports, ReportRow, after=after, at_most=AT_ONCE)


async def fetch_has_end(conn: Connection, try_id: str) -> bool:
    """Does one of them end this try?"""
    return bool(await fetch_value(conn, _SQL.fetch_has_end, try_id=try_id))


async def delete_reports(conn: Connection, ids: Collection[int]) -> int:
    return await execute(conn, _SQL.delete_reports, ids=list(ids))
