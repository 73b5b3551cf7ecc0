"""Connections, with password and extra encrypted (ADR 14), and the book that tasks and sensors look them up in.

The API lists sealed rows and changes them; agents and the cheap-task pool ask `ConnectionBook`. Plain text exists in
`ConnectionFacts` only, on its way to whoever asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from leoflowd.contract.connection import ENVIRONMENT_PREFIX, ConnectionFacts, from_environment
from leoflowd.contract.errors import Conflict, NotFound
from leoflowd.contract.values import shown
from leoflowd.store.api_lists import Column, Listing, list_page
from leoflowd.store.database import AnyLane, Connection, execute, fetch_all, fetch_one, statements
from leoflowd.store.hints import send_hint
from leoflowd.store.secret_box import CannotOpen, Sealed, SecretBox

_SQL = statements("connections")

LISTING = Listing(
    file="connections",
    key=("connection_id",),
    sortable={
        "connection_id": Column("c.connection_id", "text"),
        "conn_id": Column("c.connection_id", "text"),
        "conn_type": Column("c.conn_type", "text"),
        "description": Column("c.description", "text", nullable=True),
        "host": Column("c.host", "text", nullable=True),
        "port": Column("c.port", "int8", nullable=True),
        "id": Column("c.created_at", "timestamptz"),
        "team_name": Column("NULL::text", "text", nullable=True),
    },
)
NO_FILTERS: dict[str, Any] = {"connection_id_ilike": None, "connection_id_like": None}


class SealedConnection(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `open_connection` makes `ConnectionFacts` of it."""

    connection_id: str
    conn_type: str
    description: str | None
    host: str | None
    schema: str | None
    login: str | None
    port: int | None
    password: bytes | None
    extra: bytes | None
    key_id: str | None


def open_connection(row: SealedConnection, box: SecretBox) -> ConnectionFacts:
    """Raises `CannotOpen` with the connection's id, what does not open, and why."""
    return ConnectionFacts(
        connection_id=row.connection_id,
        conn_type=row.conn_type,
        description=row.description,
        host=row.host,
        schema=row.schema,
        login=row.login,
        port=row.port,
        password=_opened(row, "password", row.password, box),
        extra=_opened(row, "extra", row.extra, box),
    )


def _opened(row: SealedConnection, column: str, content: bytes | None, box: SecretBox) -> str | None:
    if content is None:
        return None
    assert row.key_id is not None, "the table's CHECK"
    try:
        return box.open(Sealed(row.key_id, content), _place(row.connection_id, column))
    except CannotOpen as error:
        raise CannotOpen(f"the {column} of connection {row.connection_id!r} cannot be read: {error}") from error


def _sealed(facts: ConnectionFacts, box: SecretBox, now: datetime) -> dict[str, Any]:
    """The parameters of insert and update. Both secrets are under one key; without secrets no key is needed."""
    texts = {"password": facts.password, "extra": facts.extra}
    key_id = box.sealing_key_id() if any(text is not None for text in texts.values()) else None
    contents = {
        column: None
        if text is None or key_id is None
        else box.seal(text, _place(facts.connection_id, column), key_id).content
        for column, text in texts.items()
    }
    return {**msgspec.structs.asdict(facts), **contents, "key_id": key_id, "now": now}


def _place(connection_id: str, column: str) -> str:
    """What a ciphertext is bound to; no connection id holds a NUL, so that no two places read alike."""
    return f"connection\0{connection_id}\0{column}"


async def list_connections(
    conn: Connection, filters: dict[str, Any], *, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[SealedConnection], int]:
    """(rows, total). Raises `Invalid` for an unknown order."""
    rows, total = await list_page(conn, LISTING, NO_FILTERS | filters, order_by=order_by, limit=limit, offset=offset)
    return [SealedConnection(**row) for row in rows], total


async def list_all_connections(conn: Connection) -> tuple[SealedConnection, ...]:
    return await fetch_all(conn, _SQL.list_all_connections, SealedConnection)


