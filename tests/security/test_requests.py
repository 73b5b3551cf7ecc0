"""Attacks of whoever is logged in: values that no column, codec or clock can carry, by every route. Never a 5xx."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec
import psycopg
import pytest

from leoflowd.api import problems
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.contract.values import CONF_MAX_BYTES
from tests.integration.api.api_client import Client
from tests.integration.api.api_seed import DAG, DONE

D = f"/api/v2/dags/{DAG}"
R = f"{D}/dagRuns/{DONE}"
T = f"{R}/taskInstances/extract"
HUGE = (2**31, 2**63, -(2**31) - 1, 2**70, 10**400)
MOMENTS = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01", "9999-12-31T23:59:59Z", "x", "")
EDGE = datetime(1, 1, 1, tzinfo=UTC)
READS = (
    "/api/v2/dags",
    f"{D}/dagRuns",
    f"{R}/taskInstances",
    f"{T}/listMapped",
    f"{T}/xcomEntries",
    f"{D}/dagVersions",
    "/api/v2/eventLogs",
    "/api/v2/importErrors",
    "/api/v2/pools",
    "/api/v2/connections",
    "/api/v2/dagTags",
    "/leoflow/api/waits",
    f"{D}/tasks",
    f"/ui/grid/structure/{DAG}",
    f"/ui/grid/runs/{DAG}",
    f"/ui/grid/ti_summaries/{DAG}",
    f"/ui/calendar/{DAG}",
    "/ui/dags",
)
PARAMETERS = (
    *(f"{name}={value}" for name in ("limit", "offset", "map_index", "try_number", "version_number") for value in HUGE),
    *(
        f"{name}={quote(m)}"
        for name in ("run_after_gte", "logical_date_lt", "before", "start_date_gt")
        for m in MOMENTS
    ),
    *(
        f"{name}=%00"
        for name in ("dag_id", "run_id", "task_id", "state", "owners", "dag_id_pattern", "order_by", "run_ids")
    ),
    "%00=1",
    "dag_id_pattern=%ED%A0%80",
    "dag_id_pattern=" + "%25" * 2000,
    "dag_id_pattern=%5C",
    "order_by=-",
    "order_by=" + quote("id;DROP TABLE dag"),
    "&".join("order_by=id" for _ in range(500)),
    "duration_gte=1e400",
    "duration_gte=nan",
    "limit=%D9%A1",
    "cursor=%00",
    "cursor=AAAA",
    "cursor=~",
)


async def _statuses(client: Client, requests: list[tuple[str, str, Any]]) -> dict[str, int]:
    """What did not end with an answer below 500."""
    wrong = {}
    for method, path, body in requests:
        raw = (
            {"data": body, "headers": {"Content-Type": "application/json"}}
            if isinstance(body, bytes)
            else {"json": body}
        )
        answer = await client.call(method, path, **raw)
        if answer.status_code >= 500:
            wrong[f"{method} {path[:120]} {str(body)[:120]}"] = answer.status_code
    return wrong


async def test_no_parameter_of_a_list_is_a_server_error(seeded: Client) -> None:
    assert await _statuses(seeded, [("GET", f"{path}?{text}", None) for path in READS for text in PARAMETERS]) == {}


async def test_no_part_of_a_path_is_a_server_error(seeded: Client) -> None:
    parts = (
        "%00",
        "a%00b",
        "%ED%A0%80",
        "%FF",
        "2147483648",
        "-1",
        "9" * 30,
        "x" * 3000,
        "%2e%2e",
        "~",
        "..%2f..",
        "%D9%A1",
    )
    paths = (
        "/api/v2/dags/{}",
        "/api/v2/dags/{}/dagRuns",
        D + "/dagRuns/{}",
        R + "/taskInstances/{}",
        T + "/{}",
        T + "/tries/{}",
        T + "/logs/{}",
        T + "/xcomEntries/{}",
        T + "/{}/dependencies",
        D + "/dagVersions/{}",
        "/api/v2/eventLogs/{}",
        "/api/v2/importErrors/{}",
        "/api/v2/pools/{}",
        "/api/v2/connections/{}",
        "/leoflow/api/waits/{}",
        f"/api/v2/leoflow/explain/{DAG}/{DONE}/{{}}",
        f"/api/v2/leoflow/explain/{DAG}/{DONE}/extract?map_index={{}}",
        "/ui/grid/structure/{}",
        "/ui/gantt/" + DAG + "/{}",
        "/leoflow/static/{}",
        "/static/{}",
    )
    requests: list[tuple[str, str, Any]] = [("GET", path.format(part), None) for path in paths for part in parts]
    assert await _statuses(seeded, requests) == {}
    assert (await seeded.call("GET", "/api/v2/dags/a%00b")).status_code == 422


async def test_no_body_is_a_server_error(seeded: Client) -> None:
    deep = b"[" * 3_000 + b"]" * 3_000
    moments = [*MOMENTS, "0001-01-01T00:00:00"]
    trigger: list[dict[str, Any]] = [
        {"dag_run_id": "a\u0000b"},
        {"dag_run_id": "x" * 5000},
        {"note": "a\u0000b"},
        {"note": "x" * 1001},
        {"conf": {"\u0000": "\u0000"}},
        {"conf": {"n": 2**70}},
        {"conf": {"n": 1e20}},
        *({name: m} for name in ("logical_date", "run_after", "data_interval_start") for m in moments),
        {"data_interval_start": moments[0], "data_interval_end": moments[1]},
    ]
    texts = ("a\u0000b", "", "x" * 5000)
    requests: list[tuple[str, str, Any]] = [
        *(("POST", f"{D}/dagRuns", {"logical_date": None} | body) for body in trigger),
        ("POST", f"{D}/dagRuns", b'{"logical_date": null, "conf": {"a": ' + deep + b"}}"),
        ("POST", f"{D}/dagRuns", b'{"logical_date": null, "logical_date": null, "conf": {"a": 1, "a": 2}}'),
        ("POST", f"{D}/dagRuns", b'{"logical_date": null, "note": "\xff"}'),
        ("POST", f"{D}/dagRuns", b'{"logical_date": null, "note": "\\ud800"}'),
        ("POST", f"{D}/dagRuns", b'{"logical_date": null, "conf": {"n": ' + b"9" * 5000 + b"}}"),
        ("POST", f"{D}/dagRuns", b'{"logical_date": null, "conf": {"n": 1e999}}'),
        ("POST", f"{D}/dagRuns", b"NaN"),
        *(("PATCH", R, {"note": text}) for text in texts),
        *(("PATCH", T, {"note": text}) for text in texts),
        *(("POST", f"{T}/xcomEntries", {"key": text, "value": 1}) for text in texts),
        *(("POST", f"{T}/xcomEntries", {"key": "k", "value": text}) for text in texts),
        *(("POST", f"{T}/xcomEntries", {"key": "k", "value": 1, "map_index": n}) for n in HUGE),
        *(("PATCH", f"{T}/xcomEntries/text", {"value": n, "map_index": -1}) for n in HUGE),
        ("PATCH", f"{T}/xcomEntries/text", b'{"value": ' + deep + b"}"),
        *(("POST", f"{D}/clearTaskInstances", {"task_ids": [["extract", n]]}) for n in HUGE),
        *(("POST", f"{D}/clearTaskInstances", {"task_ids": [text]}) for text in texts),
        *(("POST", f"{D}/clearTaskInstances", {"dag_run_id": text}) for text in texts),
        *(("POST", f"{D}/clearTaskInstances", {"start_date": m, "end_date": m}) for m in moments),
        *(("POST", "/api/v2/dags/~/dagRuns/list", {"run_after_gte": m}) for m in moments),
        *(("POST", "/api/v2/dags/~/dagRuns/list", {"page_offset": n, "page_limit": n}) for n in HUGE),
        *(("POST", "/api/v2/dags/~/dagRuns/list", {"states": [text], "dag_ids": [text]}) for text in texts),
        *(("POST", "/api/v2/dags/~/dagRuns/list", {"conf_contains": text, "order_by": text}) for text in texts),
        ("POST", "/api/v2/dags/~/dagRuns/list", {"duration_gte": 1e308}),
        *(("POST", "/api/v2/dags/~/dagRuns/~/taskInstances/list", {"pool": [text]}) for text in texts),
        *(("POST", "/api/v2/dags/~/dagRuns/~/taskInstances/list", {"page_offset": n}) for n in HUGE),
        *(("POST", "/api/v2/pools", {"name": text or "p", "slots": 1, "description": text}) for text in texts),
        *(("POST", "/api/v2/pools", {"name": "p", "slots": n}) for n in HUGE),
        *(("PATCH", "/api/v2/pools/default_pool", {"slots": n}) for n in HUGE),
        *(
            ("POST", "/api/v2/connections", {"connection_id": "c", "conn_type": text or "x", "host": text})
            for text in texts
        ),
        *(("POST", "/api/v2/connections", {"connection_id": "c", "conn_type": "x", "port": n}) for n in HUGE),
        ("POST", "/api/v2/connections", {"connection_id": "d", "conn_type": "x", "extra": "[" * 3000}),
        (
            "POST",
            "/api/v2/connections",
            {"connection_id": "e", "conn_type": "x", "extra": '{"timeout": -1, "a": "\\u0000"}'},
        ),
        ("POST", "/api/v2/connections/test", {"connection_id": "e", "conn_type": "x", "extra": '{"timeout": -1}'}),
        ("POST", "/api/v2/leoflow/dags", deep),
        ("POST", "/api/v2/leoflow/dags", {"dag_id": "x", "tasks": [], "description": "a\u0000b"}),
        ("POST", "/api/v2/leoflow/dags", {"dag_id": "x", "tasks": [], "max_active_runs": 10**12}),
        ("POST", "/api/v2/leoflow/dags", {"dag_id": "x", "tasks": [], "params": {"a": {"value": "\u0000"}}}),
        ("PATCH", "/leoflow/api/waits/x", {"poke_interval_s": 1e308}),
    ]
    assert await _statuses(seeded, requests) == {}


async def test_no_cursor_that_somebody_wrote_is_a_server_error(seeded: Client) -> None:
    values: list[list[Any]] = [
        [],
        [2**63],
        [2**64 - 1],
        ["\u0000"],
        ["x", 2**63],
        [EDGE, 1],
        [EDGE, "\u0000"],
        [datetime(9999, 12, 31, 23, tzinfo=UTC), 2**64 - 1],
        [float("nan"), 1],
        [None, None],
        [{"a": 1}],
        [b"\x00"],
        [msgspec.msgpack.Ext(1, b"x")],
        [1] * 5000,
    ]
    tokens = [base64.urlsafe_b64encode(msgspec.msgpack.encode(v)).decode().rstrip("=") for v in values]
    tokens.append(base64.urlsafe_b64encode(b"\x91" * 4000 + b"\xc0").decode())
    orders = ("id", "-run_after", "dag_id", "start_date", "duration", "registered_at", "map_index", "task_id")
    requests: list[tuple[str, str, Any]] = [
        ("GET", f"{path}?cursor={sign}{token}&order_by={order}", None)
        for path in ("/api/v2/dags/~/dagRuns", "/api/v2/dags/~/dagRuns/~/taskInstances", "/leoflow/api/waits")
        for order in orders
        for token in tokens
        for sign in ("", "~")
    ]
    assert await _statuses(seeded, requests) == {}


async def test_a_conf_and_a_note_have_a_size(seeded: Client) -> None:
    large = {"logical_date": None, "conf": {"a": "x" * CONF_MAX_BYTES}}
    await seeded.send("POST", f"{D}/dagRuns", large, status=422)
    for note in ("x" * 1001, "a\u0000b"):
        await seeded.send("POST", f"{D}/dagRuns", {"logical_date": None, "note": note}, status=422)
        await seeded.send("PATCH", R, {"note": note}, status=422)
        await seeded.send("PATCH", T, {"note": note}, status=422)


async def test_a_body_says_where_its_value_is_wrong(seeded: Client) -> None:
    problem = await seeded.send("POST", f"{T}/xcomEntries", {"key": "k", "value": 1, "map_index": 2**31}, status=422)
    assert problem["detail"][0]["loc"] == ["body", "map_index"]
    problem = await seeded.send("POST", f"{D}/clearTaskInstances", {"task_ids": ["a\u0000"]}, status=422)
    assert problem["detail"][0]["loc"] == ["body", "task_ids", 0]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (psycopg.errors.UntranslatableCharacter("x"), 422),
        (psycopg.errors.NumericValueOutOfRange("x"), 422),
        (psycopg.errors.CheckViolation("x"), 422),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "x"), 422),
        (OverflowError("x"), 422),
        (psycopg.errors.UniqueViolation("x"), 409),
        (psycopg.errors.UndefinedColumn("x"), 500),
        (KeyError("x"), 500),
    ],
)
async def test_content_that_nobody_checked_is_never_a_bug(
    seeded: Client, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("leoflowd.store.api_dags.fetch_dag", fail)
    answer = await seeded.call("GET", D)
    assert answer.status_code == status
    assert b"Traceback" not in await answer.get_data(as_text=False)


def test_an_index_that_refuses_a_long_key_is_no_lost_database() -> None:
    """PostgreSQL counts it among its operational errors, which a lane takes for a lost connection."""
    lost = StoreUnavailable("lost Postgres")
    lost.__cause__ = psycopg.errors.ProgramLimitExceeded("index row size")
    assert isinstance(lost.__cause__, problems.CONTENT)
