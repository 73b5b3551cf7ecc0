"""The table of rights names every route, and only routes that exist."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from quart_trio import QuartTrio

from leoflowd.api.context import ApiContext
from leoflowd.api.rights import NEEDS, SAFE_METHODS, Object
from leoflowd.core.rights import ROLES, Right
from leoflowd.store import roles
from leoflowd.store.database import Database
from tests.integration.api.addresses import addresses
from tests.integration.api.api_client import START, Client
from tests.integration.api.people import somebody_with


async def test_every_route_has_its_line_and_every_line_its_route(app: QuartTrio) -> None:
    assert set(NEEDS) == {rule.endpoint for rule in app.url_map.iter_rules()}


async def test_a_dag_in_the_path_is_the_object(app: QuartTrio) -> None:
    """And where there is none, the table does not look for one."""
    for rule in app.url_map.iter_rules():
        is_in_path = NEEDS[rule.endpoint].object in (Object.PATH, Object.PATH_OR_ALL)
        assert is_in_path == ("dag_id" in rule.arguments), rule.endpoint


async def test_whoever_may_only_read_changes_nothing_but_what_is_his_own(app: QuartTrio) -> None:
    his_own = {"public_dags.favorite_dag", "public_dags.unfavorite_dag", "ui_auth.create_token"}
    his_own |= {"own_tokens.end_session", "own_tokens.create_token", "own_tokens.revoke_token"}
    his_own |= {"own_users.change_own_password"}
    lists = {"public_dag_runs.list_dag_runs_batch", "public_task_instances.list_task_instances_batch"}
    writes = {rule.endpoint for rule in app.url_map.iter_rules() if (rule.methods or set()) - SAFE_METHODS}
    assert {e for e in writes if NEEDS[e].right is Right.READ} == his_own | lists


async def test_a_route_that_the_table_does_not_name_is_refused(app: QuartTrio, admin: Client) -> None:
    async def forgotten() -> str:
        return "open"

    app.add_url_rule("/forgotten", "forgotten", forgotten)
    assert (await admin.call("GET", "/forgotten")).status_code == 403


ENDS_THE_CALLER = frozenset({"own_tokens.end_session"})


@pytest.mark.parametrize("role", ROLES)
async def test_each_role_reaches_what_its_rights_say(app: QuartTrio, clients: dict[str, Client], role: str) -> None:
    """On things that do not exist: whatever is not 403 was let through."""
    for endpoint, method, path in addresses(app, {}):
        need = NEEDS[endpoint]
        if need.right is Right.NONE or endpoint in ENDS_THE_CALLER:
            continue
        answer = await clients[role].call(method, path, json=None if method == "GET" else [])
        assert (answer.status_code == 403) == (need.right not in ROLES[role]), (endpoint, answer.status_code)


# --- each person x each route x own and other DAG ----------------------------------------------------------------

OWN, OTHER = "etl", "other"
ALL, ONE, NONE = {OWN, OTHER}, {OWN}, set[str]()
PEOPLE: dict[str, tuple[dict[str, str], dict[Right, set[str]]]] = {
    "reader": ({"read": f"dag:{OWN}"}, {Right.READ: ONE}),
    "runner": ({"run": "team:sales"}, {Right.READ: ONE, Right.ACT: ONE}),
    "sees more": ({"read": "all", "run": "tag:own"}, {Right.READ: ALL, Right.ACT: ONE}),
    "deployer": ({"deploy": "my-teams"}, dict.fromkeys((Right.READ, Right.ACT, Right.DEPLOY), ONE)),
    "operator": ({"operate": "dag:e*l"}, dict.fromkeys((Right.READ, Right.ACT, Right.DEPLOY, Right.OPERATE), ONE)),
    "clerk": ({"settings": "all"}, {Right.READ: NONE, Right.SETTINGS: NONE}),
    "nobody": ({"run": "tag:nowhere"}, {Right.READ: NONE, Right.ACT: NONE}),
}
"""Role of one's own -> what it grants, and the DAGs of each right, said once more by hand."""
AT_THE_END = ("public_dags.delete_dag",)
"""After it, the DAG would be hidden."""


async def _status(client: Client, method: str, path: str) -> str:
    """As a person would say it."""
    answer = await client.call(method, path, json=None if method == "GET" else [])
    body = await answer.get_data(as_text=True)
    hidden = any(f"The Dag with ID: `{dag_id}` was not found" in body for dag_id in ALL)
    return "hidden" if answer.status_code == 404 and hidden else str(answer.status_code)


@pytest.mark.parametrize("person", PEOPLE)
async def test_each_role_of_ones_own_reaches_its_dags_and_no_other(
    app: QuartTrio, seeded: Client, api_context: ApiContext, person: str
) -> None:
    grants, held = PEOPLE[person]
    async with api_context.db.api.transaction() as conn:
        await conn.execute(b"UPDATE dag SET tags = '{own}' WHERE dag_id = %(own)s", {"own": OWN})
        await roles.insert_team(conn, "sales", START)
        await roles.add_to_team(conn, "sales", usernames=["admin"], patterns=[OWN])
    client = await somebody_with(app, api_context.db, grants, "ana")
    async with api_context.db.api.transaction() as conn:
        await roles.add_to_team(conn, "sales", usernames=["ana"], patterns=[])
    routes = [
        (endpoint, method, path, dag_id)
        for dag_id in (OTHER, OWN)
        for endpoint, method, path in addresses(app, {"dag_id": dag_id})
        if NEEDS[endpoint].right is not Right.NONE and endpoint not in ENDS_THE_CALLER
    ]
    for endpoint, method, path, dag_id in sorted(routes, key=lambda route: route[0] in AT_THE_END):
        need = NEEDS[endpoint]
        query = f"?dag_id={dag_id}" if need.object is Object.QUERY else ""
        status = await _status(client, method, path + query)
        of_a_dag = need.object in (Object.PATH, Object.PATH_OR_ALL, Object.QUERY)
        if need.right not in held:
            assert status == "403", endpoint
        elif of_a_dag and dag_id not in held[Right.READ]:
            assert status == "hidden", (endpoint, dag_id)
        elif of_a_dag and dag_id not in held[need.right]:
            assert status == "403", (endpoint, dag_id)
        else:
            assert status not in ("403", "401", "hidden"), (endpoint, dag_id)


async def test_one_user_who_asks_for_much_keeps_nobody_else_waiting(
    seeded: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leoflowd.store.database.ACQUIRE_TIMEOUT_S", 0.01)
    ana = await somebody_with(seeded.app, database, {"read": "dag:*"})
    async with AsyncExitStack() as requests:
        for _ in range(database.api.statistics().size // 2):
            await requests.enter_async_context(database.api.share_of("ana").connection())
        refused = await ana.send("GET", "/api/v2/dags", status=429)
        assert "3 requests of yours" in str(refused)
        await seeded.get("/api/v2/dags")
        await Client(seeded.app).get("/readyz")
    await ana.get("/api/v2/dags")
