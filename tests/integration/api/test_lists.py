"""Lists: both paging modes, order, filters, and what a wrong parameter is told."""

from __future__ import annotations

from typing import Any

import pytest

from leoflowd.api.context import ApiContext
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.store.dags import register_dag
from tests.integration.api.api_client import START, Client
from tests.integration.api.api_seed import BROKEN, DAG, DONE, OPEN

RUNS = f"/api/v2/dags/{DAG}/dagRuns"
INSTANCES = "/api/v2/dags/~/dagRuns/~/taskInstances"


async def _ids(client: Client, url: str, name: str, key: str) -> list[Any]:
    return [row[key] for row in (await client.get(url))[name]]


async def _walk(client: Client, url: str, name: str, key: str) -> tuple[list[str], list[str]]:
    """All pages forward, then back from the last one."""
    forward: list[str] = []
    cursor: str | None = ""
    page: dict[str, Any] = {}
    while cursor is not None:
        page = await client.get(f"{url}&cursor={cursor}")
        assert page["total_entries"] is None
        forward += [row[key] for row in page[name]]
        cursor = page["next_cursor"]
    backward: list[str] = [row[key] for row in page[name]]
    cursor = page["previous_cursor"]
    while cursor is not None:
        page = await client.get(f"{url}&cursor={cursor}")
        backward = [row[key] for row in page[name]] + backward
        cursor = page["previous_cursor"]
    return forward, backward


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("-run_after", [OPEN, BROKEN, DONE]),
        ("logical_date", [DONE, BROKEN, OPEN]),  # no logical date: last
        ("-logical_date", [BROKEN, DONE, OPEN]),  # and last in the other direction too
        ("state", [BROKEN, OPEN, DONE]),
        ("duration", [DONE, BROKEN, OPEN]),
    ],
)
async def test_a_cursor_walks_the_whole_list_and_back(seeded: Client, order: str, expected: list[str]) -> None:
    forward, backward = await _walk(seeded, f"{RUNS}?limit=1&order_by={order}", "dag_runs", "dag_run_id")
    assert forward == expected
    assert backward == expected


async def test_a_cursor_walks_task_instances_of_all_runs(seeded: Client) -> None:
    url = f"{INSTANCES}?limit=2&order_by=-start_date"
    forward, backward = await _walk(seeded, url, "task_instances", "id")
    assert len(set(forward)) == 9
    assert backward == forward


async def test_an_offset_page_counts_all(seeded: Client) -> None:
    page = await seeded.get(f"{RUNS}?limit=2&offset=1&order_by=run_after")
    assert [run["dag_run_id"] for run in page["dag_runs"]] == [BROKEN, OPEN]
    assert (page["total_entries"], page["next_cursor"], page["previous_cursor"]) == (3, None, None)
    assert (await seeded.get(f"{RUNS}?offset=9"))["total_entries"] == 3
    assert len((await seeded.get(f"{INSTANCES}?limit=1000"))["task_instances"]) == 9


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=running&state=failed", {BROKEN, OPEN}),
        ("state=awaiting_input", set()),
        ("run_type=scheduled", {BROKEN}),
        ("run_id_prefix_pattern=manual__o", {OPEN}),
        ("run_id_prefix_pattern=MANUAL", set()),
        ("run_id_pattern=MANUAL", {DONE, OPEN}),
        ("run_id_pattern=open|sched", {BROKEN, OPEN}),
        ("run_id_pattern=~", {DONE, BROKEN, OPEN}),
        ("run_id_prefix_pattern=", {DONE, BROKEN, OPEN}),
        ("run_id_prefix_pattern=%25", set()),
        ("run_after_gte=2026-11-20T03%3A00%3A00.000Z", {BROKEN, OPEN}),
        ("run_after_lt=2026-11-20T03:00:00Z", {DONE}),
        ("duration_gt=10", {DONE, BROKEN}),
        ("conf_contains=%22n%22", {DONE, BROKEN, OPEN}),
        ("dag_version=2", set()),
        ("partition_key_prefix_pattern=x", set()),
        ("unknown_parameter=1", {DONE, BROKEN, OPEN}),
    ],
)
async def test_runs_are_filtered(seeded: Client, query: str, expected: set[str]) -> None:
    assert set(await _ids(seeded, f"{RUNS}?{query}", "dag_runs", "dag_run_id")) == expected


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("state=none", 2),
        ("state=failed&state=no_status", 3),
        ("task_id=load", 3),
        ("map_index=-1", 9),
        ("pool_name_prefix_pattern=default", 9),
        ("operator_name_prefix_pattern=Bash", 3),
        (f"dag_id_prefix_pattern={DAG}&task_display_name_prefix_pattern=ext", 3),
        ("task_group_id=g", 0),
    ],
)
async def test_task_instances_are_filtered(seeded: Client, query: str, count: int) -> None:
    assert (await seeded.get(f"{INSTANCES}?{query}"))["total_entries"] == count


async def test_a_group_filters_within_a_dag(seeded: Client) -> None:
    url = f"{RUNS}/~/taskInstances?task_group_id=g"
    assert set(await _ids(seeded, url, "task_instances", "task_id")) == {"g.transform"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tags=daily&tags=x", [DAG]),
        ("tags=daily&tags=x&tags_match_mode=all", []),
        ("owners=ana", [DAG]),
        ("paused=true", []),
        ("last_dag_run_state=running", [DAG]),
        ("dag_run_state=failed", [DAG]),
        ("dag_run_start_date_gte=2030-01-01T00:00:00Z", []),
        ("is_favorite=true", []),
        ("order_by=-dag_id", ["other", DAG]),
        ("order_by=last_run_state", [DAG, "other"]),
        ("dag_display_name_prefix_pattern=oth", ["other"]),
        ("has_asset_schedule=true", []),
    ],
)
async def test_dags_are_filtered_and_ordered(seeded: Client, query: str, expected: list[str]) -> None:
    assert await _ids(seeded, f"/api/v2/dags?{query}", "dags", "dag_id") == expected


