"""`leoflow backfill` against a server made of a function."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from leoflowd.cli.failures import ExitCode

DATES = [f"2026-01-{day:02}T00:00:00Z" for day in range(1, 13)]
PREVIEW: dict[str, Any] = {
    "backfills": [{"logical_date": date, "partition_key": None, "partition_date": None} for date in DATES],
    "total_entries": 12,
    "preview": {
        "runs": 12,
        "task_instances": 36,
        "runs_at_once": 2,
        "pools": {"default_pool": 4, "narrow": 2},
        "run_duration_s": 90.0,
        "runs_per_hour": 80.0,
        "duration_s": 540.0,
    },
}
ROW: dict[str, Any] = {
    "id": 7,
    "dag_id": "etl",
    "from_date": DATES[0],
    "to_date": DATES[-1],
    "is_paused": False,
    "completed_at": None,
    "max_active_runs": 2,
    "progress": {"runs": 12, "to_be_made": 3, "skipped": 1, "queued": 4, "running": 2, "success": 1, "failed": 1},
}


def serve(request: httpx.Request) -> httpx.Response:
    if request.url.path.endswith("/dry_run"):
        return httpx.Response(200, json=PREVIEW)
    if request.method == "GET":
        return httpx.Response(200, json={"backfills": [ROW], "total_entries": 1})
    return httpx.Response(200, json=ROW)


RANGE = ("--from", "2026-01-01", "--to", "2026-01-12T06:00:00+02:00")


def test_a_dry_run_shows_what_it_costs_and_changes_nothing(leoflow, server) -> None:
    requests = server(serve)
    result = leoflow("backfill", "create", "etl", *RANGE, "--dry-run")
    assert result.code == 0
    for text in ("12 run(s), 36 task instance(s), 2 at once", "pool narrow: up to 2 slot(s)", "80 run(s) per hour"):
        assert text in result.out
    assert f"... and 2 more, to {DATES[-1]}" in result.out
    assert [request.url.path for request in requests] == ["/api/v2/backfills/dry_run"]


def test_runs_with_partitions_are_shown_by_these(leoflow, server) -> None:
    rows = [{"logical_date": None, "partition_key": key, "partition_date": DATES[0]} for key in ("jan", "feb")]
    server(lambda request: httpx.Response(200, json=PREVIEW | {"backfills": rows, "total_entries": 2}))
    assert leoflow("backfill", "create", "etl", *RANGE, "--dry-run").out.splitlines()[-2:] == ["  jan", "  feb"]


def test_what_is_asked_for_is_what_was_shown(leoflow, server) -> None:
    requests = server(serve)
    words = ("--reverse", "--reprocess", "failed", "--max-active-runs", "2", "--conf", '{"n": 1}', "--keep-version")
    result = leoflow("backfill", "create", "etl", *RANGE, *words, "--yes")
    assert (result.code, "backfill 7" in result.out) == (0, True)
    dry, real = (json.loads(request.content) for request in requests)
    assert dry == real
    assert real == {
        "dag_id": "etl",
        "from_date": "2026-01-01T00:00:00Z",
        "to_date": "2026-01-12T06:00:00+02:00",
        "run_backwards": True,
        "reprocess_behavior": "failed",
        "max_active_runs": 2,
        "run_on_latest_version": False,
        "dag_run_conf": {"n": 1},
    }


def test_without_a_conf_runs_keep_theirs(leoflow, server) -> None:
    requests = server(serve)
    leoflow("backfill", "create", "etl", *RANGE, "--yes")
    assert json.loads(requests[-1].content)["dag_run_conf"] is None


def test_nobody_is_here_to_say_yes(leoflow, server) -> None:
    requests = server(serve)
    result = leoflow("backfill", "create", "etl", *RANGE)
    assert result.code == ExitCode.USAGE
    assert "Backfill 12 run(s) of etl?" in result.err
    assert len(requests) == 1


def test_a_dag_that_never_ran_has_no_duration(leoflow, server) -> None:
    unknown = dict.fromkeys(("run_duration_s", "runs_per_hour", "duration_s"))
    dry = {**PREVIEW, "preview": PREVIEW["preview"] | unknown}
    server(lambda request: httpx.Response(200, json=dry))
    assert "not known" in leoflow("backfill", "create", "etl", *RANGE, "--dry-run").out


@pytest.mark.parametrize(("flags", "active"), [((), "true"), (("--all",), None)])
def test_the_list_says_how_far_each_is(leoflow, server, flags: tuple[str, ...], active: str | None) -> None:
    requests = server(serve)
    result = leoflow("backfill", "list", "etl", *flags)
    assert result.out.split("\n")[1].split()[-7:] == ["12", "3", "4", "2", "1", "1", "1"]
    query = requests[0].url.params
    assert (query["dag_id"], query.get("active"), query["order_by"]) == ("etl", active, "-id")


@pytest.mark.parametrize(
    ("words", "done"),
    [(("pause", "7"), "paused"), (("unpause", "7"), "unpaused"), (("cancel", "7", "--yes"), "cancelled")],
)
def test_it_is_paused_unpaused_and_cancelled(leoflow, server, words: tuple[str, ...], done: str) -> None:
    requests = server(serve)
    result = leoflow("backfill", *words)
    assert (result.code, result.out.strip()) == (0, f"{done} backfill 7 of etl")
    assert (requests[0].method, requests[0].url.path) == ("PUT", f"/api/v2/backfills/7/{words[0]}")


def test_to_cancel_is_asked_twice(leoflow, server) -> None:
    requests = server(serve)
    assert leoflow("backfill", "cancel", "7").code == ExitCode.USAGE
    assert not requests
