"""Waits as the scheduler sees them: begun without a process, ended by the pool, dead once someone changed the task."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import trio

from leoflowd.contract.agent_messages import Outcome, OutcomeKind, ResumeCall, XComItem
from leoflowd.contract.dag_spec import MapInput, MappedItem, MappedSpec, MappedValues, TaskSpec
from leoflowd.contract.states import TaskInstanceState
from leoflowd.contract.wait_spec import (
    Deferral,
    HttpCall,
    ProbeSpec,
    Resume,
    TriggerSpec,
    WaitMode,
    WaitSpec,
    WaitTerms,
)
from leoflowd.contract.waits import NewWait, ResumeWith, WaitEnd
from leoflowd.core.pool_shards import ALL_SHARDS
from leoflowd.scheduler.inbox import DagChanged, RunChanged
from leoflowd.store import dags, task_instances, waits
from leoflowd.store.waits import FIRST_PAGE, InstanceKey
from leoflowd.store.xcoms import xcoms_of
from tests.conftest import PATIENCE_S
from tests.integration.scheduler.conftest import World, attached, dag, task, utc_now

LOGICAL_DATE = datetime(2024, 1, 1, tzinfo=UTC)


def sensor(task_id: str, *upstream: str, **fields: Any) -> TaskSpec:
    terms = fields.pop("terms", WaitTerms())
    arguments = fields.pop("arguments", {"path": "/data/{{ ds }}"})
    probe = ProbeSpec(kind="file", arguments=arguments, connection_id="fs_default")
    return TaskSpec(
        task_id=task_id,
        operator="FileSensor",
        kind="wait",
        wait=WaitSpec(probe=probe, terms=terms),
        upstream_task_ids=upstream,
        **fields,
    )


def outcome(kind: OutcomeKind = OutcomeKind.SUCCESS, **fields: Any) -> Outcome:
    return Outcome(kind=kind, because="the file is there", start_date=utc_now(), end_date=utc_now(), **fields)


def end_of(wait: NewWait, **fields: Any) -> WaitEnd:
    return WaitEnd(id=str(wait.id), dag_run_id=wait.dag_run_id, **fields)


async def end(world: World, wait: NewWait, **fields: Any) -> None:
    with trio.fail_after(PATIENCE_S):
        await world.inbox.waits_ended([end_of(wait, **fields)])


async def begun(world: World, count: int = 1) -> list[NewWait]:
    async def met() -> bool:
        return len(world.pool.registered) >= count

    await world.until(met)
    return world.pool.registered


async def rows(world: World) -> dict[str, str]:
    async with world.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT task_id, status FROM wait")
        return dict(await cursor.fetchall())


async def current(world: World, wait: NewWait) -> bool:
    async with world.db.api.connection() as conn:
        return wait.id in await waits.list_current_ids(conn, [wait.id])


async def test_a_native_sensor_waits_without_a_process(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", sensor("wait"), task("after", "wait")), logical_date=LOGICAL_DATE)
        (wait,) = await begun(world)
        assert await world.states(run) == {"wait": "deferred", "after": None}
        assert wait.spec.probe.arguments == {"path": "/data/2024-01-01"}
        assert wait.dag_id == "d"
        assert await rows(world) == {"wait": "waiting"}
        assert world.none_launched()


async def test_its_rendered_fields_have_the_names_that_the_author_knows(world: World) -> None:
    async with world.leading():
        fields = {"filepath": "/data/{{ ds }}", "fs_conn_id": "fs_default", "odd": "{{ macros.ds_add(ds, 1) }}"}
        await world.create(dag("d", sensor("wait", template_values=fields)), logical_date=LOGICAL_DATE)
        await begun(world)
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT rendered_fields FROM task_instance WHERE task_id = 'wait'")
            (shown,) = await cursor.fetchone() or ((),)
    assert shown == {**fields, "filepath": "/data/2024-01-01"}


async def test_its_row_is_what_the_pool_arms_after_a_restart(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", sensor("wait")), logical_date=LOGICAL_DATE)
        (wait,) = await begun(world)
    async with world.db.api.connection() as conn:
        (row,) = (await waits.list_waits_to_arm(conn, ALL_SHARDS, limit=10)).rows
    assert (row.id, row.dag_run_id, row.dag_id, row.kind, row.key) == (wait.id, wait.dag_run_id, "d", "file", wait.key)
    assert wait.deadline_at is not None
    assert (row.registered_at, row.deadline_at) == (wait.registered_at.timestamp(), wait.deadline_at.timestamp())


async def test_pages_go_on_behind_rows_that_are_dead(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", *(sensor(f"w{n}") for n in range(5))), logical_date=LOGICAL_DATE)
        await begun(world, 5)
        async with world.db.api.transaction() as conn:
            found = [row.id for row in (await waits.list_waits_to_arm(conn, ALL_SHARDS, limit=10)).rows]
            await conn.execute(
                b"UPDATE task_instance SET state = 'success' WHERE dag_run_id = %(run)s AND id = ANY (%(ids)s)",
                {"run": run, "ids": [found[1], found[3]]},
            )
            await conn.execute(
                b"UPDATE wait SET status = 'fired', ended_at = now() WHERE id = %(id)s", {"id": found[0]}
            )
            seen: list[UUID] = []
            ids: list[UUID] = []
            after: InstanceKey | None = FIRST_PAGE
            for _ in range(3):
                assert after is not None
                page = await waits.list_waits_to_arm(conn, ALL_SHARDS, after=after, limit=2)
                seen += [row.id for row in page.rows]
                ids += (await waits.list_current_ids_page(conn, ALL_SHARDS, after=after, limit=2)).ids
                after = page.next_after
        assert after is None
        assert seen == ids == [found[2], found[4]]


async def test_reschedule_mode_is_shown_as_airflow_shows_it(world: World) -> None:
    async with world.leading():
        terms = WaitTerms(mode=WaitMode.RESCHEDULE)
        run = await world.create(dag("d", sensor("wait", terms=terms)), logical_date=LOGICAL_DATE)
        (wait,) = await begun(world)
        assert await world.states(run) == {"wait": "up_for_reschedule"}
        await world.inbox.put(RunChanged(run))  # a plan from the rows leaves it in the pool
        await end(world, wait, outcome=outcome())
        assert await world.states(run) == {"wait": "success"}
    assert len(world.pool.registered) == 1


async def test_the_end_of_a_wait_and_what_follows_are_one_commit(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", sensor("wait"), task("after", "wait")), logical_date=LOGICAL_DATE)
        (wait,) = await begun(world)
        await end(world, wait, outcome=outcome(xcoms=(XComItem(key="return_value", value="7"),)))
        assert await world.states(run) == {"wait": "success", "after": "queued"}
        assert await rows(world) == {}
        async with world.db.api.connection() as conn:
            (xcom,) = await xcoms_of(conn).outputs([(run, "wait")])
        assert xcom.value == "7"


async def test_ending_twice_ends_once(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", sensor("wait", retries=3)), logical_date=LOGICAL_DATE)
        (wait,) = await begun(world)
        await world.inbox.waits_ended(
            [end_of(wait, outcome=outcome()), end_of(wait, outcome=outcome(OutcomeKind.FAILED))]
        )
        assert await world.states(run) == {"wait": "success"}


async def test_a_failed_probe_costs_a_retry_and_waits_again_as_a_new_try(world: World) -> None:
    async with world.leading():
        spec = dag("d", sensor("wait", retries=1, retry_delay_s=0.0))
        run = await world.create(spec, logical_date=LOGICAL_DATE)
        (first,) = await begun(world)
        await end(world, first, outcome=outcome(OutcomeKind.FAILED))
        _, second = await begun(world, 2)
        assert second.id != first.id
        await end(world, second, outcome=outcome(OutcomeKind.FAILED))
        assert await world.states(run) == {"wait": "failed"}
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT id, try_number FROM task_instance_history")
            assert await cursor.fetchall() == [(first.id, 1)]


async def test_a_timeout_fails_without_a_retry(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", sensor("wait", retries=5)), logical_date=LOGICAL_DATE)
        (wait,) = await begun(world)
        await end(world, wait, outcome=outcome(OutcomeKind.FAILED_FOR_GOOD))
        assert await world.states(run) == {"wait": "failed"}


async def test_the_deadline_counts_from_the_start_of_the_try(world: World) -> None:
    async with world.leading():
        terms = WaitTerms(timeout_s=90.0)
        await world.create(dag("d", sensor("wait", terms=terms)), logical_date=LOGICAL_DATE)
        (wait,) = await begun(world)
        assert wait.deadline_at == wait.registered_at + timedelta(seconds=90)


async def test_a_template_that_cannot_be_rendered_fails_the_try_with_the_reason(world: World) -> None:
    async with world.leading():
        spec = dag("d", sensor("wait", arguments={"path": "{{ params.nothing }}"}), task("after", "wait"))
        run = await world.create(spec)

        async def met() -> bool:
            return await world.run_state(run) == "failed"

        await world.until(met)
        assert await world.states(run) == {"wait": "failed", "after": "upstream_failed"}
        assert await rows(world) == {}
        assert world.pool.registered == []


async def test_clearing_withdraws_the_wait_and_begins_another(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", sensor("wait")), logical_date=LOGICAL_DATE)
        (first,) = await begun(world)
        async with world.db.api.transaction() as conn:
            await task_instances.clear_instances(
                conn, run, [("wait", -1)], now=utc_now(), because="cleared", reset_dag_run=False
            )
        assert not await current(world, first)
        await world.inbox.put(RunChanged(run))
        _, second = await begun(world, 2)
        await end(world, first, outcome=outcome(OutcomeKind.FAILED))
        assert await world.states(run) == {"wait": "deferred"}
        assert await current(world, second)


async def test_a_marked_wait_is_dead(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", sensor("wait"), task("after", "wait")), logical_date=LOGICAL_DATE)
        (wait,) = await begun(world)
        async with world.db.api.transaction() as conn:
            await task_instances.mark_instances(
                conn, run, [("wait", -1)], TaskInstanceState.SUCCESS, now=utc_now(), because="marked"
            )
        assert not await current(world, wait)
        await world.inbox.put(RunChanged(run))
        await world.launched_ids(1)
        await end(world, wait, outcome=outcome(OutcomeKind.FAILED))
        assert (await world.states(run))["wait"] == "success"


async def test_a_paused_dag_has_no_current_waits(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", sensor("wait")), logical_date=LOGICAL_DATE)
        (wait,) = await begun(world)
        async with world.db.api.transaction() as conn:
            await conn.execute(b"UPDATE dag SET is_paused = true")
            assert await waits.list_waits_of_dag(conn, "d") == ()
        assert not await current(world, wait)
        await world.inbox.put(DagChanged("d"))
        async with world.db.api.transaction() as conn:
            await conn.execute(b"UPDATE dag SET is_paused = false")
            assert [row.id for row in await waits.list_waits_of_dag(conn, "d")] == [wait.id]


async def test_deleting_the_run_deletes_the_wait(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", sensor("wait")), logical_date=LOGICAL_DATE)
        await begun(world)
        async with world.db.api.transaction() as conn:
            await dags.delete_dag(conn, "d")
        assert await rows(world) == {}


async def test_a_timed_out_run_withdraws_its_waits(world: World) -> None:
    async with world.leading():
        spec = dag("d", sensor("wait"), dagrun_timeout_s=0.2)
        run = await world.create(spec, logical_date=LOGICAL_DATE)
        (wait,) = await begun(world)

        async def met() -> bool:
            return world.pool.withdrawn == [str(wait.id)]

        await world.until(met)
        assert await world.states(run) == {"wait": "skipped"}
        assert await rows(world) == {}


async def test_a_new_leader_takes_the_end_of_an_old_wait(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", sensor("wait"), task("after", "wait")), logical_date=LOGICAL_DATE)
        (wait,) = await begun(world)
    async with world.leading("second"):
        await end(world, wait, outcome=outcome())
        assert await world.states(run) == {"wait": "success", "after": "queued"}


async def test_finished_instances_wake_whoever_waits_for_their_dag(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", sensor("wait")), logical_date=LOGICAL_DATE)
        (wait,) = await begun(world)
        world.pool.finished.clear()
        await end(world, wait, outcome=outcome())
        assert world.pool.finished == {"d"}


async def test_runs_that_only_wait_leave_memory_and_come_back(world: World) -> None:
    async with world.leading(views_max_instances=3) as scheduler:
        runs = [
            await world.create(
                dag(f"d{n}", sensor("a"), sensor("b"), task("after", "a", "b")), logical_date=LOGICAL_DATE
            )
            for n in range(3)
        ]
        found = await begun(world, 6)
        assert scheduler.statistics().parked_runs == 2
        for wait in list(found):
            await end(world, wait, outcome=outcome())
        for run in runs:
            assert await world.states(run) == {"a": "success", "b": "success", "after": "queued"}
        assert scheduler.statistics().parked_runs == 0


async def test_a_pool_that_counts_deferred_tasks_limits_waits(world: World) -> None:
    async with world.db.api.transaction() as conn:
        await conn.execute(b"INSERT INTO pool (name, slots, include_deferred) VALUES ('few', 1, true)")
    async with world.leading():
        spec = dag("d", sensor("a", pool="few"), sensor("b", pool="few"))
        run = await world.create(spec, logical_date=LOGICAL_DATE)
        (first,) = await begun(world)
        assert sorted(str(s) for s in (await world.states(run)).values()) == ["deferred", "scheduled"]
        await end(world, first, outcome=outcome())
        await begun(world, 2)
        assert sorted(str(s) for s in (await world.states(run)).values()) == ["deferred", "success"]


# --- deferral of processes -----------------------------------------------------------------------------------------

TRIGGER = TriggerSpec(classpath="vendor.triggers.Job", kwargs={"job": 7, "poll_interval": 5})


async def defer(world: World, try_id: str, deferral: Deferral) -> None:
    await world.start(try_id)
    with trio.fail_after(PATIENCE_S):
        await world.inbox.try_ended(
            await world.row(try_id), outcome(OutcomeKind.DEFERRED, deferral=deferral), rendered=None
        )


async def test_a_process_that_defers_gives_its_slot_back(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("submit")))
        ids = await world.launched_ids(1)
        await defer(world, ids["submit"], Deferral(trigger=TRIGGER, next_method="done", timeout_s=60.0))
        (wait,) = await begun(world)
        assert await world.states(run) == {"submit": "deferred"}
        assert wait.id == UUID(ids["submit"])
        assert wait.spec.probe.kind == "trigger"
        assert wait.spec.probe.arguments["classpath"] == "vendor.triggers.Job"
        assert wait.spec.terms.poke_interval_s == 5
        assert wait.spec.terms.resume == Resume(next_method="done")
        assert wait.deadline_at == wait.registered_at + timedelta(seconds=60)


async def test_a_fired_trigger_resumes_the_same_try_with_its_event(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("submit"), task("after", "submit")))
        ids = await world.launched_ids(1)
        deferral = Deferral(trigger=TRIGGER, next_method="done", next_kwargs={"x": 1})
        await defer(world, ids["submit"], deferral)
        (wait,) = await begun(world)
        await end(world, wait, resume=ResumeWith(event={"status": "ok"}), because="the trigger fired")
        assert (await world.states(run))["submit"] == "queued"
        assert await rows(world) == {"submit": "fired"}
        sent, _ = await world.dispatched()
        spec = sent[0].spec
        assert spec.resume == ResumeCall(next_method="done", next_kwargs='{"x":1}', event='{"status":"ok"}')
        assert spec.try_number == 1
        assert spec.try_id != ids["submit"]
        assert spec.first_started_at is not None
        await world.start(spec.try_id)
        await world.end(spec.try_id)
        assert await world.states(run) == {"submit": "success", "after": "queued"}
        assert await rows(world) == {}


async def test_a_resumed_try_that_is_lost_resumes_again(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", task("submit")))
        ids = await world.launched_ids(1)
        await defer(world, ids["submit"], Deferral(trigger=TRIGGER, next_method="done"))
        (wait,) = await begun(world)
        await end(world, wait, resume=ResumeWith(event=1))
        ids = await world.launched_ids(1)
        await world.start(ids["submit"])
        await world.end(ids["submit"], OutcomeKind.LOST)
        sent, _ = await world.dispatched()
        assert sent[0].spec.resume is not None


async def test_a_retry_after_a_deferral_starts_from_the_beginning(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", task("submit", retries=1, retry_delay_s=0.0)))
        ids = await world.launched_ids(1)
        await defer(world, ids["submit"], Deferral(trigger=TRIGGER, next_method="done"))
        (wait,) = await begun(world)
        await end(world, wait, resume=ResumeWith(error="Trigger failure"))
        ids = await world.launched_ids(1)
        await world.start(ids["submit"])
        await world.end(ids["submit"], OutcomeKind.FAILED)

        async def met() -> bool:
            return world.launches.statistics().current_buffer_used > 0

        await world.until(met)
        sent, _ = await world.dispatched()
        assert sent[0].spec.resume is None
        assert sent[0].spec.try_number == 2


async def test_a_task_may_defer_again_after_it_resumed(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("submit")))
        ids = await world.launched_ids(1)
        await defer(world, ids["submit"], Deferral(trigger=TRIGGER, next_method="done"))
        (first,) = await begun(world)
        await end(world, first, resume=ResumeWith(event=1))
        ids = await world.launched_ids(1)
        await defer(world, ids["submit"], Deferral(trigger=TRIGGER, next_method="really_done"))
        _, second = await begun(world, 2)
        assert await rows(world) == {"submit": "waiting"}
        await end(world, second, outcome=outcome())
        assert await world.states(run) == {"submit": "success"}


async def test_a_task_that_begins_with_its_trigger_needs_a_process_only_afterwards(world: World) -> None:
    async with world.leading():
        first = Deferral(trigger=TRIGGER, next_method="done", timeout_s=60.0)
        run = await world.create(dag("d", task("submit", deferral=first, retries=1, retry_delay_s=0.0)))
        (wait,) = await begun(world)
        assert await world.states(run) == {"submit": "deferred"}
        assert world.none_launched()
        assert wait.spec.probe.arguments["kwargs"] == {"job": 7, "poll_interval": 5}
        await end(world, wait, resume=ResumeWith(event=1))
        sent, _ = await world.dispatched()
        assert sent[0].spec.resume == ResumeCall(next_method="done", event="1")
        assert (sent[0].spec.kind, sent[0].spec.try_number) == ("python", 1)
        await world.start(sent[0].spec.try_id)
        await world.end(sent[0].spec.try_id, OutcomeKind.FAILED)
        _, second = await begun(world, 2)
        assert second.id != wait.id, "the retry begins with the trigger again"


async def test_instances_of_a_mapped_sensor_wait_each_for_its_own_without_a_process(world: World) -> None:
    paths = MappedValues(path=("probe", "arguments", "path"), values=("/a/{{ ds }}", "/b"))
    mapped = MappedSpec(inputs=(MapInput(name="filepath", length=2),))
    async with world.leading():
        wait = sensor("wait", mapped=mapped, mapped_values=(paths,))
        run = await world.create(dag("d", wait, task("after", "wait")), logical_date=LOGICAL_DATE)
        first, second = await begun(world, 2)
        assert [one.spec.probe.arguments["path"] for one in (first, second)] == ["/a/2024-01-01", "/b"]
        assert world.none_launched()
        await end(world, second, outcome=outcome())
        await end(world, first, outcome=outcome())
        assert (await world.states(run))["after"] == "queued"


OVER_MAKE = MappedSpec(inputs=(MapInput(name="filepath", task_id="make"),), needs=("make",))
TO_PATH = MappedItem(name="filepath", paths=(("probe", "arguments", "path"),))


def over_make(**fields: Any) -> TaskSpec:
    arguments = {"path": "", "day": "{{ ds }}"}
    return sensor(
        "wait", "make", mapped=OVER_MAKE, mapped_items=(TO_PATH,), prepare="process", arguments=arguments, **fields
    )


async def test_a_thousand_sensors_mapped_over_an_output_wait_without_a_process(world: World) -> None:
    """apache/airflow#35297 and others ask for it: there each instance is a process, or a deferral that one began."""
    paths = [f"/{number}/{{{{ ds }}}}" for number in range(1000)]
    async with world.leading():
        run = await world.create(dag("d", task("make"), over_make(), task("z", "wait")), logical_date=LOGICAL_DATE)
        ids = await world.launched_ids(1)
        await world.end(ids["make"], return_value=json.dumps(paths))
        waits = await begun(world, 1000)
        assert sorted(one.spec.probe.arguments["path"] for one in waits) == sorted(paths), "an item is no template"
        assert {one.spec.probe.arguments["day"] for one in waits} == {"2024-01-01"}
        assert world.none_launched()
        with trio.fail_after(PATIENCE_S):
            await world.inbox.waits_ended([end_of(one, outcome=outcome()) for one in waits])
        await world.launched_ids(1)
        assert (await world.states(run))["z"] == "queued"


