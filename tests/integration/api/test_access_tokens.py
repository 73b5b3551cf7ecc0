"""Access tokens of people and services: made once, shown once, bounded, over when they are said to be over. ADR 80."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from leoflowd.api.context import ApiContext
from leoflowd.api.rights import LOGIN_ONLY, NEEDS
from leoflowd.contract.access_token import is_access_token
from leoflowd.contract.dag_spec import DagSpec, TaskSpec, encode_canonical
from leoflowd.core.rights import TOKEN_RIGHTS, Right
from leoflowd.store.access_tokens import TOKENS_MAX
from leoflowd.store.api_users import reset_password
from tests.integration.api.addresses import NOWHERE, addresses
from tests.integration.api.api_client import Client, Clock
from tests.integration.api.people import somebody_with

TOKENS, ME, DAGS = "/leoflow/api/tokens", "/leoflow/api/me", "/api/v2/dags"
CONNECTIONS = "/api/v2/connections"
DAY_S = 86_400


async def made(who: Client, name: str = "ci", **body: Any) -> dict[str, Any]:
    asked = {"name": name, "rights": "read", "expires_in_s": DAY_S} | body
    answer: dict[str, Any] = await who.send("POST", TOKENS, asked, status=201)
    return answer


async def token_of(who: Client, name: str = "ci", **body: Any) -> Client:
    return Client(who.app, token=(await made(who, name, **body))["token"])


async def why_not(client: Client, path: str = DAGS) -> str:
    """The detail of the 401."""
    answer = await client.call("GET", path)
    body = await answer.get_data(as_text=False)
    assert answer.status_code == 401, body
    return str(msgspec.json.decode(body)["detail"])


async def test_a_token_lets_in_until_it_expires(admin: Client, clock: Clock) -> None:
    ci = await token_of(admin, rights="run")
    me = await ci.get(ME)
    assert (me["username"], me["kind"], me["token_name"], me["rights"]) == ("admin", "personal", "ci", ["act", "read"])
    clock.advance(DAY_S - 1)
    await ci.get(DAGS)
    clock.advance(1)
    assert await why_not(ci) == "The access token `ci` expired at 2026-11-22 03:00 UTC"


async def test_it_is_stored_as_a_hash_and_shown_once(admin: Client, api_context: ApiContext) -> None:
    token = (await made(admin))["token"]
    assert is_access_token(token)
    async with api_context.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT row_to_json(t)::text FROM access_token t")
        ((row,),) = await cursor.fetchall()
        cursor = await conn.execute(b"SELECT row_to_json(e)::text FROM event_log e")
        events = str(await cursor.fetchall())
    listed = msgspec.json.encode(await admin.get(TOKENS)).decode()
    for told in (row, events, listed):
        assert token.rpartition("_")[2][:12] not in told
    assert '"ci"' in row
    assert "create_token" in events


async def test_a_revoked_one_is_refused_at_once(admin: Client) -> None:
    ci = await token_of(admin)
    await ci.get(DAGS)
    assert (await admin.send("DELETE", f"{TOKENS}/ci"))["name"] == "ci"
    assert await why_not(ci) == "The access token `ci` was revoked"
    await admin.send("DELETE", f"{TOKENS}/ci", status=404)
    assert [row["state"] for row in (await admin.get(TOKENS))["tokens"]] == ["revoked"]


async def test_one_that_is_over_makes_room_for_its_name(admin: Client, clock: Clock) -> None:
    await made(admin)
    await admin.send("POST", TOKENS, {"name": "ci", "rights": "read", "expires_in_s": 60}, status=409)
    clock.advance(DAY_S)
    admin = Client(admin.app, token=(await admin.send("POST", "/auth/token", LOGIN, status=201))["access_token"])
    await made(admin)
    assert len((await admin.get(TOKENS))["tokens"]) == 1


LOGIN = {"username": "admin", "password": "correct horse"}


async def test_a_token_ends_itself_and_nothing_else(admin: Client) -> None:
    one, other = await token_of(admin, "one"), await token_of(admin, "other", rights="operate")
    assert (await other.call("DELETE", f"{TOKENS}/one")).status_code == 403
    await other.send("DELETE", "/leoflow/api/session", status=204)
    assert "revoked" in await why_not(other)
    await one.get(DAGS)
    await admin.get(DAGS)


async def test_a_logout_ends_the_login(admin: Client) -> None:
    assert (await admin.get(ME))["kind"] == "login"
    await admin.send("DELETE", "/leoflow/api/session", status=204)
    assert (await admin.call("GET", DAGS)).status_code == 403


@pytest.mark.parametrize("rights", TOKEN_RIGHTS)
async def test_a_token_reaches_what_it_was_made_for(admin: Client, rights: str) -> None:
    refused_to_all = {"own_tokens.end_session"} | LOGIN_ONLY
    ci = await token_of(admin, rights=rights)
    for endpoint, method, path in addresses(admin.app, NOWHERE):
        need = NEEDS[endpoint]
        if need.right is Right.NONE or endpoint in refused_to_all or endpoint == "own_tokens.revoke_token":
            continue
        answer = await ci.call(method, path, json=None if method == "GET" else [])
        assert (answer.status_code == 403) == (need.right not in TOKEN_RIGHTS[rights]), (endpoint, answer.status_code)


async def test_nobody_makes_a_token_with_more_than_he_has(clients: dict[str, Client]) -> None:
    body = {"name": "ci", "rights": "deploy", "expires_in_s": DAY_S}
    refused = await clients["User"].send("POST", TOKENS, body, status=403)
    assert refused["detail"] == "A token with the rights `deploy` would have more than you: deploy"
    await clients["Op"].send("POST", TOKENS, body, status=201)
    await clients["Op"].send("POST", TOKENS, body | {"service": True}, status=403)


async def test_it_never_has_more_than_its_user_has_now(clients: dict[str, Client], api_context: ApiContext) -> None:
    ci = await token_of(clients["Op"], rights="operate")
    assert (await ci.call("GET", "/api/v2/variables")).status_code == 200
    async with api_context.db.api.transaction() as conn:
        await conn.execute(b"UPDATE app_user SET role = 'Viewer' WHERE username = 'Op'")
    assert (await ci.call("GET", "/api/v2/variables")).status_code == 403
    async with api_context.db.api.transaction() as conn:
        await conn.execute(b"DELETE FROM app_user WHERE username = 'Op'")
    assert "removed with its user" in await why_not(ci)


async def test_its_user_sees_no_more_dags_by_it(admin: Client, seeded: Client, api_context: ApiContext) -> None:
    ana = await somebody_with(admin.app, api_context.db, {"read": "dag:etl"})
    listed = await (await token_of(ana)).get(DAGS)
    assert [dag["dag_id"] for dag in listed["dags"]] == ["etl"]


async def test_a_new_password_ends_personal_tokens_and_no_service(
    admin: Client, api_context: ApiContext, clock: Clock
) -> None:
    mine, service = await token_of(admin, "mine"), await token_of(admin, "nightly", service=True, rights="deploy")
    clock.advance(1)
    async with api_context.db.api.transaction() as conn:
        await reset_password(conn, "admin", "another one", clock())
    assert "password" in await why_not(mine)
    me = await service.get(ME)
    assert (me["username"], me["kind"], me["roles"]) == ("service:nightly", "service", [])


async def test_what_a_service_does_bears_its_name(admin: Client, seeded: Client) -> None:
    service = await token_of(admin, "nightly", service=True, rights="run")
    await service.send("PATCH", f"{DAGS}/etl", {"is_paused": True})
    events = (await admin.get("/api/v2/eventLogs?dag_id=etl"))["event_logs"]
    assert "service:nightly" in {event["owner"] for event in events}
    assert (await service.call("POST", f"{DAGS}/etl/favorite")).status_code == 409


@pytest.mark.parametrize("path", ["/ui/auth/token", TOKENS])
async def test_a_token_makes_no_token(admin: Client, path: str) -> None:
    """What it made would be there when it is not."""
    ci = await token_of(admin, rights="admin")
    body = {"token_type": "api"} if path != TOKENS else {"name": "x", "rights": "read", "expires_in_s": 60}
    assert (await ci.call("POST", path, json=body)).status_code == 403


async def test_it_is_no_cookie(admin: Client) -> None:
    token = (await made(admin))["token"]
    assert (await Client(admin.app, cookie=token).call("GET", DAGS)).status_code == 401


@pytest.mark.parametrize(
    ("token", "because"),
    [
        ("leoflow_pat_" + "a" * 36, "not complete"),
        ("leoflow_pat_", "not complete"),
        ("leoflow_pat_00000000000000000000000000000029yOzK", "not complete"),
    ],
)
async def test_one_that_was_mistyped_is_told_so(anonymous: Client, token: str, because: str) -> None:
    assert because in await why_not(Client(anonymous.app, token=token))


async def test_one_of_another_server_is_told_so(admin: Client, api_context: ApiContext) -> None:
    ci = await token_of(admin)
    async with api_context.db.api.transaction() as conn:
        await conn.execute(b"DELETE FROM access_token")
    assert "not one of this server's" in await why_not(ci)


async def test_the_last_use_is_known_to_the_minute(admin: Client, clock: Clock) -> None:
    ci = await token_of(admin)
    seen = []
    for seconds in (0, 30, 31):
        clock.advance(seconds)
        await ci.get(DAGS)
        seen.append((await admin.get(TOKENS))["tokens"][0]["last_used_at"])
    assert seen == ["2026-11-21T03:00:00Z", "2026-11-21T03:00:00Z", "2026-11-21T03:01:01Z"]


async def test_everybody_sees_and_ends_his_own(admin: Client, clients: dict[str, Client]) -> None:
    await made(clients["User"], "mine")
    await made(admin, "yours")
    assert [row["name"] for row in (await clients["User"].get(TOKENS))["tokens"]] == ["mine"]
    assert {row["name"] for row in (await admin.get(TOKENS))["tokens"]} == {"mine", "yours"}
    await clients["User"].send("DELETE", f"{TOKENS}/yours", status=404)
    await admin.send("DELETE", f"{TOKENS}/mine")


async def test_one_name_of_two_people_is_not_guessed(admin: Client, clients: dict[str, Client]) -> None:
    token = await made(admin)
    await made(clients["User"])
    assert "name one by its id" in (await admin.send("DELETE", f"{TOKENS}/ci", status=409))["detail"]
    assert (await admin.send("DELETE", f"{TOKENS}/{token['id']}"))["username"] == "admin"


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "a/b"},
        {"name": " a"},
        {"name": "a\nb"},
        {"name": "x" * 101},
        {"rights": "all"},
        {"expires_in_s": 59},
        {"expires_in_s": 367 * DAY_S},
        {"for": "me"},
    ],
)
async def test_what_is_refused(admin: Client, body: dict[str, Any]) -> None:
    asked = {"name": "ci", "rights": "read", "expires_in_s": DAY_S} | body
    await admin.send("POST", TOKENS, asked, status=422)
    assert (await admin.get(TOKENS))["tokens"] == []


async def test_there_is_an_end_to_their_number(admin: Client, api_context: ApiContext) -> None:
    async with api_context.db.api.transaction() as conn:
        await conn.execute(
            b"INSERT INTO access_token (id, name, username, secret_hash, rights, created_by, created_at, expires_at) "
            b"SELECT gen_random_uuid(), n::text, 'admin', n::text::bytea, 'read', 'admin', '2026-11-21', '2027-01-01' "
            b"FROM generate_series(1, %(count)s) n",
            {"count": TOKENS_MAX},
        )
    refused = await admin.send("POST", TOKENS, {"name": "ci", "rights": "read", "expires_in_s": DAY_S}, status=409)
    assert "revoke one" in refused["detail"]
    await made(admin, service=True)


async def test_whoever_may_only_deploy_is_told_which_connections_of_his_artifact_are_missing(admin: Client) -> None:
    await admin.send("POST", CONNECTIONS, {"connection_id": "there", "conn_type": "http"}, status=201)
    ci = await token_of(admin, rights="deploy", service=True)
    arguments = {
        "http_conn_id": "there",
        "aws_conn_id": "not_there",
        "conn_id": "{{ var.value.which }}",
        "nested": [{"connection_id": "nor_there"}],
    }
    task = TaskSpec(task_id="a", operator="HttpOperator", template_values=arguments)
    artifact = encode_canonical(DagSpec(dag_id="pushed", tasks=(task,)))
    answer = await ci.call("POST", "/api/v2/leoflow/dags", data=artifact)
    assert (await answer.get_json())["missing_connections"] == ["nor_there", "not_there"]
    assert (await ci.call("GET", f"{CONNECTIONS}/there")).status_code == 403
