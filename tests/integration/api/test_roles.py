"""Roles of one's own and teams: made, changed and deleted by administrators, and what they open. ADR 85."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from leoflowd.api.context import ApiContext
from leoflowd.core.rights import ROLES
from tests.integration.api.api_client import Client
from tests.integration.api.api_seed import SPEC
from tests.integration.api.people import logged_in, put_user, somebody_with

ROLES_PATH, TEAMS, USERS, DAGS = "/leoflow/api/roles", "/leoflow/api/teams", "/leoflow/api/users", "/api/v2/dags"
REGISTER = "/api/v2/leoflow/dags"


async def ids(client: Client) -> list[str]:
    return [dag["dag_id"] for dag in (await client.get(DAGS))["dags"]]


@pytest.fixture
async def ana(seeded: Client, api_context: ApiContext) -> Client:
    """Somebody whose role grants nothing yet."""
    await seeded.send("POST", ROLES_PATH, {"name": "dev", "grants": []}, status=201)
    async with api_context.db.api.transaction() as conn:
        await put_user(conn, "ana", ["dev"])
    return await logged_in(seeded.app, "ana")


async def grant(admin: Client, *grants: str) -> None:
    given = [{"rights": rights, "dags": dags} for rights, _, dags in (text.partition("=") for text in grants)]
    await admin.send("PUT", f"{ROLES_PATH}/dev", {"grants": given})


async def test_grants_count_from_the_next_request_on(seeded: Client, ana: Client) -> None:
    await ana.send("GET", DAGS, status=403)
    await grant(seeded, "read=dag:etl")
    assert await ids(ana) == ["etl"]
    await ana.send("PATCH", f"{DAGS}/etl", {"is_paused": True}, status=403)
    await grant(seeded, "run=dag:e*", "read=all")
    assert await ids(ana) == ["etl", "other"]
    await ana.send("PATCH", f"{DAGS}/etl", {"is_paused": True})
    await ana.send("PATCH", f"{DAGS}/other", {"is_paused": True}, status=403)
    await grant(seeded)
    await ana.send("GET", DAGS, status=403)


async def test_a_member_of_a_team_has_its_dags_and_no_longer_than_that(seeded: Client, ana: Client) -> None:
    await grant(seeded, "deploy=my-teams")
    assert await ids(ana) == []
    await seeded.send("POST", TEAMS, {"name": "sales"}, status=201)
    team = await seeded.send("PATCH", f"{TEAMS}/sales", {"add_members": ["ana"], "add_dags": ["oth*", "sales_*"]})
    assert (team["members"], team["dags"]) == (["ana"], ["oth*", "sales_*"])
    assert await ids(ana) == ["other"]
    assert (await ana.get("/ui/teams"))["teams"] == [{"name": "sales"}]
    await seeded.send("PATCH", f"{TEAMS}/sales", {"remove_dags": ["oth*"]})
    assert await ids(ana) == []
    await seeded.send("PATCH", f"{TEAMS}/sales", {"add_dags": ["other"], "remove_members": ["ana"]})
    assert await ids(ana) == []


async def test_a_team_deploys_its_first_dag_and_nobody_elses(seeded: Client, ana: Client) -> None:
    await grant(seeded, "deploy=dag:sales_*")
    for dag_id, status in (("sales_new", 201), ("etl", 404), ("elsewhere", 404)):
        await ana.send("POST", REGISTER, msgspec.structs.replace(SPEC, dag_id=dag_id), status=status)
    assert await ids(ana) == ["sales_new"]


async def test_settings_open_connections_and_variables_and_no_dag(seeded: Client, ana: Client) -> None:
    await seeded.send("PUT", f"{ROLES_PATH}/dev", {"grants": [{"rights": "settings"}]})
    await ana.get("/api/v2/variables")
    assert await ids(ana) == []
    items = (await ana.get("/ui/auth/menus"))["authorized_menu_items"]
    assert {"Connections", "Variables"} <= set(items)
    assert "Config" not in items
    await grant(seeded, "operate=all")
    await ana.send("GET", "/api/v2/variables", status=403)
    assert "Variables" not in (await ana.get("/ui/auth/menus"))["authorized_menu_items"]


async def test_a_token_never_opens_more_than_its_user_may_now(seeded: Client, ana: Client) -> None:
    await grant(seeded, "deploy=dag:etl")
    asked = {"name": "ci", "rights": "run", "expires_in_s": 3600}
    token = Client(ana.app, token=(await ana.send("POST", "/leoflow/api/tokens", asked, status=201))["token"])
    assert await ids(token) == ["etl"]
    await token.send("POST", REGISTER, SPEC, status=403)
    await grant(seeded, "deploy=dag:other")
    assert await ids(token) == ["other"]


async def test_roles_that_are_built_in_are_listed_and_stay_as_they_are(seeded: Client, ana: Client) -> None:
    listed = (await seeded.get(ROLES_PATH))["roles"]
    assert [row["name"] for row in listed if row["is_built_in"]] == sorted(ROLES)
    assert [(row["name"], row["user_count"]) for row in listed if not row["is_built_in"]] == [("dev", 1)]
    for name in ROLES:
        await seeded.send("PUT", f"{ROLES_PATH}/{name}", {"grants": []}, status=409)
        await seeded.send("DELETE", f"{ROLES_PATH}/{name}", status=409)
        await seeded.send("POST", ROLES_PATH, {"name": name, "grants": []}, status=409)


async def test_what_is_in_use_is_not_deleted(seeded: Client, ana: Client) -> None:
    await seeded.send("POST", TEAMS, {"name": "sales"}, status=201)
    await grant(seeded, "read=team:sales")
    assert "team `sales`" in (await seeded.send("DELETE", f"{TEAMS}/sales", status=409))["detail"]
    await seeded.send("DELETE", f"{ROLES_PATH}/dev", status=409)
    await seeded.send("PATCH", f"{USERS}/ana", {"roles": ["Viewer"]})
    await seeded.send("DELETE", f"{ROLES_PATH}/dev", status=204)
    await seeded.send("DELETE", f"{TEAMS}/sales", status=204)
    await seeded.send("GET", f"{TEAMS}/sales", status=404)
    await seeded.send("GET", f"{ROLES_PATH}/dev", status=404)


@pytest.mark.parametrize(
    ("given", "location", "said"),
    [
        ({"rights": "read", "dags": "etl"}, "dags", "says not which DAGs"),
        ({"rights": "read"}, "dags", "says not which DAGs"),
        ({"rights": "read", "dags": "dag:a b"}, "dags", "no pattern"),
        ({"rights": "settings", "dags": "all"}, "dags", "belong to no DAG"),
        ({"rights": "admin", "dags": "all"}, "rights", "admin"),
        ({"rights": "read", "dags": "team:nobody"}, "grants", "make them first"),
    ],
)
async def test_a_grant_that_cannot_be_is_refused_with_its_place(
    admin: Client, given: dict[str, Any], location: str, said: str
) -> None:
    (fault,) = (await admin.send("POST", ROLES_PATH, {"name": "r", "grants": [given]}, status=422))["detail"]
    assert location in fault["loc"]
    assert said in str(fault)
    await admin.send("GET", f"{ROLES_PATH}/r", status=404)


@pytest.mark.parametrize(
    "change", [{"add_dags": ["a b"]}, {"add_dags": ["a?"]}, {"add_members": ["nobody"]}, {"members": ["admin"]}]
)
async def test_a_team_takes_only_users_and_patterns(admin: Client, change: dict[str, Any]) -> None:
    await admin.send("POST", TEAMS, {"name": "t"}, status=201)
    await admin.send("PATCH", f"{TEAMS}/t", change, status=422)
    await admin.send("POST", TEAMS, {"name": "t"}, status=409)
    await admin.send("POST", TEAMS, {"name": "a/b"}, status=422)


async def test_whoever_has_every_grant_is_no_administrator(seeded: Client, api_context: ApiContext) -> None:
    everything = dict.fromkeys(("read", "run", "deploy", "operate", "settings"), "all")
    eve = await somebody_with(seeded.app, api_context.db, everything, "eve")
    for path in (USERS, ROLES_PATH, TEAMS, "/api/v2/config", "/leoflow/api/audit"):
        await eve.send("GET", path, status=403)