@pytest.mark.parametrize(
    ("url", "where"),
    [
        (f"{RUNS}?limit=-1", ["query", "limit"]),
        (f"{RUNS}?limit=x", ["query", "limit"]),
        (f"{RUNS}?limit=", ["query", "limit"]),
        (f"{RUNS}?offset=99999999999999999999", ["query", "offset"]),
        (f"{RUNS}?run_after_gte=soon", ["query", "run_after_gte"]),
        (f"{RUNS}?order_by=nothing", ["query", "order_by"]),
        (f"{RUNS}?duration_gt=nan", ["query", "duration_gt"]),
        ("/api/v2/dags?paused=maybe", ["query", "paused"]),
        ("/api/v2/eventLogs/x", ["path", "event_log_id"]),
        (f"{RUNS}/{DONE}/taskInstances/extract/x", ["path", "map_index"]),
    ],
)
async def test_a_wrong_parameter_is_named(seeded: Client, url: str, where: list[str]) -> None:
    problem = await seeded.send("GET", url, status=422)
    assert problem["detail"][0]["loc"] == where
    assert problem["detail"][0].keys() == {"type", "loc", "msg", "input"}


@pytest.mark.parametrize("token", ["x", "~", "gA", "kgEC", "%00", "k6FhoWKhYw"])
async def test_a_cursor_of_another_list_is_refused(seeded: Client, token: str) -> None:
    answer = await seeded.call("GET", f"{RUNS}?cursor={token}&order_by=-run_after")
    assert answer.status_code in (400, 422)


async def test_a_plus_sign_in_a_path_is_a_plus_sign(seeded: Client) -> None:
    raw = await seeded.get(f"{RUNS}/{BROKEN}")
    encoded = await seeded.get(f"{RUNS}/{BROKEN.replace('+', '%2B').replace(':', '%3A')}")
    assert raw["dag_run_id"] == encoded["dag_run_id"] == BROKEN


@pytest.mark.parametrize(
    "url", [f"{RUNS}/nope", "/api/v2/dags/nope/dagRuns", f"{RUNS}/{DONE}/taskInstances/nope", "/api/v2/pools/nope"]
)
async def test_what_is_not_there_is_named(seeded: Client, url: str) -> None:
    assert "nope" in (await seeded.send("GET", url, status=404))["detail"]


async def test_warnings_of_a_dag_say_where_and_what_to_do(seeded: Client) -> None:
    (warning,) = (await seeded.get(f"/api/v2/dagWarnings?dag_id={DAG}"))["dag_warnings"]
    assert warning["dag_id"] == DAG
    assert warning["message"] == "dag.py:3: days_ago is gone; write a fixed date"


async def test_a_pool_that_nobody_has_made_is_a_warning_until_it_is_made(
    seeded: Client, api_context: ApiContext
) -> None:
    tasks = tuple(TaskSpec(task_id=name, operator="EmptyOperator", pool="gpu") for name in ("a", "b"))
    async with api_context.db.api.transaction() as conn:
        await register_dag(conn, DagSpec(dag_id="hungry", tasks=tasks), now=START, fileloc="/f", relative_fileloc="f")
    (warning,) = (await seeded.get("/api/v2/dagWarnings?warning_type=non-existent+pool"))["dag_warnings"]
    assert warning["dag_id"] == "hungry"
    assert warning["message"].startswith("pool 'gpu' does not exist, and these tasks wait for it: a, b;")
    await seeded.send("POST", "/api/v2/pools", {"name": "gpu", "slots": 1}, status=201)
    assert (await seeded.get("/api/v2/dagWarnings?dag_id=hungry"))["dag_warnings"] == []


@pytest.mark.parametrize("query", ["dag_id=other", "dag_id=nobody", "warning_type=non-existent+pool"])
async def test_warnings_of_others_are_not_among_them(seeded: Client, query: str) -> None:
    assert (await seeded.get(f"/api/v2/dagWarnings?{query}"))["total_entries"] == 0


async def test_a_mapped_instance_without_a_name_goes_by_its_number(seeded: Client, api_context: ApiContext) -> None:
    """The UI's lists show `rendered_map_index` and nothing else: null is an empty cell."""
    async with api_context.db.api.transaction() as conn:
        for run_id, index, name in ((DONE, 10, None), (BROKEN, 9, None), (OPEN, 11, "eve")):
            await conn.execute(
                b"UPDATE task_instance SET map_index = %(index)s, rendered_map_index = %(name)s FROM dag_run r"
                b" WHERE r.id = dag_run_id AND r.run_id = %(run)s AND task_id = 'load'",
                {"index": index, "name": name, "run": run_id},
            )

    async def names(query: str) -> list[str | None]:
        return await _ids(seeded, f"{INSTANCES}?{query}", "task_instances", "rendered_map_index")

    assert await names("order_by=rendered_map_index") == ["10", "9", "eve", *[None] * 6]
    assert await names("order_by=rendered_map_index&cursor=&limit=2") == ["10", "9"]
    assert await names("rendered_map_index_prefix_pattern=1") == ["10"]
    assert await names("rendered_map_index_prefix_pattern=-1") == []
    assert await names("rendered_map_index_pattern=-1") == []
