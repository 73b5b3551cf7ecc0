"""`leoflow db clean`: what it says before it removes anything, and until when it goes on."""

from __future__ import annotations

import json
from typing import Any

import httpx

from leoflowd.cli.failures import ExitCode

DAG = {
    "dag_id": "etl",
    "runs": 3,
    "task_instances": 9,
    "oldest": "2025-01-01T00:00:00Z",
    "newest": "2025-02-01T00:00:00Z",
}
PREVIEW = {"before": "2026-01-01T00:00:00Z", "runs_per_dag": None, "dags": [DAG], "runs": 3, "task_instances": 9}


def answering(removed: list[int]) -> Any:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=PREVIEW if request.method == "GET" else {"removed_runs": removed.pop(0)})

    return answer


def test_a_dry_run_removes_nothing(leoflow, server) -> None:
    requests = server(answering([]))
    result = leoflow("db", "clean", "--days", "30", "--dry-run")
    assert [(one.method, one.url.query) for one in requests] == [("GET", b"days=30.0")]
    assert "3 dag runs of 1 DAGs, with 9 task instances would go" in result.out
    assert "etl" in result.out


def test_it_goes_on_until_nothing_is_left(leoflow, server) -> None:
    requests = server(answering([2, 1, 0]))
    result = leoflow("db", "clean", "--runs-per-dag", "10", "--yes")
    assert [one.method for one in requests] == ["GET", "POST", "POST", "POST"]
    assert json.loads(requests[1].content) == {"days": None, "runs_per_dag": 10}
    assert "removed 3 dag runs" in result.out


def test_without_a_person_and_without_yes_nothing_is_removed(leoflow, server) -> None:
    requests = server(answering([3, 0]))
    result = leoflow("db", "clean", "--days", "30", "-o", "json")
    assert result.error["exit_code"] == ExitCode.USAGE
    assert [one.method for one in requests] == ["GET"]
