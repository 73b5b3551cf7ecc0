"""`leoflow assets`. The server is a function."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from leoflowd.cli.failures import ExitCode

ASSET: dict[str, Any] = {
    "id": 7,
    "name": "sales",
    "uri": "s3://b/sales",
    "group": "asset",
    "extra": {},
    "producing_tasks": [{"dag_id": "load", "task_id": "write"}],
    "scheduled_dags": [{"dag_id": "report"}],
    "watchers": [{"name": "inbox", "trigger_id": 1, "created_date": "2026-11-20T00:00:00Z"}],
    "last_asset_event": {"id": 3, "timestamp": "2026-11-21T00:00:00Z"},
}
OTHER = {**ASSET, "id": 8, "name": "sales_eu", "uri": "s3://b/eu"}
EVENT: dict[str, Any] = {
    "id": 3,
    "timestamp": "2026-11-21T00:00:00Z",
    "name": "sales",
    "asset_id": 7,
    "source_dag_id": "load",
    "source_task_id": "write",
    "partition_key": "eu",
    "extra": {"rows": 3},
    "created_dagruns": [{"dag_id": "report", "run_id": "asset_triggered__x"}],
}
WATCHER = {
    "asset_name": "sales",
    "name": "inbox",
    "dag_id": "report",
    "trigger": "a.b.FileDeleteTrigger",
    "because": "its trigger watches; 1 event",
}


def answer(request: httpx.Request) -> httpx.Response:
    path = request.url.path
    if path.endswith("/materialize"):
        return httpx.Response(200, json={"dag_id": "load", "dag_run_id": "asset_materialization__x"})
    if path.endswith("/watchers"):
        return httpx.Response(200, json={"watchers": [WATCHER], "total_entries": 1})
    if path.endswith("/events"):
        if request.method == "POST":
            return httpx.Response(200, json=EVENT)
        return httpx.Response(200, json={"asset_events": [EVENT, EVENT], "total_entries": 2})
    if path.endswith("/assets"):
        return httpx.Response(200, json={"assets": [OTHER, ASSET], "total_entries": 2})
    return httpx.Response(200, json=OTHER)


def test_assets_are_listed_with_who_makes_and_awaits_them(leoflow, server) -> None:
    requests = server(answer)
    out = leoflow("assets", "list", "--name", "sal").out
    for word in ("sales", "s3://b/sales", "load.write", "report", "inbox", "2026-11-21"):
        assert word in out
    assert dict(requests[0].url.params)["name_pattern"] == "%sal%"
    assert "only_active" not in requests[0].url.params
    leoflow("assets", "list", "--all")
    assert dict(requests[-1].url.params)["only_active"] == "false"


@pytest.mark.parametrize(("asset", "number"), [("sales", 7), ("s3://b/eu", 8), ("8", 8)])
def test_events_are_of_the_asset_that_the_words_mean(leoflow, server, asset: str, number: int) -> None:
    requests = server(answer)
    out = leoflow("assets", "events", asset, "--dag", "load").out
    for word in ("load.write", "eu", "report/asset_triggered__x", '"rows":3'):
        assert word in out.replace(" ", "")
    asked = dict(requests[-1].url.params)
    assert (asked["asset_id"], asked["source_dag_id"]) == (str(number), "load")


def test_a_list_that_is_cut_says_so(leoflow, server) -> None:
    server(answer)
    result = leoflow("assets", "events", "--limit", "1")
    assert "only the first 1 are shown" in result.err
    document = leoflow("assets", "events", "--limit", "1", "-o", "json").document
    assert (len(document["asset_events"]), document["is_complete"]) == (1, False)


def test_an_event_is_made(leoflow, server) -> None:
    requests = server(answer)
    result = leoflow("assets", "emit", "sales", "--extra", '{"rows": 3}', "--partition-key", "eu")
    assert (result.code, result.out) == (0, "event 3 of sales\n")
    assert json.loads(requests[-1].read()) == {"asset_id": 7, "extra": {"rows": 3}, "partition_key": "eu"}
    leoflow("assets", "emit", "sales")
    assert json.loads(requests[-1].read()) == {"asset_id": 7, "extra": {}}


def test_an_asset_is_materialized(leoflow, server) -> None:
    requests = server(answer)
    assert leoflow("assets", "materialize", "sales").out == "load: asset_materialization__x\n"
    assert (requests[-1].url.path, json.loads(requests[-1].read())) == ("/api/v2/assets/7/materialize", {})
    leoflow("assets", "materialize", "sales", "--partition-key", "eu")
    assert json.loads(requests[-1].read()) == {"partition_key": "eu"}


def test_what_nobody_names_is_not_found(leoflow, server) -> None:
    server(answer)
    result = leoflow("assets", "emit", "sal")
    assert result.code == ExitCode.NOT_FOUND
    assert "no active asset has the name or the uri 'sal'" in result.err


def test_watchers_are_listed(leoflow, server) -> None:
    server(answer)
    out = leoflow("assets", "watchers").out
    for word in ("sales", "inbox", "report", "FileDeleteTrigger", "its trigger watches; 1 event"):
        assert word in out