async def test_items_that_are_not_plain_are_left_to_a_process(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", task("make"), over_make()), logical_date=LOGICAL_DATE)
        ids = await world.launched_ids(1)
        await world.end(ids["make"], return_value=json.dumps([7, "/a", {"__classname__": "x"}, ""]))
        (wait,) = await begun(world, 1)
        assert wait.spec.probe.arguments["path"] == "/a"
        seen: set[int] = set()
        with trio.fail_after(PATIENCE_S):
            while len(seen) < 3:
                seen |= {one.facts.map_index for one in await world.launches.receive()}
        assert seen == {0, 2, 3}


async def test_a_new_leader_knows_the_items(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("make"), over_make()), logical_date=LOGICAL_DATE)
        ids = await world.launched_ids(1)
        await world.end(ids["make"], return_value='["/a", "/b"]')
        first = {str(one.spec.probe.arguments["path"]): one for one in await begun(world, 2)}
    async with world.leading():
        async with world.db.api.transaction() as conn:
            await task_instances.clear_instances(
                conn, run, [("wait", 1)], now=utc_now(), because="ann cleared it", reset_dag_run=True
            )
        await world.inbox.put(RunChanged(run))

        *_, again = await begun(world, 3)
        assert again.spec == first["/b"].spec
        assert world.none_launched()


