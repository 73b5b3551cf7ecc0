"""`leoflow diff` and `leoflow rollback` against a server made of a function."""

from __future__ import annotations

import json
from typing import Any

import httpx

from leoflowd.cli.failures import ExitCode

FOUND: dict[str, Any] = {
    "dag_id": "etl",
    "from_version": 1,
    "to_version": 2,
    "is_empty": False,
    "tasks_added": ["new"],
    "tasks_removed": ["gone"],
    "tasks_changed": {"load": {"retries": [1, 3]}},
    "edges_added": [["load", "new"]],
    "edges_removed": [["gone", "load"]],
    "dag": {"tags": [[], ["x" * 99]]},
    "environment": {"dependencies": [[], ["pandas"]]},
    "source": ["--- version 1", "+++ version 2", "-a", "+b"],
    "code_changed": True,
}


def test_a_diff_is_read_line_by_line(leoflow, server) -> None:
    requests = server(lambda request: httpx.Response(200, json=FOUND))
    result = leoflow("diff", "etl", "1", "2")
    assert result.code == 0
    expected = ("+ task new", "- task gone", "~ task load", "    retries: 1 -> 3", "+ edge load >> new")
    expected += ("- edge gone >> load", '    dependencies: [] -> ["pandas"]', "+b")
    assert set(expected) <= set(result.out.splitlines())
    assert "x" * 99 not in result.out
    assert requests[0].url.path == "/api/v2/leoflow/dags/etl/diff"
    assert dict(requests[0].url.params) == {"from": "1", "to": "2"}


def test_without_numbers_the_server_knows_which(leoflow, server) -> None:
    requests = server(lambda request: httpx.Response(200, json=FOUND | {"is_empty": True}))
    assert "no difference" in leoflow("diff", "etl").out
    assert dict(requests[0].url.params) == {}


def test_as_json_it_is_whole(leoflow, server) -> None:
    server(lambda request: httpx.Response(200, json=FOUND))
    assert leoflow("diff", "etl", "-o", "json").document == FOUND


def test_a_rollback_is_asked_twice(leoflow, server) -> None:
    answer = {"dag_id": "etl", "version_number": 1, "rolled_back_from": 2}
    requests = server(lambda request: httpx.Response(200, json=answer))
    assert leoflow("rollback", "etl", "1").code == ExitCode.USAGE
    assert not requests
    result = leoflow("rollback", "etl", "1", "--yes")
    assert (result.code, result.out.strip()) == (0, "etl: version 2 -> 1")
    assert json.loads(requests[0].content) == {"version_number": 1}


def test_a_rollback_without_a_number_is_to_the_version_before_the_current_one(leoflow, server) -> None:
    rows = [{"version_number": number, "is_current": number == 3} for number in (5, 4, 3, 2, 1)]
    answer = {"dag_id": "etl", "version_number": 2, "rolled_back_from": 3}
    requests = server(lambda sent: httpx.Response(200, json={"versions": rows} if sent.method == "GET" else answer))
    assert "Make version 2 of DAG 'etl' current?" in leoflow("rollback", "etl").err
    assert leoflow("rollback", "etl", "--yes").code == 0
    assert json.loads(requests[-1].content) == {"version_number": 2}
    rows[:] = rows[2:3]
    assert leoflow("rollback", "etl", "--yes").code == ExitCode.CONFLICT


CANARY: dict[str, Any] = {
    "share": 10,
    "rollback_above": 20,
    "after": 10,
    "started_by": "ana",
    "started_at": "x",
    "outcome": None,
    "because": None,
    "ended_at": None,
    "runs": 9,
    "succeeded": 4,
    "failed": 1,
}
ROW: dict[str, Any] = {"version_number": 2, "label": "v7", "image": None, "created_at": "2026-11-21T03:00:00Z"}


def test_versions_say_which_is_current_and_what_became_of_a_canary(leoflow, server) -> None:
    back = CANARY | {"outcome": "rolled_back", "because": "3 of its 10 ended runs failed"}
    rows = [
        ROW | {"version_number": 4, "is_current": False, "canary": CANARY},
        ROW | {"version_number": 3, "is_current": False, "canary": back},
        ROW | {"is_current": True, "canary": CANARY | {"outcome": "promoted"}},
    ]
    requests = server(lambda request: httpx.Response(200, json={"versions": rows}))
    lines = leoflow("versions", "etl").out.splitlines()
    assert requests[0].url.path == "/api/v2/leoflow/dags/etl/versions"
    assert "canary of 10 %: 9 runs, 1 of 5 ended failed (back above 20 % from 10 on)" in lines[1]
    assert "canary, rolled back: 3 of its 10 ended runs failed" in lines[2]
    assert "current" in lines[3]
    assert "canary" not in lines[3]
    assert leoflow("versions", "etl", "-o", "json").document == {"dag_id": "etl", "versions": rows}


def test_a_promotion_is_asked_twice(leoflow, server) -> None:
    answer = {"dag_id": "etl", "version_number": 2, "promoted_over": 1}
    requests = server(lambda request: httpx.Response(200, json=answer))
    assert leoflow("promote", "etl").code == ExitCode.USAGE
    assert not requests
    result = leoflow("promote", "etl", "--yes")
    assert (result.code, result.out.strip()) == (0, "etl: version 1 -> 2")
    assert (requests[0].method, requests[0].url.path) == ("POST", "/api/v2/leoflow/dags/etl/promote")
