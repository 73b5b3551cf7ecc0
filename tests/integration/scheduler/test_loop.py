"""The scheduler's shell: facts in Postgres, decisions by core, launches only after the commit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.errors import LeadershipLost, StoreUnavailable
from leoflowd.core.run_view import RunView
from leoflowd.core.transitions import IllegalMove
from leoflowd.scheduler import deciding
from leoflowd.scheduler.inbox import DagChanged, RunChanged, Sweep, TryLost
from leoflowd.scheduler.loop import Scheduler
from leoflowd.store import dag_runs, dags, leadership, task_instances
from tests.integration.scheduler.conftest import World, attached, dag, task, utc_now


async def test_a_finished_task_launches_what_waited_for_it(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a"), task("b", "a"), task("c", "a")))
        first = await world.launched_ids(1)
        await world.end(first["a"])
        assert set(await world.launched_ids(2)) == {"b", "c"}
        assert await world.states(run) == {"a": "success", "b": "queued", "c": "queued"}


async def test_the_run_ends_with_its_last_task(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a"), task("b", "a")))
        await world.end((await world.launched_ids(1))["a"])
        await world.end((await world.launched_ids(1))["b"])
        assert await world.run_state(run) == "success"
        assert world.ended == ["d"]


async def test_empty_tasks_need_no_executor(world: World) -> None:
    async with world.leading() as scheduler:
        run = await world.create(
            dag("d", task("a", kind="empty"), task("b", "a", kind="empty"), task("c", "b", kind="empty"))
        )
        await world.until(lambda: _is(world, run, "success"))
        await world.settled()
        assert world.none_launched()
        assert scheduler.statistics().runs == 0


async def test_a_start_makes_it_running_and_an_outcome_may_overtake_it(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a"), task("b")))
        ids = await world.launched_ids(2)
        await world.start(ids["a"])
        await world.until(lambda: _state_is(world, run, "a", "running"))
        await world.end(ids["b"])
        await world.start(ids["b"])
        assert (await world.states(run))["b"] == "success"


async def test_a_retry_is_a_new_try_and_the_old_one_is_archived(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", task("a", retries=1, retry_delay_s=0)))
        first = (await world.launched_ids(1))["a"]
        await world.start(first)
        await world.end(first, OutcomeKind.FAILED)
        second = (await world.launched_ids(1))["a"]
        assert second != first
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT id::text, state, try_number FROM task_instance_history")
            assert await cursor.fetchall() == [(first, "failed", 1)]


async def test_a_report_of_an_old_try_changes_nothing(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a", retries=1, retry_delay_s=0)))
        first = (await world.launched_ids(1))["a"]
        row = await world.row(first)
        await world.end(first, OutcomeKind.FAILED)
        await world.launched_ids(1)
        from leoflowd.contract.agent_messages import Outcome

        late = Outcome(kind=OutcomeKind.SUCCESS, because="late", start_date=utc_now(), end_date=utc_now())
        await world.inbox.try_ended(row, late, None)
        assert await world.states(run) == {"a": "queued"}


async def test_a_new_try_has_no_xcoms_of_the_last_one(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a"), task("b", "a")))
        await world.end((await world.launched_ids(1))["a"], return_value="41")
        await world.launched_ids(1)
        async with world.db.api.transaction() as conn:
            cursor = await conn.execute(b"SELECT value FROM xcom")
            assert await cursor.fetchall() == [(41,)]
            await task_instances.clear_instances(
                conn, run, [("a", -1)], now=utc_now(), because="test", reset_dag_run=True
            )
        await world.inbox.put(RunChanged(run))
        await world.launched_ids(1)
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT value FROM xcom")
            assert await cursor.fetchall() == []


async def test_a_failed_outcome_stores_no_xcom(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", task("a")))
        await world.end((await world.launched_ids(1))["a"], OutcomeKind.FAILED, return_value="1")
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT count(*) FROM xcom")
            assert await cursor.fetchone() == (0,)


async def test_how_long_a_try_takes_to_begin_is_measured_of_those_that_begin(world: World) -> None:
    async with world.leading() as scheduler:
        run = await world.create(dag("d", task("a"), task("b")))
        ids = await world.launched_ids(2)
        later = utc_now() + timedelta(seconds=7)
        await world.inbox.try_started(await world.row(ids["a"]), at=later, hostname="host", pid=1)
        await world.until(lambda: _state_is(world, run, "a", "running"))
        await world.end(ids["b"], OutcomeKind.LOST)
        await world.launched_ids(1)
        delays = scheduler.statistics().start_delays
        assert delays.up_to["+Inf"] == 1
        assert delays.sum_s > 7


async def test_a_lost_try_runs_again_without_using_a_retry(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a")))
        first = (await world.launched_ids(1))["a"]
        await world.start(first)
        await world.inbox.put(TryLost(run, first, "its agent was killed"))
        assert (await world.launched_ids(1))["a"] != first
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT try_number, max_tries, infra_faults FROM task_instance")
            assert await cursor.fetchone() == (2, 1, 1)


async def test_a_host_that_does_not_know_a_queued_try_gets_it_again(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", task("a")))
        first = await world.launched_ids(1)
        await world.inbox.put(attached())
        assert await world.launched_ids(1) == first


async def test_a_host_that_does_not_know_a_running_try_lost_it(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", task("a"), task("b")))
        first = await world.launched_ids(2)
        await world.start(first["a"])
        await world.start(first["b"])
        await world.inbox.put(attached(first["b"]))
        again = await world.launched_ids(1)
        assert set(again) == {"a"}
        assert again["a"] != first["a"]


async def test_no_more_tries_than_slots(world: World) -> None:
    async with world.db.api.connection() as conn:
        await conn.execute(b"UPDATE pool SET slots = 2")
    async with world.leading():
        run = await world.create(dag("d", *(task(f"t{i}") for i in range(5))))
        first = await world.launched_ids(2)
        states = list((await world.states(run)).values())
        assert sorted(map(str, states)) == ["queued", "queued", "scheduled", "scheduled", "scheduled"]
        await world.end(next(iter(first.values())))
        assert len(await world.launched_ids(1)) == 1


async def test_max_active_runs_holds_back_the_next_run(world: World) -> None:
    spec = dag("d", task("a"), max_active_runs=1)
    async with world.leading():
        one = await world.create(spec, "r1")
        first = await world.launched_ids(1)
        two = await world.create(spec, "r2")
        await world.settled()
        assert await world.run_state(two) == "queued"
        await world.end(first["a"])
        await world.launched_ids(1)
        assert (await world.run_state(one), await world.run_state(two)) == ("success", "running")


async def test_a_paused_dag_launches_nothing_until_it_is_unpaused(world: World) -> None:
    spec = dag("d", task("a"), is_paused_upon_creation=True)
    async with world.leading():
        run = await world.create(spec)
        await world.settled()
        assert await world.run_state(run) == "queued"
        async with world.db.api.transaction() as conn:
            await dags.set_paused(conn, "d", False, utc_now())
        await world.inbox.put(DagChanged("d"))
        assert set(await world.launched_ids(1)) == {"a"}


async def test_a_cleared_running_task_runs_again_when_its_try_has_ended(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a"), task("b", "a")))
        first = (await world.launched_ids(1))["a"]
        await world.start(first)
        await world.until(lambda: _state_is(world, run, "a", "running"))
        async with world.db.api.transaction() as conn:
            await task_instances.clear_instances(
                conn, run, [("a", -1)], now=utc_now(), because="cleared", reset_dag_run=True
            )
        await world.inbox.put(RunChanged(run))
        await world.settled()
        assert (await world.states(run))["a"] == "restarting"
        await world.end(first, OutcomeKind.TERMINATED)
        second = (await world.launched_ids(1))["a"]
        assert second != first
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT try_number, id::text FROM task_instance_history")
            assert await cursor.fetchall() == [(1, first)]


async def test_marking_by_hand_moves_the_run_on_and_refuses_the_late_report(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a"), task("b", "a")))
        first = (await world.launched_ids(1))["a"]
        async with world.db.api.transaction() as conn:
            from leoflowd.contract.states import TaskInstanceState

            await task_instances.mark_instances(
                conn, run, [("a", -1)], TaskInstanceState.SUCCESS, now=utc_now(), because="marked by a person"
            )
        await world.inbox.put(RunChanged(run))
        assert set(await world.launched_ids(1)) == {"b"}
        await world.end(first, OutcomeKind.FAILED)
        assert (await world.states(run))["a"] == "success"


async def test_a_change_by_someone_else_voids_the_step_and_is_decided_anew(world: World) -> None:
    async with world.leading() as scheduler:
        run = await world.create(dag("d", task("a"), task("b", "a")))
        first = (await world.launched_ids(1))["a"]
        async with world.db.api.transaction() as conn:
            await dag_runs.touch_dag_run(conn, run, utc_now())
        await world.end(first)
        assert set(await world.launched_ids(1)) == {"b"}
        assert scheduler.statistics().stale_steps == 1


async def test_a_leader_whose_term_is_over_writes_nothing(world: World) -> None:
    with pytest.RaisesGroup(LeadershipLost):
        async with world.leading():
            run = await world.create(dag("d", task("a")))
            first = (await world.launched_ids(1))["a"]
            async with world.db.api.connection() as conn:
                await leadership.begin_term(conn, holder="other", now=utc_now())
            with pytest.raises(StoreUnavailable):
                await world.end(first)
            assert await world.states(run) == {"a": "queued"}
            await trio.sleep_forever()


async def test_a_new_leader_goes_on_where_the_old_one_stopped(world: World) -> None:
    async with world.leading("one"):
        run = await world.create(dag("d", task("a"), task("b", "a")))
        first = (await world.launched_ids(1))["a"]
    async with world.leading("two"):
        await world.end(first)
        await world.end((await world.launched_ids(1))["b"])
        assert await world.run_state(run) == "success"


async def test_a_sweep_finds_a_run_nobody_announced(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", task("a")))
        await world.launched_ids(1)
        await world.create(dag("e", task("x")), is_announced=False)
        await world.inbox.put(Sweep())
        assert set(await world.launched_ids(1)) == {"x"}


async def test_depends_on_past_waits_for_the_previous_run(world: World) -> None:
    spec = dag("d", task("a", depends_on_past=True))
    async with world.leading():
        await world.create(spec, "r1", datetime(2026, 1, 1, tzinfo=UTC))
        first = (await world.launched_ids(1))["a"]
        two = await world.create(spec, "r2", datetime(2026, 1, 2, tzinfo=UTC))
        await world.settled()
        assert await world.states(two) == {"a": None}
        await world.end(first)
        assert set(await world.launched_ids(1)) == {"a"}
        assert await world.states(two) == {"a": "queued"}


async def test_a_run_that_times_out_fails_and_its_tries_are_stopped(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a"), dagrun_timeout_s=0.2))
        await world.launched_ids(1)
        await world.until(lambda: _is(world, run, "failed"))
        assert await world.states(run) == {"a": "skipped"}


async def _is(world: World, run: int, state: str) -> bool:
    return await world.run_state(run) == state


async def _state_is(world: World, run: int, task_id: str, state: str) -> bool:
    return (await world.states(run))[task_id] == state


async def test_deleting_a_dag_takes_its_runs_and_versions_along(world: World) -> None:
    async with world.leading() as scheduler:
        await world.create(dag("d", task("a")))
        await world.launched_ids(1)
        async with world.db.api.transaction() as conn:
            await dags.delete_dag(conn, "d")
        await world.inbox.put(Sweep())
        await world.settled()
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT count(*) FROM dag_version")
            assert await cursor.fetchone() == (0,)
        assert scheduler.statistics().runs == 0


async def test_a_run_that_cannot_be_planned_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = deciding.plan_dag_run

    def broken(view: RunView, now: datetime, **given: Any) -> Any:
        if view.dag_id == "broken":
            raise IllegalMove("no table allows this")
        return plan(view, now, **given)

    monkeypatch.setattr(deciding, "plan_dag_run", broken)
    async with world.leading() as scheduler:
        bad = await world.create(dag("broken", task("a")))
        good = await world.create(dag("good", task("a")))
        await world.end((await world.launched_ids(1))["a"])
        assert (await world.run_state(bad), await world.run_state(good)) == ("queued", "success")
        assert scheduler.statistics().quarantined_runs == 1
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT because FROM dag_run WHERE dag_id = 'broken'")
            [(because,)] = await cursor.fetchall()
        assert "set aside" in because
        assert "no table allows this" in because
        monkeypatch.setattr(deciding, "plan_dag_run", plan)
        await world.inbox.put(RunChanged(bad))
        assert set(await world.launched_ids(1)) == {"a"}
        assert scheduler.statistics().quarantined_runs == 0


async def test_an_outcome_of_a_run_that_is_set_aside_stays_with_its_agent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a"), task("b", "a")))
        first = (await world.launched_ids(1))["a"]

        def broken(*_: Any, **__: Any) -> Any:
            raise IllegalMove("no table allows this")

        with monkeypatch.context() as patched:
            patched.setattr(deciding, "plan_outcome", broken)
            with pytest.raises(StoreUnavailable):
                await world.end(first)
        assert await world.states(run) == {"a": "queued", "b": None}
        await world.inbox.put(RunChanged(run))
        await world.end(first)
        assert set(await world.launched_ids(1)) == {"b"}


async def test_a_run_whose_artifact_cannot_be_read_is_set_aside(world: World) -> None:
    async with world.leading() as scheduler:
        await world.create(dag("good", task("a")))
        await world.launched_ids(1)
        version = await world.register(dag("broken", task("a")))
        async with world.db.api.connection() as conn:
            await conn.execute(b"UPDATE dag_version SET spec = '{}' WHERE dag_id = 'broken'")
        dags._versions.pop(version.id)
        async with world.db.api.transaction() as conn:
            await conn.execute(
                b"INSERT INTO dag_run (dag_id, run_id, dag_version_id, run_type, state, run_after, updated_at)"
                b" VALUES ('broken', 'r', %(version)s, 'manual', 'queued', now(), now())",
                {"version": version.id},
            )
        await world.inbox.put(Sweep())
        await world.until(lambda: _quarantined(scheduler))


async def _quarantined(scheduler: Scheduler) -> bool:
    await trio.lowlevel.checkpoint()
    return scheduler.statistics().quarantined_runs == 1


@pytest.mark.parametrize(("kinds", "is_paused"), [("FF", True), ("FS", False), ("SFF", True), ("FSF", False)])
async def test_so_many_failed_runs_in_a_row_pause_the_dag(world: World, kinds: str, is_paused: bool) -> None:
    spec = dag("d", task("a"), max_consecutive_failed_dag_runs=2)
    async with world.leading():
        for number, kind in enumerate(kinds):
            await world.create(spec, f"r{number}")
            failed = kind == "F"
            await world.end((await world.launched_ids(1))["a"], OutcomeKind.FAILED if failed else OutcomeKind.SUCCESS)
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT is_paused FROM dag")
            assert await cursor.fetchone() == (is_paused,)


@pytest.mark.parametrize("ignores_first", [True, False])
async def test_a_new_task_that_depends_on_the_past_says_whether_it_waits(world: World, ignores_first: bool) -> None:
    added = task("added", depends_on_past=True, ignore_first_depends_on_past=ignores_first)
    async with world.leading():
        await world.create(dag("d", task("a")), "r1", datetime(2026, 1, 1, tzinfo=UTC))
        await world.end((await world.launched_ids(1))["a"])
        run = await world.create(dag("d", task("a"), added), "r2", datetime(2026, 1, 2, tzinfo=UTC))
        await world.launched_ids(2 if ignores_first else 1)
        assert (await world.states(run))["added"] == ("queued" if ignores_first else None)
