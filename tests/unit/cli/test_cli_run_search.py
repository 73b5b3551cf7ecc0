"""`leoflow runs search` against a server made of a function."""

from __future__ import annotations

from typing import Any

import httpx

LINE = {"timestamp": "2026-11-30T10:00:00.123456Z", "level": "error", "text": "no space left"}
TRY = {
    "dag_id": "etl", "dag_run_id": "one", "run_after": "2026-11-30T09:00:00Z", "task_id": "load", "map_index": -1,
    "try_number": 2, "state": "failed", "lines": [LINE], "has_more": True,
}  # fmt: skip
REACHED = {"dag_id": "etl", "dag_run_id": "one", "run_after": "2026-11-30T09:00:00Z"}


def answers(*tries: list[dict[str, Any]]):
    """One answer for each list, the last one without a cursor."""

    def handle(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params.get("cursor", "0"))
        cursor = None if number + 1 == len(tries) else str(number + 1)
        body = {"tries": tries[number], "looked_at": {"tries": 1000, "bytes": 5}, "reached": REACHED, "cursor": cursor}
        return httpx.Response(200, json=body)

    return handle


def test_what_is_found_stands_below_the_command_that_shows_its_log(leoflow, server) -> None:
    server(answers([TRY], [{**TRY, "map_index": 3, "has_more": False}]))
    result = leoflow("runs", "search", "space")
    lines = result.out.splitlines()
    assert lines[0] == "leoflow runs logs etl one load --try 2  # failed"
    assert lines[1] == "    2026-11-30T10:00:00.123  error    no space left"
    assert lines[2:4] == ["    ...", "leoflow runs logs etl one load --map-index 3 --try 2  # failed"]
    assert result.err == "2 of 2,000 tries have it\n"
    assert result.code == 0


def test_where_to_look_is_passed_on(leoflow, server) -> None:
    requests = server(answers([]))
    words = ["--dag", "etl", "--run", "one", "--task", "load", "--state", "failed", "--since", "2026-11-01"]
    assert leoflow("runs", "search", "a b", *words, "--limit", "7").err == "0 of 1,000 tries have it\n"
    assert dict(requests[0].url.params) == {
        "text": "a b", "dag_id": "etl", "run_id": "one", "task_id": "load", "state": "failed",
        "since": "2026-11-01T00:00:00+00:00", "limit": "7",
    }  # fmt: skip


def test_it_ends_with_the_tries_that_were_asked_for(leoflow, server) -> None:
    requests = server(answers([TRY, TRY], [TRY, TRY], [TRY]))
    result = leoflow("runs", "search", "space", "--limit", "3")
    assert (result.out.count("runs logs"), len(requests)) == (3, 2)
    assert "the first 3 tries" in result.err


def test_as_json_it_is_one_document(leoflow, server) -> None:
    server(answers([TRY], []))
    document = leoflow("runs", "search", "space", "-o", "json").document
    assert document == {"tries": [TRY], "looked_at": {"tries": 2000}}