async def list_connection_ids(conn: Connection) -> tuple[str, ...]:
    cursor = await conn.execute(_SQL.list_connection_ids)
    return tuple(row[0] for row in await cursor.fetchall())


async def list_missing_connections(conn: Connection, ids: Sequence[str]) -> tuple[str, ...]:
    """Of these, in their order."""
    cursor = await conn.execute(_SQL.list_missing_connections, {"ids": [shown(each) for each in ids]})
    return tuple(row[0] for row in await cursor.fetchall())


async def fetch_connection(conn: Connection, connection_id: str) -> SealedConnection | None:
    return await fetch_one(conn, _SQL.fetch_connection, SealedConnection, connection_id=shown(connection_id))


async def lock_connection(conn: Connection, connection_id: str) -> SealedConnection | None:
    """The row, locked until the transaction ends."""
    return await fetch_one(conn, _SQL.lock_connection, SealedConnection, connection_id=connection_id)


async def insert_connection(conn: Connection, box: SecretBox, facts: ConnectionFacts, now: datetime) -> None:
    """Raises `Conflict` when there is one of this id, or no key to seal with."""
    if not await execute(conn, _SQL.insert_connection, **_sealed(facts, box, now)):
        raise Conflict(f"The Connection with connection_id: `{facts.connection_id}` already exists")
    await send_hint(conn, "connections")


async def update_connection(conn: Connection, box: SecretBox, facts: ConnectionFacts, now: datetime) -> None:
    """Write all fields, sealed anew. Raises `NotFound`, and `Conflict` without a key."""
    if not await execute(conn, _SQL.update_connection, **_sealed(facts, box, now)):
        raise not_found(facts.connection_id)
    await send_hint(conn, "connections")


async def delete_connection(conn: Connection, connection_id: str) -> None:
    """Raises `NotFound`."""
    if not await execute(conn, _SQL.delete_connection, connection_id=connection_id):
        raise not_found(connection_id)
    await send_hint(conn, "connections")


async def reseal_connections(conn: Connection, box: SecretBox, now: datetime) -> int:
    """Seal all secrets anew under the ring's first key, after it changed; how many connections.

    One transaction of the caller's: all rows or none. Raises `CannotOpen` for a row whose old key is gone.
    """
    rows = await fetch_all(conn, _SQL.lock_connections, SealedConnection)
    sealed = [row for row in rows if row.key_id is not None]
    for row in sealed:
        await update_connection(conn, box, open_connection(row, box), now)
    return len(sealed)


def not_found(connection_id: str) -> NotFound:
    return NotFound(f"The Connection with connection_id: `{connection_id}` was not found")


class ConnectionBook:
    """Where a connection id is looked up: `AIRFLOW_CONN_<ID>` of the daemon's environment first, then the table."""

    def __init__(self, lane: AnyLane, box: SecretBox, environment: Mapping[str, str]) -> None:
        self._lane = lane
        self._box = box
        self._environment = environment

    async def fetch(self, connection_id: str) -> ConnectionFacts | None:
        """None: there is no such connection. Raises ValueError with a sentence when there is one, but unreadable."""
        found = from_environment(connection_id, self._environment)
        if found is not None:
            return found
        async with self._lane.connection() as conn:
            row = await fetch_connection(conn, connection_id)
        return None if row is None else open_connection(row, self._box)

    async def ids(self) -> frozenset[str]:
        """All that `fetch` would find; ids from the environment in lower case, for it keeps no other."""
        async with self._lane.connection() as conn:
            stored = await list_connection_ids(conn)
        named = (name.removeprefix(ENVIRONMENT_PREFIX).lower() for name in self._environment if _is_connection(name))
        return frozenset((*stored, *named))


def _is_connection(variable: str) -> bool:
    return variable.startswith(ENVIRONMENT_PREFIX) and variable != ENVIRONMENT_PREFIX
