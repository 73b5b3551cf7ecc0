"""Roles of one's own, and teams: which rights on which DAGs. Blueprint `own_roles`, below `/leoflow/api`. ADR 85.

For administrators with a login: what an access token made would outlive it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from quart import Blueprint, Response

from leoflowd.api.answers import collection, json_answer, no_content
from leoflowd.api.audit import record
from leoflowd.api.bodies import read_body
from leoflowd.api.context import context, lane
from leoflowd.contract.errors import Invalid
from leoflowd.contract.values import checked_name
from leoflowd.core.rights import check_pattern, parse_scope, scope_text
from leoflowd.store import roles
from leoflowd.store.roles import Grant

blueprint = Blueprint("own_roles", __name__)

ROLES, TEAMS = "/leoflow/api/roles", "/leoflow/api/teams"
NAME_MAX = 100
MANY = 1000
"""Grants of a role; members, or patterns, that one request adds to a team."""
SETTINGS = "settings"


class GrantBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`dags`: `all`, `my-teams`, `dag:etl_*`, `tag:NAME`, `team:NAME`; left out for `settings`, which is of no DAG."""

    rights: Literal["read", "run", "deploy", "operate", "settings"]
    dags: str | None = None


class RoleBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    grants: Annotated[list[GrantBody], msgspec.Meta(max_length=MANY)]
    description: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class NewRoleBody(RoleBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str


class NewTeamBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str


Names = Annotated[list[str], msgspec.Meta(max_length=MANY)]


class TeamPatchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    add_members: Names = []
    remove_members: Names = []
    add_dags: Names = []
    remove_dags: Names = []


@blueprint.get(ROLES)
async def list_roles() -> Response:
    async with lane().connection() as conn:
        rows = [_shown(row) for row in await roles.list_roles(conn)]
    return collection("roles", rows, len(rows))


@blueprint.get(f"{ROLES}/<role>")
async def get_role(role: str) -> Response:
    async with lane().connection() as conn:
        return json_answer(_shown(await roles.fetch_role(conn, role)))


@blueprint.post(ROLES)
async def create_role() -> Response:
    body = await read_body(NewRoleBody)
    name = checked_name(body.name, "the role's name", max_length=NAME_MAX, location=("body", "name"))
    grants = _grants(body)
    async with lane().transaction() as conn:
        await roles.insert_role(conn, name=name, description=body.description, grants=grants, now=context().now())
        made = _shown(await roles.fetch_role(conn, name))
        await record(conn, "create_role", extra={"role": name, "after": {"grants": made["grants"]}})
    return json_answer(made, 201)


@blueprint.put(f"{ROLES}/<role>")
async def put_role(role: str) -> Response:
    """Its grants are these from now on, for whoever has it: from the next request, and within 5 s on open streams."""
    body = await read_body(RoleBody)
    grants = _grants(body)
    async with lane().transaction() as conn:
        before = _shown(await roles.fetch_role(conn, role))
        await roles.replace_role(conn, name=role, description=body.description, grants=grants)
        after = _shown(await roles.fetch_role(conn, role))
        change = {"before": {"grants": before["grants"]}, "after": {"grants": after["grants"]}}
        await record(conn, "put_role", extra={"role": role, **change})
    return json_answer(after)


@blueprint.delete(f"{ROLES}/<role>")
async def delete_role(role: str) -> Response:
    async with lane().transaction() as conn:
        before = _shown(await roles.fetch_role(conn, role))
        await roles.delete_role(conn, role)
        await record(conn, "delete_role", extra={"role": role, "before": {"grants": before["grants"]}})
    return no_content()


def _grants(body: RoleBody) -> list[Grant]:
    return [_grant(grant, ("body", "grants", number)) for number, grant in enumerate(body.grants)]


def _grant(grant: GrantBody, location: tuple[str | int, ...]) -> Grant:
    if grant.rights == SETTINGS:
        if grant.dags is not None:
            because = (
                "`settings` is a right on connections, variables and pools, which belong to no DAG: leave out `dags`"
            )
            raise Invalid(because, location=(*location, "dags"))
        return Grant(rights=SETTINGS, kind="all", name="")
    try:
        kind, name = parse_scope(grant.dags or "")
    except Invalid as error:
        raise Invalid(str(error), location=(*location, "dags")) from error
    return Grant(rights=grant.rights, kind=kind, name=name)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    def grant(each: dict[str, Any]) -> dict[str, Any]:
        is_settings = each["rights"] == SETTINGS
        return {"rights": each["rights"], "dags": None if is_settings else scope_text(each["kind"], each["name"])}

    return row | {"grants": [grant(each) for each in row["grants"]]}


# --- teams -------------------------------------------------------------------------------------------------------


@blueprint.get(TEAMS)
async def list_teams() -> Response:
    async with lane().connection() as conn:
        rows = await roles.list_teams(conn)
    return collection("teams", rows, len(rows))


@blueprint.get(f"{TEAMS}/<team>")
async def get_team(team: str) -> Response:
    async with lane().connection() as conn:
        return json_answer(await roles.fetch_team(conn, team))


@blueprint.post(TEAMS)
async def create_team() -> Response:
    body = await read_body(NewTeamBody)
    name = checked_name(body.name, "the team's name", max_length=NAME_MAX, location=("body", "name"))
    async with lane().transaction() as conn:
        await roles.insert_team(conn, name, context().now())
        await record(conn, "create_team", extra={"team": name})
        return json_answer(await roles.fetch_team(conn, name), 201)


@blueprint.patch(f"{TEAMS}/<team>")
async def patch_team(team: str) -> Response:
    """What is added and taken away; a DAG is any whose id is, or matches, a pattern (`sales_*`)."""
    body = await read_body(TeamPatchBody)
    for number, pattern in enumerate(body.add_dags):
        try:
            check_pattern(pattern)
        except Invalid as error:
            raise Invalid(str(error), location=("body", "add_dags", number)) from error
    async with lane().transaction() as conn:
        await roles.lock_team(conn, team)
        before = await roles.fetch_team(conn, team)
        await roles.take_from_team(conn, team, usernames=body.remove_members, patterns=body.remove_dags)
        await roles.add_to_team(conn, team, usernames=body.add_members, patterns=body.add_dags)
        after = await roles.fetch_team(conn, team)
        changed = [name for name in ("members", "dags") if before[name] != after[name]]
        change = {"before": {name: before[name] for name in changed}, "after": {name: after[name] for name in changed}}
        await record(conn, "patch_team", extra={"team": team, **change})
    return json_answer(after)


@blueprint.delete(f"{TEAMS}/<team>")
async def delete_team(team: str) -> Response:
    async with lane().transaction() as conn:
        await roles.lock_team(conn, team)
        before = await roles.fetch_team(conn, team)
        await roles.delete_team(conn, team)
        extra = {"team": team, "before": {"members": before["members"], "dags": before["dags"]}}
        await record(conn, "delete_team", extra=extra)
    return no_content()
