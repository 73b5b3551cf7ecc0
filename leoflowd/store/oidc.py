"""Users that an identity provider vouches for, and their logins. Called by `api.own.oidc` and `api.auth`. ADR 91."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from leoflowd.contract.errors import Conflict, NotAllowed
from leoflowd.core.oidc import LEEWAY, LogoutOrder, Person
from leoflowd.store import api_users
from leoflowd.store.database import Connection, execute, fetch_one, statements
from leoflowd.store.secret_box import CannotOpen, CannotSeal, Sealed, SecretBox

_SQL = statements("oidc")
NO_PASSWORD = "!"  # noqa: S105  # no hash, so that no password fits


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    username: str
    is_disabled: bool


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    session: str
    key_id: str | None
    id_token: bytes | None
    expires_at: datetime


async def admit(
    conn: Connection,
    person: Person,
    *,
    roles_follow: bool,
    given_teams: Sequence[str],
    now: datetime,
) -> tuple[str, bool]:
    """(user name, was he made now): the user of this identity, with the roles and teams of this moment.

    `roles_follow`: also at later logins; `given_teams`: all that groups may give, so those he is thrown out of.
    Raises `NotAllowed` for who is disabled here, `Conflict` when
    another user has the name, `Invalid` for a role that there is not.
    """
    await api_users.lock_users(conn)
    identity = {"issuer": person.issuer, "subject": person.subject}
    found = await fetch_one(conn, _SQL.fetch_identity, Identity, **identity)
    if found is None:
        await _insert(conn, person, now)
    elif found.is_disabled:
        raise NotAllowed(f"The user {found.username} is disabled on this server; an administrator can enable him")
    else:
        await execute(conn, _SQL.mark_login, **identity, email=person.email, now=now)
        if roles_follow:
            await api_users.set_roles(conn, found.username, person.roles)
    username = person.username if found is None else found.username
    teams = list(person.teams)
    await execute(conn, _SQL.insert_teams, teams=teams, now=now)
    await execute(conn, _SQL.delete_memberships, username=username, given=list(given_teams), teams=teams)
    await execute(conn, _SQL.insert_memberships, username=username, teams=teams)
    return username, found is None


async def _insert(conn: Connection, person: Person, now: datetime) -> None:
    try:
        await api_users.insert_user(
            conn, username=person.username, password_hash=NO_PASSWORD, roles=person.roles, now=now
        )
    except Conflict:
        raise Conflict(
            f"There is another user {person.username} on this server, who stays who he is: an administrator can delete "
            "him, or the provider give you another name"
        ) from None
    await execute(
        conn,
        _SQL.insert_identity,
        issuer=person.issuer,
        subject=person.subject,
        username=person.username,
        email=person.email,
        now=now,
    )


async def insert_session(
    conn: Connection,
    session: str,
    person: Person,
    id_token: str | None,
    box: SecretBox,
    *,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Forgets those that are over anyway. Without a key to encrypt it with, the ID token is not kept."""
    sealed = None if id_token is None else _sealed(session, id_token, box)
    await execute(conn, _SQL.delete_old_sessions, now=now)
    await execute(
        conn,
        _SQL.insert_session,
        session=session,
        issuer=person.issuer,
        subject=person.subject,
        sid=person.sid,
        key_id=None if sealed is None else sealed.key_id,
        id_token=None if sealed is None else sealed.content,
        now=now,
        expires_at=expires_at,
    )


async def fetch_session(conn: Connection, session: str) -> SessionRow | None:
    """None: no login of a provider."""
    return await fetch_one(conn, _SQL.fetch_session, SessionRow, session=session)


def id_token_of(row: SessionRow, box: SecretBox) -> str | None:
    """None: it was not kept, or its key is gone; a logout works without, if less smoothly."""
    if row.id_token is None or row.key_id is None:
        return None
    try:
        return box.open(Sealed(row.key_id, row.id_token), _place(row.session))
    except CannotOpen:
        return None


async def end_sessions(conn: Connection, issuer: str, order: LogoutOrder, *, refused_until: datetime) -> int:
    """How many. A login of the same minute counts as earlier: the provider's clock may be behind ours, and one too
    many that ends is less than one that goes on."""
    return await execute(
        conn,
        _SQL.end_sessions,
        issuer=issuer,
        subject=order.subject,
        sid=order.sid,
        before=order.issued_at + LEEWAY,
        refused_until=refused_until,
    )


def _sealed(session: str, id_token: str, box: SecretBox) -> Sealed | None:
    try:
        return box.seal(id_token, _place(session), box.sealing_key_id())
    except CannotSeal:
        return None


def _place(session: str) -> str:
    return f"oidc_session\0{session}\0id_token"
