"""What follows a commit: an executor stops only itself, doing it twice is doing it once, what is lost is found."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import pytest
import trio

from leoflowd.contract.agent_messages import TrySpec
from leoflowd.contract.dag_spec import TaskSpec
from leoflowd.contract.dispatch import Dispatch
from leoflowd.contract.wait_spec import HttpCall
from leoflowd.contract.xcoms import ValueGone, ValuesUnavailable
from leoflowd.core.try_spec import TryFacts
from leoflowd.scheduler.draft import EXECUTOR, INLINE
from leoflowd.scheduler.effects import Effect, Effects, Launch
from leoflowd.scheduler.inbox import Sweep, TryStarted
from leoflowd.scheduler.outbox import Outbox
from leoflowd.store.database import Database
from tests.conftest import PATIENCE_S
from tests.integration.scheduler.conftest import World, dag, task, utc_now
from tests.integration.scheduler.test_waits import LOGICAL_DATE, end, outcome, sensor

EXECUTORS = (EXECUTOR, INLINE)


def call(task_id: str, *upstream: str) -> TaskSpec:
    return task(task_id, *upstream, kind="http", http=HttpCall(endpoint="/", method="GET"))


class Executors:
    """The outbox of each executor, and the end that the executor would take from: it waits until somebody does."""

    def __init__(self, world: World, capacity: int = 100) -> None:
        self.outboxes: dict[str, Outbox] = {}
        self.taken_from: dict[str, trio.MemoryReceiveChannel[Dispatch]] = {}
        self.refused: list[str] = []
        for name in EXECUTORS:
            dispatches, self.taken_from[name] = trio.open_memory_channel[Dispatch](0)
            self.outboxes[name] = Outbox(
                db=world.db, dispatches=dispatches, refuse=self._refuse, now=utc_now, capacity=capacity
            )
            world.offers[name] = self.outboxes[name].offer

    def _refuse(self, _try_id: str, because: str) -> None:
        self.refused.append(because)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[trio.Nursery]:
        async with trio.open_nursery() as nursery:
            for outbox in self.outboxes.values():
                nursery.start_soon(outbox.run)
            yield nursery
            nursery.cancel_scope.cancel()

    async def take(self, executor: str, number: int) -> list[str]:
        """The tasks of the next tries that this executor gets."""
        with trio.fail_after(PATIENCE_S):
            return [(await self.taken_from[executor].receive()).spec.task_id for _ in range(number)]


@pytest.fixture
def executors(world: World) -> Executors:
    return Executors(world)


@pytest.mark.parametrize(("stuck", "free"), [(INLINE, EXECUTOR), (EXECUTOR, INLINE)])
async def test_an_executor_that_takes_nothing_stops_only_itself(
    world: World, executors: Executors, stuck: str, free: str
) -> None:
    names = {EXECUTOR: ("a", "b"), INLINE: ("x", "y")}
    async with world.leading(), executors.running():
        await world.create(dag("d", task("a"), call("x"), task("b"), call("y")))
        assert set(await executors.take(free, 2)) == set(names[free])
        await world.create(dag("e", task("a"), call("x"), task("b"), call("y")))
        assert set(await executors.take(free, 2)) == set(names[free])
        assert executors.outboxes[stuck].statistics().dispatched == 0
        assert set(await executors.take(stuck, 4)) == set(names[stuck])


async def test_a_full_outbox_drops_what_it_has_no_room_for_and_keeps_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leoflowd.scheduler.deciding.LAUNCH_AGAIN_S", 0.0)
    executors = Executors(world, capacity=1)
    async with world.leading() as scheduler:
        await world.create(dag("d", task("a"), task("b"), task("c")))
        await world.settled()
        said = executors.outboxes[EXECUTOR].statistics()
        assert (said.waiting, said.dropped, scheduler.statistics().dropped_launches) == (1, 2, 2)
        await world.inbox.put(Sweep())
        await world.settled()
        assert executors.outboxes[EXECUTOR].statistics().dropped == 4, "the one that waits has its place"


async def test_a_try_that_waits_for_its_executor_waits_once(
    world: World, executors: Executors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leoflowd.scheduler.deciding.LAUNCH_AGAIN_S", 0.0)
    async with world.leading():
        await world.create(dag("d", task("a"), task("b")))
        for _ in range(3):
            await world.inbox.put(Sweep())
        await world.settled()
        said = executors.outboxes[EXECUTOR].statistics()
        assert (said.waiting, said.dropped) == (2, 0)


async def test_a_try_that_has_started_by_the_end_of_the_step_is_not_launched(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leoflowd.scheduler.deciding.LAUNCH_AGAIN_S", 0.0)
    world = World(database)
    async with world.leading():
        run = await world.create(dag("d", task("a")))
        row = await world.row((await world.launched_ids(1))["a"])
        world.inbox.hint(Sweep())
        world.inbox.hint(TryStarted(row, at=utc_now(), hostname="host", pid=1))  # both before the loop's next turn
        await world.settled()
        assert await world.states(run) == {"a": "running"}
        assert world.none_launched()


# --- twice -----------------------------------------------------------------------------------------------------------


def at_once(effects: list[Effect], _before: list[Effect]) -> list[Effect]:
    return [*effects, *effects]


def after_the_next(effects: list[Effect], before: list[Effect]) -> list[Effect]:
    return [*effects, *before]


@pytest.mark.parametrize("repeated", [at_once, after_the_next])
async def test_doing_every_effect_twice_changes_nothing(
    world: World,
    executors: Executors,
    monkeypatch: pytest.MonkeyPatch,
    repeated: Callable[[list[Effect], list[Effect]], list[Effect]],
) -> None:
    carry_out, done = Effects.carry_out, list[list[Effect]]([[]])

    def more_often(self: Effects, effects: Iterable[Effect]) -> None:
        done.append(list(effects))
        carry_out(self, repeated(done[-1], done[-2]))

    monkeypatch.setattr(Effects, "carry_out", more_often)
    started: list[str] = []

    async def execute(taken: trio.MemoryReceiveChannel[Dispatch]) -> None:
        """As every executor does: a try that it knows is not started again."""
        async for dispatch in taken:
            if dispatch.spec.try_id not in started:
                started.append(dispatch.spec.try_id)
                await world.start(dispatch.spec.try_id)
                await world.end(dispatch.spec.try_id, return_value="1")

    async with world.leading(), executors.running() as nursery:
        for taken in executors.taken_from.values():
            nursery.start_soon(execute, taken)
        spec = dag("d", task("first"), sensor("wait", "first"), call("call", "wait"), max_active_runs=1)
        runs = [await world.create(spec, f"r{day}", LOGICAL_DATE + timedelta(days=day)) for day in range(2)]
        nursery.start_soon(_end_waits, world)
        await world.until(lambda: _have_ended(world, runs))
        assert len(started) == len(set(started)) == 2 * len(runs)
        for run in runs:
            assert set((await world.states(run)).values()) == {"success"}
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT count(*), max(try_number) FROM task_instance")
            assert await cursor.fetchone() == (3 * len(runs), 1)
            cursor = await conn.execute(b"SELECT count(*) FROM task_instance_history")
            assert await cursor.fetchone() == (0,)


async def _end_waits(world: World) -> None:
    """As the pool does: a wait that it knows is not watched again."""
    ended: set[UUID] = set()
    while True:
        for wait in [wait for wait in world.pool.registered if wait.id not in ended]:
            ended.add(wait.id)
            await end(world, wait, outcome=outcome())
        await trio.sleep(0.01)


async def _have_ended(world: World, runs: list[int]) -> bool:
    return [await world.run_state(run) for run in runs] == ["success"] * len(runs)


# --- lost ------------------------------------------------------------------------------------------------------------


async def test_a_launch_that_is_lost_is_repeated_by_the_sweep(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a leader that ended between its commit and what follows it."""
    world = World(database)
    executors = Executors(world)
    carry_out = Effects.carry_out
    lost: list[Launch] = []

    def lose_launches(self: Effects, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Launch):
                lost.append(effect)
            else:
                carry_out(self, [effect])

    async with world.leading(), executors.running():
        monkeypatch.setattr(Effects, "carry_out", lose_launches)
        await world.create(dag("d", task("a"), call("x")))
        await world.settled()
        monkeypatch.setattr(Effects, "carry_out", carry_out)
        monkeypatch.setattr("leoflowd.scheduler.deciding.LAUNCH_AGAIN_S", 0.0)
        assert {effect.executor for effect in lost} == set(EXECUTORS)
        await world.inbox.put(Sweep())
        assert (await executors.take(EXECUTOR, 1), await executors.take(INLINE, 1)) == (["a"], ["x"])


async def test_a_try_whose_values_cannot_be_read_stops_no_other(
    world: World, executors: Executors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps them does not answer: the sweep brings the try again. They are gone: it can never be launched."""
    specs = Outbox._specs

    async def reading(self: Outbox, tries: Sequence[TryFacts]) -> Sequence[TrySpec]:
        tasks = {one.key[1] for one in tries}
        if "unread" in tasks:
            raise ValuesUnavailable("no answer")
        if "lost" in tasks:
            raise ValueGone("it is not there any more")
        return await specs(self, tries)

    monkeypatch.setattr(Outbox, "_specs", reading)
    async with world.leading(), executors.running():
        await world.create(dag("d", task("lost"), task("unread"), task("z")))
        assert await executors.take(EXECUTOR, 1) == ["z"]
    statistics = executors.outboxes[EXECUTOR].statistics()
    assert (statistics.dispatched, statistics.refused, statistics.dropped) == (1, 1, 1)
    assert executors.refused == ["it is not there any more"]
