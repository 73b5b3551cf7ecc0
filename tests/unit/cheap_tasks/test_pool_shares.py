"""A pool that watches some shards only, and the pools of other daemons told of what concerns theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import UUID

import pytest
import trio
import trio.testing

from leoflowd.cheap_tasks import everywhere
from leoflowd.cheap_tasks.everywhere import PoolEverywhere
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.contract.waits import NewWait
from leoflowd.core.pool_shards import ALL_SHARDS, SHARDS
from leoflowd.store.database import Lane
from leoflowd.store.hints import Hint
from tests.fakes.pool_world import PoolWorld

Clock = trio.testing.MockClock
HALF = frozenset(range(SHARDS // 2))


def in_shard(shard: int, number: int = 1) -> UUID:
    return UUID(int=(shard << 122) + number)


def watched(pool: Any) -> int:
    return sum(pool.statistics().waits.values())


# --- its share ---------------------------------------------------------------------------------------------------


async def test_what_is_of_another_share_is_not_watched_however_it_comes(autojump_clock: Clock) -> None:
    w = PoolWorld()
    ours, theirs = w.wait(wait_id=in_shard(3), run=7), w.wait(wait_id=in_shard(60), run=7)
    async with w.pool() as pool:
        await pool.give_up(ALL_SHARDS - HALF)
        w.register(pool, ours, theirs)
        assert watched(pool) == 1
        assert pool.holds(str(ours.id))
        assert not pool.holds(str(theirs.id))
        for hint in (Hint("dag", "d"), Hint("waits", "7"), Hint("waits", "")):
            w.hint.send_nowait(hint)
            await trio.sleep(1)
            assert watched(pool) == 1
        await trio.sleep(100)  # a sweep
        assert watched(pool) == 1
        assert pool.statistics().shards == SHARDS // 2


async def test_a_share_that_is_taken_is_armed_and_one_that_is_given_up_ends_nothing(autojump_clock: Clock) -> None:
    w = PoolWorld()
    waits = [w.timer(600, wait_id=in_shard(shard)) for shard in range(SHARDS)]
    w.table.add(*waits, w.wait(kind="trigger", wait_id=in_shard(60, 2), spec=TRIGGER))
    async with w.pool() as pool:
        assert (watched(pool), len(w.hosts.running)) == (SHARDS + 1, 1)
        await pool.give_up(ALL_SHARDS - HALF)
        assert (watched(pool), len(w.hosts.running)) == (SHARDS // 2, 0)
        pool.take(ALL_SHARDS - HALF)
        await pool.arm(ALL_SHARDS - HALF)
        assert (watched(pool), len(w.hosts.running)) == (SHARDS + 1, 1)
        assert w.ends.ended == []


async def test_what_is_withdrawn_while_a_share_is_read_stays_away(autojump_clock: Clock) -> None:
    w = PoolWorld()
    wait = w.timer(600, wait_id=in_shard(5))
    async with w.pool() as pool:
        await pool.give_up(HALF)
        w.table.add(wait)
        pool.take(HALF)
        w.table.during = lambda: w.withdraw(pool, wait)
        await pool.arm(HALF)
        assert watched(pool) == 0


async def test_what_another_scheduler_began_or_ended_is_read_by_its_dag_run(autojump_clock: Clock) -> None:
    w = PoolWorld()
    begun, other = w.wait(run=7), w.wait(run=8)
    async with w.pool() as pool:
        w.table.add(begun, other)
        w.hint.send_nowait(Hint("waits", "7"))
        await trio.sleep(1)
        assert watched(pool) == 1
        assert pool.explain(str(begun.id)) is not None
        del w.table.rows[begun.id]
        w.hint.send_nowait(Hint("waits", "7"))
        await trio.sleep(1)
        assert watched(pool) == 0


async def test_what_people_ask_elsewhere_is_done_here(autojump_clock: Clock) -> None:
    w = PoolWorld()
    fired, failed, slow = (w.wait(name, poke_interval_s=600) for name in ("a", "b", "c"))
    async with w.pool() as pool:
        w.register(pool, fired, failed, slow)
        await trio.sleep(5)
        probes = len(w.world.times("c"))
        for hint in (
            Hint("fire", str(fired.id)),
            Hint("fail", str(failed.id)),
            Hint("probe", str(slow.id)),
            Hint("terms", f"{slow.id} 30.0"),
            Hint("fire", str(UUID(int=99))),
        ):
            w.hint.send_nowait(hint)
        await trio.sleep(5)
        assert w.ends.ids() == {str(fired.id), str(failed.id)}
        assert len(w.world.times("c")) == probes + 1
        explained = pool.explain(str(slow.id))
        assert explained is not None
        assert explained.poke_interval_s == 30.0


async def test_a_finished_dag_of_which_another_scheduler_tells_wakes_who_waits_for_it(autojump_clock: Clock) -> None:
    w = PoolWorld()
    wait = w.wait("x", "watched", spec={"dag": "upstream"}, poke_interval_s=600)
    async with w.pool() as pool:
        w.register(pool, wait)
        await trio.sleep(5)
        w.world.answers["x"] = True
        w.hint.send_nowait(Hint("finished", "upstream"))
        await trio.sleep(5)
        assert w.ends.ids() == {str(wait.id)}


@pytest.mark.parametrize(("share", "at_once"), [(ALL_SHARDS, 32), (HALF, 16), (frozenset({0}), 1)])
async def test_a_target_is_asked_by_each_daemon_for_its_part_of_the_budget(
    autojump_clock: Clock, share: frozenset[int], at_once: int
) -> None:
    w = PoolWorld(target_concurrency=32, workers=64)
    w.world.hold = trio.Event()
    async with w.pool() as pool:
        early = w.wait("early", "targeted", wait_id=in_shard(0, 10_000))
        w.register(pool, early)
        await trio.sleep(5)  # its target is known, and asked
        await pool.give_up(ALL_SHARDS - share)
        waits = [w.wait(f"n{number}", "targeted", wait_id=in_shard(0, number + 1)) for number in range(100)]
        w.register(pool, *waits)
        await trio.sleep(20)
        assert w.world.at_once == at_once
        w.world.hold.set()


TRIGGER = {
    "classpath": "x.Y",
    "kwargs": {},
    "environment": {},
    "bundle_digest": "",
    "source_path": "dag.py",
    "dag_id": "d",
    "run_id": "r",
    "task_id": "t",
    "map_index": -1,
    "try_number": 1,
    "try_id": "00000000-0000-0000-0000-000000000001",
}


# --- the shares of others ----------------------------------------------------------------------------------------


class Own:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def register(self, waits: Sequence[NewWait]) -> None:
        self.told.append([wait.id for wait in waits])

    def withdraw(self, wait_ids: Sequence[str], dag_run_ids: Any) -> None:
        self.told.append(list(wait_ids))

    def dag_finished(self, dag_ids: Any) -> None:
        self.told.append(set(dag_ids))


class Others:
    """A lane, and what is sent on it."""

    def __init__(self) -> None:
        self.sent: list[list[tuple[str, str]]] = []
        self.is_away = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise StoreUnavailable("away")
        yield self


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Others:
    async def send(conn: Others, hints: Sequence[tuple[str, str]]) -> None:
        await trio.lowlevel.checkpoint()
        conn.sent.append(sorted(hints))

    monkeypatch.setattr(everywhere, "send_hints", send)
    return Others()


async def test_others_hear_one_hint_for_each_run_and_a_new_leader_has_them_look_at_all(
    autojump_clock: Clock, others: Others
) -> None:
    w, own = PoolWorld(), Own()
    pools = PoolEverywhere(own=own, is_alone=lambda: False, lane=cast(Lane, others))
    async with trio.open_nursery() as nursery:
        await nursery.start(pools.run)
        await trio.sleep(1)
        assert others.sent == [[("waits", "")]]
        waits = [w.wait(run=run) for run in (1, 1, 2)]
        pools.register(waits)
        pools.withdraw(["gone"], {2, 3})
        pools.dag_finished({"d"})
        await trio.sleep(1)
        assert others.sent[1:] == [[("finished", "d"), ("waits", "1"), ("waits", "2"), ("waits", "3")]]
        assert own.told == [[wait.id for wait in waits], ["gone"], {"d"}]
        nursery.cancel_scope.cancel()


async def test_who_is_alone_tells_nobody(autojump_clock: Clock, others: Others) -> None:
    w, own = PoolWorld(), Own()
    pools = PoolEverywhere(own=own, is_alone=lambda: True, lane=cast(Lane, others))
    async with trio.open_nursery() as nursery:
        await nursery.start(pools.run)
        pools.register([w.wait()])
        await trio.sleep(1)
        assert (len(own.told), others.sent) == (1, [])
        nursery.cancel_scope.cancel()


async def test_hints_that_cannot_be_sent_are_left_to_the_sweeps(autojump_clock: Clock, others: Others) -> None:
    pools = PoolEverywhere(own=Own(), is_alone=lambda: False, lane=cast(Lane, others))
    others.is_away = True
    async with trio.open_nursery() as nursery:
        await nursery.start(pools.run)
        await trio.sleep(1)
        others.is_away = False
        pools.dag_finished({"d"})
        await trio.sleep(1)
        assert others.sent == [[("finished", "d")]]
        nursery.cancel_scope.cancel()
