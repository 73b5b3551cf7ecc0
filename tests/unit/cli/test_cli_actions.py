"""`leoflow actions` against a server made of a function."""

from __future__ import annotations

import json
from typing import Any

import httpx

from leoflowd.cli.failures import ExitCode

DETAIL: dict[str, Any] = {
    "subject": "Deploy?",
    "options": ["Yes", "No"],
    "assigned_users": [{"id": "anna", "name": "Anna"}],
    "created_at": "2026-11-21T03:00:00Z",
    "params": {"n": {"value": 3, "schema": {}, "description": None}, "zone": {"value": "eu", "schema": {}}},
    "task_instance": {"dag_id": "etl", "dag_run_id": "manual__1", "task_id": "ask", "map_index": 2},
}


def serve(request: httpx.Request) -> httpx.Response:
    if request.method == "GET" and request.url.path.endswith("/dagRuns/~/hitlDetails"):
        return httpx.Response(200, json={"hitl_details": [DETAIL], "total_entries": 1})
    if request.method == "GET":
        return httpx.Response(200, json=DETAIL)
    body = json.loads(request.content)
    return httpx.Response(200, json={**body, "responded_by": {"id": "me", "name": "me"}, "responded_at": "x"})


def test_the_list_has_what_is_asked_now(leoflow, server) -> None:
    requests = server(serve)
    result = leoflow("actions", "list", "--dag", "etl")
    assert result.code == 0
    for text in ("ask[2]", "Deploy?", "Yes / No", "Anna"):
        assert text in result.out
    query = requests[0].url.params
    assert (query["response_received"], query["state"], query["order_by"]) == ("false", "deferred", "created_at")
    assert requests[0].url.path == "/api/v2/dags/etl/dagRuns/~/hitlDetails"


def test_all_of_them_are_asked_for_without_a_filter(leoflow, server) -> None:
    requests = server(serve)
    leoflow("actions", "list", "--all")
    assert "state" not in requests[0].url.params


def test_an_answer_keeps_what_the_form_shows(leoflow, server) -> None:
    requests = server(serve)
    words = ("etl", "manual__1", "ask", "Yes", "--map-index", "2", "--param", "n=7")
    result = leoflow("actions", "answer", *words)
    assert (result.code, result.out.strip()) == (0, "answered Yes as me")
    patch = requests[-1]
    assert patch.url.path == "/api/v2/dags/etl/dagRuns/manual__1/taskInstances/ask/2/hitlDetails"
    assert json.loads(patch.content) == {"chosen_options": ["Yes"], "params_input": {"n": 7, "zone": "eu"}}


def test_a_param_is_name_and_value(leoflow, server) -> None:
    requests = server(serve)
    result = leoflow("actions", "answer", "etl", "r", "ask", "Yes", "--param", "n")
    assert (result.code, [request.method for request in requests]) == (ExitCode.USAGE, ["GET"])
    assert "NAME=VALUE" in result.err
