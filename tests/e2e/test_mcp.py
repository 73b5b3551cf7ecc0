"""`leoflow mcp` over stdio, called with the SDK's own client, beside a real Lite with a real failed run. ADR 87."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client

from loadtests.lite_process import Api, Lite

DAG = """\
from airflow.sdk import DAG, Param, task

with DAG("nightly", schedule=None, params={"broken": True}):
    @task
    def load(params=None):
        print("loading the prices")
        if params["broken"]:
            raise KeyError("price")

    @task
    def report():
        print("reported")

    load() >> report()
"""
READING = {
    "list_dags", "list_runs", "explain", "list_task_instances", "read_log", "search_logs", "list_waits", "explain_wait",
    "diff_runs", "list_versions", "diff_versions", "show_schedule",
}  # fmt: skip
WRITING = {"trigger_run", "preview_clear", "clear_task_instances", "pause_dag"}


@pytest.fixture(scope="module")
def failed_run(lite: Lite, api: Api) -> str:
    """The id of a run of `nightly` that failed."""
    folder = lite.workspace / "nightly"
    folder.mkdir()
    (folder / "dag.py").write_text(DAG)
    api.wait_for_dags("nightly")
    api.unpause("nightly")
    run_id = api.trigger("nightly")
    assert api.wait_for_run("nightly", run_id)["state"] == "failed"
    return run_id


@pytest.fixture(scope="module")
def token(api: Api) -> str:
    return api.http.headers["Authorization"].removeprefix("Bearer ")


@asynccontextmanager
async def connected(lite: Lite, token: str, *words: str) -> AsyncIterator[Client]:
    command = str(Path(sys.executable).parent / "leoflow")
    env = {"LEOFLOW_SERVER": lite.url, "LEOFLOW_TOKEN": token, "LEOFLOW_CONFIG": os.devnull}
    server = StdioServerParameters(command=command, args=["mcp", *words], env=env)
    async with Client(stdio_client(server)) as client:
        yield client


async def answer(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)  # type: ignore[union-attr]


async def refusal(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return str(result.content[0].text)  # type: ignore[union-attr]


async def test_why_the_last_run_failed_is_answered_in_two_calls(lite: Lite, token: str, failed_run: str) -> None:
    async with connected(lite, token) as client:
        runs = (await answer(client, "list_runs", state="failed", since="2020-01-01"))["dag_runs"]
        (run,) = (run for run in runs if run["dag_id"] == "nightly")  # the Lite has DAGs of other tests too
        assert run["dag_run_id"] == failed_run
        why = await answer(client, "explain", dag_id=run["dag_id"], dag_run_id=run["dag_run_id"])
    (first,) = why["first_failed"]
    assert first["task_id"] == "load"
    assert any("KeyError: 'price'" in error for error in first["errors"])
    assert "state failed: KeyError" in first["errors"][-1]
    assert [row["task_id"] for row in why["failed_task_instances"]] == ["report"]
    assert any("load" in sentence for sentence in why["because"])


async def test_it_only_reads_unless_it_is_allowed_more(lite: Lite, token: str) -> None:
    async with connected(lite, token) as client:
        tools = (await client.list_tools()).tools
    assert {tool.name for tool in tools} == READING
    assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
    async with connected(lite, token, "--allow-writes") as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == READING | WRITING


async def test_every_reading_tool_answers(lite: Lite, token: str, failed_run: str) -> None:
    one = {"dag_id": "nightly"}
    run = {**one, "dag_run_id": failed_run}
    async with connected(lite, token) as client:
        (dag,) = (await answer(client, "list_dags", pattern="night"))["dags"]
        assert dag["dag_id"] == "nightly"
        assert (await answer(client, "explain", **one))["latest_dag_runs"][0]["dag_run_id"] == failed_run
        assert "KeyError" in (await answer(client, "explain", **run, task_id="load"))["errors"][-1]
        rows = (await answer(client, "list_task_instances", **run))["task_instances"]
        assert {row["task_id"]: row["state"] for row in rows} == {"load": "failed", "report": "upstream_failed"}
        log = await answer(client, "read_log", **run, task_id="load")
        assert any("loading the prices" in text for text in log["last_lines"])
        searched = await answer(client, "search_logs", text="loading the PRICES", **one)
        assert [(found["dag_run_id"], found["task_id"]) for found in searched["tries"]] == [(failed_run, "load")]
        assert searched["looked_back_to"] is None, "everything was looked at"
        assert (await answer(client, "list_waits", **one)) == {"total": 0, "waits": []}
        assert [row["version_number"] for row in (await answer(client, "list_versions", **one))["versions"]] == [1]
        assert "version 1" in await refusal(client, "diff_versions", **one)
        assert (await answer(client, "show_schedule", **one))["runs"] == []
        assert "nope" in await refusal(client, "explain_wait", wait_id="nope")


async def test_what_is_refused_is_said_in_words(lite: Lite, token: str, failed_run: str) -> None:
    async with connected(lite, token) as client:
        assert "did you mean 'nightly'" in await refusal(client, "list_runs", dag_id="nightlyy")
        assert "was not found" in await refusal(client, "explain", dag_id="nightly", dag_run_id="nope")
    async with connected(lite, "wrong") as client:
        assert "leoflow auth login" in await refusal(client, "list_dags")


async def test_nothing_is_cleared_that_was_not_previewed(lite: Lite, api: Api, token: str, failed_run: str) -> None:
    run = {"dag_id": "nightly", "dag_run_id": failed_run}
    async with connected(lite, token, "--allow-writes") as client:
        preview = await answer(client, "preview_clear", **run)
        assert {row["task_id"] for row in preview["task_instances"]} == {"load", "report"}
        assert "nothing was cleared" in await refusal(client, "clear_task_instances", **run, preview_id="guessed")
        other = {**run, "only_failed": False, "preview_id": preview["preview_id"]}
        assert "nothing was cleared" in await refusal(client, "clear_task_instances", **other)
        assert api.run("nightly", failed_run)["state"] == "failed"
        cleared = await answer(client, "clear_task_instances", **run, preview_id=preview["preview_id"])
        assert cleared["cleared"] == 2
    assert api.wait_for_run("nightly", failed_run)["state"] == "failed"
    async with connected(lite, token, "--allow-writes") as client:
        again = {**run, "preview_id": preview["preview_id"]}
        assert "nothing was cleared" in await refusal(client, "clear_task_instances", **again), "a try later"


async def test_runs_are_triggered_and_dags_paused(lite: Lite, api: Api, token: str, failed_run: str) -> None:
    async with connected(lite, token, "--allow-writes") as client:
        run = await answer(client, "trigger_run", dag_id="nightly", conf={"broken": False}, note="once more")
        assert api.wait_for_run("nightly", run["dag_run_id"])["state"] == "success"
        found = await answer(client, "diff_runs", dag_id="nightly", dag_run_id=failed_run, other=run["dag_run_id"])
        assert found["params"] == [{"field": "broken", "was": False, "is": True}]
        assert found["tasks"][0]["after"]["states"] == {"failed": 1}
        assert (await answer(client, "pause_dag", dag_id="nightly", is_paused=True))["is_paused"] is True
        waiting = await answer(client, "trigger_run", dag_id="nightly")
        assert "paused" in waiting["hint"]
        assert (await answer(client, "pause_dag", dag_id="nightly", is_paused=False))["is_paused"] is False


async def test_an_access_token_that_reads_can_write_nothing(lite: Lite, api: Api, failed_run: str) -> None:
    body = {"name": "mcp", "rights": "read", "expires_in_s": 3600}
    granted = api.http.post("/leoflow/api/tokens", json=body)
    async with connected(lite, granted.json()["token"], "--allow-writes") as client:
        assert (await answer(client, "list_runs", dag_id="nightly"))["total"] >= 1
        assert await refusal(client, "trigger_run", dag_id="nightly")
