"""Timed waits: fired by the wall clock, in batches, once."""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby

import pytest
import trio
import trio.testing

from leoflowd.cheap_tasks.ends import BATCH_MAX, IN_FLIGHT_MAX
from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.wait_spec import Resume
from tests.fakes.pool_world import PoolWorld


async def test_a_timer_fires_at_its_moment(autojump_clock: trio.testing.MockClock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.timer(30.5)
        w.register(pool, wait)
        await trio.sleep(60)
    assert w.ends.at[str(wait.id)] == pytest.approx(30.5, abs=0.001)
    end = w.ends.of(wait)
    assert end is not None
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.SUCCESS
    assert end.outcome.start_date == wait.registered_at


async def test_a_moment_that_has_passed_fires_at_once(autojump_clock: trio.testing.MockClock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.timer(-3600)
        w.register(pool, wait)
        await trio.testing.wait_all_tasks_blocked()
        assert w.ends.ids() == {str(wait.id)}


async def test_an_earlier_timer_does_not_wait_for_a_later_one(autojump_clock: trio.testing.MockClock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        later, earlier = w.timer(1.9), w.timer(0.3)
        w.register(pool, later)
        await trio.testing.wait_all_tasks_blocked()
        w.register(pool, earlier)
        await trio.sleep(5)
    assert w.ends.at[str(earlier.id)] == pytest.approx(0.3, abs=0.001)


async def test_a_deferral_gets_the_event_of_its_terms(autojump_clock: trio.testing.MockClock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.timer(1, resume=Resume(next_method="go_on"), event={"at": "noon"})
        w.register(pool, wait)
        await trio.sleep(5)
    end = w.ends.of(wait)
    assert end is not None
    assert end.resume is not None
    assert (end.resume.event, end.resume.error) == ({"at": "noon"}, None)


async def test_thousands_due_at_one_moment_go_out_in_batches_a_few_at_a_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        waits = [w.timer(10) for _ in range(5000)]
        w.register(pool, *waits)
        w.ends.hold = trio.Event()
        await trio.sleep(11)
        assert w.ends.at_once == IN_FLIGHT_MAX
        w.ends.hold.set()
        await trio.sleep(1)
    assert w.ends.ids() == {str(wait.id) for wait in waits}
    assert max(w.ends.batches) == BATCH_MAX
    assert len(w.ends.ended) == 5000


async def test_of_thousands_that_end_at_once_a_batch_has_whole_dag_runs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """So that the scheduler decides on each of them once, and not once for each of its waits."""
    w = PoolWorld()
    async with w.pool() as pool:
        waits = [w.timer(10, run=number % 50) for number in range(5000)]
        w.register(pool, *waits)
        w.ends.hold = trio.Event()
        await trio.sleep(11)
        w.ends.hold.set()
        await trio.sleep(1)
    run_of = {str(wait.id): wait.dag_run_id for wait in waits}
    rest = [run_of[end.id] for end in w.ends.ended[IN_FLIGHT_MAX * BATCH_MAX :]]
    assert len(rest) == 3000
    assert len(list(groupby(rest))) == len(set(rest))


async def test_the_next_batch_is_made_while_one_is_committed(autojump_clock: trio.testing.MockClock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.ends.hold = trio.Event()
        w.register(pool, w.timer(1))
        await trio.sleep(2)
        w.register(pool, w.timer(1))
        await trio.sleep(2)
        assert w.ends.at_once == 2


async def test_a_deadline_before_the_moment_times_out(autojump_clock: trio.testing.MockClock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.timer(100, timeout_s=20)
        w.register(pool, wait)
        await trio.sleep(200)
    end = w.ends.of(wait)
    assert end is not None
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.FAILED_FOR_GOOD
    assert w.ends.at[str(wait.id)] == pytest.approx(20, abs=0.01)


async def test_a_moment_that_is_the_deadline_fires(autojump_clock: trio.testing.MockClock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.timer(20, timeout_s=20)
        w.register(pool, wait)
        await trio.sleep(30)
    end = w.ends.of(wait)
    assert end is not None
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.SUCCESS


async def test_a_moment_that_passed_during_a_downtime_fires_though_the_deadline_passed_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    w = PoolWorld()
    wait = w.timer(10, timeout_s=60)
    w.table.add(wait)
    await trio.sleep(3600)
    async with w.pool():
        await trio.testing.wait_all_tasks_blocked()
    end = w.ends.of(wait)
    assert end is not None
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.SUCCESS


async def test_a_clock_set_forward_fires_within_seconds(autojump_clock: trio.testing.MockClock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.timer(3600)
        w.register(pool, wait)
        await trio.sleep(10)
        w.clock_offset += timedelta(hours=1)
        await trio.sleep(3)
        assert w.ends.ids() == {str(wait.id)}


async def test_a_clock_set_back_fires_nothing_early_and_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.timer(60)
        w.register(pool, wait)
        await trio.sleep(10)
        w.clock_offset -= timedelta(hours=1)
        await trio.sleep(3600)
        assert w.ends.ids() == set()
        await trio.sleep(60)
        assert w.ends.ids() == {str(wait.id)}


async def test_a_withdrawn_timer_never_fires(autojump_clock: trio.testing.MockClock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.timer(10)
        w.register(pool, wait)
        w.withdraw(pool, wait)
        await trio.sleep(60)
    assert w.ends.ended == []


async def test_withdrawing_an_unknown_wait_changes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        pool.withdraw([str(w.timer(1).id)])


async def test_ends_that_nobody_commits_are_reported_again_and_fired_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.ends.is_away = True
        wait = w.timer(1)
        w.register(pool, wait)
        await trio.sleep(60)
        assert w.ends.attempts > 3
        w.ends.is_away = False
        await trio.sleep(60)
        assert pool.statistics().ended_fired == 1
    assert [end.id for end in w.ends.ended] == [str(wait.id)]


async def test_a_wait_withdrawn_before_its_end_is_committed_is_reported_no_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.ends.is_away = True
        wait = w.timer(1)
        w.register(pool, wait)
        await trio.sleep(10)
        w.withdraw(pool, wait)
        w.ends.is_away = False
        await trio.sleep(10)
    assert w.ends.ended == []


async def test_the_next_wait_of_the_same_try_replaces_the_one_that_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        first = w.timer(1)
        w.register(pool, first)
        await trio.sleep(0.5)
        w.ends.is_away = True
        await trio.sleep(1)
        second = w.timer(60, wait_id=first.id)
        w.register(pool, second)
        w.ends.is_away = False
        await trio.sleep(10)
        assert w.ends.ended == []
        await trio.sleep(60)
    assert len(w.ends.ended) == 1
    assert w.ends.at[str(first.id)] == pytest.approx(61.5, abs=0.01)
