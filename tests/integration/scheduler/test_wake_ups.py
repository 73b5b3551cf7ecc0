"""Who is woken by what: changes by hand, lost hints, timers. A hint saves time; without one the sweep finds it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trio

from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.contract.states import DagRunState, TaskInstanceState
from leoflowd.scheduler.inbox import DagChanged, Event, Inbox, Reply, RunChanged, StartRuns, Sweep, TryEnded
from leoflowd.scheduler.reading import LOADED_PER_STEP
from leoflowd.scheduler.sweeps import follow_hints
from leoflowd.store import dag_runs, dags, run_views, task_instances
from leoflowd.store.database import Database
from leoflowd.store.hints import Hint
from leoflowd.store.run_views import Quota
from tests.conftest import PATIENCE_S
from tests.integration.scheduler.conftest import World, dag, task, utc_now
from tests.integration.scheduler.test_waits import LOGICAL_DATE, begun, end, outcome, sensor

ONE_AT_A_TIME = {"max_active_runs": 1}
DAY_1, DAY_2 = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


async def mark(world: World, run: int, state: DagRunState) -> None:
    async with world.db.api.transaction() as conn:
        await dag_runs.mark_dag_run(conn, run, state, now=utc_now(), because="by hand")


async def delete(world: World, run: int) -> None:
    async with world.db.api.transaction() as conn:
        await dag_runs.delete_dag_run(conn, run)


async def mark_task(world: World, run: int, task_id: str, state: TaskInstanceState) -> None:
    async with world.db.api.transaction() as conn:
        await task_instances.mark_instances(conn, run, [(task_id, -1)], state, now=utc_now(), because="by hand")


def wake(run: int, hint: str) -> Event:
    return {"hint": RunChanged(run), "sweep": Sweep()}[hint]


@pytest.mark.parametrize("hint", ["hint", "sweep"])
@pytest.mark.parametrize("state", [DagRunState.SUCCESS, DagRunState.FAILED])
async def test_marking_a_run_lets_the_next_one_begin(world: World, state: DagRunState, hint: str) -> None:
    spec = dag("d", task("a"), **ONE_AT_A_TIME)
    async with world.leading():
        one = await world.create(spec, "r1")
        await world.launched_ids(1)
        await world.create(spec, "r2")
        await mark(world, one, state)
        await world.inbox.put(wake(one, hint))
        await world.launched_ids(1)
        assert "d" in world.ended  # the timetable clock was told


@pytest.mark.parametrize("hint", ["hint", "sweep"])
async def test_deleting_a_run_lets_the_next_one_begin(world: World, hint: str) -> None:
    spec = dag("d", task("a"), **ONE_AT_A_TIME)
    async with world.leading():
        one = await world.create(spec, "r1")
        await world.launched_ids(1)
        await world.create(spec, "r2")
        await delete(world, one)
        await world.inbox.put(wake(one, hint))
        await world.launched_ids(1)
        assert "d" in world.ended


async def test_deleting_a_queued_run_is_told_to_its_dag(world: World) -> None:
    run = await world.create(dag("d", task("a")))
    async with world.db.api.connection() as listener:
        await listener.execute(b"LISTEN leoflow")
        await delete(world, run)
        heard = {notice.payload async for notice in listener.notifies(timeout=None, stop_after=2)}
    assert heard == {f"run:{run}", "dag:d"}


@pytest.mark.parametrize("hint", ["hint", "sweep"])
async def test_marking_the_past_wakes_who_depends_on_it(world: World, hint: str) -> None:
    spec = dag("d", task("a", depends_on_past=True))
    async with world.leading():
        one = await world.create(spec, "r1", DAY_1)
        await world.create(spec, "r2", DAY_2)
        await world.settled()
        first = (await world.launched_ids(1))["a"]
        await mark_task(world, one, "a", TaskInstanceState.SUCCESS)
        await world.inbox.put(wake(one, hint))
        assert (await world.launched_ids(1))["a"] != first


@pytest.mark.parametrize(
    "is_busy", [True, False], ids=["while the newer one still works", "when the newer one is stuck"]
)
async def test_a_cleared_older_run_goes_on_though_the_one_that_waits_for_it_fills_the_limit(
    world: World, is_busy: bool
) -> None:
    """apache/airflow#17375, #18304, #29524: max_active_runs=1 and depends_on_past waited for each other for ever."""
    spec = dag("d", task("first"), task("second", "first", depends_on_past=True), **ONE_AT_A_TIME)
    async with world.leading():
        older = await world.create(spec, "r1", DAY_1, run_after=DAY_1)
        await world.end((await world.launched_ids(1))["first"])
        await world.end((await world.launched_ids(1))["second"], OutcomeKind.FAILED)
        newer = await world.create(spec, "r2", DAY_2, run_after=DAY_2)
        busy = (await world.launched_ids(1))["first"]
        if not is_busy:
            await world.end(busy)
        async with world.db.api.transaction() as conn:
            await task_instances.clear_instances(
                conn, older, [("second", -1)], now=utc_now(), because="test", reset_dag_run=True
            )
        await world.inbox.put(RunChanged(older))
        if is_busy:
            await world.settled()
            assert world.none_launched(), "the newer run can move by itself, so it counts against the limit"
            await world.end(busy)
        again = (await world.launched_ids(1))["second"]
        assert (await world.states(older))["second"] == "queued"
        await world.end(again)
        await world.end((await world.launched_ids(1))["second"])
        assert [await world.run_state(run) for run in (older, newer)] == ["success", "success"]


