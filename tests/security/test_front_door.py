"""Attacks of whoever can reach the port, without a login, on a real socket: bodies, targets, upgrades, tokens."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator

import pytest

from leoflowd.api import bodies
from leoflowd.api.context import ApiContext
from tests.integration.api.api_client import Client
from tests.security.door import LOGIN_BODY, head, listening, login

LOGIN_ROUTES = ("/auth/token", "/auth/token/cli", "/auth/login")
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def no_tracebacks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that a stranger sends is worth an error in the log."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.usefixtures("no_tracebacks")
async def test_a_login_of_more_than_4_kib_is_refused_before_it_is_read(api_context: ApiContext) -> None:
    async with listening(api_context) as door:
        for path in LOGIN_ROUTES:
            kind = FORM if path == "/auth/login" else "application/json"
            announced = head("POST", path, Content_Type=kind, Content_Length=str(16 * 1024 * 1024))
            assert await door.status(announced) == 413, path  # not a byte of it was sent
        chunk = b"1000\r\n" + b"a" * 0x1000 + b"\r\n"
        unannounced = head("POST", "/auth/token", Content_Type=FORM, Transfer_Encoding="chunked") + chunk + chunk
        assert await door.status(unannounced) == 413
        assert await door.status(login()) == 201


@pytest.mark.usefixtures("no_tracebacks")
async def test_sixteen_megabytes_of_form_fields_do_not_stop_the_loop(api_context: ApiContext) -> None:
    flood = b"&".join(b"a%d=1" % i for i in range(1_000_000))
    async with listening(api_context) as door:
        assert await door.status(login(flood, Content_Type=FORM)) in (413, 0)
        many = b"&".join(b"a%d=1" % i for i in range(400))
        assert len(many) < bodies.LOGIN_MAX_BYTES
        assert await door.status(login(many, Content_Type=FORM)) == 422


@pytest.mark.usefixtures("no_tracebacks")
async def test_a_body_that_never_ends_is_given_up(api_context: ApiContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "WITHIN_S", 0.05)
    async with listening(api_context) as door:
        unfinished = head("POST", "/auth/token", Content_Type="application/json", Content_Length="1000") + b"{"
        assert await door.status(unfinished) == 408


async def test_unfinished_bodies_of_strangers_are_not_kept(
    api_context: ApiContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is not logged in gets his 401 without a byte of his body having been taken."""
    kept: list[int] = []
    real = bodies.AskedBody.append
    monkeypatch.setattr(bodies.AskedBody, "append", lambda self, data: (kept.append(len(data)), real(self, data))[1])
    async with listening(api_context) as door:
        announced = head("POST", "/api/v2/leoflow/dags", Content_Type="application/json", Content_Length="16000000")
        assert await door.status(announced + b"x" * 500_000) in (401, 0)
        assert await door.status(announced) == 401
    assert sum(kept) == 0


@pytest.mark.usefixtures("no_tracebacks")
async def test_a_websocket_upgrade_is_refused_in_one_line(api_context: ApiContext) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    key = base64.b64encode(b"k" * 16).decode()
    async with listening(api_context) as door:
        for path in ("/", "/api/v2/dags", "/nope"):
            async with await door.open() as stream:
                await stream.send_all(head("GET", path, **upgrade, Sec_WebSocket_Key=key))
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 403"), path


@pytest.mark.usefixtures("no_tracebacks")
async def test_a_malformed_request_is_an_answer_of_the_400s(api_context: ApiContext) -> None:
    two_lengths = head("POST", "/auth/token", Content_Length="3")[:-2] + b"Content-Length: 9\r\n\r\n"
    nested = base64.urlsafe_b64encode(b"[" * 6_000).decode().rstrip("=")
    requests = {
        "a target without a slash": head("GET", "?x"),
        "a star": head("OPTIONS", "*"),
        "a broken address": head("GET", "http://[/x"),
        "two lengths": two_lengths,
        "a negative length": head("POST", "/auth/token", Content_Length="-1"),
        "a length that is none": head("POST", "/auth/token", Content_Length="ten"),
        "an unknown content encoding": login(Content_Encoding="br"),
        "a body that is not UTF-8": login(b'{"username":"\xff","password":"x"}'),
        "a form that is not UTF-8": login(b"username=\xff", Content_Type=FORM),
        "a lone surrogate": login(b'{"username":"\\ud800","password":"x"}'),
        "NUL in a name": login(b'{"username":"a\\u0000","password":"x"}'),
        "NUL in a form": login(b"username=a%00&password=x", Content_Type=FORM),
        "NUL in a form of the page": login(b"username=a%00&password=x", "/auth/login", Content_Type=FORM),
        "a deep body": login(b"[" * 4_000),
        "duplicate keys": login(b'{"username":"a","username":"b","password":"x"}'),
        "an empty body": login(b""),
        "an origin that is none": login(Origin="http://["),
        "a deep token": head("GET", "/api/v2/dags", Authorization=f"Bearer {nested}.e30.x"),
        "a token that is no ASCII": head("GET", "/api/v2/dags", Authorization="Bearer \xff\xfe.\xff.\xff"),
        "a deep cookie": head("GET", "/api/v2/dags", Cookie=f"_token={nested}.e30.x"),
        "NUL in the path of a file": head("GET", "/static/%00.js"),
        "NUL in the next page": head("GET", "/auth/login?next=%00"),
        "a host that is none": head("GET", "/api/v2/version", Host="["),
    }
    async with listening(api_context) as door:
        statuses = {name: await door.status(request) for name, request in requests.items()}
    assert {name: status for name, status in statuses.items() if not 400 <= status < 500} == {}


async def test_a_body_that_is_longer_than_it_says_is_cut_there(api_context: ApiContext) -> None:
    """What follows is another request and no part of the login; that it is none may be said first."""
    async with listening(api_context) as door:
        longer = login(LOGIN_BODY + b"}}}}", Content_Length=str(len(LOGIN_BODY)))
        assert await door.status(longer) in (201, 400)


async def test_a_client_that_leaves_within_its_body_leaves_nothing_behind(api_context: ApiContext) -> None:
    async with listening(api_context) as door:
        async with await door.open() as stream:
            await stream.send_all(login(b"{", Content_Length="500"))
        assert await door.status(login()) == 201


async def test_a_body_of_a_read_is_ignored(api_context: ApiContext) -> None:
    async with listening(api_context) as door:
        request = head("GET", "/api/v2/version", Content_Length="5000") + b"x" * 5000
        assert await door.status(request) == 200


async def test_an_authenticated_body_of_more_than_a_mebibyte_is_refused(api_context: ApiContext, admin: Client) -> None:
    bearer = {"Authorization": f"Bearer {admin.token}", "Content_Type": "application/json"}
    async with listening(api_context) as door:
        too_long = str(bodies.JSON_MAX_BYTES + 1)
        assert await door.status(head("POST", "/api/v2/pools", Content_Length=too_long, **bearer)) == 413
        artifact = head("POST", "/api/v2/leoflow/dags", Content_Length=str(bodies.ARTIFACT_MAX_BYTES + 1), **bearer)
        assert await door.status(artifact) == 413
        padded = b" " * bodies.JSON_MAX_BYTES + b"{}"
        request = head("POST", "/api/v2/leoflow/dags", Content_Length=str(len(padded)), **bearer) + padded
        assert await door.status(request) == 422  # read whole, and no artifact
