"""Users, the hashes of their passwords, revoked sessions. Called by `api.auth`; for the one admin by Lite and its CLI.

Hashing is argon2id and costs ~50 ms of CPU on purpose: `hash_password` and `verify_password` belong into a thread.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
import trio
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from typing_extensions import override

from leoflowd.contract.errors import Invalid, NotFound
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

    @override
    def __repr__(self) -> str:
        return f"UserRow(username={self.username!r}, role={self.role!r})"


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    username: str
    role: str
    sessions_valid_from: datetime
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


async def fetch_session(conn: Connection, *, username: str, session: str) -> SessionRow | None:
    """None when the user is gone."""
    return await fetch_one(conn, _SQL.fetch_session, SessionRow, username=username, jti=session)


async def insert_revoked_session(conn: Connection, *, session: str, expires_at: datetime, now: datetime) -> None:
    """Refuse all its tokens from now on, until the last has expired; forgets what has expired anyway."""
    await execute(conn, _SQL.delete_expired_revocations, now=now)
    await execute(conn, _SQL.insert_revoked_token, jti=session, expires_at=expires_at)


async def ensure_admin(conn: Connection, username: str, password: str, now: datetime) -> bool:
    """Create the admin unless the user exists; True if it was created. An existing password stays."""
    if await fetch_value(conn, _SQL.fetch_user, username=username) is not None:
        return False
    password_hash = await trio.to_thread.run_sync(hash_password, password)
    created = await execute(
        conn, _SQL.insert_user, username=username, password_hash=password_hash, role="Admin", now=now
    )
    return created == 1


async def reset_password(conn: Connection, username: str, password: str, now: datetime) -> None:
    """A new password; ends all sessions. Raises `NotFound`."""
    password_hash = await trio.to_thread.run_sync(hash_password, password)
    if not await execute(conn, _SQL.mark_password, username=username, password_hash=password_hash, now=now):
        raise NotFound(f"there is no user {username!r}; `leoflow lite` creates the admin at its first start")
