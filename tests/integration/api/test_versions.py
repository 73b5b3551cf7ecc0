"""Two versions compared, and an older one made current: what follows from it, and what does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.contract.dag_spec import CronTimetable, DagSpec, TaskSpec
from leoflowd.store.dags import list_bundles_in_use, mark_stale, register_dag
from leoflowd.store.workspace import list_registered
from tests.integration.api.api_client import START, Client

OWN = "/api/v2/leoflow/dags/d"
FIRST = DagSpec(
    dag_id="d",
    tasks=(TaskSpec(task_id="a", operator="EmptyOperator"),),
    timetable=CronTimetable(expression="@daily"),
    tags=("one",),
    source="first\n",
    bundle_digest="1" * 64,
)
SECOND = msgspec.structs.replace(
    FIRST,
    tasks=(*FIRST.tasks, TaskSpec(task_id="b", operator="EmptyOperator", upstream_task_ids=("a",))),
    tags=("two",),
    source="second\n",
    bundle_digest="2" * 64,
)


async def register(context: ApiContext, spec: DagSpec) -> None:
    async with context.db.api.transaction() as conn:
        await register_dag(conn, spec, now=START, fileloc="/w/d.py", relative_fileloc="d.py", parse_duration_s=0.5)


@pytest.fixture
async def server(admin: Client, api_context: ApiContext) -> Client:
    for spec in (FIRST, SECOND):
        await register(api_context, spec)
    return admin


async def current(server: Client) -> tuple[int, list[str]]:
    """Version number and tags."""
    details = await server.get("/api/v2/dags/d/details")
    return details["latest_dag_version"]["version_number"], [tag["name"] for tag in details["tags"]]


async def of_file(context: ApiContext) -> str:
    """The digest that the workspace thinks is registered."""
    async with context.db.api.connection() as conn:
        (row,) = await list_registered(conn, "workspace")
    return row.digest


async def test_two_versions_are_compared(server: Client) -> None:
    for query in ("", "?from=1", "?to=2", "?from=1&to=2"):
        found = await server.get(f"{OWN}/diff{query}")
        assert (found["from_version"], found["to_version"], found["tasks_added"]) == (1, 2, ["b"])
        assert found["edges_added"] == [["a", "b"]]
        assert found["dag"] == {"tags": [["one"], ["two"]]}
        assert found["source"][-2:] == ["-first", "+second"]
    assert (await server.get(f"{OWN}/diff?from=2&to=1"))["tasks_removed"] == ["b"]
    assert (await server.get(f"{OWN}/diff?from=2"))["is_empty"] is True


@pytest.mark.parametrize(("query", "status"), [("?to=1", 409), ("?from=9", 404), ("?from=0", 422), ("?to=x", 422)])
async def test_what_cannot_be_compared(server: Client, query: str, status: int) -> None:
    await server.send("GET", f"{OWN}/diff{query}", status=status)


async def test_an_older_version_is_current_and_new_runs_are_of_it(server: Client, api_context: ApiContext) -> None:
    before = await of_file(api_context)
    old_run = await server.send("POST", "/api/v2/dags/d/dagRuns", {"logical_date": None})
    done = await server.send("POST", f"{OWN}/rollback", {"version_number": 1})
    assert done == {"dag_id": "d", "version_number": 1, "rolled_back_from": 2}
    assert await current(server) == (1, ["one"])
    run = await server.send("POST", "/api/v2/dags/d/dagRuns", {"logical_date": None})
    assert [version["version_number"] for version in run["dag_versions"]] == [1]
    kept = await server.get(f"/api/v2/dags/d/dagRuns/{old_run['dag_run_id']}")
    assert [version["version_number"] for version in kept["dag_versions"]] == [2]
    assert await of_file(api_context) == before, "the workspace would register its version again"
    event = (await server.get("/api/v2/eventLogs?dag_id=d&event=rollback_dag"))["event_logs"][0]
    assert (event["owner"], msgspec.json.decode(event["extra"])["rolled_back_from"]) == ("admin", 2)


async def test_the_code_of_both_is_kept(server: Client, api_context: ApiContext) -> None:
    await server.send("POST", f"{OWN}/rollback", {"version_number": 1})
    async with api_context.db.api.connection() as conn:
        await conn.execute(b"DELETE FROM dag_run")
        kept = await list_bundles_in_use(conn, now=START, keep=START - START)
    assert {FIRST.bundle_digest, SECOND.bundle_digest} <= kept


async def test_a_changed_file_overrules_it(server: Client, api_context: ApiContext) -> None:
    await server.send("POST", f"{OWN}/rollback", {"version_number": 1})
    third = msgspec.structs.replace(SECOND, tags=("three",))
    await register(api_context, third)
    assert await current(server) == (3, ["three"])
    before = await of_file(api_context)
    await server.send("POST", f"{OWN}/rollback", {"version_number": 1})
    assert await of_file(api_context) == before


async def test_it_goes_back_further_and_forward_again(server: Client, api_context: ApiContext) -> None:
    await register(api_context, msgspec.structs.replace(SECOND, tags=("three",)))
    before = await of_file(api_context)
    for number in (2, 1, 3):
        await server.send("POST", f"{OWN}/rollback", {"version_number": number})
        assert (await current(server))[0] == number
        assert await of_file(api_context) == before
    async with api_context.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT rolled_back_from FROM dag")
        assert await cursor.fetchone() == (None,)


@pytest.mark.parametrize(("body", "status"), [({"version_number": 2}, 409), ({"version_number": 9}, 404), ({}, 422)])
async def test_what_is_refused(server: Client, body: dict[str, Any], status: int) -> None:
    await server.send("POST", f"{OWN}/rollback", body, status=status)
    assert (await current(server))[0] == 2


async def test_a_dag_whose_project_is_gone_is_not_brought_back(server: Client, api_context: ApiContext) -> None:
    async with api_context.db.api.transaction() as conn:
        await mark_stale(conn, ["d"], START)
    await server.send("POST", f"{OWN}/rollback", {"version_number": 1}, status=404)


async def test_a_version_whose_code_is_gone_is_refused(server: Client, api_context: ApiContext, tmp_path: Path) -> None:
    config = msgspec.structs.replace(api_context.config, bundles=tmp_path)
    client = Client(create_app(dataclasses.replace(api_context, config=config)), token=server.token)
    refused = await client.send("POST", f"{OWN}/rollback", {"version_number": 1}, status=409)
    assert FIRST.bundle_digest[:12] in refused["detail"]
    assert (await current(server))[0] == 2
    (tmp_path / FIRST.bundle_digest).mkdir()
    await client.send("POST", f"{OWN}/rollback", {"version_number": 1})
