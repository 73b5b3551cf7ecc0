"""Access tokens of people and services, found by the hash of the token. Called by `api.auth` and `api.own.tokens`."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import msgspec
import psycopg

from leoflowd.contract.errors import Conflict
from leoflowd.store.api_lists import Json, list_rows
from leoflowd.store.database import Connection, execute, fetch_one, fetch_value, statements

_SQL = statements("access_tokens")

TOKENS_MAX = 100
"""That one person, or all services together, may have at a time."""
USED_AGAIN_AFTER = timedelta(minutes=1)
"""How exactly `last_used_at` is kept: a row is not written by every request."""
KEPT_FOR = timedelta(days=30)
"""How long one that is over stays in the list."""


class TokenRow(msgspec.Struct, frozen=True):
    """`roles` and what follows: of its user now; None for a service's."""

    id: uuid.UUID
    name: str
    username: str | None
    rights: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    roles: list[str] | None
    grants: list[dict[str, Any]] | None
    is_disabled: bool | None
    sessions_valid_from: datetime | None


async def fetch_token(conn: Connection, secret_hash: bytes) -> TokenRow | None:
    return await fetch_one(conn, _SQL.fetch_token, TokenRow, secret_hash=secret_hash)


async def fetch_token_by_id(conn: Connection, token_id: uuid.UUID) -> TokenRow | None:
    return await fetch_one(conn, _SQL.fetch_token_by_id, TokenRow, id=token_id)


async def mark_used(conn: Connection, token_id: uuid.UUID, now: datetime) -> None:
    await execute(conn, _SQL.mark_used, id=token_id, now=now, before=now - USED_AGAIN_AFTER)


async def insert_token(
    conn: Connection,
    *,
    name: str,
    username: str | None,
    secret_hash: bytes,
    rights: str,
    created_by: str,
    expires_at: datetime,
    now: datetime,
) -> uuid.UUID:
    """Its id. One of the same name that is over makes room for it. Raises `Conflict`."""
    await execute(conn, _SQL.delete_dead, username=username, name=name, now=now, long_dead=now - KEPT_FOR)
    whose = f"user {username!r}" if username else "services"
    live = await fetch_value(conn, _SQL.count_tokens, username=username, now=now)
    if live >= TOKENS_MAX:
        raise Conflict(f"{whose} have {live} access tokens, which is as many as there may be; revoke one of them first")
    token_id = uuid.uuid4()
    values: dict[str, Any] = {"id": token_id, "name": name, "username": username, "secret_hash": secret_hash}
    values |= {"rights": rights, "created_by": created_by, "expires_at": expires_at, "now": now}
    try:
        await execute(conn, _SQL.insert_token, **values)
    except psycopg.errors.UniqueViolation as error:
        raise Conflict(
            f"there is an access token {name!r} of {whose} already; choose another name, or revoke that one first"
        ) from error
    return token_id


async def list_tokens(conn: Connection, *, username: str | None, now: datetime) -> list[Json]:
    """Newest first. `username` None: everybody's and those of services."""
    return await list_rows(conn, _SQL.list_tokens, username=username, now=now)


async def revoke(conn: Connection, token: str, *, username: str | None, now: datetime) -> list[Json]:
    """By id or name; whose is `username`, or None for anybody's. What was revoked: none, one, or several of one name,
    of which then none is."""
    found = await list_rows(conn, _SQL.find_live, token=token, username=username, now=now)
    if len(found) == 1:
        await execute(conn, _SQL.mark_revoked, id=found[0]["id"], now=now)
    return found
