"""Budgets, breakers and turns, as waits feel them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
import trio.testing

from leoflow_sensors.kinds import ProbeThrottled, TargetDown
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.pool_view import BreakerState
from tests.fakes.pool_world import PoolWorld

Clock = trio.testing.MockClock


async def test_a_target_is_asked_no_more_often_than_its_rate_allows(autojump_clock: Clock) -> None:
    w = PoolWorld(target_rate=10, target_burst=1)
    async with w.pool() as pool:
        w.register(pool, *(w.wait(f"{i}", "targeted") for i in range(30)))
        await trio.sleep(3.2)
    times = [at for at, _ in w.world.probes]
    assert len(times) == 30
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) == pytest.approx(0.1, abs=0.001)


async def test_a_target_is_asked_no_more_at_once_than_its_concurrency_allows(autojump_clock: Clock) -> None:
    w = PoolWorld(target_concurrency=3)
    async with w.pool() as pool:
        w.world.hold = trio.Event()
        w.register(pool, *(w.wait(f"{i}", "targeted") for i in range(30)))
        await trio.sleep(1)
        assert w.world.at_once == 3
        w.world.hold.set()
        await trio.sleep(1)
    assert w.world.at_once_max == 3
    assert len(w.world.probes) == 30


async def test_a_blocked_target_holds_no_worker(autojump_clock: Clock) -> None:
    w = PoolWorld(workers=2, target_concurrency=1)
    async with w.pool() as pool:
        w.world.hold = trio.Event()
        w.register(pool, *(w.wait(f"slow {i}", "targeted", spec={"target": "slow"}) for i in range(50)))
        await trio.sleep(1)
        w.register(pool, w.wait("quick", "targeted", spec={"target": "other"}))
        await trio.sleep(1)
        assert len(w.world.times("quick")) == 1


async def test_the_breaker_opens_and_lets_one_probe_through_after_a_while(autojump_clock: Clock) -> None:
    w = PoolWorld(breaker_after=2, breaker_first_s=40, target_concurrency=1)
    async with w.pool() as pool:
        for i in range(10):
            w.world.answers[f"{i}"] = TargetDown("connection refused")
        w.register(pool, *(w.wait(f"{i}", "targeted", poke_interval_s=5, silent_fail=True) for i in range(10)))
        await trio.sleep(29)
        assert len(w.world.probes) == 2
        (target,) = pool.statistics().targets
        assert (target.breaker, target.waiting_groups) == (BreakerState.OPEN, 10)
        await trio.sleep(2)
        assert len(w.world.probes) == 3
        await trio.sleep(50)
        assert len(w.world.probes) == 3


async def test_a_target_that_is_back_closes_the_breaker(autojump_clock: Clock) -> None:
    w = PoolWorld(breaker_after=1, breaker_first_s=40)
    async with w.pool() as pool:
        w.world.answers["x"] = TargetDown("connection refused")
        w.register(pool, w.wait("x", "targeted", poke_interval_s=5, silent_fail=True))
        await trio.sleep(10)
        w.world.answers["x"] = False
        await trio.sleep(25)
        assert pool.statistics().targets[0].breaker is BreakerState.CLOSED


async def test_the_breaker_outlives_the_waits_that_opened_it(autojump_clock: Clock) -> None:
    w = PoolWorld(breaker_after=1, breaker_first_s=40)
    async with w.pool() as pool:
        w.world.answers["x"] = TargetDown("connection refused")
        w.register(pool, w.wait("x", "targeted"))
        await trio.sleep(1)
        assert len(w.ends.ended) == 1
        w.register(pool, w.wait("x", "targeted"))
        await trio.sleep(20)
        assert len(w.world.probes) == 1


async def test_retry_after_keeps_the_whole_target_quiet(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.world.answers["a"] = ProbeThrottled("HTTP 429", retry_after_s=100)
        w.register(pool, w.wait("a", "targeted"), w.wait("b", "targeted", poke_interval_s=10))
        await trio.sleep(1)
        w.world.probes.clear()
        await trio.sleep(98)
        assert w.world.probes == []
        await trio.sleep(2)
        assert len(w.world.times("b")) == 1


async def test_dags_take_turns(autojump_clock: Clock) -> None:
    w = PoolWorld(target_concurrency=1)
    async with w.pool() as pool:
        w.register(pool, w.wait("first", "targeted", dag_id="big"))
        w.world.hold = trio.Event()
        await trio.sleep(1)
        w.register(pool, *(w.wait(f"big {i}", "targeted", dag_id="big") for i in range(100)))
        await trio.sleep(1)
        w.register(pool, w.wait("small", "targeted", dag_id="small"))
        await trio.sleep(1)
        w.world.hold.set()
        await trio.sleep(1)
    order = [names[0] for _, names in w.world.probes]
    assert order.index("small") <= 2


async def test_a_changed_connection_moves_a_group_to_its_new_target(autojump_clock: Clock) -> None:
    w = PoolWorld()
    kind = w.kinds["targeted"]
    w.kinds["hosted"] = type(kind)(
        name="hosted",
        spec=kind.spec,
        predicate=kind.predicate,
        describe=kind.describe,
        poke=kind.poke,
        judge=kind.judge,
        target=lambda _spec, connection: connection.host or "",
    )
    w.connections.known["c"] = ConnectionFacts(connection_id="c", host="old")
    async with w.pool() as pool:
        w.register(pool, w.wait("x", "hosted", connection_id="c", poke_interval_s=30))
        await trio.sleep(1)
        w.connections.known["c"] = ConnectionFacts(connection_id="c", host="new")
        await trio.sleep(30)
        assert [target.target for target in pool.statistics().targets] == ["old", "new"]
        assert len(w.world.probes) == 2


async def test_a_connection_is_looked_up_once_for_many_probes(autojump_clock: Clock) -> None:
    w = PoolWorld()
    w.connections.known["c"] = ConnectionFacts(connection_id="c")
    async with w.pool() as pool:
        w.register(pool, *(w.wait(f"{i}", "targeted", connection_id="c") for i in range(200)))
        await trio.sleep(1)
    assert w.connections.asked == ["c"]


async def test_whoever_leaves_the_line_for_a_worker_gives_back_its_seat(autojump_clock: Clock) -> None:
    w = PoolWorld(workers=1, target_concurrency=1)
    async with w.pool() as pool:
        first, second = w.wait("a", "targeted", poke_interval_s=10), w.wait("b", "targeted", poke_interval_s=10)
        w.register(pool, first, second)
        await trio.sleep(9)
        w.world.hold = trio.Event()
        w.register(pool, w.wait("holds the worker"))
        await trio.sleep(5)
        w.world.probes.clear()
        w.withdraw(pool, first)
        w.world.hold.set()
        await trio.sleep(1)
        assert len(w.world.times("b")) == 1


async def test_a_group_that_ended_leaves_no_subscription(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait("x", "watched", spec={"dag": "upstream"})
        w.register(pool, wait)
        assert pool._push.dags.names() == ("upstream",)
        w.withdraw(pool, wait)
        assert pool._push.dags.names() == ()