async def test_a_prepared_sensor_ends_with_its_wait(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", sensor("wait", prepare="process"), task("after", "wait")))
        ids = await world.launched_ids(1)
        spec = WaitSpec(probe=ProbeSpec(kind="file", arguments={"path": "/x"}))
        await defer(world, ids["wait"], Deferral(wait=spec))
        (wait,) = await begun(world)
        assert wait.spec == spec
        await end(world, wait, outcome=outcome())
        assert await world.states(run) == {"wait": "success", "after": "queued"}


# --- inline calls ----------------------------------------------------------------------------------------------------


async def test_an_inline_call_is_rendered_and_never_sees_an_agent(world: World) -> None:
    async with world.leading():
        call = HttpCall(endpoint="/{{ ds }}", method="GET")
        await world.create(dag("d", task("call", kind="http", http=call)), logical_date=LOGICAL_DATE)

        async def met() -> bool:
            return world.launches.statistics().current_buffer_used > 0

        await world.until(met)
        sent, _ = await world.dispatched()
        assert sent[0].http == HttpCall(endpoint="/2024-01-01", method="GET")
        await world.inbox.put(attached())
        await world.start(sent[0].spec.try_id)
        await world.inbox.put(attached())
        await world.end(sent[0].spec.try_id)


async def test_calls_mapped_over_an_output_never_see_an_agent_and_what_is_not_plain_does(world: World) -> None:
    async with world.leading():
        mapped = MappedSpec(inputs=(MapInput(name="data", task_id="make"),), needs=("make",))
        takes = MappedItem(name="data", paths=(("data",),), takes_objects=True)
        call = task(
            "call", "make", http=HttpCall(endpoint="/{{ ds }}", method="POST"), mapped=mapped, mapped_items=(takes,)
        )
        await world.create(dag("d", task("make"), call), logical_date=LOGICAL_DATE)
        ids = await world.launched_ids(1)
        await world.end(ids["make"], return_value='[{"a": "{{ ds }}"}, 7, "b"]')
        sent, _ = await world.dispatched(3)
        found = {one.spec.map_index: one for one in sent}
        assert found[0].http == HttpCall(endpoint="/2024-01-01", method="POST", data={"a": "{{ ds }}"})
        assert found[2].http == HttpCall(endpoint="/2024-01-01", method="POST", data="b")
        assert (found[1].http, found[1].spec.kind) == (None, "python")


async def test_a_call_under_way_is_not_lost_by_a_leader_who_cannot_read_its_items(world: World) -> None:
    async with world.leading():
        mapped = MappedSpec(inputs=(MapInput(name="data", task_id="make"),), needs=("make",))
        takes = MappedItem(name="data", paths=(("data",),))
        call = task("call", "make", http=HttpCall(), mapped=mapped, mapped_items=(takes,))
        run = await world.create(dag("d", task("make"), call), logical_date=LOGICAL_DATE)
        ids = await world.launched_ids(1)
        await world.end(ids["make"], return_value='["a"]')
        (sent,), _ = await world.dispatched()
        assert sent.http is not None
        await world.start(sent.spec.try_id)
        await world.settled()
    async with world.db.api.transaction() as conn:
        await conn.execute(b"DELETE FROM xcom")
    async with world.leading():
        await world.inbox.put(RunChanged(run))
        await world.settled()
        await world.inbox.put(attached())
        await world.end(sent.spec.try_id)
        assert await world.states(run) == {"make": "success", "call": "success"}


async def test_execution_timeout_ends_a_wait_whose_sensor_would_wait_longer(world: World) -> None:
    """apache/airflow#19382, #32512, #69678: it counts while a task is deferred or rescheduled, too."""
    async with world.leading():
        run = await world.create(dag("d", sensor("wait", execution_timeout_s=0.2)), logical_date=LOGICAL_DATE)
        (wait,) = await begun(world)

        async def withdrawn() -> bool:
            return world.pool.withdrawn == [str(wait.id)]

        await world.until(withdrawn)  # the pool need not look any longer
        assert await world.states(run) == {"wait": "failed"}


async def test_the_timeout_of_a_parked_run_is_kept(world: World) -> None:
    async with world.leading(views_max_instances=0) as scheduler:
        run = await world.create(dag("d", sensor("wait", execution_timeout_s=0.5)), logical_date=LOGICAL_DATE)
        await begun(world)

        async def parked() -> bool:
            return scheduler.statistics().parked_runs == 1

        await world.until(parked)

        async def failed() -> bool:
            return await world.states(run) == {"wait": "failed"}

        await world.until(failed)
