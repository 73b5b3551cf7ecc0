"""A canary gets its share of the new runs until it is promoted, replaced, or fails too often. ADR 81."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import trio

from leoflowd.api.context import ApiContext
from leoflowd.contract.asset_spec import AssetSpec
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.core.canary import gets_canary
from leoflowd.store import canaries
from leoflowd.store.dags import list_bundles_in_use, register_dag
from tests.conftest import PATIENCE_S
from tests.integration.api.api_client import START, Client

OWN = "/api/v2/leoflow/dags"
RUNS = "/api/v2/dags/d/dagRuns"
FIRST = DagSpec(dag_id="d", tasks=(TaskSpec(task_id="a", operator="EmptyOperator"),), bundle_digest="1" * 64)
SECOND = msgspec.structs.replace(FIRST, tags=("two",), bundle_digest="2" * 64)
THIRD = msgspec.structs.replace(FIRST, tags=("three",), bundle_digest="3" * 64)


async def push(server: Client, spec: DagSpec, query: str = "", *, status: int = 201) -> Any:
    return await server.send("POST", f"{OWN}{query}", msgspec.to_builtins(spec), status=status)


@pytest.fixture
async def server(admin: Client) -> Client:
    await push(admin, FIRST)
    return admin


async def trigger(server: Client, count: int, *, first: int = 0) -> dict[str, int]:
    """Run id -> the number of its version."""
    found = {}
    for n in range(first, first + count):
        run = await server.send("POST", RUNS, {"logical_date": None, "dag_run_id": f"run_{n}"})
        found[run["dag_run_id"]] = run["dag_versions"][0]["version_number"]
    return found


async def mark(server: Client, run_ids: list[str], state: str) -> None:
    for run_id in run_ids:
        await server.send("PATCH", f"{RUNS}/{run_id}", {"state": state})


async def standing(server: Client) -> dict[int, tuple[bool, str | None]]:
    """Version number -> (is it current, the outcome of its canary; "live")."""
    rows = (await server.get(f"{OWN}/d/versions"))["versions"]
    return {
        row["version_number"]: (
            row["is_current"],
            None if row["canary"] is None else row["canary"]["outcome"] or "live",
        )
        for row in rows
    }


async def test_half_of_twenty_runs_are_of_the_new_version(server: Client) -> None:
    answer = await push(server, SECOND, "?canary=50")
    assert answer["canary"] == {"share": 50, "rollback_above": 20, "after": 10}
    found = await trigger(server, 20)
    assert found == {run_id: 2 if gets_canary("d", run_id, 50) else 1 for run_id in found}
    assert set(Counter(found.values())) == {1, 2}
    details = await server.get("/api/v2/dags/d/details")
    assert details["latest_dag_version"]["version_number"] == 1
    assert await standing(server) == {2: (False, "live"), 1: (True, None)}
    (canary,) = [row["canary"] for row in (await server.get(f"{OWN}/d/versions"))["versions"] if row["canary"]]
    assert canary["runs"] == list(found.values()).count(2)


async def test_the_tasks_of_a_run_are_those_of_its_version(server: Client) -> None:
    more = msgspec.structs.replace(SECOND, tasks=(*FIRST.tasks, TaskSpec(task_id="b", operator="EmptyOperator")))
    await push(server, more, "?canary=50")
    for run_id, version in (await trigger(server, 8)).items():
        rows = (await server.get(f"{RUNS}/{run_id}/taskInstances"))["task_instances"]
        assert [row["task_id"] for row in rows] == (["a", "b"] if version == 2 else ["a"])


async def test_a_conf_has_to_fit_the_version_that_the_run_gets(server: Client) -> None:
    strict = msgspec.structs.replace(SECOND, params={"n": {"value": 1, "schema": {"type": "integer"}}})
    await push(server, strict, "?canary=50")
    for n in range(8):
        body = {"logical_date": None, "dag_run_id": f"run_{n}", "conf": {"n": "no number"}}
        status = 400 if gets_canary("d", f"run_{n}", 50) else 200
        assert (await server.call("POST", RUNS, json=body)).status_code == status


async def failing(server: Client, query: str) -> list[str]:
    """The canary's runs, of which four have failed."""
    await push(server, SECOND, query)
    of_canary = [run_id for run_id, version in (await trigger(server, 40)).items() if version == 2]
    await mark(server, of_canary[:4], "failed")
    return of_canary


async def test_it_is_rolled_back_before_the_next_run(server: Client) -> None:
    of_canary = await failing(server, "?canary=50&after=5&rollback_above=20")
    assert (await standing(server))[2] == (False, "live"), "judged by 4 of 5"
    await mark(server, of_canary[4:5], "success")
    assert set((await trigger(server, 10, first=100)).values()) == {1}
    assert await standing(server) == {2: (False, "rolled_back"), 1: (True, None)}
    (event,) = (await server.get("/api/v2/eventLogs?dag_id=d&event=rollback_canary"))["event_logs"]
    assert "4 of its 5 ended runs failed" in event["extra"]
    run = await server.get(f"{RUNS}/{of_canary[5]}")
    assert run["dag_versions"][0]["version_number"] == 2, "a run keeps its version"


async def test_it_is_rolled_back_without_a_next_run(server: Client, api_context: ApiContext) -> None:
    await failing(server, "?canary=50&after=4&rollback_above=99")
    async with api_context.db.api.transaction() as conn:
        assert await canaries.list_live(conn) == ("d",)
        assert await canaries.settle(conn, "d", START) is None
        assert await canaries.list_live(conn) == ()
    assert (await standing(server))[2] == (False, "rolled_back")


