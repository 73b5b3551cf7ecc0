"""Whose try goes on next on a host."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from leoflow_agent import turns
from leoflow_agent.turns import COMPANY_S, Company, Order, Run, Turns
from tests.conftest import PATIENCE_S

MAPPED, CHAIN, OTHER = ("mapped", "r"), ("chain", "r"), ("other", "r")


def test_a_run_without_a_turn_never_waits_for_one_that_has_many() -> None:
    order: Order[int] = Order(2)
    assert [order.ask(MAPPED, number) for number in range(4)] == [True, True, False, False]
    assert order.ask(CHAIN, 10)
    assert not order.ask(CHAIN, 11)


def test_a_free_turn_goes_round_the_runs_and_in_order_within_one() -> None:
    order: Order[int] = Order(3)
    for run in (MAPPED, CHAIN, OTHER):
        assert order.ask(run, 0)
    waiting = [(MAPPED, 1), (MAPPED, 2), (CHAIN, 11), (OTHER, 21)]
    assert [order.ask(run, number) for run, number in waiting] == [False] * 4
    assert order.ended(MAPPED) == [1], "it has none now, and waits"
    for run in (MAPPED, CHAIN):
        order.ask(run, 0)  # further back
    assert order.ended(OTHER) == [21]
    assert order.ended(OTHER) == [11]
    assert order.ended(CHAIN) == [2]


@given(st.lists(st.tuples(st.sampled_from([MAPPED, CHAIN, OTHER]), st.booleans()), max_size=60), st.integers(1, 4))
def test_nobody_is_forgotten_and_only_a_run_without_a_turn_exceeds_the_bound(
    moves: list[tuple[Run, bool]], at_once: int
) -> None:
    """A move asks for a run, or ends one of its turns. At the end all of them end."""
    order: Order[tuple[Run, int]] = Order(at_once)
    taken: Counter[Run] = Counter()
    asked: list[tuple[Run, int]] = []
    begun: list[tuple[Run, int]] = []

    def begin(some: list[tuple[Run, int]]) -> None:
        for run, number in some:
            assert not taken[run] or taken.total() < at_once
            taken[run] += 1
            begun.append((run, number))

    def end(run: Run) -> None:
        taken[run] -= 1
        begin(order.ended(run))

    for number, (run, asks) in enumerate(moves):
        if asks:
            asked.append((run, number))
            if order.ask(*(run, (run, number))):
                begin([(run, number)])
        elif taken[run]:
            end(run)
        waits = {one[0] for one in asked} - {one[0] for one in begun}
        assert not any(not taken[run] for run in waits), "a run that waits has a turn"
        assert len(begun) == len(asked) or taken.total() >= at_once, "no turn stays free while somebody waits"
    while taken.total():
        end(next(run for run in taken if taken[run]))
    assert sorted(begun) == sorted(asked)
    for run in (MAPPED, CHAIN, OTHER):
        assert [one for one in begun if one[0] == run] == [one for one in asked if one[0] == run], "in order"


def test_a_run_that_is_alone_waits_for_nobody_and_goes_on_when_it_is_alone_again() -> None:
    order: Order[int] = Order(2)
    assert [order.ask(MAPPED, number, is_alone=True) for number in range(4)] == [True] * 4
    assert not order.ask(MAPPED, 4)
    assert order.ask(CHAIN, 10)
    assert not order.ask(MAPPED, 5)
    assert order.ended(CHAIN) == []
    assert order.ended(MAPPED, is_alone=True) == [4, 5]


def test_company_is_a_second_run_that_was_here_a_moment_ago() -> None:
    company = Company()
    moments = []
    for run, now in ((MAPPED, 0.0), (MAPPED, 1.0), (CHAIN, 2.0), (MAPPED, 2.0), (MAPPED, 2.5), (MAPPED, 9.0)):
        company.note(run, now)
        moments.append(company.is_alone(now))
    assert moments == [True, True, False, False, False, True]
    assert company.is_alone(2.0 + COMPANY_S + 0.1)


def in_company(turns_of_host: Turns) -> Turns:
    """For ever: another run comes at the end of time."""
    for run, now in ((OTHER, 0.0), (MAPPED, float("inf"))):
        turns_of_host.company.note(run, now)
    return turns_of_host


def test_a_turn_ends_once_and_one_whose_taker_was_cancelled_goes_to_the_next() -> None:
    async def run() -> None:
        both = in_company(Turns(1))
        first = await both.take(MAPPED)
        gone, waiting = (asyncio.create_task(both.take(MAPPED)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        first.end()
        first.end()
        second = await waiting
        third = asyncio.create_task(both.take(MAPPED))
        await asyncio.sleep(0)
        assert not third.done(), "the second end of the first turn freed nothing"
        second.end()
        await third

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_a_turn_that_nobody_ends_ends_by_itself(monkeypatch) -> None:
    monkeypatch.setattr(turns, "TURN_S", 0.01)

    async def run() -> None:
        both = in_company(Turns(1))
        await both.take(MAPPED)
        await both.take(MAPPED)

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))
