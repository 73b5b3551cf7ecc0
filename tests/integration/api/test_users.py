"""Users are made, changed, disabled and deleted; somebody is always left to undo it. ADR 85."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from psycopg import AsyncCursor
from quart_trio import QuartTrio

from leoflowd.api.context import ApiContext
from tests.integration.api.api_client import PASSWORD, Client, Clock
from tests.integration.api.people import logged_in, put_user, somebody_with

USERS, ME, DAGS = "/leoflow/api/users", "/ui/auth/me", "/api/v2/dags"
ANA = {"username": "ana", "password": "ana's first", "roles": ["User"]}


async def log_in(app: QuartTrio, username: str, password: str) -> Client:
    body = {"username": username, "password": password}
    return Client(app, token=(await Client(app).send("POST", "/auth/token", body, status=201))["access_token"])


@pytest.fixture
async def ana(admin: Client) -> Client:
    await admin.send("POST", USERS, ANA, status=201)
    return await log_in(admin.app, "ana", ANA["password"])


async def test_a_user_who_was_made_may_log_in_and_do_what_his_roles_say(admin: Client, ana: Client) -> None:
    assert (await ana.get(ME))["username"] == "ana"
    assert (await ana.get("/leoflow/api/me"))["roles"] == ["User"]
    await ana.send("GET", USERS, status=403)
    listed = (await admin.get(USERS))["users"]
    assert [(row["username"], row["roles"], row["is_disabled"]) for row in listed] == [
        ("admin", ["Admin"], False),
        ("ana", ["User"], False),
    ]


async def test_a_new_role_counts_from_the_next_request_on(admin: Client, ana: Client) -> None:
    await ana.send("GET", "/api/v2/variables", status=403)
    changed = await admin.send("PATCH", f"{USERS}/ana", {"roles": ["Viewer", "Op", "Viewer"]})
    assert changed["roles"] == ["Viewer", "Op"]
    await ana.get("/api/v2/variables")
    await admin.send("PATCH", f"{USERS}/ana", {"roles": ["Viewer"]})
    await ana.send("GET", "/api/v2/variables", status=403)


async def _disable(admin: Client) -> None:
    await admin.send("PATCH", f"{USERS}/ana", {"disabled": True})


async def _delete(admin: Client) -> None:
    await admin.send("DELETE", f"{USERS}/ana", status=204)


async def _new_password(admin: Client) -> None:
    await admin.send("PATCH", f"{USERS}/ana", {"password": "another one"})


async def _delete_and_make_again(admin: Client) -> None:
    await _delete(admin)
    await admin.send("POST", USERS, ANA, status=201)


async def _disable_and_enable(admin: Client) -> None:
    await _disable(admin)
    await admin.send("PATCH", f"{USERS}/ana", {"disabled": False})


@pytest.mark.parametrize("end", [_disable, _delete, _new_password, _delete_and_make_again, _disable_and_enable])
async def test_logins_and_personal_tokens_end_at_once_and_for_good(
    admin: Client, ana: Client, clock: Clock, end: Callable[[Client], Awaitable[None]]
) -> None:
    asked = {"name": "mine", "rights": "read", "expires_in_s": 3600}
    token = Client(ana.app, token=(await ana.send("POST", "/leoflow/api/tokens", asked, status=201))["token"])
    await token.get(DAGS)
    clock.advance(1)
    await end(admin)
    await ana.send("GET", DAGS, status=403)
    await token.send("GET", DAGS, status=401)


async def test_who_is_disabled_cannot_log_in_and_is_told_nothing_of_it(admin: Client, ana: Client) -> None:
    await _disable(admin)
    right, wrong = ({"username": "ana", "password": password} for password in (ANA["password"], "wrong"))
    answers = [await Client(ana.app).send("POST", "/auth/token", body, status=401) for body in (right, wrong)]
    assert answers[0] == answers[1]
    await admin.send("PATCH", f"{USERS}/ana", {"disabled": False})
    await log_in(ana.app, "ana", str(ANA["password"]))


async def test_rights_of_ones_own_take_no_further_statement(
    admin: Client, api_context: ApiContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who, until when, with which roles, on which DAGs: one row tells all of it."""
    ana = await somebody_with(admin.app, api_context.db, {"run": "dag:e*", "read": "tag:x", "operate": "my-teams"})
    counts, execute = [], AsyncCursor.execute
    monkeypatch.setattr(AsyncCursor, "execute", lambda *given, **named: counts.append(1) or execute(*given, **named))
    for client in (admin, ana):
        await client.get("/api/v2/pools")  # so that its lane has its connections
        counts.clear()
        await client.get("/api/v2/pools")
        assert len(counts) == 2


