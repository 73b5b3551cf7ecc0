"""Users with roles, and what their roles grant, put into the database; and clients that are logged in as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quart_trio import QuartTrio

from leoflowd.api import auth
from leoflowd.core.rights import parse_scope
from leoflowd.store import api_users, roles
from leoflowd.store.database import Connection, Database
from leoflowd.store.roles import Grant
from tests.integration.api.api_client import START, Client


def grants_of(given: Mapping[str, str]) -> list[Grant]:
    """Rights -> what they are on."""
    return [Grant(rights=rights, kind=kind, name=name) for rights, (kind, name) in _parsed(given)]


def _parsed(given: Mapping[str, str]) -> list[tuple[str, tuple[str, str]]]:
    return [(rights, parse_scope(scope)) for rights, scope in given.items()]


async def put_role(conn: Connection, name: str, grants: Mapping[str, str]) -> None:
    await roles.insert_role(conn, name=name, description="", grants=grants_of(grants), now=START)


async def put_user(conn: Connection, username: str, of_roles: Sequence[str]) -> None:
    """No password fits."""
    await api_users.insert_user(conn, username=username, password_hash="x", roles=of_roles, now=START)


async def logged_in(app: QuartTrio, username: str) -> Client:
    async with app.app_context():
        return Client(app, token=await auth.issue_token(username, 3600))


async def somebody_with(app: QuartTrio, db: Database, grants: Mapping[str, str], username: str = "ana") -> Client:
    """A new user with a role of his own."""
    async with db.api.transaction() as conn:
        await put_role(conn, f"role of {username}", grants)
        await put_user(conn, username, [f"role of {username}"])
    return await logged_in(app, username)
