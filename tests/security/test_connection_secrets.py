"""Attack 18: whoever may edit a connection but not read its secrets has them sent to a host of his own."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import pytest
from quart_trio import QuartTrio

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.api.problems import Unprocessable
from leoflowd.api.public.connections import ConnectionBody, changed, destination
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.store import connections
from leoflowd.store.connections import open_connection
from leoflowd.store.secret_box import KeysRefused, SecretBox
from tests.integration.api.api_client import Client

URL = "/api/v2/connections"
BOX = SecretBox(lambda: {"k": base64.b64decode("A" * 43 + "=")})
EXTRA = {"endpoint_url": "https://s3.example", "region_name": "eu", "aws_session_token": "t0ken"}
STORED = ConnectionFacts(
    connection_id="c",
    conn_type="aws",
    host="h",
    login="ana",
    port=1,
    schema="s",
    password="hunter2",
    extra=json.dumps(EXTRA),
)
ELSEWHERE: dict[str, dict[str, Any]] = {
    "type": {"conn_type": "http"},
    "host": {"host": "evil.example"},
    "no host": {"host": None},
    "port": {"port": 2},
    "schema": {"schema": "x"},
    "endpoint": {"extra": json.dumps(EXTRA | {"endpoint_url": "https://evil.example", "aws_session_token": "***"})},
    "inner endpoint": {
        "extra": json.dumps(EXTRA | {"service_config": {"s3": {"endpoint_url": "//evil"}}, "aws_session_token": "***"})
    },
    "proxy": {
        "extra": json.dumps(EXTRA | {"config_kwargs": {"proxies": {"https": "evil"}}, "aws_session_token": "***"})
    },
    "address": {"extra": json.dumps(EXTRA | {"hostaddr": "6.6.6.6", "aws_session_token": "***"})},
    "uri": {"extra": json.dumps(EXTRA | {"token_uri": "https://evil", "aws_session_token": "***"})},
}
FORM = {
    "connection_id": "c",
    "conn_type": "aws",
    "host": "h",
    "login": "ana",
    "port": 1,
    "schema": "s",
    "password": "***",
    "extra": json.dumps(EXTRA | {"aws_session_token": "***"}),
}
"""What the UI sends when nothing was typed."""


def _body(**fields: Any) -> ConnectionBody:
    return ConnectionBody(**{"connection_id": "c", "conn_type": "aws"} | fields)


@pytest.mark.parametrize("change", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_a_masked_secret_does_not_follow_its_connection_elsewhere(change: dict[str, Any]) -> None:
    for mask in (None, list(change)):
        with pytest.raises(Unprocessable, match="kept only while the connection goes to the same place"):
            changed(STORED, _body(**FORM | change), mask)


@pytest.mark.parametrize("change", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_a_secret_that_is_not_sent_again_is_dropped_on_the_way_elsewhere(change: dict[str, Any]) -> None:
    if "extra" in change:
        change = {"extra": json.dumps({n: v for n, v in json.loads(change["extra"]).items() if v != "***"})}
    for mask in (None, list(change)):
        new = changed(STORED, _body(**change), mask)
        assert destination(new) != destination(STORED)
        assert new.password is None
        assert "t0ken" not in (new.extra or "")
    assert changed(STORED, _body(**change, password=None), None).password is None


def test_secrets_that_are_sent_again_go_elsewhere() -> None:
    sent = {"host": "new", "password": "again", "extra": json.dumps(EXTRA | {"aws_session_token": "again"})}
    new = changed(STORED, _body(**sent), None)
    assert (new.host, new.password, new.extra_fields()["aws_session_token"]) == ("new", "again", "again")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"login": "bob"},
        {"description": "d"},
        {"extra": json.dumps(EXTRA | {"region_name": "us", "aws_session_token": "***"})},
    ],
)
def test_masked_secrets_stay_when_the_destination_does(change: dict[str, Any]) -> None:
    new = changed(STORED, _body(**FORM | change), None)
    assert (new.password, new.extra_fields()["aws_session_token"]) == ("hunter2", "t0ken")


# --- through the routes ------------------------------------------------------------------------------------------


@pytest.fixture
def tested() -> list[ConnectionFacts]:
    return []


@pytest.fixture
async def app(api_context: ApiContext, tested: list[ConnectionFacts]) -> QuartTrio:
    async def test(facts: ConnectionFacts) -> tuple[bool, str]:
        tested.append(facts)
        if facts.extra_fields().get("timeout") == -1:
            raise ValueError("seconds must not be negative")
        return True, "it answers"

    return create_app(dataclasses.replace(api_context, secrets=BOX, test_connection=test))


async def test_no_route_takes_a_secret_elsewhere(
    api_context: ApiContext, admin: Client, tested: list[ConnectionFacts]
) -> None:
    async with api_context.db.api.transaction() as conn:
        await connections.insert_connection(conn, BOX, STORED, api_context.now())
        await conn.execute(b"UPDATE app_user SET role = 'Op'")
    evil = FORM | {"host": "evil.example"}
    problem = await admin.send("PATCH", f"{URL}/c?update_mask=host", evil, status=422)
    assert "send the secret itself" in problem["detail"][0]["msg"]
    for action in (
        {"action": "update", "entities": [evil], "update_mask": ["host"]},
        {"action": "create", "entities": [evil], "action_on_existence": "overwrite"},
    ):
        answer = await admin.send("PATCH", URL, {"actions": [action]})
        assert answer[action["action"]]["errors"][0]["status_code"] == 422
    answer = await admin.send("POST", f"{URL}/test", evil)
    assert (answer["status"], tested) == (False, [])
    bare = {"connection_id": "c", "conn_type": "aws", "host": "evil.example"}
    assert (await admin.send("POST", f"{URL}/test", bare))["status"] is False
    assert tested == []
    answer = await admin.send("PATCH", f"{URL}/c", bare)
    assert (answer["password"], json.loads(answer["extra"])) == (
        None,
        {"endpoint_url": "https://s3.example", "region_name": "eu"},
    )
    async with api_context.db.api.connection() as conn:
        row = await connections.fetch_connection(conn, "c")
    assert row is not None
    assert "t0ken" not in repr(open_connection(row, BOX).extra)


async def test_a_test_that_its_client_cannot_even_begin_is_an_answer(admin: Client) -> None:
    body = {"connection_id": "x", "conn_type": "http", "extra": '{"timeout": -1}'}
    answer = await admin.send("POST", f"{URL}/test", body)
    assert answer == {"status": False, "message": "it cannot be tried: seconds must not be negative"}


async def test_an_unreadable_key_file_is_said_and_tells_a_stranger_nothing(
    api_context: ApiContext, admin: Client
) -> None:
    async with api_context.db.api.transaction() as conn:
        await connections.insert_connection(conn, BOX, STORED, api_context.now())
    rings: list[dict[str, bytes]] = [{}]

    def read() -> dict[str, bytes]:
        if rings:
            return rings.pop()
        raise KeysRefused("cannot read the key file /data/secret_key: Permission denied")

    app = create_app(dataclasses.replace(api_context, secrets=SecretBox(read), test_connection=None))
    locked = Client(app, token=admin.token)
    [row] = (await locked.get(URL))["connections"]
    assert "Permission denied" in row["extra"]
    for method, path in (("PATCH", f"{URL}/c"), ("POST", URL), ("POST", "/api/v2/leoflow/connections/reseal")):
        body = FORM | {"connection_id": "new" if path == URL else "c", "password": "p", "extra": None}
        problem = await locked.send(method, path, body, status=503)
        assert "the server's log says" in problem["detail"]
        assert "/data" not in problem["detail"]
    await locked.send("DELETE", f"{URL}/c", status=204)