async def test_a_newer_run_never_begins_because_the_running_one_waits_for_its_past(world: World) -> None:
    spec = dag("d", task("a", depends_on_past=True), **ONE_AT_A_TIME)
    async with world.leading():
        await world.create(spec, "r1", DAY_1, run_after=DAY_1)
        await world.end((await world.launched_ids(1))["a"], OutcomeKind.FAILED)
        await world.create(spec, "r2", DAY_2, run_after=DAY_2)
        newest = await world.create(spec, "r3", DAY_2 + timedelta(days=1), run_after=DAY_2 + timedelta(days=1))
        await world.inbox.put(Sweep())
        await world.settled()
        assert await world.run_state(newest) == "queued"


async def test_marking_a_task_of_a_run_that_is_over_wakes_who_depends_on_it(world: World) -> None:
    spec = dag("d", task("a", depends_on_past=True))
    async with world.leading():
        one = await world.create(spec, "r1", DAY_1)
        await world.end((await world.launched_ids(1))["a"], OutcomeKind.FAILED)
        await world.create(spec, "r2", DAY_2)
        await world.settled()
        assert world.none_launched()
        await mark_task(world, one, "a", TaskInstanceState.SUCCESS)
        await world.inbox.put(RunChanged(one))
        await world.launched_ids(1)


