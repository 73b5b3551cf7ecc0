"""`leoflow dags` and `leoflow runs` against a server made of a function."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from leoflowd.cli import runs as runs_module
from leoflowd.cli.failures import ExitCode

RUN: dict[str, Any] = {
    "dag_id": "etl",
    "dag_run_id": "manual__1",
    "state": "queued",
    "run_type": "manual",
    "run_after": "2026-01-01T00:00:00Z",
    "start_date": None,
    "end_date": None,
    "duration": None,
}
TASK: dict[str, Any] = {
    "task_id": "load",
    "map_index": -1,
    "state": "failed",
    "try_number": 1,
    "start_date": None,
    "duration": 1.5,
    "operator": "BashOperator",
    "note": None,
}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module.time, "sleep", lambda _: None)


def states(*names: str) -> Callable[[httpx.Request], httpx.Response]:
    """A server whose run moves on with each look."""
    left = list(names)

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "POST":
            return httpx.Response(200, json=RUN)
        if path.endswith("/taskInstances"):
            return httpx.Response(200, json={"task_instances": [TASK], "total_entries": 1})
        if path.endswith("/dagRuns/manual__1"):
            name = left.pop(0)
            if name == "gone":
                raise httpx.ConnectError("Connection refused", request=request)
            return httpx.Response(200, json={**RUN, "state": name, "duration": 2.0})
        return httpx.Response(200, json={"dag_id": "etl", "is_paused": False})

    return answer


def test_trigger_sends_what_airflow_wants_and_prints_the_run(leoflow, server) -> None:
    requests = server(states())
    result = leoflow(
        "runs", "trigger", "etl", "--conf", '{"a": 1}', "--run-id", "r", "--logical-date", "2026-01-01T00:00:00Z"
    )
    assert (result.code, result.out) == (0, "manual__1\tqueued\n")
    body = json.loads(requests[0].read())
    assert body == {"logical_date": "2026-01-01T00:00:00+00:00", "conf": {"a": 1}, "dag_run_id": "r"}
    assert requests[0].url.path == "/api/v2/dags/etl/dagRuns"


def test_wait_exits_0_when_the_run_succeeded(leoflow, server) -> None:
    server(states("running", "running", "success"))
    result = leoflow("runs", "trigger", "etl", "--wait", "-o", "json")
    assert result.code == 0
    assert result.document["state"] == "success"
    assert result.err == ""


def test_wait_exits_1_when_the_run_failed_and_names_the_tasks(leoflow, server) -> None:
    server(states("failed"))
    result = leoflow("runs", "trigger", "etl", "--wait", "-o", "json")
    assert result.code == ExitCode.RUN_FAILED
    assert [task["task_id"] for task in result.document["failed_task_instances"]] == ["load"]
    server(states("failed"))
    assert "leoflow runs logs etl manual__1 load" in leoflow("runs", "trigger", "etl", "--wait").err


def test_instances_of_a_mapped_task_are_named_with_their_index(
    leoflow, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TASK, "map_index", 2)
    server(states("failed"))
    told = leoflow("runs", "trigger", "etl", "--wait").err
    assert "load[2]: failed" in told
    assert "leoflow runs logs etl manual__1 load --map-index 2" in told
    server(lambda _: httpx.Response(200, json={"task_instances": [TASK], "total_entries": 1}))
    assert "load[2]" in leoflow("runs", "clear", "etl", "manual__1", "--dry-run").out


def test_wait_survives_a_restart_of_the_server(leoflow, server) -> None:
    server(states("running", "gone", "gone", "success"))
    assert leoflow("runs", "trigger", "etl", "--wait").code == 0


def test_wait_gives_up_on_a_server_that_stays_away(leoflow, server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "ABSENCE_S", -1.0)
    server(states("running", "gone"))
    assert leoflow("runs", "trigger", "etl", "--wait").code == ExitCode.UNREACHABLE


def test_ctrl_c_ends_the_waiting_and_says_that_the_run_goes_on(
    leoflow, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs_module.time, "sleep", interrupted)
    server(states("running"))
    result = leoflow("runs", "trigger", "etl", "--wait")
    assert result.code == ExitCode.INTERRUPTED
    assert "run 'manual__1' goes on" in result.err


def test_timeout_exits_8_and_says_that_the_run_goes_on(leoflow, server) -> None:
    server(states("running"))
    result = leoflow("runs", "trigger", "etl", "--wait", "--timeout", "0", "-o", "json")
    assert result.code == ExitCode.TIMED_OUT
    assert result.error["dag_run_id"] == "manual__1"


def test_a_paused_dag_is_mentioned(leoflow, server) -> None:
    usual = states("success")

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v2/dags/etl":
            return httpx.Response(200, json={"is_paused": True})
        return usual(request)

    server(answer)
    assert "leoflow dags unpause etl" in leoflow("runs", "trigger", "etl", "--wait").err


@pytest.mark.parametrize(
    "words",
    [
        ("--conf", "3"),
        ("--conf", "{"),
        ("--conf", "{}", "--conf-file", "x"),
        ("--conf-file", "/nonexistent/file"),
        ("--timeout", "3"),
    ],
)
def test_wrong_options_of_trigger_send_nothing(leoflow, server, words: tuple[str, ...]) -> None:
    requests = server(states())
    assert leoflow("runs", "trigger", "etl", *words).code == ExitCode.USAGE
    assert requests == []


def test_ids_are_one_segment_of_the_path(leoflow, server) -> None:
    requests = server(lambda _: httpx.Response(404, json={"detail": "no"}))
    leoflow("runs", "status", "..", "manual__2026-01-01T00:00:00+00:00/x")
    assert requests[0].url.raw_path == b"/api/v2/dags/%2E%2E/dagRuns/manual__2026-01-01T00%3A00%3A00%2B00%3A00%2Fx"


def test_list_reads_all_pages(leoflow, server) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params["offset"])
        rows = [{**RUN, "dag_run_id": f"r{i}"} for i in range(offset, min(offset + 100, 250))]
        return httpx.Response(200, json={"dag_runs": rows, "total_entries": 250})

    requests = server(answer)
    assert len(leoflow("runs", "list", "etl", "--limit", "1000", "-o", "json").document["dag_runs"]) == 250
    assert len(requests) == 3
    assert len(leoflow("runs", "list", "etl", "--limit", "5", "-o", "json").document["dag_runs"]) == 5


def test_a_piped_table_has_no_colour_and_cuts_nothing(leoflow, server) -> None:
    name = "r" * 300
    rows = {"dag_runs": [{**RUN, "dag_run_id": name, "state": "failed"}], "total_entries": 1}
    server(lambda _: httpx.Response(200, json=rows))
    result = leoflow("runs", "list", "etl")
    assert name in result.out
    assert "\x1b" not in result.out


def test_a_list_of_runs_fits_a_terminal_of_eighty_columns(leoflow, server) -> None:
    run = {
        **RUN,
        "dag_run_id": "manual__2026-01-31T06:00:00.123456+00:00",
        "state": "running",
        "start_date": "2026-01-31T06:00:00.123456Z",
        "duration": 3723.0,
    }
    server(lambda _: httpx.Response(200, json={"dag_runs": [run, {**RUN, "dag_run_id": "q"}], "total_entries": 2}))
    lines = leoflow("runs", "list", "etl").out.rstrip().splitlines()
    assert [len(line.rstrip()) <= 80 for line in lines] == [True] * 3
    assert lines[1].split() == [run["dag_run_id"], "running", "01-31", "06:00", "1", "h", "02", "min"]
    assert lines[2].split() == ["q", "queued", "01-01", "00:00"], "one that waits shows when it may begin"


def test_a_table_shows_moments_in_utc_to_the_second(leoflow, server) -> None:
    run = {**RUN, "start_date": "2026-01-31T06:00:00.123456Z"}
    answers = {"/api/v2/dags/etl/dagRuns/r": run}
    server(lambda r: httpx.Response(200, json=answers.get(r.url.path, {"task_instances": [], "total_entries": 0})))
    assert "2026-01-31 06:00:00 " in leoflow("runs", "status", "etl", "r").out
    told = leoflow("runs", "status", "etl", "r", "-o", "json").document
    assert told["start_date"] == "2026-01-31T06:00:00.123456Z", "programs get it as it is"


def test_status_of_a_dag_without_runs_exits_4(leoflow, server) -> None:
    server(lambda _: httpx.Response(200, json={"dag_runs": [], "total_entries": 0}))
    assert leoflow("runs", "status", "etl").code == ExitCode.NOT_FOUND


def test_logs_print_no_control_codes(leoflow, server) -> None:
    line = {"event": "a\x1b]0;title\x07b\x1b[2Jc\x1b[31md", "timestamp": "2026-01-01T00:00:00Z", "level": "info"}

    def answer(request: httpx.Request) -> httpx.Response:
        if "logs" in request.url.path:
            return httpx.Response(200, content=json.dumps(line) + "\n")
        return httpx.Response(200, json=TASK)

    requests = server(answer)
    result = leoflow("runs", "logs", "etl", "manual__1", "load")
    assert result.out.strip().endswith("abcd")
    assert requests[1].url.path.endswith("/taskInstances/load/logs/1")
    assert requests[1].headers["accept"] == "application/x-ndjson"


def run_with(*tasks: dict[str, Any]) -> Callable[[httpx.Request], httpx.Response]:
    """A server that has these task instances, and no log."""

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/taskInstances"):
            return httpx.Response(200, json={"task_instances": tasks, "total_entries": len(tasks)})
        name = path.rpartition("/taskInstances/")[2]
        found = [task for task in tasks if task["task_id"] == name and task["map_index"] < 0]
        return httpx.Response(200, json=found[0]) if found else httpx.Response(404, json={"detail": "not found"})

    return answer


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"try_number": 0, "state": "upstream_failed"}, "'load' has no log: it is upstream_failed and had no try"),
        ({"try_number": 0, "state": None}, "leoflow explain etl manual__1 load"),
        ({"map_index": 7}, "it is mapped: choose an instance with --map-index 7 to 7"),
        ({"task_id": "group.load"}, "did you mean 'group.load'?"),
        ({"task_id": "lod"}, "did you mean 'lod'?"),
    ],
)
def test_a_task_without_a_log_is_told_why(leoflow, server, task: dict[str, Any], said: str) -> None:
    server(run_with({**TASK, **task}))
    result = leoflow("runs", "logs", "etl", "manual__1", "load")
    assert result.code == ExitCode.NOT_FOUND
    assert said in result.err


@pytest.mark.parametrize("words", [(), ("-f",)])
def test_a_try_that_there_never_was_is_told_so(leoflow, server, words: tuple[str, ...]) -> None:
    server(run_with(TASK))
    result = leoflow("runs", "logs", "etl", "manual__1", "load", "--try", "9", *words)
    assert result.code == ExitCode.NOT_FOUND
    assert "has no try 9: its last one is 1" in result.err


def test_an_instance_of_a_task_that_is_not_mapped_is_told_so(leoflow, server) -> None:
    server(run_with(TASK))
    result = leoflow("runs", "logs", "etl", "manual__1", "load", "--map-index", "2")
    assert result.code == ExitCode.NOT_FOUND
    assert "leave out --map-index" in result.err


def test_follow_waits_for_the_first_try_and_ends_with_a_task_that_has_none(leoflow, server) -> None:
    looks = iter([("scheduled", 0), (None, 0), ("skipped", 0)])

    def answer(request: httpx.Request) -> httpx.Response:
        assert "logs" not in request.url.path
        state, number = next(looks)
        return httpx.Response(200, json={**TASK, "state": state, "try_number": number})

    server(answer)
    result = leoflow("runs", "logs", "etl", "manual__1", "load", "-f")
    assert (result.code, result.out) == (0, "")
    assert "is skipped and had no try" in result.err


def test_follow_prints_each_line_once_and_exits_1_for_a_failed_task(leoflow, server) -> None:
    looks = iter([("running", 1), ("running", 2), ("failed", 3)])
    shown = [0]

    def answer(request: httpx.Request) -> httpx.Response:
        if "logs" in request.url.path:
            lines = [json.dumps({"event": f"line {i}"}) for i in range(shown[0])]
            return httpx.Response(200, content="\n".join(lines) + "\n")
        state, shown[0] = next(looks)
        return httpx.Response(200, json={**TASK, "state": state})

    server(answer)
    result = leoflow("runs", "logs", "etl", "manual__1", "load", "-f")
    assert result.out.split("\n") == ["line 0", "line 1", "line 2", ""]
    assert result.code == ExitCode.RUN_FAILED


def test_follow_goes_on_with_the_next_try_and_with_try_alone(leoflow, server) -> None:
    """It ended with the first of several tries, and behind a clear with the log of before."""
    looks = [("up_for_retry", 1), ("queued", 2), ("success", 2)]
    left = list(looks)

    def answer(request: httpx.Request) -> httpx.Response:
        if "logs" in request.url.path:
            number = request.url.path.rpartition("/")[2]
            return httpx.Response(200, content=json.dumps({"event": f"of try {number}"}) + "\n")
        state, number = left.pop(0)
        return httpx.Response(200, json={**TASK, "state": state, "try_number": number})

    server(answer)
    result = leoflow("runs", "logs", "etl", "manual__1", "load", "-f")
    assert (result.code, result.out.split("\n")) == (0, ["of try 1", "of try 2", ""])
    assert "try 2 of task 'load'" in result.err
    left[:] = looks
    assert leoflow("runs", "logs", "etl", "manual__1", "load", "-f", "--try", "1").out == "of try 1\n"


def test_clear_asks_a_person_and_a_script_must_say_yes(leoflow, server) -> None:
    found = {"task_instances": [TASK], "total_entries": 1}
    requests = server(lambda _: httpx.Response(200, json=found))
    assert leoflow("runs", "clear", "etl", "manual__1").code == ExitCode.USAGE
    assert [json.loads(request.read())["dry_run"] for request in requests] == [True]
    result = leoflow("runs", "clear", "etl", "manual__1", "load", "--downstream", "--yes", "-o", "json")
    assert result.code == 0
    assert json.loads(requests[-1].read()) == {
        "dag_run_id": "manual__1",
        "only_failed": False,
        "include_upstream": False,
        "include_downstream": True,
        "reset_dag_runs": True,
        "dry_run": False,
        "task_ids": ["load"],
    }


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        (("lod",), ExitCode.NOT_FOUND, "has no task 'lod' (did you mean 'load'?)"),
        (("load", "--only-failed"), ExitCode.OK, "nothing to clear"),
    ],
)
def test_a_task_that_the_run_has_not_is_no_clear_of_nothing(
    leoflow, server, asked: tuple[str, ...], code: ExitCode, said: str
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        is_clear = request.url.path.endswith("/clearTaskInstances")
        tasks = [] if is_clear else [{**TASK, "state": "success"}]
        return httpx.Response(200, json={"task_instances": tasks, "total_entries": len(tasks)})

    server(answer)
    result = leoflow("runs", "clear", "etl", "manual__1", *asked, "--yes")
    assert result.code == code
    assert said in result.err


def test_explain_of_a_mapped_task_asks_for_an_instance(leoflow, server) -> None:
    server(run_with({**TASK, "map_index": 0}, {**TASK, "map_index": 3}))
    result = leoflow("explain", "etl", "manual__1", "load")
    assert result.code == ExitCode.NOT_FOUND
    assert "choose an instance with --map-index 0 to 3" in result.err


def test_pause_patches_each_dag(leoflow, server) -> None:
    requests = server(lambda request: httpx.Response(200, json={"dag_id": "x", "is_paused": True}))
    assert leoflow("dags", "pause", "a", "b", "-o", "json").code == 0
    assert [(r.method, r.url.path, r.read()) for r in requests] == [
        ("PATCH", "/api/v2/dags/a", b'{"is_paused":true}'),
        ("PATCH", "/api/v2/dags/b", b'{"is_paused":true}'),
    ]


def test_one_dag_that_is_not_there_hinders_no_other_one(leoflow, server) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        dag_id = request.url.path.rpartition("/")[2]
        if dag_id == "nope":
            return httpx.Response(404, json={"detail": "The DAG with ID: `nope` was not found"})
        return httpx.Response(200, json={"dag_id": dag_id, "is_paused": True})

    server(answer)
    result = leoflow("dags", "pause", "nope", "a")
    assert (result.code, result.out) == (ExitCode.NOT_FOUND, "paused a\n")
    assert result.err == "error: nope: The DAG with ID: `nope` was not found\n"
    told = leoflow("dags", "unpause", "a", "nope", "-o", "json")
    assert told.document == {"dags": [{"dag_id": "a", "is_paused": True}]}
    assert told.error["failed"] == ["nope"]


def test_a_refusal_that_is_not_about_one_dag_is_told_once(leoflow, server) -> None:
    requests = server(lambda _: httpx.Response(401, json={"detail": "?"}))
    assert leoflow("dags", "pause", "a", "b").code == ExitCode.NOT_ALLOWED
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
        ("2026-01-31T06:00:00Z", "2026-01-31T06:00:00+00:00"),
        ("2026-01-31T06:00+02:00", "2026-01-31T06:00:00+02:00"),
    ],
)
def test_a_logical_date_is_utc_unless_it_names_a_zone(leoflow, server, given: str, sent: str) -> None:
    requests = server(lambda _: httpx.Response(200, json=RUN))
    assert leoflow("runs", "trigger", "etl", "--logical-date", given).code == 0
    assert json.loads(requests[0].read())["logical_date"] == sent


@pytest.mark.parametrize("given", ["none", " None"])
def test_a_run_without_a_logical_date_is_asked_for(leoflow, server, given: str) -> None:
    requests = server(lambda _: httpx.Response(200, json=RUN))
    assert leoflow("runs", "trigger", "etl", "--logical-date", given).code == 0
    assert json.loads(requests[0].read())["logical_date"] is None


def test_a_run_is_of_now_where_nobody_says_more_as_in_the_uis_dialog(leoflow, server) -> None:
    requests, before = server(lambda _: httpx.Response(200, json=RUN)), datetime.now(UTC)
    assert leoflow("runs", "trigger", "etl").code == 0
    assert before <= datetime.fromisoformat(json.loads(requests[0].read())["logical_date"]) <= datetime.now(UTC)


def test_a_logical_date_that_is_no_moment_is_wrong_usage(leoflow, server) -> None:
    requests = server(lambda _: httpx.Response(200, json=RUN))
    result = leoflow("runs", "trigger", "etl", "--logical-date", "yesterday")
    assert (result.code, requests) == (ExitCode.USAGE, [])
    assert "--logical-date 'yesterday' is no ISO date" in result.err


def test_delete_needs_yes_and_accepts_a_null_body(leoflow, server) -> None:
    requests = server(lambda _: httpx.Response(200, json=None))
    assert leoflow("dags", "delete", "etl").code == ExitCode.USAGE
    assert leoflow("dags", "delete", "etl", "-y", "-o", "json").document == {"dag_id": "etl", "deleted": True}
    assert [request.method for request in requests] == ["DELETE"]


def test_tree_draws_every_component(leoflow, server) -> None:
    document = {
        "name": "leoflowd",
        "state": "running",
        "children": [{"name": "api", "state": "running", "restarts": 2, "statistics": {"open": 3}, "children": []}],
    }
    server(lambda _: httpx.Response(200, json=document))
    out = leoflow("tree").out
    assert "leoflowd" in out
    assert "2 restarts  open=3" in out
    assert leoflow("tree", "-o", "json").document == document


def test_tree_says_what_is_of_no_use_and_why(leoflow, server) -> None:
    agents = {"name": "agents", "state": "running", "fault": "no agent has been attached for 20 s", "children": []}
    server(lambda _: httpx.Response(200, json={"name": "leoflowd", "state": "running", "children": [agents]}))
    assert "agents  running  no agent has been attached for 20 s" in leoflow("tree").out


def test_explain_prints_what_the_server_says(leoflow, server) -> None:
    document = {
        "state": None,
        "because": "upstream 'a' is running",
        "waits_for": [{"task_id": "a", "state": "running"}],
    }
    requests = server(lambda _: httpx.Response(200, json=document))
    assert "because: upstream 'a' is running" in leoflow("explain", "d", "r", "t").out
    assert "because: upstream 'a' is running" in leoflow("explain", "d").out
    leoflow("explain", "d", "r")
    paths = [one.url.path.removeprefix("/api/v2/leoflow/explain/") for one in requests]
    assert paths == ["d/r/t", "d", "d/r"]


def test_an_explanation_is_a_sentence_a_line(leoflow, server) -> None:
    document = {"dag_id": "d", "because": ["it waits, for a", "it began 5 s ago"], "wait_id": "w1"}
    server(lambda _: httpx.Response(200, json=document))
    assert leoflow("explain", "d", "r", "t").out == (
        "- it waits, for a\n- it began 5 s ago\n`leoflow waits show w1` tells more of its wait\n"
    )
