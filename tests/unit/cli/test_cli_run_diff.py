"""`leoflow runs diff` against a server made of a function."""

from __future__ import annotations

from typing import Any

import httpx

from leoflowd.cli.mcp_answers import run_diff_lists

SIDE = {"count": 1, "is_mapped": False, "try_number": 1, "started_after_s": 0.0}
RUN = {
    "dag_run_id": "one", "state": "success", "version_number": 1, "image": None, "run_type": "manual",
    "start_date": None, "triggering_user_name": "admin", "waited_s": 0.5, "duration_s": 60.0,
}  # fmt: skip
CODE: dict[str, Any] = {
    "is_empty": False, "tasks_added": ["new"], "tasks_removed": [], "tasks_changed": {}, "edges_added": [],
    "edges_removed": [], "dag": {"tags": [[], ["a"]]}, "environment": {}, "source": ["-a", "+b"], "code_changed": True,
}  # fmt: skip
LOG = {"bytes": 10, "lines": 2, "error_lines": 1, "is_whole": True}
FOUND: dict[str, Any] = {
    "dag_id": "etl",
    "before": RUN,
    "after": {**RUN, "dag_run_id": "two", "state": "failed", "version_number": 2, "duration_s": 3700.0},
    "version": CODE,
    "params": {"n": [3, 4]},
    "conf": {},
    "tasks": [
        {
            "task_id": "load",
            "change": "state",
            "before": {**SIDE, "states": {"success": 1}, "duration_s": 1.0},
            "after": {**SIDE, "states": {"failed": 1}, "duration_s": 31.0, "try_number": 3},
            "duration_delta_s": 30.0,
            "logs": {"before": None, "after": {**LOG, "is_whole": False}},
        },
        {
            "task_id": "each",
            "change": "added",
            "before": None,
            "after": {**SIDE, "is_mapped": True, "states": {"failed": 1, "success": 2}, "duration_s": None},
            "duration_delta_s": None,
            "logs": None,
        },
    ],
    "tasks_left_out": 0,
}


def test_both_runs_stand_side_by_side_and_what_changed_below(leoflow, server) -> None:
    requests = server(lambda request: httpx.Response(200, json=FOUND))
    result = leoflow("runs", "diff", "etl", "two")
    assert result.code == 0
    told = [" ".join(line.split()) for line in result.out.splitlines()]
    assert {"etl one two", "state success failed", "version 1 2", "duration 1 min 00 s 1 h 01 min"} <= set(told)
    assert {"~ params", "n: 3 -> 4", "+ task new", "+b"} <= set(told)
    assert "load success -> failed 1 -> 3 1.0 s -> 31.0 s +30.0 s - -> 2+ - -> 1+" in told
    assert "each - -> 1 failed, 2 success - -> 1" in told
    assert (requests[0].url.path, dict(requests[0].url.params)) == ("/api/v2/leoflow/runDiff/etl/two", {})


def test_another_run_is_asked_for_and_a_version_that_both_have_is_not_told(leoflow, server) -> None:
    requests = server(lambda request: httpx.Response(200, json=FOUND | {"version": None}))
    assert "~ code" not in leoflow("runs", "diff", "etl", "two", "one").out
    assert dict(requests[0].url.params) == {"other": "one"}


def test_what_is_not_shown_is_counted(leoflow, server) -> None:
    server(lambda request: httpx.Response(200, json=FOUND | {"tasks_left_out": 7}))
    assert "8 more tasks" in leoflow("runs", "diff", "etl", "two", "--limit", "1").err


def test_for_mcp_it_is_made_of_lists() -> None:
    answer = run_diff_lists(FOUND)
    assert answer["params"] == [{"field": "n", "was": 3, "is": 4}]
    assert answer["code_dag"] == [{"field": "tags", "was": [], "is": ["a"]}]
    assert "before" not in answer["tasks"][1]
    assert "one version" in run_diff_lists(FOUND | {"version": None})["code"]
