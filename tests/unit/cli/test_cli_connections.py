"""`leoflow connections` against a server made of a function."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import pytest

from leoflowd.cli.failures import ExitCode

PG: dict[str, Any] = {
    "connection_id": "pg",
    "conn_type": "postgres",
    "description": None,
    "host": "db",
    "login": "ana",
    "schema": "dwh",
    "port": 5432,
    "password": "***",
    "extra": '{"token": "***"}',
    "team_name": None,
}


def answer(request: httpx.Request) -> httpx.Response:
    """A server with the connection `pg`."""
    if request.method == "DELETE":
        return httpx.Response(204)
    if request.url.path.endswith("/test"):
        return httpx.Response(200, json={"status": True, "message": "it answers"})
    if request.url.path.endswith("/connections") and request.method == "GET":
        return httpx.Response(200, json={"connections": [PG], "total_entries": 1})
    if request.url.path.endswith("/nope"):
        return httpx.Response(404, json={"detail": "The Connection with connection_id: `nope` was not found"})
    return httpx.Response(201 if request.method == "POST" else 200, json=PG)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


def sent(request: httpx.Request) -> Any:
    return json.loads(request.read())


def test_single_fields_are_sent(leoflow, server) -> None:
    requests = server(answer)
    words = ("--type", "postgres", "--host", "db", "--port", "5432", "--login", "ana", "--extra", '{"a": 1}')
    result = leoflow("connections", "add", "pg", *words)
    assert (result.code, result.out, result.err) == (0, "added pg\n", "")
    assert sent(requests[0]) == {
        "connection_id": "pg",
        "conn_type": "postgres",
        "host": "db",
        "port": 5432,
        "login": "ana",
        "extra": '{"a": 1}',
    }


def test_a_uri_is_taken_apart_here(leoflow, server, stdin) -> None:
    requests = server(answer)
    stdin("postgres://ana:p%40ss@db:5432/dwh?sslmode=require\n")
    result = leoflow("connections", "add", "pg", "--uri", "-")
    assert (result.code, result.err) == (0, "")
    assert sent(requests[0]) == {
        "connection_id": "pg",
        "conn_type": "postgres",
        "host": "db",
        "schema": "dwh",
        "login": "ana",
        "port": 5432,
        "password": "p@ss",
        "extra": '{"sslmode":"require"}',
    }


def test_json_is_read_as_airflow_reads_it(leoflow, server) -> None:
    requests = server(answer)
    leoflow("connections", "add", "pg", "--json", '{"conn_type": "http", "host": "x", "extra": {"a": 1}}')
    assert sent(requests[0]) == {"connection_id": "pg", "conn_type": "http", "host": "x", "extra": '{"a":1}'}


def test_single_fields_overrule_the_uri(leoflow, server) -> None:
    requests = server(answer)
    leoflow("connections", "add", "pg", "--uri", "http://x", "--host", "y")
    assert sent(requests[0])["host"] == "y"


def test_a_password_comes_from_stdin(leoflow, server, stdin) -> None:
    requests = server(answer)
    stdin("hunter2\n")
    result = leoflow("connections", "add", "pg", "--type", "postgres", "--password-stdin")
    assert sent(requests[0])["password"] == "hunter2"
    assert result.err == ""


@pytest.mark.parametrize(
    "words",
    [("--type", "x", "--password", "hunter2"), ("--uri", "x://a:hunter2@h"), ("--json", '{"password": "hunter2"}')],
)
def test_a_password_on_the_command_line_is_warned_about(leoflow, server, words: tuple[str, ...]) -> None:
    server(answer)
    result = leoflow("connections", "add", "pg", *words)
    assert "shell's history" in result.err
    assert "hunter2" not in result.err


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--host", "db"),
        ("--uri", "no uri"),
        ("--uri", '{"conn_type": "http"}'),
        ("--json", "http://x"),
        ("--json", "{"),
        ("--json", '{"conn_type": "http", "hosst": "x"}'),
        ("--uri", "http://x", "--json", "{}"),
        ("--uri", "-", "--password-stdin"),
        ("--type", "x", "--extra", "-", "--password-stdin"),
        ("--type", "x", "--password", "a", "--ask-password"),
        ("--type", "x", "--port", "70000"),
        ("--type", "x", "--ask-password"),
    ],
)
def test_wrong_options_send_nothing(leoflow, server, stdin, words: tuple[str, ...]) -> None:
    requests = server(answer)
    stdin("")
    assert leoflow("connections", "add", "pg", *words).code == ExitCode.USAGE
    assert requests == []


def test_a_broken_uri_is_not_printed(leoflow, server, stdin) -> None:
    server(answer)
    stdin("x://a:hunter2/more@h")
    result = leoflow("connections", "add", "pg", "--uri", "-")
    assert result.code == ExitCode.USAGE
    assert "%40" in result.err
    assert "hunter2" not in result.err


def test_the_list_is_a_table_or_json(leoflow, server) -> None:
    server(answer)
    assert "postgres" in leoflow("connections", "list").out
    assert leoflow("connections", "list", "-o", "json").document == {"connections": [PG], "total_entries": 1}


def test_the_list_is_filtered_by_type(leoflow, server) -> None:
    server(answer)
    assert leoflow("connections", "list", "--type", "http", "-o", "json").document["connections"] == []


def test_one_connection_is_shown(leoflow, server) -> None:
    server(answer)
    assert "***" in leoflow("connections", "get", "pg").out
    assert leoflow("connections", "get", "pg", "-o", "json").document == PG


def test_an_unknown_connection_exits_4(leoflow, server) -> None:
    server(answer)
    result = leoflow("connections", "get", "nope", "-o", "json")
    assert (result.code, result.error["kind"]) == (ExitCode.NOT_FOUND, "not_found")


def test_an_edit_sends_what_changes_and_nothing_else(leoflow, server) -> None:
    requests = server(answer)
    result = leoflow("connections", "edit", "pg", "--host", "new", "--port", "1")
    assert (requests[1].method, sent(requests[1])) == (
        "PATCH",
        {"connection_id": "pg", "conn_type": "postgres", "host": "new", "port": 1},
    )
    assert result.out == "changed pg: host, port\n"


def test_an_edit_of_nothing_is_wrong_usage(leoflow, server) -> None:
    requests = server(answer)
    assert leoflow("connections", "edit", "pg").code == ExitCode.USAGE
    assert requests == []


def test_a_test_sends_what_is_stored_with_its_masks(leoflow, server) -> None:
    requests = server(answer)
    result = leoflow("connections", "test", "pg")
    assert (result.code, result.out) == (0, "pg works: it answers\n")
    assert sent(requests[1]) == PG


def test_a_failed_test_exits_1_with_the_reason(leoflow, server) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/test"):
            return httpx.Response(200, json={"status": False, "message": "no route to host"})
        return answer(request)

    server(refuse)
    result = leoflow("connections", "test", "pg", "-o", "json")
    assert result.code == ExitCode.RUN_FAILED
    assert result.error["message"] == "pg: no route to host"


def test_a_delete_asks_first(leoflow, server) -> None:
    requests = server(answer)
    assert leoflow("connections", "delete", "pg").code == ExitCode.USAGE
    assert requests == []
    assert leoflow("connections", "delete", "pg", "--yes").out == "deleted pg\n"
    assert (requests[0].method, requests[0].url.path) == ("DELETE", "/api/v2/connections/pg")


def test_a_reseal_tells_the_key(leoflow, server) -> None:
    requests = server(lambda _: httpx.Response(200, json={"key_id": "k2", "connections": 3, "variables": 2}))
    assert leoflow("connections", "reseal").out == "3 connections and 2 variables are encrypted with the key k2\n"
    assert (requests[0].method, requests[0].url.path) == ("POST", "/api/v2/leoflow/connections/reseal")
