"""Users, the hashes of their passwords, revoked sessions. Called by `api.auth`, `api.own.users`; of the admin by Lite.

Whoever changes users calls `lock_users` first in his transaction: so the last administrator is the last one, whoever
else demotes the other one at the same moment.

Hashing is argon2id and costs ~50 ms of CPU on purpose: `hash_password` and `verify_password` belong into a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import psycopg
import trio
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from typing_extensions import override

from leoflowd.contract.errors import Conflict, Invalid, NotFound
from leoflowd.contract.values import shown
from leoflowd.core.rights import Grants, Held, grants_of
from leoflowd.store.api_lists import Json, list_rows
from leoflowd.store.database import Connection, execute, fetch_one, fetch_value, statements

_SQL = statements("api_users")
_HASHER = PasswordHasher()
PASSWORD_MAX_LENGTH = 1024
"""Longer ones are refused before hashing, which would be a cheap way to burn our CPU."""
DUMMY_HASH = _HASHER.hash("no user has this hash")
"""What a login of an unknown user is compared with, so that it takes as long as any other."""


class UserRow(msgspec.Struct, frozen=True, kw_only=True):
    username: str
    password_hash: str
    role: str
    created_at: datetime
    sessions_valid_from: datetime
    disabled_at: datetime | None
    is_federated: bool
    """An identity provider vouches for him, and no password does."""
    is_admin: bool

    @override
    def __repr__(self) -> str:
        return f"UserRow(username={self.username!r}, role={self.role!r})"


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    username: str
    roles: list[str]
    grants: list[dict[str, Any]]
    sessions_valid_from: datetime
    is_disabled: bool
    is_revoked: bool


def hash_password(password: str) -> str:
    if not password or len(password) > PASSWORD_MAX_LENGTH:
        raise Invalid(f"a password has 1 to {PASSWORD_MAX_LENGTH} characters", location=("body", "password"))
    return _HASHER.hash(password)


def verify_password(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


async def fetch_user(conn: Connection, username: str) -> UserRow | None:
    return await fetch_one(conn, _SQL.fetch_user, UserRow, username=username)


async def fetch_has_users(conn: Connection) -> bool:
    return bool(await fetch_value(conn, _SQL.fetch_has_users))


async def fetch_session(conn: Connection, *, username: str, session: str) -> SessionRow | None:
    """None when the user is gone."""
    return await fetch_one(conn, _SQL.fetch_session, SessionRow, username=username, jti=session)


def held_grants(roles: Sequence[str], rows: Sequence[dict[str, Any]]) -> Grants:
    """Of `user_access`."""
    return grants_of(roles, msgspec.convert(rows, tuple[Held, ...]))


async def insert_revoked_session(conn: Connection, *, session: str, expires_at: datetime, now: datetime) -> None:
    """Refuse all its tokens from now on, until the last has expired; forgets what has expired anyway."""
    await execute(conn, _SQL.delete_expired_revocations, now=now)
    await execute(conn, _SQL.insert_revoked_token, jti=session, expires_at=expires_at)


async def insert_used_code(conn: Connection, code_id: str, expires_at: datetime) -> bool:
    """False: it was used before."""
    return await execute(conn, _SQL.insert_revoked_token, jti=code_id, expires_at=expires_at) == 1


async def ensure_admin(conn: Connection, username: str, password: str, now: datetime) -> bool:
    """Create the admin unless the user exists; True if it was created. An existing password stays."""
    if await fetch_value(conn, _SQL.fetch_user, username=username) is not None:
        return False
    password_hash = await trio.to_thread.run_sync(hash_password, password)
    created = await execute(
        conn, _SQL.insert_user, username=username, password_hash=password_hash, role="Admin", now=now
    )
    return created == 1


async def mark_admin(conn: Connection, username: str) -> None:
    """Whatever became of this user: he has the role Admin, and may log in."""
    await execute(conn, _SQL.mark_admin, username=username)


async def reset_password(conn: Connection, username: str, password: str, now: datetime) -> None:
    """A new password; ends all sessions. Raises `NotFound`."""
    password_hash = await trio.to_thread.run_sync(hash_password, password)
    if not await execute(conn, _SQL.mark_password, username=username, password_hash=password_hash, now=now):
        raise NotFound(f"there is no user {username!r}; `leoflow lite` creates the admin at its first start")


# --- those who share a server --------------------------------------------------------------------------------------


async def list_users(conn: Connection) -> list[Json]:
    """By name: username, roles, teams, is_disabled, created_at."""
    return await list_rows(conn, _SQL.list_users, username=None)


async def fetch_shown_user(conn: Connection, username: str) -> Json:
    """As in the list. Raises `NotFound`."""
    found = await list_rows(conn, _SQL.list_users, username=username)
    if not found:
        raise NotFound(f"There is no user `{shown(username, 100)}`")
    return found[0]


async def list_teams_of(conn: Connection, username: str) -> list[str]:
    return [row["team"] for row in await list_rows(conn, _SQL.list_teams_of_user, username=username)]


async def lock_users(conn: Connection) -> None:
    await execute(conn, _SQL.lock_users)


async def need_admin(conn: Connection) -> None:
    """After a change. Raises `Conflict` when nobody would be left to undo it."""
    if not await fetch_value(conn, _SQL.fetch_has_admin):
        raise Conflict(
            "This would leave no enabled user with the role Admin, and nobody could change users any more; "
            "make another administrator first"
        )


async def insert_user(
    conn: Connection, *, username: str, password_hash: str, roles: Sequence[str], now: datetime
) -> None:
    """Raises `Conflict`: names that differ only in case are one name, as in Airflow."""
    values = {"username": username, "password_hash": password_hash, "role": roles[0], "now": now}
    try:
        created = await execute(conn, _SQL.insert_user, **values)
    except psycopg.errors.ForeignKeyViolation as error:
        raise _no_such_role(roles[:1]) from error
    if not created:
        raise Conflict(f"There is a user `{username}` already, maybe in other letters of upper and lower case")
    await set_roles(conn, username, roles)


async def set_roles(conn: Connection, username: str, roles: Sequence[str]) -> None:
    """`roles`: at least one, each once. Raises `Invalid` for a role that there is not."""
    try:
        await execute(conn, _SQL.mark_role, username=username, role=roles[0])
        await execute(conn, _SQL.delete_further_roles, username=username)
        await execute(conn, _SQL.insert_further_roles, username=username, roles=list(roles[1:]))
    except psycopg.errors.ForeignKeyViolation as error:
        raise _no_such_role(roles) from error


def _no_such_role(roles: Sequence[str]) -> Invalid:
    names = ", ".join(f"`{shown(role, 100)}`" for role in roles)
    return Invalid(f"Not all of these are roles: {names}; `leoflow roles list` has them", location=("body", "roles"))


async def set_password(conn: Connection, username: str, password_hash: str, now: datetime) -> None:
    """Ends its sessions and personal tokens. Raises `Conflict` for whom an identity provider vouches."""
    if not await execute(conn, _SQL.mark_password, username=username, password_hash=password_hash, now=now):
        raise Conflict(f"`{username}` logs in through the identity provider, and has no password here")


async def set_disabled(conn: Connection, username: str, now: datetime, *, disabled: bool) -> None:
    """Disabling ends its sessions and personal tokens."""
    if disabled:
        await execute(conn, _SQL.mark_disabled, username=username, now=now)
    else:
        await execute(conn, _SQL.mark_enabled, username=username)


async def delete_user(conn: Connection, username: str) -> None:
    await execute(conn, _SQL.delete_user, username=username)
