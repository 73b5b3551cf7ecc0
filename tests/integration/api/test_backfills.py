"""Backfills over the API: Airflow's answers and errors, the dry run beside the real thing, what is in the audit log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from leoflowd.api.context import ApiContext
from leoflowd.contract.dag_spec import CronTimetable, DagSpec, NoTimetable, TaskSpec
from leoflowd.contract.partition_spec import CronPartition
from leoflowd.store.backfills import make_some
from leoflowd.store.dags import register_dag
from tests.integration.api.api_client import START, Client

BACKFILLS = "/api/v2/backfills"
SPEC = DagSpec(
    dag_id="d",
    dag_display_name="The DAG",
    tasks=(TaskSpec(task_id="a", operator="EmptyOperator"),),
    timetable=CronTimetable(expression="@daily", data_interval=True),
)
BODY = {"dag_id": "d", "from_date": "2026-11-01T00:00:00Z", "to_date": "2026-11-03T00:00:00Z"}


@pytest.fixture
async def server(admin: Client, api_context: ApiContext) -> Client:
    async with api_context.db.api.transaction() as conn:
        for spec in (SPEC, DagSpec(dag_id="never", tasks=SPEC.tasks, timetable=NoTimetable())):
            await register_dag(conn, spec, now=START, fileloc="x", relative_fileloc="x")
    return admin


async def make(context: ApiContext, backfill_id: int) -> None:
    async with context.db.api.transaction() as conn:
        await make_some(conn, backfill_id, START)


async def test_the_dry_run_says_what_the_real_thing_then_makes(server: Client, api_context: ApiContext) -> None:
    await server.send("POST", "/api/v2/dags/d/dagRuns", {"logical_date": "2026-11-02T00:00:00Z"})
    dry = await server.send("POST", f"{BACKFILLS}/dry_run", BODY)
    dates = ["2026-11-01T00:00:00Z", "2026-11-03T00:00:00Z"]
    assert dry["backfills"] == [{"logical_date": date, "partition_key": None, "partition_date": None} for date in dates]
    assert dry["total_entries"] == 2
    assert dry["preview"]["runs"] == 2
    assert (await server.get(f"{BACKFILLS}?dag_id=d"))["backfills"] == []
    made = await server.send("POST", BACKFILLS, BODY)
    await make(api_context, made["id"])
    runs = (await server.get("/api/v2/dags/d/dagRuns?run_type=backfill&order_by=logical_date"))["dag_runs"]
    assert [run["logical_date"] for run in runs] == dates
    assert {run["state"] for run in runs} == {"queued"}


async def test_partitions_have_keys_and_no_dates(server: Client, api_context: ApiContext) -> None:
    partition = CronPartition(key_format="%Y-%m-%d")
    timetable = CronTimetable(expression="0 3 * * *", data_interval=False, partition=partition)
    async with api_context.db.api.transaction() as conn:
        spec = DagSpec(dag_id="p", tasks=SPEC.tasks, timetable=timetable)
        await register_dag(conn, spec, now=START, fileloc="x", relative_fileloc="x")
    await server.send("POST", "/api/v2/dags/p/dagRuns", {"logical_date": None, "partition_key": "2026-11-01"})
    dry = await server.send("POST", f"{BACKFILLS}/dry_run", BODY | {"dag_id": "p"})
    moment = "2026-11-02T03:00:00Z"
    assert dry["backfills"] == [{"logical_date": None, "partition_key": "2026-11-02", "partition_date": moment}]
    made = await server.send("POST", BACKFILLS, BODY | {"dag_id": "p"})
    await make(api_context, made["id"])
    runs = (await server.get("/api/v2/dags/p/dagRuns?run_type=backfill"))["dag_runs"]
    assert [(run["partition_key"], run["logical_date"]) for run in runs] == [("2026-11-02", None)]
    assert (await server.get(f"{BACKFILLS}/{made['id']}"))["progress"]["skipped"] == 1


async def test_the_answer_is_airflows_and_how_far_it_is(server: Client, api_context: ApiContext) -> None:
    made = await server.send("POST", BACKFILLS, BODY | {"max_active_runs": "2", "dag_run_conf": {"n": 1}})
    progress = {"runs": 3, "to_be_made": 3, "skipped": 0, "queued": 0, "running": 0, "success": 0, "failed": 0}
    assert made == {
        "id": made["id"],
        "dag_id": "d",
        "from_date": "2026-11-01T00:00:00Z",
        "to_date": "2026-11-03T00:00:00Z",
        "dag_run_conf": {"n": 1},
        "is_paused": False,
        "reprocess_behavior": "none",
        "max_active_runs": 2,
        "created_at": "2026-11-21T03:00:00Z",
        "completed_at": None,
        "updated_at": "2026-11-21T03:00:00Z",
        "dag_display_name": "The DAG",
        "progress": progress,
    }
    await make(api_context, made["id"])
    found = await server.get(f"{BACKFILLS}/{made['id']}")
    assert found == made | {"progress": progress | {"to_be_made": 0, "queued": 3}}


async def test_paused_unpaused_and_cancelled(server: Client, api_context: ApiContext) -> None:
    one = f"{BACKFILLS}/{(await server.send('POST', BACKFILLS, BODY))['id']}"
    for action, paused in (("pause", True), ("pause", True), ("unpause", False)):
        assert (await server.send("PUT", f"{one}/{action}"))["is_paused"] is paused
    await make(api_context, (await server.get(one))["id"])
    over = await server.send("PUT", f"{one}/cancel")
    assert over["completed_at"] == "2026-11-21T03:00:00Z"
    assert over["progress"]["failed"] == 3
    for action in ("pause", "unpause", "cancel"):
        refused = await server.send("PUT", f"{one}/{action}", status=409)
        assert refused == {"detail": "Backfill is already completed."}
    events = (await server.get("/api/v2/eventLogs?dag_id=d&order_by=id"))["event_logs"]
    told = [(event["event"], event["owner"]) for event in events]
    assert told == [(f"{what}_backfill", "admin") for what in ("create", "pause", "pause", "unpause", "cancel")]


async def test_the_ui_asks_for_those_that_are_not_over(server: Client) -> None:
    first = (await server.send("POST", BACKFILLS, BODY))["id"]
    await server.send("PUT", f"{BACKFILLS}/{first}/cancel")
    second = (await server.send("POST", BACKFILLS, BODY))["id"]

    async def ids(query: str) -> list[int]:
        return [row["id"] for row in (await server.get(f"/ui/backfills?{query}"))["backfills"]]

    assert await ids("dag_id=d&active=true") == [second]
    assert await ids("dag_id=d&active=false") == [first]
    assert await ids("dag_id=d&order_by=-id&limit=1") == [second]
    assert await ids("dag_id=never") == []
    listed = await server.get(f"{BACKFILLS}?dag_id=d&limit=1&offset=1")
    assert ([row["id"] for row in listed["backfills"]], listed["total_entries"]) == ([second], 2)


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"dag_id": "nowhere"}, 404, "nowhere"),
        ({"dag_id": "never"}, 422, "never has no schedule"),
        ({"from_date": "2027-01-01T00:00:00Z", "to_date": "2027-01-02T00:00:00Z"}, 422, "future dates"),
        ({"max_active_runs": 0}, 422, "max_active_runs"),
        ({"max_active_runs": "many"}, 422, "max_active_runs"),
        ({"reprocess_behavior": "all"}, 422, "reprocess_behavior"),
        ({"run_sideways": True}, 422, "run_sideways"),
    ],
)
async def test_what_is_refused(server: Client, dry: bool, change: dict[str, Any], status: int, said: str) -> None:
    path = f"{BACKFILLS}/dry_run" if dry else BACKFILLS
    assert said in str(await server.send("POST", path, BODY | change, status=status))
    assert (await server.get("/ui/backfills"))["total_entries"] == 0


async def test_a_second_one_is_a_conflict_and_its_dry_run_is_not(server: Client) -> None:
    await server.send("POST", BACKFILLS, BODY)
    refused = await server.send("POST", BACKFILLS, BODY, status=409)
    assert refused == {"detail": "There is already a running backfill for dag d"}
    await server.send("POST", f"{BACKFILLS}/dry_run", BODY)


async def test_one_that_is_not_there(server: Client) -> None:
    for method, path in (("GET", ""), ("PUT", "/pause"), ("PUT", "/unpause"), ("PUT", "/cancel")):
        refused = await server.send(method, f"{BACKFILLS}/7{path}", status=404)
        assert refused == {"detail": "Could not find backfill with id 7"}
    for wrong in ("x", "-1"):
        assert "backfill_id" in str(await server.send("GET", f"{BACKFILLS}/{wrong}", status=422))
    assert "dag_id" in str(await server.send("GET", BACKFILLS, status=422))


async def test_the_preview_knows_how_long_runs_took(server: Client, api_context: ApiContext) -> None:
    run = await server.send("POST", "/api/v2/dags/d/dagRuns", {"logical_date": None})
    async with api_context.db.api.transaction() as conn:
        await conn.execute(
            b"UPDATE dag_run SET state = 'success', start_date = %(start)s, end_date = %(end)s WHERE run_id = %(run)s",
            {"start": START, "end": START + timedelta(minutes=1), "run": run["dag_run_id"]},
        )
    found = (await server.send("POST", f"{BACKFILLS}/dry_run", BODY | {"max_active_runs": 1}))["preview"]
    assert found == {
        "runs": 3,
        "task_instances": 3,
        "runs_at_once": 1,
        "pools": {"default_pool": 1},
        "run_duration_s": 60.0,
        "runs_per_hour": 60.0,
        "duration_s": 180.0,
    }
