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