async def test_a_rollback_that_was_not_committed_is_done_again(server: Client, api_context: ApiContext) -> None:
    """The daemon was killed in between: nothing of it is anywhere but in Postgres."""
    await failing(server, "?canary=50&after=4")

    class Killed(Exception):
        pass

    with pytest.raises(Killed):
        async with api_context.db.api.transaction() as conn:
            assert await canaries.settle(conn, "d", START) is None
            raise Killed
    assert (await standing(server))[2] == (False, "live")
    assert set((await trigger(server, 10, first=100)).values()) == {1}


async def test_it_is_promoted(server: Client) -> None:
    await push(server, SECOND, "?canary=50")
    before = await trigger(server, 10)
    assert await server.send("POST", f"{OWN}/d/promote") == {"dag_id": "d", "version_number": 2, "promoted_over": 1}
    assert await standing(server) == {2: (True, "promoted"), 1: (False, None)}
    assert set((await trigger(server, 10, first=100)).values()) == {2}
    for run_id, version in before.items():
        assert (await server.get(f"{RUNS}/{run_id}"))["dag_versions"][0]["version_number"] == version
    await server.send("POST", f"{OWN}/d/promote", status=409)
    (event,) = (await server.get("/api/v2/eventLogs?dag_id=d&event=promote_dag"))["event_logs"]
    assert event["owner"] == "admin"


async def test_a_cleared_run_keeps_its_version(server: Client) -> None:
    await push(server, SECOND, "?canary=50&after=1&rollback_above=99")
    runs = await trigger(server, 8)
    await mark(server, list(runs), "failed")
    for run_id, version in runs.items():
        cleared = await server.send("POST", f"{RUNS}/{run_id}/clear", {"dry_run": False})
        assert cleared["dag_versions"][0]["version_number"] == version


@pytest.mark.parametrize("again", [THIRD, FIRST], ids=["a newer version", "the current one"])
async def test_whoever_deploys_without_a_canary_ends_it(server: Client, again: DagSpec) -> None:
    await push(server, SECOND, "?canary=99")
    await push(server, again, status=201 if again is THIRD else 200)
    assert (await standing(server))[2] in {(False, "replaced"), (False, "rolled_back")}
    assert set((await trigger(server, 5)).values()) == {3 if again is THIRD else 1}


async def test_a_look_ahead_that_is_renewed_leaves_it_alone(server: Client, api_context: ApiContext) -> None:
    """Whoever registers what is current again, as the watcher of a workspace does."""
    await push(server, SECOND, "?canary=99")
    async with api_context.db.api.transaction() as conn:
        await register_dag(conn, FIRST, now=START, fileloc="x", relative_fileloc="x")
    assert (await standing(server))[2] == (False, "live")


async def test_the_next_canary_takes_its_place(server: Client) -> None:
    await push(server, SECOND, "?canary=99")
    await push(server, THIRD, "?canary=99")
    assert await standing(server) == {3: (False, "live"), 2: (False, "replaced"), 1: (True, None)}


async def test_a_rollback_to_what_is_current_ends_it(server: Client) -> None:
    await push(server, SECOND, "?canary=99")
    done = await server.send("POST", f"{OWN}/d/rollback", {"version_number": 1})
    assert done == {"dag_id": "d", "version_number": 1, "rolled_back_from": 2}
    assert set((await trigger(server, 5)).values()) == {1}
    await server.send("POST", f"{OWN}/d/rollback", {"version_number": 1}, status=409)


async def test_the_first_version_is_no_canary(admin: Client) -> None:
    answer = await push(admin, FIRST, "?canary=10")
    assert (answer["canary"], answer["version_number"]) == (None, 1)
    assert set((await trigger(admin, 5)).values()) == {1}
    assert (await push(admin, FIRST, "?canary=10", status=200))["canary"] is None


async def test_its_code_is_kept(server: Client, api_context: ApiContext) -> None:
    await push(server, SECOND, "?canary=1")
    async with api_context.db.api.connection() as conn:
        assert SECOND.bundle_digest in await list_bundles_in_use(conn, now=START, keep=timedelta())
    await push(server, THIRD)
    async with api_context.db.api.connection() as conn:
        assert SECOND.bundle_digest not in await list_bundles_in_use(conn, now=START, keep=timedelta())


async def test_an_outlet_that_nobody_would_hear_of_is_refused(server: Client) -> None:
    outlet = AssetSpec(name="sales", uri="s3://sales")
    task = TaskSpec(task_id="a", operator="EmptyOperator", outlets=(outlet,))
    refused = await push(server, msgspec.structs.replace(SECOND, tasks=(task,)), "?canary=10", status=409)
    assert "without --canary" in refused["detail"]
    assert await standing(server) == {1: (True, None)}


@pytest.mark.parametrize(
    "query",
    [
        "?canary=0",
        "?canary=100",
        "?canary=x",
        "?canary=10&rollback_above=100",
        "?canary=10&after=0",
        "?after=5",
        "?rollback_above=5",
    ],
)
async def test_what_is_refused(server: Client, query: str) -> None:
    await push(server, SECOND, query, status=422)
    assert await standing(server) == {1: (True, None)}


async def test_runs_and_a_promotion_at_once_end(server: Client, api_context: ApiContext) -> None:
    """Each locks the DAG before the canary."""
    await push(server, SECOND, "?canary=99")
    answers: list[int] = []

    async def ask(path: str, body: Any) -> None:
        answers.append((await server.call("POST", path, json=body)).status_code)

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            for n in range(12):
                nursery.start_soon(ask, RUNS, {"logical_date": None, "dag_run_id": f"run_{n}"})
                if n == 5:
                    nursery.start_soon(ask, f"{OWN}/d/promote", None)
    assert answers == [200] * 13
