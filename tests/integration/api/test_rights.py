"""The table of rights names every route, and only routes that exist."""

from __future__ import annotations

import pytest
from quart_trio import QuartTrio

from leoflowd.api.rights import NEEDS, SAFE_METHODS, Object
from leoflowd.core.rights import ROLES, Right
from tests.integration.api.addresses import addresses
from tests.integration.api.api_client import Client


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
    lists = {"public_dag_runs.list_dag_runs_batch", "public_task_instances.list_task_instances_batch"}
    writes = {rule.endpoint for rule in app.url_map.iter_rules() if (rule.methods or set()) - SAFE_METHODS}
    assert {e for e in writes if NEEDS[e].right is Right.READ} == his_own | lists


async def test_a_route_that_the_table_does_not_name_is_refused(app: QuartTrio, admin: Client) -> None:
    async def forgotten() -> str:
        return "open"

    app.add_url_rule("/forgotten", "forgotten", forgotten)
    assert (await admin.call("GET", "/forgotten")).status_code == 403


REFUSED_TO_ALL = frozenset({"ui_auth.teams"})
ENDS_THE_CALLER = frozenset({"own_tokens.end_session"})


@pytest.mark.parametrize("role", ROLES)
async def test_each_role_reaches_what_its_rights_say(app: QuartTrio, clients: dict[str, Client], role: str) -> None:
    """On things that do not exist: whatever is not 403 was let through."""
    for endpoint, method, path in addresses(app, {}):
        need = NEEDS[endpoint]
        if need.right is Right.NONE or endpoint in REFUSED_TO_ALL | ENDS_THE_CALLER:
            continue
        answer = await clients[role].call(method, path, json=None if method == "GET" else [])
        assert (answer.status_code == 403) == (need.right not in ROLES[role]), (endpoint, answer.status_code)
