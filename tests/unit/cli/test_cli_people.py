"""`leoflow users`, `roles`, `teams`, `audit`, `auth change-password`: what is sent, what is shown, what never is."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from leoflowd.cli import login
from leoflowd.cli.failures import ExitCode

USER = {"username": "ana", "roles": ["User"], "teams": ["sales"], "is_disabled": False, "created_at": "2026-11-21"}
ROLE = {
    "name": "sales",
    "is_built_in": False,
    "description": "of sales",
    "user_count": 2,
    "grants": [{"rights": "run", "dags": "tag:sales"}, {"rights": "settings", "dags": None}],
}
TEAM = {"name": "sales", "members": ["ana"], "dags": ["sales_*"], "created_at": "2026-11-21"}


def sent(request: httpx.Request) -> tuple[str, str, Any]:
    return request.method, request.url.path, json.loads(request.content) if request.content else None


def test_a_generated_password_is_shown_once_and_is_the_one_that_was_sent(leoflow, server) -> None:
    requests = server(lambda _: httpx.Response(201, json=USER))
    result = leoflow("users", "create", "ana", "--role", "User", "--generate")
    method, path, body = sent(requests[0])
    assert (method, path, body["username"], body["roles"]) == ("POST", "/leoflow/api/users", "ana", ["User"])
    assert result.out.splitlines()[-1] == body["password"]
    assert len(body["password"]) == 23


def test_a_password_comes_from_stdin_and_is_not_shown(leoflow, server, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = server(lambda _: httpx.Response(201, json=USER))
    monkeypatch.setattr("sys.stdin", io.StringIO("from stdin\n"))
    result = leoflow("users", "create", "ana", "--role", "User", "--role", "sales", "--password-stdin")
    assert sent(requests[0])[2] == {"username": "ana", "roles": ["User", "sales"], "password": "from stdin"}
    assert "from stdin" not in result.out + result.err


@pytest.mark.parametrize("command", [("create", "ana", "--role", "User"), ("set-password", "ana")])
def test_without_a_person_and_without_a_password_nothing_is_sent(leoflow, server, command: tuple[str, ...]) -> None:
    requests = server(lambda _: httpx.Response(500))
    result = leoflow("users", *command, "-o", "json")
    assert result.error["exit_code"] == ExitCode.USAGE
    assert not requests


@pytest.mark.parametrize(
    ("command", "request_", "said"),
    [
        (("users", "set-role", "ana", "Op", "sales"), ("PATCH", "/users/ana", {"roles": ["Op", "sales"]}), "User"),
        (("users", "disable", "ana"), ("PATCH", "/users/ana", {"disabled": True}), "disabled ana"),
        (("users", "enable", "ana"), ("PATCH", "/users/ana", {"disabled": False}), "enabled ana"),
        (("users", "delete", "ana", "-y"), ("DELETE", "/users/ana", None), "deleted ana"),
        (("roles", "delete", "sales", "-y"), ("DELETE", "/roles/sales", None), "deleted sales"),
        (("teams", "delete", "sales", "-y"), ("DELETE", "/teams/sales", None), "deleted sales"),
        (
            ("teams", "add", "sales", "--member", "ana", "--dag", "sales_*"),
            ("PATCH", "/teams/sales", {"add_members": ["ana"], "add_dags": ["sales_*"]}),
            "",
        ),
        (
            ("teams", "remove", "sales", "--member", "ana"),
            ("PATCH", "/teams/sales", {"remove_members": ["ana"], "remove_dags": []}),
            "",
        ),
    ],
)
def test_a_command_is_one_request(
    leoflow, server, command: tuple[str, ...], request_: tuple[str, str, Any], said: str
) -> None:
    requests = server(lambda _: httpx.Response(200, json=USER | TEAM))
    result = leoflow(*command)
    method, path, body = request_
    assert result.code == 0, result.err
    assert sent(requests[0]) == (method, f"/leoflow/api{path}", body)
    assert said in result.out


def test_grants_are_written_as_they_are_shown(leoflow, server) -> None:
    requests = server(lambda _: httpx.Response(200, json=ROLE))
    result = leoflow("roles", "create", "sales", "--grant", "run=tag:sales", "--grant", "settings")
    grants = [{"rights": "run", "dags": "tag:sales"}, {"rights": "settings"}]
    assert sent(requests[0])[2] == {"name": "sales", "grants": grants, "description": ""}
    assert "run=tag:sales, settings" in result.out


def test_new_grants_leave_the_description(leoflow, server) -> None:
    requests = server(lambda _: httpx.Response(200, json=ROLE))
    assert leoflow("roles", "set-grants", "sales", "--grant", "read=all").code == 0
    grants = [{"rights": "read", "dags": "all"}]
    assert sent(requests[1]) == ("PUT", "/leoflow/api/roles/sales", {"grants": grants, "description": "of sales"})


def test_a_role_loses_nothing_because_no_grant_was_named(leoflow, server) -> None:
    requests = server(lambda _: httpx.Response(200, json=ROLE))
    assert leoflow("roles", "set-grants", "sales").code == ExitCode.USAGE
    assert not [request for request in requests if request.method != "GET"]


@pytest.mark.parametrize("grant", ["run", "settings=all", "own=all", "=all"])
def test_a_grant_that_is_none_is_told_how_to_write_one(leoflow, server, grant: str) -> None:
    requests = server(lambda _: httpx.Response(500))
    result = leoflow("roles", "create", "sales", "--grant", grant)
    assert (result.code, requests) == (ExitCode.USAGE, [])
    assert "tag:NAME" in result.err


def test_lists_are_tables(leoflow, server) -> None:
    rows = {"users": [USER], "roles": [ROLE], "teams": [TEAM], "total_entries": 1}
    server(lambda _: httpx.Response(200, json=rows))
    assert "ana   User   sales  enabled" in leoflow("users", "list").out
    assert "run=tag:sales, settings" in leoflow("roles", "list").out
    assert "sales_*" in leoflow("teams", "list").out


def test_whoever_changes_his_password_stays_logged_in(
    leoflow, server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login.save("http://h:1", "old", home / "config.yaml")

    def answer(request: httpx.Request) -> httpx.Response:
        match request.url.path:
            case "/leoflow/api/me":
                return httpx.Response(200, json={"username": "ana"})
            case "/leoflow/api/me/password":
                return httpx.Response(204)
            case _:
                return httpx.Response(201, json={"access_token": "new"})

    requests = server(answer)
    monkeypatch.setattr("sys.stdin", io.StringIO("the first\nthe second\n"))
    assert leoflow("auth", "change-password", "--password-stdin").code == 0
    assert sent(requests[1])[2] == {"current_password": "the first", "new_password": "the second"}
    assert sent(requests[2])[2] == {"username": "ana", "password": "the second"}
    assert login.saved_token("http://h:1", home / "config.yaml") == "new"


# --- the audit log -------------------------------------------------------------------------------------------------

HEAD = f"6:{'0' * 64}"
WHOLE = {"is_complete": True, "checked": 6, "not_sealed_yet": 1, "sealed_without_key": 0, "head": HEAD, "broken": None}


def test_a_log_that_is_whole_names_its_head(leoflow, server) -> None:
    requests = server(lambda _: httpx.Response(200, json=WHOLE))
    result = leoflow("audit", "verify", "--expect", HEAD)
    assert (result.code, f"head: {HEAD}" in result.out) == (0, True)
    assert requests[0].url.params["expect"] == HEAD
    server(lambda _: httpx.Response(200, json=WHOLE | {"sealed_without_key": 2}))
    assert "2 of them were sealed without a key" in leoflow("audit", "verify").out


def test_a_log_whose_oldest_rows_were_removed_says_so(leoflow, server) -> None:
    server(lambda _: httpx.Response(200, json=WHOLE | {"removed": 40, "removed_before": "2026-08-01T00:00:00Z"}))
    assert "for their age: 40 rows, all older than 2026-08-01T00:00:00Z" in leoflow("audit", "verify").out


def test_a_long_log_is_verified_in_parts(leoflow, server) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        is_first = "after" not in request.url.params
        return httpx.Response(200, json=WHOLE | {"is_complete": not is_first, "sealed_without_key": 3 * is_first})

    requests = server(answer)
    assert leoflow("audit", "verify", "-o", "json").document["sealed_without_key"] == 3
    assert [request.url.params.get("after") for request in requests] == [None, HEAD]


def test_a_log_that_is_broken_fails_and_names_the_row(leoflow, server) -> None:
    broken = {"position": 3, "event_log_id": 17, "because": "the row was removed"}
    server(lambda _: httpx.Response(200, json=WHOLE | {"broken": broken}))
    result = leoflow("audit", "verify")
    assert result.code == ExitCode.CONFLICT
    assert "broken at position 3, row 17: the row was removed" in result.err


def test_the_log_says_who_did_what_to_what_from_where(leoflow, server) -> None:
    event = {"when": "2026-11-21T03:00:00Z", "owner": "ana", "client": "10.0.0.7", "event": "patch_user", "position": 3}
    event |= {"dag_id": None, "run_id": None, "task_id": None, "extra": {"username": "bob"}}
    server(lambda _: httpx.Response(200, json={"events": [event], "is_complete": True}))
    out = leoflow("audit", "list", "--user", "ana").out
    for told in ("ana", "10.0.0.7", "patch_user", "bob"):
        assert told in out
