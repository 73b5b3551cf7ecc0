"""What `explain` reads: the pool and limits that a scheduled task waits for, and who was given a queued one."""

from __future__ import annotations

import dataclasses

import pytest

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.store.replicas import beat
from tests.integration.api.api_client import START, Client
from tests.integration.api.api_seed import BROKEN, DAG, DONE, OPEN
from tests.integration.api.people import somebody_with
from tests.integration.api.wait_seed import put_wait

LOAD = f"/api/v2/leoflow/explain/{DAG}/{OPEN}/load"


async def change(context: ApiContext, statement: bytes) -> None:
    async with context.db.api.transaction() as conn:
        await conn.execute(statement, {"now": START, "open": OPEN, "done": DONE})


@pytest.fixture
async def scheduled(seeded: Client, api_context: ApiContext) -> Client:
    """`load` of the open run waits for a slot; `extract` of that run, and `only` of another DAG, hold some."""
    await change(
        api_context,
        b"UPDATE task_instance t SET state = 'scheduled' FROM dag_run r WHERE r.id = dag_run_id AND task_id = 'load'"
        b" AND run_id = %(open)s",
    )
    await seeded.send("POST", "/api/v2/dags/other/dagRuns", {"logical_date": None})
    await change(
        api_context,
        b"UPDATE task_instance SET state = 'running', try_number = 1, start_date = %(now)s, pool_slots = 7"
        b" WHERE task_id = 'only'",
    )
    return seeded


async def why(client: Client) -> str:
    because: list[str] = (await client.get(LOAD))["because"]
    assert len(because) == 2
    return because[1].removeprefix("it waits for a slot: ")


async def test_a_full_pool_is_named_with_who_holds_its_slots(scheduled: Client, api_context: ApiContext) -> None:
    assert await why(scheduled) == "it gets its slot at the next decision"
    await change(api_context, b"UPDATE pool SET slots = 8")
    full = "pool 'default_pool' is full: 8 of 8 slots are taken (7 by dag 'other', 1 by dag 'etl'), and it needs 1"
    assert await why(scheduled) == full
    panel = await scheduled.get(f"/api/v2/dags/{DAG}/dagRuns/{OPEN}/taskInstances/load/dependencies")
    assert panel["dependencies"] == [{"name": "Blocked by", "reason": f"it waits for a slot: {full}"}]


async def test_a_dag_that_is_hidden_is_not_named_as_a_holder(scheduled: Client, api_context: ApiContext) -> None:
    await change(api_context, b"UPDATE pool SET slots = 8")
    said = await why(await somebody_with(scheduled.app, api_context.db, {"read": f"dag:{DAG}"}))
    assert "(7 by DAGs that you may not see, 1 by dag 'etl')" in said


async def test_what_waits_holds_its_slot_where_the_pool_counts_it(scheduled: Client, api_context: ApiContext) -> None:
    await put_wait(api_context.db, "g.transform")
    await change(api_context, b"UPDATE pool SET slots = 9")
    assert await why(scheduled) == "it gets its slot at the next decision"
    await change(api_context, b"UPDATE pool SET include_deferred = true")
    assert "9 of 9 slots are taken (7 by dag 'other', 2 by dag 'etl')" in await why(scheduled)
    await change(api_context, b"DELETE FROM wait")  # it has fired: the instance is about to ask for a slot itself
    assert await why(scheduled) == "it gets its slot at the next decision"


async def test_a_pool_that_was_deleted_is_named(scheduled: Client, api_context: ApiContext) -> None:
    await change(api_context, b"DELETE FROM pool")
    assert (await why(scheduled)).startswith("pool 'default_pool' does not exist")


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (b"'{max_active_tasks}', '1'", "1 task instances of this dag run hold slots, and its max_active_tasks is 1"),
        (b"'{tasks,2,max_active_tis_per_dag}', '2'", "2 instances of task 'load' hold slots in all its dag runs"),
        (b"'{tasks,2,max_active_tis_per_dagrun}', '1'", "it gets its slot at the next decision"),
    ],
)
async def test_limits_are_counted_over_the_right_instances(
    scheduled: Client, api_context: ApiContext, limit: bytes, said: str
) -> None:
    """`extract` runs beside it in its run; `load` is live in the two other runs."""
    await change(
        api_context,
        b"UPDATE task_instance t SET state = 'queued', try_number = 1 FROM dag_run r WHERE r.id = dag_run_id"
        b" AND task_id = 'load' AND run_id <> %(open)s",
    )
    # as a version of its own: versions are remembered by id
    await change(
        api_context,
        b"INSERT INTO dag_version SELECT gen_random_uuid(), dag_id, 2, 'x', jsonb_set(spec, " + limit + b"), source,"
        b" bundle_digest, label, created_at FROM dag_version WHERE dag_id = 'etl'",
    )
    await change(
        api_context,
        b"UPDATE dag_run SET dag_version_id = v.id FROM dag_version v WHERE v.version_number = 2 AND v.dag_id = 'etl'"
        b" AND run_id = %(open)s",
    )
    assert (await why(scheduled)).startswith(said)


