"""Kind `http`: how a connection becomes a request, and what an answer means. Airflow's HttpHook and HttpSensor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from leoflow_sensors.egress import EgressClient, RequestInvalid
from leoflow_sensors.egress_policy import parse_policy
from leoflow_sensors.http import (
    BODY_MAX_BYTES,
    KIND,
    ConditionalMemory,
    HttpAnswer,
    HttpPredicate,
    HttpSpec,
    judge,
    parse_retry_after,
    plan_call,
)
from leoflow_sensors.kinds import Observation, ProbeFailed, ProbeThrottled
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.dag_facts import DagFacts
from tests.fakes.scripted_server import Answer, ScriptedServer, answer, scripted_server

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def _connection(**fields: Any) -> ConnectionFacts:
    return ConnectionFacts(connection_id="api", conn_type="http", **{"host": "api.example", **fields})


def _call(connection: ConnectionFacts | None = None, **arguments: Any) -> Any:
    defaults = {"endpoint": "x", "method": "GET", "headers": {}}
    return plan_call(connection or _connection(), **{**defaults, **arguments})


# --- from a connection to a request ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "endpoint", "url"),
    [
        ({}, "v1/x", "http://api.example/v1/x"),
        ({}, "/v1/x", "http://api.example/v1/x"),
        ({}, None, "http://api.example"),
        ({"schema": "https"}, "x", "https://api.example/x"),
        ({"port": 8080}, "x", "http://api.example:8080/x"),
        ({"host": "https://api.example/"}, "x", "https://api.example/x"),
        ({"host": "https://api.example/base", "schema": "http"}, "x", "https://api.example/base/x"),
        ({"host": None}, "other.example/x", "http://other.example/x"),
        ({}, "x?next=http://y", "http://api.example/x?next=http://y"),
    ],
)
def test_host_schema_port_and_endpoint_join_as_in_airflow(fields: dict[str, Any], endpoint: str, url: str) -> None:
    assert _call(_connection(**fields), endpoint=endpoint).url == url


def test_without_a_connection_the_endpoint_is_the_url() -> None:
    assert plan_call(None, endpoint="https://x.example/y", method="GET", headers={}).url == "https://x.example/y"


def test_without_a_connection_a_relative_endpoint_is_refused() -> None:
    with pytest.raises(RequestInvalid, match="no absolute URL"):
        plan_call(None, endpoint="/y", method="GET", headers={})


def test_an_absolute_endpoint_beside_a_host_is_refused() -> None:
    with pytest.raises(RequestInvalid, match="has a host already"):
        _call(endpoint="https://other.example/x")


def test_login_and_password_are_basic_auth() -> None:
    assert _call(_connection(login="me", password="pw")).auth == ("me", "pw")
    assert _call(_connection(login="me")).auth == ("me", "")
    assert _call(_connection(password="pw")).auth is None


def test_the_extra_holds_headers_and_the_tasks_own_win() -> None:
    call = _call(_connection(extra='{"X-A": "1", "X-B": 2, "timeout": 7}'), headers={"X-A": "own"})
    assert call.headers == {"X-A": "own", "X-B": "2"}


@pytest.mark.parametrize(("asked", "expected"), [(None, 7), (3.0, 3)])
def test_the_timeout_is_the_tasks_else_the_connections(asked: float | None, expected: float) -> None:
    limits = _call(_connection(extra='{"timeout": 7}'), timeout_s=asked).limits
    assert (limits.head_s, limits.total_s) == (expected, expected)


def test_redirects_follow_the_extra_but_never_more_than_five() -> None:
    assert _call(_connection(extra='{"allow_redirects": false}')).redirects_max == 0
    assert _call(_connection(extra='{"max_redirects": 2}')).redirects_max == 2
    assert _call(_connection(extra='{"max_redirects": 99}')).redirects_max == 5


@pytest.mark.parametrize(
    ("extra", "asked", "verified"),
    [
        (None, None, True),
        ('{"verify": false}', None, False),
        ('{"verify_ssl": false}', None, False),
        ('{"verify": false}', False, False),
        ('{"verify": false}', True, True),
    ],
)
def test_verification_ends_only_where_the_connection_says_so(
    extra: str | None, asked: bool | None, verified: bool
) -> None:
    assert _call(_connection(extra=extra), verify=asked).tls.verify is verified


def test_a_task_alone_cannot_switch_verification_off() -> None:
    with pytest.raises(RequestInvalid, match="to the extra of connection 'api'"):
        _call(verify=False)


@pytest.mark.parametrize(
    "extra",
    [
        '{"proxies": {"http": "http://p"}}',
        '{"proxy": "http://p"}',
        '{"cert": "/client.pem"}',
        '{"srv_lookup": true}',
        '{"trust_env": true}',
        '{"verify": "/ca.pem"}',
        '{"timeout": [1, 2]}',
        '{"X-Nested": {"a": 1}}',
    ],
)
def test_what_the_extra_asks_for_and_we_cannot_is_refused(extra: str) -> None:
    with pytest.raises(RequestInvalid, match="the extra of connection 'api'"):
        _call(_connection(extra=extra))


@pytest.mark.parametrize(
    ("method", "data", "query", "content", "form"),
    [
        ("GET", {"a": 1, "b": None, "c": [True, "x"]}, {"a": ["1"], "c": ["True", "x"]}, None, None),
        ("get", "a=1", "a=1", None, None),
        ("HEAD", {"a": 1}, {"a": ["1"]}, None, None),
        ("POST", {"a": 1}, None, None, {"a": ["1"]}),
        ("POST", "raw", None, "raw", None),
        ("POST", {}, None, None, None),
    ],
)
def test_data_is_the_query_of_a_get_and_the_body_of_others(
    method: str, data: Any, query: Any, content: str | None, form: Any
) -> None:
    call = _call(method=method, data=data)
    assert (call.params, call.content, call.data) == (query, content, form)


@pytest.mark.parametrize("data", [[("a", 1)], 5, {"a": {"b": 1}}])
def test_data_of_another_shape_is_refused(data: Any) -> None:
    with pytest.raises(RequestInvalid, match="data"):
        _call(method="POST", data=data)


def test_repr_shows_no_secret() -> None:
    call = _call(_connection(login="me", password="hunter2", extra='{"X-Key": "hunter2"}'), endpoint="x?token=hunter2")
    assert "hunter2" not in repr(call)


# --- what an answer means ----------------------------------------------------------------------------------------


def _seen(status: int, body: bytes | None = b"", *, reason: str = "Reason", checked: bool = True) -> Observation:
    return Observation(value=HttpAnswer(status=status, reason=reason, body=body, checked=checked), summary="")


def _predicate(**fields: Any) -> HttpPredicate:
    return msgspec.convert(fields, HttpPredicate)


@pytest.mark.parametrize("status", [200, 204, 301, 304])
def test_below_400_is_met(status: int) -> None:
    verdict = judge(_predicate(), _seen(status))
    assert (verdict.met, verdict.event, verdict.xcom) == (True, True, None)


def test_404_is_not_yet() -> None:
    assert not judge(_predicate(), _seen(404)).met


@pytest.mark.parametrize("status", [400, 401, 403, 500, 503])
def test_other_errors_fail_the_sensor(status: int) -> None:
    with pytest.raises(ProbeFailed, match=f"HTTP {status} Reason is an error"):
        judge(_predicate(), _seen(status))


def test_an_empty_allowlist_makes_404_an_error() -> None:
    with pytest.raises(ProbeFailed):
        judge(_predicate(error_codes=[]), _seen(404))


@pytest.mark.parametrize("code", ["503", "5", "503:Rea"])
def test_the_allowlist_compares_beginnings_as_airflow_does(code: str) -> None:
    assert not judge(_predicate(error_codes=[code]), _seen(503)).met


def test_an_unchecked_response_is_met_whatever_its_status() -> None:
    assert judge(_predicate(), _seen(500, checked=False)).met


@pytest.mark.parametrize(("status", "met"), [(201, True), (200, False), (404, False)])
def test_a_list_of_statuses_is_all_that_is_accepted(status: int, met: bool) -> None:
    assert judge(_predicate(status=[201]), _seen(status)).met is met


def test_a_listed_status_may_be_an_error() -> None:
    assert judge(_predicate(status=[404, 410]), _seen(410)).met


@pytest.mark.parametrize(("equals", "met"), [("done", True), ("failed", False)])
def test_the_body_has_to_equal(equals: str, met: bool) -> None:
    assert judge(_predicate(json_path="job.state", equals=equals), _seen(200, b'{"job": {"state": "done"}}')).met is met


@pytest.mark.parametrize(("body", "because"), [(b"<html>", "no JSON"), (None, "too long"), (b"[" * 5000, "no JSON")])
def test_a_body_that_no_path_can_look_into_fails_the_sensor(body: bytes | None, because: str) -> None:
    with pytest.raises(ProbeFailed, match=because):
        judge(_predicate(json_path="a"), _seen(200, body))


@pytest.mark.parametrize("fields", [{"equals": 1}, {"json_path": "a..b"}, {"unknown": 1}])
def test_a_predicate_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        _predicate(**fields)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("Sat, 21 Nov 2026 03:02:00 GMT", 120),
        ("Sat, 21 Nov 2026 02:00:00 GMT", 0),
        ("999999999", 86_400),
        ("99999999999999999999", None),
        ("-5", None),
        ("soon", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, NOW) == seconds


# --- a probe -----------------------------------------------------------------------------------------------------


class _Context:
    """What the pool would give: a client of its own, a connection, the time."""

    def __init__(self, server: ScriptedServer) -> None:
        self.http = EgressClient(parse_policy("127.0.0.1"))
        self.connection = ConnectionFacts(connection_id="api", host=server.url, login="me", password="pw")

    @property
    def dag_facts(self) -> DagFacts:
        raise AssertionError("this kind asks nothing of other DAGs")

    def now(self) -> datetime:
        return NOW


@asynccontextmanager
async def _probing(*answers: Answer) -> AsyncIterator[tuple[ScriptedServer, _Context]]:
    async with scripted_server(*answers) as server:
        context = _Context(server)
        try:
            yield server, context
        finally:
            context.http.close()


async def _poke(context: _Context, **fields: Any) -> Observation:
    assert KIND.poke is not None
    return await KIND.poke(HttpSpec(**fields), context)


async def test_a_probe_asks_as_the_connection_says() -> None:
    async with _probing(answer("200 OK", b'{"a": 1}')) as (server, context):
        seen = await _poke(context, endpoint="job", data={"id": 7}, headers={"X-A": "1"})
    assert server.requests[0].startswith(b"GET /job?id=7 HTTP/1.1\r\n")
    assert b"\r\nX-A: 1\r\n" in server.requests[0]
    assert b"\r\nAuthorization: Basic bWU6cHc=\r\n" in server.requests[0]
    assert (seen.value.status, seen.value.body, seen.summary) == (200, b'{"a": 1}', "HTTP 200 OK")


async def test_a_long_body_is_not_kept() -> None:
    async with _probing(answer("200 OK", b"x" * (BODY_MAX_BYTES + 1))) as (_, context):
        assert (await _poke(context, endpoint="long")).value.body is None


@pytest.mark.parametrize(
    ("status", "headers", "retry_after_s"),
    [
        ("429 Too Many Requests", ["Retry-After: 30"], 30),
        ("429 Too Many Requests", [], None),
        ("503 Unavailable", ["Retry-After: Sat, 21 Nov 2026 03:01:00 GMT"], 60),
    ],
)
async def test_a_server_that_asks_for_patience_gets_it(status: str, headers: list[str], retry_after_s: float) -> None:
    async with _probing(answer(status, b"", *headers)) as (_, context):
        with pytest.raises(ProbeThrottled) as throttled:
            await _poke(context, endpoint="busy")
    assert throttled.value.retry_after_s == retry_after_s


async def test_503_without_a_word_of_patience_is_for_the_predicate() -> None:
    async with _probing(answer("503 Unavailable")) as (_, context):
        assert (await _poke(context, endpoint="down")).value.status == 503


async def test_the_second_probe_is_conditional_and_304_is_the_last_answer() -> None:
    first = answer("200 OK", b"same", 'ETag: "1"', "Last-Modified: Sat, 21 Nov 2026 02:00:00 GMT")
    async with _probing(first, b"HTTP/1.1 304 Not Modified\r\n\r\n") as (server, context):
        seen = [await _poke(context, endpoint="etag") for _ in range(2)]
    assert seen[0] is seen[1]
    assert b'if-none-match: "1"' in server.requests[1].lower()
    assert b"if-modified-since: sat, 21 nov 2026 02:00:00 gmt" in server.requests[1].lower()


@pytest.mark.parametrize("fields", [{"method": "POST"}, {"headers": {"If-Match": "x"}}, {"json": {"a": 1}}])
async def test_no_other_request_is_made_conditional(fields: dict[str, Any]) -> None:
    async with _probing(answer("200 OK", b"", 'ETag: "1"')) as (server, context):
        for _ in range(2):
            await _poke(context, endpoint="plain", **fields)
    assert b"if-none-match" not in server.requests[1].lower()


async def test_another_password_is_not_given_the_answer_of_the_first() -> None:
    async with _probing(answer("200 OK", b"", 'ETag: "1"')) as (server, context):
        await _poke(context, endpoint="private")
        context.connection = msgspec.structs.replace(context.connection, password="other")
        await _poke(context, endpoint="private")
    assert b"if-none-match" not in server.requests[1].lower()


async def test_the_memory_of_answers_is_bounded() -> None:
    memory = ConditionalMemory(capacity=2)
    async with scripted_server(answer("200 OK", b"", 'ETag: "1"')) as server:
        client = EgressClient(parse_policy("127.0.0.1"))
        response = await client.request("GET", server.url)
        client.close()
    for key in (b"1", b"2", b"3"):
        memory.remember(key, response, _seen(200))
    assert [memory.recall(key) is not None for key in (b"1", b"2", b"3")] == [False, True, True]


@pytest.mark.parametrize(
    ("connection", "endpoint", "target"),
    [
        (_connection(schema="https"), "x", "https://api.example:443"),
        (_connection(port=81), "x", "http://api.example:81"),
        (None, "https://x.example/y", "https://x.example:443"),
        (None, "nonsense", "http"),
        (_connection(host="user@x"), "y", "http"),
    ],
)
def test_the_target_is_scheme_host_and_port(connection: ConnectionFacts | None, endpoint: str, target: str) -> None:
    assert KIND.target is not None
    assert KIND.target(HttpSpec(endpoint=endpoint), connection) == target


def test_a_description_hides_the_query() -> None:
    assert KIND.describe(HttpSpec(endpoint="job?token=x")) == "GET job"
