"""Secrets and marks of this installation, made once and kept in Postgres so that every replica has the same."""

from __future__ import annotations

import secrets

from leoflowd.store.database import Connection, fetch_value, statements

_SQL = statements("settings")


async def fetch_or_create_secret(conn: Connection, name: str, nbytes: int = 32) -> bytes:
    """The secret of this name; the first caller of all makes it."""
    await conn.execute(_SQL.insert_setting, {"name": name, "value": secrets.token_bytes(nbytes)})
    value: bytes = await fetch_value(conn, _SQL.fetch_setting, name=name)
    return value
