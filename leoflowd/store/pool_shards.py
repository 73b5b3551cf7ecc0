"""Shards of the cheap-task pool as advisory locks: of the session of the daemon that watches them, and no longer."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from leoflowd.store.database import Connection, fetch_all, statements

_SQL = statements("pool_shards")
SPACE = 0x1E0F3
"""First key of the locks; the second is the number of a shard or of a daemon (`core.pool_shards`)."""


class LockRow(msgspec.Struct, frozen=True):
    number: int
    is_own: bool
    """Of this session."""


async def list_locks(conn: Connection) -> tuple[LockRow, ...]:
    return await fetch_all(conn, _SQL.list_locks, LockRow, space=SPACE)


async def take_locks(conn: Connection, numbers: Collection[int]) -> frozenset[int]:
    """Those that nobody else has; never waits. Each is to be asked for once."""
    cursor = await conn.execute(_SQL.take_locks, {"space": SPACE, "numbers": sorted(numbers)})
    return frozenset(row[0] for row in await cursor.fetchall())


async def free_locks(conn: Connection, numbers: Collection[int]) -> None:
    await conn.execute(_SQL.free_locks, {"space": SPACE, "numbers": sorted(numbers)})
