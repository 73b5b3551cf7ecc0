"""`leoflow waits` against a server made of a function."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from leoflowd.cli.failures import ExitCode
from tests.fakes.fake_pool import EXPLANATION, STATISTICS

ID = "11111111-1111-4111-8111-111111111111"
WAIT: dict[str, Any] = {
    "id": ID,
    "dag_id": "etl",
    "dag_run_id": "manual__1",
    "task_id": "ready",
    "map_index": -1,
    "state": "deferred",
    "waits_for": "GET https://api.example/ready",
    "last_observation": "HTTP 404 Not Found",
    "registered_at": "2026-11-21T03:00:00Z",
    "blocked_by": None,
    "due_at": None,
    "next_probe_at": "2026-11-21T03:01:00Z",
    "deadline_at": None,
}
EXPLAINED: dict[str, Any] = {
    **WAIT,
    "because": ["it waits for GET https://api.example/ready", "\x1b[31mit has no deadline"],
    "explanation": msgspec.to_builtins(EXPLANATION),
}


def serving(document: Any, status: int = 200) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, json=document)


def test_list_filters_at_the_server_and_prints_one_line_each(leoflow, server) -> None:
    requests = server(serving({"waits": [WAIT], "total_entries": 1}))
    result = leoflow("waits", "list", "--dag", "etl", "--run", "r", "--task", "t", "--kind", "http", "--kind", "file")
    assert result.code == 0
    assert "GET https://api.example/ready" in result.out
    query = requests[0].url.params
    assert (requests[0].url.path, query["dag_id"], query["run_id"], query["task_id"]) == (
        "/leoflow/api/waits",
        "etl",
        "r",
        "t",
    )
    assert query.get_list("kind") == ["http", "file"]
    assert query["order_by"] == "-registered_at"


def test_list_says_what_blocks_a_wait_before_when_it_is_probed(leoflow, server) -> None:
    server(serving({"waits": [{**WAIT, "blocked_by": "the breaker is open"}], "total_entries": 1}))
    assert "the breaker is open" in leoflow("waits", "list").out


def test_a_list_that_is_cut_says_so(leoflow, server) -> None:
    server(serving({"waits": [WAIT, WAIT], "total_entries": 2}))
    assert "only the first 1" in leoflow("waits", "list", "--limit", "1").err
    cut = leoflow("waits", "list", "--limit", "1", "-o", "json").document
    assert (len(cut["waits"]), cut["is_complete"]) == (1, False)


def test_show_prints_the_sentences_and_the_probes_without_control_codes(leoflow, server) -> None:
    server(serving(EXPLAINED))
    result = leoflow("waits", "show", ID)
    assert "- it waits for GET https://api.example/ready\n- it has no deadline\n" in result.out
    assert "0.050 s" in result.out


def test_show_of_a_wait_that_nobody_watches_needs_no_probes(leoflow, server) -> None:
    server(serving({**EXPLAINED, "explanation": None}))
    assert leoflow("waits", "show", ID).code == 0


@pytest.mark.parametrize(("action", "flags"), [("probe", ()), ("fire", ("--yes",)), ("fail", ("-y",))])
def test_an_action_is_posted(leoflow, server, action: str, flags: tuple[str, ...]) -> None:
    requests = server(serving({"id": ID, "action": action}, 202))
    result = leoflow("waits", action, ID, *flags, "-o", "json")
    assert (result.code, result.document) == (0, {"id": ID, "action": action})
    assert (requests[0].method, requests[0].url.path) == ("POST", f"/leoflow/api/waits/{ID}/{action}")


@pytest.mark.parametrize("action", ["fire", "fail"])
def test_a_script_must_say_yes_to_what_cannot_be_undone(leoflow, server, action: str) -> None:
    requests = server(serving({}))
    assert leoflow("waits", action, ID).code == ExitCode.USAGE
    assert requests == []


def test_the_interval_is_patched(leoflow, server) -> None:
    requests = server(serving({"id": ID, "poke_interval_s": 5.0}))
    assert leoflow("waits", "set-interval", ID, "5").out == f"every 5 s: {ID}\n"
    assert (requests[0].method, json.loads(requests[0].read())) == ("PATCH", {"poke_interval_s": 5.0})


@pytest.mark.parametrize(("status", "code"), [(404, ExitCode.NOT_FOUND), (409, ExitCode.CONFLICT)])
def test_the_servers_refusal_is_the_message(leoflow, server, status: int, code: ExitCode) -> None:
    server(serving({"detail": "it has ended"}, status))
    result = leoflow("waits", "probe", ID)
    assert (result.code, result.err) == (code, "error: it has ended\n")


def test_stats_show_the_pool_and_its_targets(leoflow, server) -> None:
    server(serving(msgspec.to_builtins(STATISTICS)))
    result = leoflow("waits", "stats")
    for text in ("4  (http 3, file 1)", "3.0", "p50 0.004 s, p99 0.031 s", "https://api.example:443", "0.120 s"):
        assert text in result.out


def test_stats_of_a_pool_that_did_nothing_yet(leoflow, server) -> None:
    idle = msgspec.structs.replace(
        STATISTICS, waits={}, probes_made=0, probes_saved=0, lateness_p50_s=None, lateness_p99_s=None, targets=()
    )
    server(serving(msgspec.to_builtins(idle)))
    assert "p50 -, p99 -" in leoflow("waits", "stats").out
