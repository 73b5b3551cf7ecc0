"""The daemons on this database, and which tries each of them hears."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime

import msgspec

from leoflowd.core.explain import LauncherFacts
from leoflowd.store.database import Connection, execute, fetch_all, fetch_one, statements

_SQL = statements("replicas")


class ReplicaRow(msgspec.Struct, frozen=True):
    id: str
    name: str
    """Host and process, for people."""
    beat: int
    """Grows while it lives: whoever compares it needs no clock in common."""
    tries: list[uuid.UUID]


async def beat(
    conn: Connection, *, replica: str, name: str, tries: Collection[str], agents: int, now: datetime
) -> None:
    """`agents`: how many host agents are attached to it."""
    await conn.execute(_SQL.beat, {"id": replica, "name": name, "tries": list(tries), "agents": agents, "now": now})


async def fetch_launcher(conn: Connection, replica: str) -> LauncherFacts | None:
    """None: no daemon of this id was heard for a day."""
    return await fetch_one(conn, _SQL.fetch_launcher, LauncherFacts, id=replica)


async def list_others(conn: Connection, replica: str) -> tuple[ReplicaRow, ...]:
    return await fetch_all(conn, _SQL.list_others, ReplicaRow, id=replica)


async def delete_gone(conn: Connection, before: datetime) -> int:
    """Rows of daemons that have not spoken since."""
    return await execute(conn, _SQL.delete_gone, before=before)
