"""Whoever refuses a try goes on at once; telling the scheduler is another's work."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.executors.refusals import CAPACITY, Refusal, Refusals


async def test_refusing_waits_for_nothing_although_nobody_listens() -> None:
    """The scheduler may be waiting for whoever refuses: with an answer in between, each would wait for the other."""

    async def tell(refusal: Refusal) -> None:
        await trio.sleep_forever()

    refusals = Refusals(tell)
    async with trio.open_nursery() as nursery:
        await nursery.start(refusals.run)
        for number in range(CAPACITY + 100):
            refusals.refuse(str(number), OutcomeKind.FAILED, "no")
        await wait_all_tasks_blocked()
        assert 0 < refusals.statistics().dropped <= 100
        nursery.cancel_scope.cancel()


async def test_a_refusal_is_told_again_when_postgres_is_back(autojump_clock: MockClock) -> None:
    """Seen on a full disk: the agent refused, Postgres was away at that moment, and the try waited for its deadline."""
    told: list[str] = []

    async def tell(refusal: Refusal) -> None:
        if trio.current_time() < 30:
            raise StoreUnavailable("away")
        told.append(refusal.try_id)

    refusals = Refusals(tell)
    async with trio.open_nursery() as nursery:
        await nursery.start(refusals.run)
        refusals.refuse("a", OutcomeKind.LOST, "no space left on device")
        await trio.sleep(60)
        assert told == ["a"]
        nursery.cancel_scope.cancel()


async def test_a_refusal_that_can_never_be_told_is_dropped_and_the_next_one_told() -> None:
    told: list[Refusal] = []

    async def tell(refusal: Refusal) -> None:
        if refusal.try_id == "poison":
            raise ValueError("22P05")
        if refusal.try_id == "outage":
            raise StoreUnavailable("away")
        told.append(refusal)

    refusals = Refusals(tell)
    async with trio.open_nursery() as nursery:
        await nursery.start(refusals.run)
        for try_id in ("poison", "outage", "good"):
            refusals.refuse(try_id, OutcomeKind.LOST, "NUL: \0")
        await wait_all_tasks_blocked()
        assert told == [Refusal("good", OutcomeKind.LOST, r"NUL: \x00")]
        nursery.cancel_scope.cancel()


async def test_the_same_try_is_refused_once_at_a_time() -> None:
    told: list[str] = []
    may_end = trio.Event()

    async def tell(refusal: Refusal) -> None:
        await may_end.wait()
        told.append(refusal.because)

    refusals = Refusals(tell)
    async with trio.open_nursery() as nursery:
        await nursery.start(refusals.run)
        refusals.refuse("a", OutcomeKind.FAILED, "first")
        await wait_all_tasks_blocked()
        refusals.refuse("a", OutcomeKind.FAILED, "again")
        may_end.set()
        await wait_all_tasks_blocked()
        refusals.refuse("a", OutcomeKind.FAILED, "later")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert told == ["first", "later"]