async def test_a_paused_dag_is_the_only_reason(scheduled: Client) -> None:
    await scheduled.send("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": True})
    assert "is paused" in await why(scheduled)


async def test_a_queued_task_without_an_agent_says_so(seeded: Client, api_context: ApiContext) -> None:
    await change(
        api_context,
        b"UPDATE task_instance t SET state = 'queued', try_number = 1, launcher = 'one' FROM dag_run r"
        b" WHERE r.id = dag_run_id AND task_id = 'load' AND run_id = %(open)s",
    )
    assert (await seeded.get(LOAD))["because"][-1].endswith("has not begun")
    for agents, end in ((0, "no agent is attached to the daemon host/7"), (1, "try 1 was handed to the executor")):
        async with api_context.db.api.transaction() as conn:
            await beat(conn, replica="one", name="host/7", tries=[], agents=agents, now=START)
        assert (await seeded.get(LOAD))["because"][-1].startswith(end)


async def test_the_schedule_of_a_dag_goes_on_after_its_last_run(seeded: Client) -> None:
    found = await seeded.get(f"/api/v2/leoflow/schedule/{DAG}", query_string={"next": 2, "zone": "Asia/Tokyo"})
    assert (found["dag_id"], len(found["runs"]), found["zone"]) == (DAG, 2, "Asia/Tokyo")
    assert found["runs"][0]["run_after"] < found["runs"][1]["run_after"]
    await seeded.send("GET", f"/api/v2/leoflow/schedule/{DAG}?zone=Nowhere", status=422)
    await seeded.send("GET", "/api/v2/leoflow/schedule/nothing", status=404)


async def test_a_queued_run_names_the_runs_that_have_its_place(seeded: Client, api_context: ApiContext) -> None:
    await change(api_context, b"UPDATE dag SET max_active_runs = 1")
    started = await seeded.send("POST", f"/api/v2/dags/{DAG}/dagRuns", {"logical_date": None})
    run_id = started["dag_run_id"]
    told = (await seeded.get(f"/api/v2/leoflow/explain/{DAG}/{run_id}"))["because"]
    said = f"1 runs of dag '{DAG}' are running ('{OPEN}'), and max_active_runs is 1: one has to end first"
    assert f"the dag run itself is queued: {said}" in told
    task = (await seeded.get(f"/api/v2/leoflow/explain/{DAG}/{run_id}/load"))["because"]
    assert f"the dag run itself is queued: {said}" in task


async def test_a_run_is_explained_by_its_tasks(seeded: Client) -> None:
    told = (await seeded.get(f"/api/v2/leoflow/explain/{DAG}/{OPEN}"))["because"]
    assert told[0].startswith(f"dag run '{OPEN}' is running")
    assert any(one.startswith("task 'extract' is in state running") for one in told)
    await seeded.send("GET", f"/api/v2/leoflow/explain/{DAG}/never", status=404)


async def test_a_failed_upstream_is_named_with_its_reason(seeded: Client, api_context: ApiContext) -> None:
    await change(api_context, b"UPDATE task_instance SET because = 'exit code 7' WHERE state = 'failed'")
    told = (await seeded.get(f"/api/v2/leoflow/explain/{DAG}/{BROKEN}/load"))["because"]
    assert "it began with task 'g.transform', which is failed: exit code 7" in told


async def test_a_try_whose_environment_is_being_built_says_so(seeded: Client, api_context: ApiContext) -> None:
    await change(
        api_context,
        b"UPDATE task_instance t SET state = 'queued', try_number = 1 FROM dag_run r"
        b" WHERE r.id = dag_run_id AND task_id = 'load' AND run_id = %(open)s",
    )
    building = dataclasses.replace(api_context, is_building=lambda try_id: True)
    told = (await Client(create_app(building), token=seeded.token).get(LOAD))["because"]
    assert any("its environment is being built" in one for one in told)
    assert not any("environment" in one for one in (await seeded.get(LOAD))["because"])


async def test_a_dag_whose_file_is_broken_says_so_and_which_version_runs(
    seeded: Client, api_context: ApiContext
) -> None:
    async def said() -> list[str]:
        because: list[str] = (await seeded.get(f"/api/v2/leoflow/explain/{DAG}"))["because"]
        return [sentence for sentence in because if "import error" in sentence]

    assert await said() == []
    await change(
        api_context,
        b"INSERT INTO import_error (filename, bundle_name, stack_trace, occurred_at)"
        b" SELECT relative_fileloc, bundle_name, 'bad', %(now)s FROM dag WHERE dag_id = 'etl'",
    )
    (sentence,) = await said()
    assert "the version before that is in force" in sentence
