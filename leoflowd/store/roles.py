"""Roles of one's own and teams, called by `api.own.roles`. What they give a user, `user_access` says. ADR 85."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import psycopg

from leoflowd.contract.errors import Conflict, Invalid, NotFound
from leoflowd.contract.values import shown
from leoflowd.store.api_lists import Json, list_rows
from leoflowd.store.database import Connection, execute, fetch_value, statements

_SQL = statements("roles")


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`, `name`: as `core.rights.parse_scope` reads them."""

    rights: str
    kind: str
    name: str


async def list_roles(conn: Connection) -> list[Json]:
    """Those that are built in first: name, is_built_in, description, grants, user_count."""
    return await list_rows(conn, _SQL.list_roles, name=None)


async def fetch_role(conn: Connection, name: str) -> Json:
    """Raises `NotFound`."""
    found = await list_rows(conn, _SQL.list_roles, name=name)
    if not found:
        raise NotFound(f"There is no role `{shown(name, 100)}`")
    return found[0]


async def insert_role(conn: Connection, *, name: str, description: str, grants: Sequence[Grant], now: datetime) -> None:
    """Raises `Conflict`, and `Invalid` for a team that there is not."""
    if not await execute(conn, _SQL.insert_role, name=name, description=description, now=now):
        raise Conflict(f"There is a role `{name}` already")
    await _insert_grants(conn, name, grants)


async def replace_role(conn: Connection, *, name: str, description: str, grants: Sequence[Grant]) -> None:
    """Raises `NotFound`, and `Conflict` for one that is built in."""
    await _lock_own(conn, name)
    await execute(conn, _SQL.mark_description, name=name, description=description)
    await execute(conn, _SQL.delete_grants, role=name)
    await _insert_grants(conn, name, grants)


async def delete_role(conn: Connection, name: str) -> None:
    """Raises `NotFound`, and `Conflict` for one that is built in or that somebody has."""
    await _lock_own(conn, name)
    try:
        await execute(conn, _SQL.delete_role, name=name)
    except psycopg.errors.ForeignKeyViolation as error:
        raise Conflict(f"Users have the role `{name}`; give them another one first") from error


async def _lock_own(conn: Connection, name: str) -> None:
    is_built_in = await fetch_value(conn, _SQL.lock_role, name=name)
    if is_built_in is None:
        raise NotFound(f"There is no role `{shown(name, 100)}`")
    if is_built_in:
        raise Conflict(f"The role `{name}` is built in and stays as it is; make one of your own")


async def _insert_grants(conn: Connection, role: str, grants: Sequence[Grant]) -> None:
    columns = {
        "rights": [g.rights for g in grants],
        "kinds": [g.kind for g in grants],
        "names": [g.name for g in grants],
    }
    try:
        await execute(conn, _SQL.insert_grants, role=role, **columns)
    except psycopg.errors.ForeignKeyViolation as error:
        teams = ", ".join(f"`{shown(g.name, 100)}`" for g in grants if g.kind == "team")
        raise Invalid(f"Not all of these are teams: {teams}; make them first", location=("body", "grants")) from error


# --- teams -------------------------------------------------------------------------------------------------------


async def list_teams(conn: Connection) -> list[Json]:
    """By name: name, members, dags (patterns), created_at."""
    return await list_rows(conn, _SQL.list_teams, name=None)


async def list_team_names(conn: Connection) -> list[str]:
    return [row["name"] for row in await list_rows(conn, _SQL.list_team_names)]


async def fetch_team(conn: Connection, name: str) -> Json:
    """Raises `NotFound`."""
    found = await list_rows(conn, _SQL.list_teams, name=name)
    if not found:
        raise NotFound(f"There is no team `{shown(name, 100)}`")
    return found[0]


async def insert_team(conn: Connection, name: str, now: datetime) -> None:
    """Raises `Conflict`."""
    if not await execute(conn, _SQL.insert_team, name=name, now=now):
        raise Conflict(f"There is a team `{name}` already")


async def lock_team(conn: Connection, name: str) -> None:
    """Raises `NotFound`."""
    if await fetch_value(conn, _SQL.lock_team, name=name) is None:
        raise NotFound(f"There is no team `{shown(name, 100)}`")


async def add_to_team(conn: Connection, name: str, *, usernames: Sequence[str], patterns: Sequence[str]) -> None:
    """Who is in it already stays. Raises `Invalid` for users that there are not."""
    try:
        await execute(conn, _SQL.insert_members, team=name, usernames=list(usernames))
    except psycopg.errors.ForeignKeyViolation as error:
        names = ", ".join(f"`{shown(each, 100)}`" for each in usernames)
        raise Invalid(f"Not all of these are users: {names}", location=("body", "add_members")) from error
    await execute(conn, _SQL.insert_dags, team=name, patterns=list(patterns))


async def take_from_team(conn: Connection, name: str, *, usernames: Sequence[str], patterns: Sequence[str]) -> None:
    """Who is not in it is no error."""
    await execute(conn, _SQL.delete_members, team=name, usernames=list(usernames))
    await execute(conn, _SQL.delete_dags, team=name, patterns=list(patterns))


async def delete_team(conn: Connection, name: str) -> None:
    """After `lock_team`. Raises `Conflict` while a role's grant names it."""
    try:
        await execute(conn, _SQL.delete_team, name=name)
    except psycopg.errors.ForeignKeyViolation as error:
        raise Conflict(f"Roles have grants on the team `{name}`; change these first: `leoflow roles list`") from error