# --- the last administrator ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"disabled": True}, {"roles": ["Op"]}, None])
async def test_the_last_administrator_stays(admin: Client, ana: Client, change: dict[str, Any] | None) -> None:
    method = "DELETE" if change is None else "PATCH"
    said = await admin.send(method, f"{USERS}/admin", change, status=409)
    assert "no enabled user with the role Admin" in said["detail"]
    await admin.send("PATCH", f"{USERS}/ana", {"roles": ["Viewer", "Admin"], "disabled": True})
    await admin.send(method, f"{USERS}/admin", change, status=409)
    await admin.send("PATCH", f"{USERS}/ana", {"disabled": False})
    await admin.send(method, f"{USERS}/admin", change, status=204 if change is None else 200)


async def test_two_who_demote_each_other_leave_one(app: QuartTrio, admin: Client, api_context: ApiContext) -> None:
    async with api_context.db.api.transaction() as conn:
        await put_user(conn, "root", ["Admin"])
    root, statuses = await logged_in(app, "root"), list[int]()

    async def demote(by: Client, whom: str) -> None:
        answer = await by.call("PATCH", f"{USERS}/{whom}", json={"roles": ["Viewer"]})
        statuses.append(answer.status_code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(demote, admin, "root")
        nursery.start_soon(demote, root, "admin")
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 403, 409}


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"username": "service:ci"}, "a service's access token"),
        ({"username": "Service:ci"}, "a service's access token"),
        ({"username": "a/b"}, "has a slash"),
        ({"username": " ana"}, "spaces around it"),
        ({"username": ".."}, "only dots"),
        ({"username": ""}, "user name"),
        ({"password": "short"}, "at least 8"),
        ({"roles": []}, "length"),
        ({"roles": ["Owner"]}, "leoflow roles list"),
        ({"roles": ["Viewer", "Owner"]}, "leoflow roles list"),
    ],
)
async def test_what_cannot_be_is_refused_with_a_reason(admin: Client, change: dict[str, Any], said: str) -> None:
    refused = await admin.send("POST", USERS, ANA | change, status=422)
    assert said in str(refused["detail"])
    assert len((await admin.get(USERS))["users"]) == 1


async def test_names_that_differ_in_case_are_one(admin: Client, ana: Client) -> None:
    await admin.send("POST", USERS, ANA | {"username": "ANA"}, status=409)


async def test_no_password_is_in_any_answer_or_in_the_audit_log(admin: Client, ana: Client) -> None:
    await _new_password(admin)
    for path in (USERS, f"{USERS}/ana", "/api/v2/eventLogs"):
        answer = await (await admin.call("GET", path)).get_data(as_text=True)
        for secret in ("first", "another one", "argon2"):
            assert secret not in answer


async def test_who_is_not_there_is_not_found(admin: Client) -> None:
    for method, body in (("GET", None), ("PATCH", {"disabled": True}), ("DELETE", None)):
        await admin.send(method, f"{USERS}/nobody", body, status=404)


# --- one's own password --------------------------------------------------------------------------------------------


async def test_everybody_changes_his_own_password_who_knows_it(ana: Client, clock: Clock) -> None:
    clock.advance(1)
    change = {"current_password": "not it", "new_password": "ana's second"}
    assert "current password" in (await ana.send("POST", "/leoflow/api/me/password", change, status=403))["detail"]
    await ana.get(ME)
    change["current_password"] = str(ANA["password"])
    await ana.send("POST", "/leoflow/api/me/password", change, status=204)
    await ana.send("GET", ME, status=403)
    await log_in(ana.app, "ana", "ana's second")


async def test_guesses_of_the_current_password_are_as_few_as_those_of_a_login(ana: Client) -> None:
    change = {"current_password": "not it", "new_password": "ana's second"}
    statuses = [(await ana.call("POST", "/leoflow/api/me/password", json=change)).status_code for _ in range(11)]
    assert statuses == [403] * 10 + [429]
    right = {"username": "ana", "password": str(ANA["password"])}
    await Client(ana.app).send("POST", "/auth/token", right, status=429)


async def test_the_admin_of_a_fresh_server_may_share_it(admin: Client, ana: Client) -> None:
    """And is no special user from then on."""
    await admin.send("PATCH", f"{USERS}/ana", {"roles": ["Admin"]})
    await ana.send("DELETE", f"{USERS}/admin", status=204)
    body = {"username": "admin", "password": PASSWORD}
    await Client(ana.app).send("POST", "/auth/token", body, status=401)