async def test_a_sweep_finds_a_run_that_was_cleared(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a"), task("b", "a")))
        await world.end((await world.launched_ids(1))["a"])
        await world.launched_ids(1)
        async with world.db.api.transaction() as conn:
            await task_instances.clear_instances(
                conn, run, [("a", -1)], now=utc_now(), because="test", reset_dag_run=False
            )
        await world.inbox.put(Sweep())
        assert set(await world.launched_ids(1)) == {"a"}


async def test_a_sweep_finds_that_a_dag_was_unpaused(world: World) -> None:
    spec = dag("d", task("a"), is_paused_upon_creation=True)
    async with world.leading():
        await world.create(spec)
        await world.settled()
        assert world.none_launched()
        async with world.db.api.transaction() as conn:
            await dags.set_paused(conn, "d", False, utc_now())
        await world.inbox.put(Sweep())
        await world.launched_ids(1)


async def test_a_sweep_finds_that_a_running_dag_was_paused(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a"), task("b", "a")))
        first = (await world.launched_ids(1))["a"]
        async with world.db.api.transaction() as conn:
            await dags.set_paused(conn, "d", True, utc_now())
        await world.inbox.put(Sweep())
        await world.end(first)
        assert world.none_launched()
        assert await world.states(run) == {"a": "success", "b": None}


async def test_a_run_whose_moment_is_to_come_waits_for_it(world: World) -> None:
    soon = utc_now() + timedelta(seconds=1)
    async with world.leading() as scheduler:
        run = await world.create(dag("d", task("a")), run_after=soon)
        await world.settled()
        assert await world.run_state(run) == "queued"
        assert scheduler.statistics().next_timer == soon
        await world.launched_ids(1)
        assert utc_now() >= soon


async def test_a_run_that_waits_for_its_moment_holds_up_no_other(world: World) -> None:
    spec = dag("d", task("a"), **ONE_AT_A_TIME)
    async with world.leading():
        await world.create(spec, "later", run_after=utc_now() + timedelta(days=1))
        await world.create(spec, "now")
        await world.launched_ids(1)


async def test_queued_runs_are_not_read_before_there_is_room(world: World) -> None:
    spec = dag("d", task("a"), **ONE_AT_A_TIME)
    async with world.leading() as scheduler:
        for number in range(20):
            await world.create(spec, f"r{number}")
        for _ in range(3):
            await world.end((await world.launched_ids(1))["a"])
        await world.settled()
        assert (scheduler.statistics().runs, scheduler.statistics().queued_runs) == (1, 16)


async def test_many_runs_without_a_limit_all_begin(world: World) -> None:
    spec = dag("d", task("a", kind="empty"), max_active_runs=0)
    runs = [await world.create(spec, f"r{number}", is_announced=False) for number in range(90)]
    async with world.leading() as scheduler:
        await world.until(lambda: _all_over(world, len(runs)))
        assert scheduler.statistics().queued_runs == 0


async def _all_over(world: World, count: int) -> bool:
    async with world.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT count(*) FROM dag_run WHERE state = 'success'")
        return await cursor.fetchone() == (count,)


async def test_runs_that_run_already_count_before_they_are_read(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = dag("d", task("a"), max_active_runs=3)
    async with world.leading():
        for number in range(3):
            await world.create(spec, f"r{number}")
        await world.settled()
    monkeypatch.setattr("leoflowd.scheduler.reading.LOADED_PER_STEP", 1)
    await world.create(spec, "one too many", is_announced=False)
    successor = World(database)
    async with successor.leading("next"):
        await successor.settled()
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT count(*) FROM dag_run WHERE state = 'running'")
            assert await cursor.fetchone() == (3,)


async def test_a_parked_run_times_out(world: World) -> None:
    async with world.leading(views_max_instances=0) as scheduler:
        run = await world.create(dag("d", sensor("a"), dagrun_timeout_s=0.5), logical_date=LOGICAL_DATE)
        (wait,) = await begun(world)
        await world.settled()
        assert scheduler.statistics().parked_runs == 1
        await world.until(lambda: _run_is(world, run, "failed"))
        await world.settled()
        assert world.pool.withdrawn == [str(wait.id)]


async def test_two_retries_that_a_new_leader_reads_both_become_due(world: World, database: Database) -> None:
    spec = dag("d", task("a", retries=1, retry_delay_s=0.3), task("b", retries=1, retry_delay_s=0.6))
    async with world.leading():
        await world.create(spec)
        for try_id in (await world.launched_ids(2)).values():
            await world.end(try_id, OutcomeKind.FAILED)
    successor = World(database)
    async with successor.leading("next"):
        assert set(await successor.launched_ids(2)) == {"a", "b"}


async def test_a_wait_that_fails_when_it_is_granted_a_slot_is_followed_up(world: World) -> None:
    async with world.db.api.transaction() as conn:
        await conn.execute(b"INSERT INTO pool (name, slots, include_deferred) VALUES ('few', 1, true)")
    async with world.leading():
        broken = sensor("a", pool="few", arguments={"path": "{{ no_such_name }}"})
        run = await world.create(dag("d", broken, task("b", "a", trigger_rule="all_done")), logical_date=LOGICAL_DATE)
        assert set(await world.launched_ids(1)) == {"b"}
        assert (await world.states(run))["a"] == "failed"


async def test_a_task_whose_upstream_row_was_deleted_does_not_run(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a"), task("b", "a")))
        await world.launched_ids(1)
        async with world.db.api.transaction() as conn:
            await task_instances.delete_instance(conn, run, ("a", -1), utc_now())
        await world.inbox.put(RunChanged(run))
        await world.until(lambda: _run_is(world, run, "failed"))
        assert world.none_launched()


async def test_the_scheduler_does_not_wait_for_an_outbox(database: Database) -> None:
    world = World(database, room=0)
    async with world.leading() as scheduler:
        await world.create(dag("d", task("a")))
        other = await world.create(dag("e", task("x", kind="empty")))
        await world.until(lambda: _run_is(world, other, "success"))
        assert scheduler.statistics().dropped_launches == 1


async def test_a_dropped_launch_is_repeated_by_the_sweep(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leoflowd.scheduler.deciding.LAUNCH_AGAIN_S", 0.0)
    world = World(database, room=1)
    async with world.leading():
        await world.create(dag("d", task("a")))
        await world.settled()
        await world.create(dag("e", task("x")))
        await world.settled()
        assert set(await world.launched_ids(1)) == {"a"}
        await world.inbox.put(Sweep())
        assert "x" in await world.launched_ids(2)


async def test_ends_of_waits_wake_a_run_that_is_parked(world: World) -> None:
    async with world.leading(views_max_instances=0):
        run = await world.create(dag("d", sensor("a"), task("after", "a")), logical_date=LOGICAL_DATE)
        (wait,) = await begun(world)
        await end(world, wait, outcome=outcome())
        assert await world.states(run) == {"a": "success", "after": "queued"}


async def test_hints_reach_who_they_concern() -> None:
    send, receive = trio.open_memory_channel[Hint](10)
    inbox, looks, reports = Inbox(), list[str | None](), list[int]()
    for kind, value in [
        ("run", "7"),
        ("dag", "d"),
        ("hook", "arrivals"),
        ("run", "x"),
        ("pools", ""),
        ("all", ""),
        ("reports", ""),
    ]:
        send.send_nowait(Hint(kind, value))
    send.close()
    await follow_hints(receive, inbox, looks.append, lambda: reports.append(len(looks)), lambda: None, lambda: None)
    inbox.hint(RunChanged(0))
    heard = []
    while (event := inbox.receive.receive_nowait()) != RunChanged(0):
        heard.append(event)
    assert heard == [RunChanged(7), DagChanged("d"), Sweep(), Sweep()]
    assert looks == ["d", None]
    assert reports == [2, 2]


async def _run_is(world: World, run: int, state: str) -> bool:
    return await world.run_state(run) == state


async def test_a_past_that_is_over_and_was_marked_by_hand_needs_no_hint(world: World) -> None:
    spec = dag("d", task("a", depends_on_past=True))
    async with world.leading() as scheduler:
        one = await world.create(spec, "r1", DAY_1)
        await world.end((await world.launched_ids(1))["a"], OutcomeKind.FAILED_FOR_GOOD)
        await world.create(spec, "r2", DAY_2)
        for _ in range(2):
            await world.inbox.put(Sweep())
            await world.settled()
        assert world.none_launched()
        assert scheduler._reading._past != {}
        await mark_task(world, one, "a", TaskInstanceState.SUCCESS)
        await world.inbox.put(Sweep())
        assert set(await world.launched_ids(1)) == {"a"}


async def test_a_wait_that_fails_without_a_pause_between_its_tries_holds_up_no_other(world: World) -> None:
    async with world.leading():
        broken = sensor("a", arguments={"path": "{{ no_such_name }}"}, retries=1_000_000, retry_delay_s=0.0)
        await world.create(dag("broken", broken), logical_date=LOGICAL_DATE)
        await world.create(dag("good", task("x")))
        assert set(await world.launched_ids(1)) == {"x"}


async def test_a_granted_wait_that_fails_without_a_pause_holds_up_no_other(world: World) -> None:
    async with world.db.api.transaction() as conn:
        await conn.execute(b"INSERT INTO pool (name, slots, include_deferred) VALUES ('few', 1, true)")
    async with world.leading():
        broken = sensor("a", pool="few", arguments={"path": "{{ no_such_name }}"}, retries=1_000_000, retry_delay_s=0.0)
        await world.create(dag("broken", broken), logical_date=LOGICAL_DATE)
        await world.create(dag("good", task("x")))
        assert set(await world.launched_ids(1)) == {"x"}


async def test_a_run_that_was_put_off_still_counts_when_another_ends(world: World) -> None:
    spec = dag("d", task("a"), max_active_runs=2)
    async with world.leading():
        one = await world.create(spec, "r1")
        await world.settled()
        first = (await world.launched_ids(1))["a"]
        await world.create(spec, "r2")
        await world.settled()
        second = (await world.launched_ids(1))["a"]
        for number in range(3, 6):
            await world.create(spec, f"r{number}")
        await world.settled()
        rows = [await world.row(first), await world.row(second)]
        async with world.db.api.transaction() as conn:
            await dag_runs.touch_dag_run(conn, one, utc_now())
        done = Outcome(kind=OutcomeKind.SUCCESS, because="done", start_date=utc_now(), end_date=utc_now())
        retried = Outcome(kind=OutcomeKind.LOST, because="gone", start_date=utc_now(), end_date=utc_now())
        events = [TryEnded(rows[0], retried, None, Reply()), TryEnded(rows[1], done, None, Reply())]
        for event in events:
            world.inbox.hint(event)  # one batch: r1 is put off, r2 ends
        with trio.fail_after(PATIENCE_S):
            for event in events:
                await event.reply.wait()
        await world.settled()
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT count(*) FROM dag_run WHERE state = 'running'")
            assert await cursor.fetchone() == (2,)


async def test_a_dag_that_was_paused_unheard_does_not_make_the_scheduler_turn(world: World) -> None:
    spec = dag("d", task("a"), max_active_runs=0)
    async with world.leading() as scheduler:
        await world.create(spec, "r0")
        await world.launched_ids(1)
        async with world.db.api.connection() as conn:
            await conn.execute(b"UPDATE dag SET is_paused = true")
        for number in range(LOADED_PER_STEP + 1):
            await world.create(spec, f"r{number + 1}", is_announced=False)
        async with world.db.api.connection() as conn:  # what announces them is older than the pause
            heads = await run_views.list_active_heads(conn)
        for head in heads:
            if head.state == "queued":
                scheduler._views.enqueue(head.quota, head.id, head.run_after)
        await world.inbox.put(StartRuns(Quota("d")))
        await world.settled()
        assert not scheduler._views.has_more_to_read()
        assert scheduler.statistics().queued_runs == LOADED_PER_STEP + 1


async def test_what_is_told_again_and_again_is_remembered_once(world: World) -> None:
    spec = dag("d", task("a"), max_active_runs=1, dagrun_timeout_s=86_400.0)
    async with world.leading() as scheduler:
        await world.create(spec, "r0")
        first = (await world.launched_ids(1))["a"]
        for number in range(3):
            await world.create(spec, f"r{number + 1}")
        for _ in range(5):
            await world.inbox.put(DagChanged("d"))
            await world.settled()
        assert len(scheduler._views.queued[Quota("d")]._order) == 3
        await pause(world)
        await world.inbox.put(Sweep())
        await world.end(first)
        assert scheduler.statistics().runs == 1
        async with world.db.api.transaction() as conn:
            await conn.execute(b"DELETE FROM dag_run")
        await world.inbox.put(Sweep())
        await world.settled()
        await world.inbox.put(Sweep())
        await world.settled()
        assert scheduler.statistics().next_timer is None


async def pause(world: World) -> None:
    async with world.db.api.transaction() as conn:
        await dags.set_paused(conn, "d", True, utc_now())


async def test_a_report_that_arrives_as_the_term_ends_is_told_to_come_again(world: World) -> None:
    """Taken from the inbox and then cancelled, it had no answer, and its agent waited for one for ever."""
    async with world.leading():
        await world.create(dag("d", task("a")))
        row = await world.row((await world.launched_ids(1))["a"])
        await world.settled()
        report = TryEnded(row, outcome(), None, Reply())
        world.inbox.hint(report)  # the scheduler has it already; the end of the term is the next that it sees
    with trio.fail_after(PATIENCE_S), pytest.raises(StoreUnavailable):
        await report.reply.wait()
