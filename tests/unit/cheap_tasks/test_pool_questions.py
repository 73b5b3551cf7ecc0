"""Waits for people: ended by what the row of the question says, told by a hint, found again without one."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
import trio.testing

from leoflowd.cheap_tasks.human_answers import LOOK_S
from leoflowd.contract.human import Answer, Person
from leoflowd.contract.wait_spec import Resume
from leoflowd.contract.waits import NewWait, WaitAction
from leoflowd.core.human import TIMED_OUT
from leoflowd.store.hints import Hint
from tests.fakes.pool_world import START, PoolWorld

ANNA = Person(id="anna", name="Anna")
YES = Answer(chosen_options=("Yes",), responded_at=START, responded_by=ANNA)
NO = Answer(chosen_options=("No",), responded_at=START)


@pytest.fixture
def world() -> PoolWorld:
    return PoolWorld()


def question(world: PoolWorld) -> NewWait:
    terms = {"timeout_s": None, "resume": Resume(next_method="execute_complete")}
    return world.wait(kind="human", spec={"subject": "Deploy?", "options": ["Yes", "No"]}, **terms)


def told(world: PoolWorld, wait: NewWait) -> list[str] | None:
    """The options that its task is told of."""
    end = world.ends.of(wait)
    if end is None:
        return None
    assert end.resume is not None
    assert end.resume.error is None
    chosen: list[str] = end.resume.event["chosen_options"]
    return chosen


async def test_an_answer_ends_the_wait_at_once(world: PoolWorld, autojump_clock: trio.testing.MockClock) -> None:
    async with world.pool() as pool:
        wait = question(world)
        world.register(pool, wait)
        await trio.sleep(1)
        assert world.ends.of(wait) is None
        world.questions.answers[str(wait.id)] = YES
        world.hint.send_nowait(Hint("human", ""))
        await trio.sleep(0.1)
        assert told(world, wait) == ["Yes"]


async def test_an_answer_whose_hint_was_lost_is_found(world: PoolWorld, autojump_clock: trio.testing.MockClock) -> None:
    async with world.pool() as pool:
        wait = question(world)
        world.register(pool, wait)
        await trio.sleep(1)
        world.questions.answers[str(wait.id)] = YES
        await trio.sleep(LOOK_S + 1)
        assert told(world, wait) == ["Yes"]


async def test_an_answer_from_before_the_start_is_found(
    world: PoolWorld, autojump_clock: trio.testing.MockClock
) -> None:
    wait = question(world)
    world.table.add(wait)
    world.questions.answers[str(wait.id)] = YES
    async with world.pool():
        await trio.sleep(0.1)
        assert told(world, wait) == ["Yes"]


async def test_a_deadline_takes_what_the_row_says(world: PoolWorld, autojump_clock: trio.testing.MockClock) -> None:
    async with world.pool() as pool:
        first, second, third = (question(world) for _ in range(3))
        for wait, default in ((first, NO), (second, None)):
            world.questions.deadlines[str(wait.id)] = (START + timedelta(seconds=100), default)
        world.questions.deadlines[str(third.id)] = (START + timedelta(seconds=500), NO)
        world.register(pool, first, second, third)
        await trio.sleep(99)
        assert world.ends.ended == []
        await trio.sleep(5)
        assert told(world, first) == ["No"]
        end = world.ends.of(second)
        assert end is not None
        assert end.resume is not None
        assert end.resume.event == dict(TIMED_OUT)
        assert world.ends.of(third) is None


async def test_who_is_not_asked_is_not_looked_after(world: PoolWorld, autojump_clock: trio.testing.MockClock) -> None:
    async with world.pool() as pool:
        await trio.sleep(1000)
        assert world.questions.looks == []
        wait = question(world)
        world.register(pool, wait)
        await trio.sleep(1)
        world.withdraw(pool, wait)
        looks = len(world.questions.looks)
        await trio.sleep(10 * LOOK_S)
        assert len(world.questions.looks) <= looks + 1


async def test_a_database_that_is_away_is_asked_again(world: PoolWorld, autojump_clock: trio.testing.MockClock) -> None:
    async with world.pool() as pool:
        wait = question(world)
        world.register(pool, wait)
        await trio.sleep(1)
        world.questions.is_away = True
        world.questions.answers[str(wait.id)] = YES
        world.hint.send_nowait(Hint("human", ""))
        await trio.sleep(1)
        world.questions.is_away = False
        await trio.sleep(LOOK_S)
        assert told(world, wait) == ["Yes"]


async def test_nobody_fires_a_question_but_it_may_fail(
    world: PoolWorld, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.pool() as pool:
        wait = question(world)
        world.register(pool, wait)
        await trio.sleep(1)
        assert not pool.act(str(wait.id), WaitAction.FIRE)
        assert not pool.act(str(wait.id), WaitAction.PROBE)
        explained = pool.explain(str(wait.id))
        assert explained is not None
        assert "answer" in explained.waits_for
        assert pool.act(str(wait.id), WaitAction.FAIL)
        await trio.sleep(0.1)
        end = world.ends.of(wait)
        assert end is not None
        assert end.resume is not None
        assert end.resume.error == "Trigger failure"
