"""Launches between the executor and an agent that may not be there."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from leoflowd.contract.agent_messages import Launch
from leoflowd.executors.launches import Launches
from tests.unit.executors.builders import try_spec


def launch(try_id: str, token: str = "t") -> Launch:
    return Launch(spec=try_spec(try_id), token=token)


async def test_a_full_box_drops_and_never_waits() -> None:
    launches = Launches(capacity=2)
    assert [launches.put(launch(try_id)) for try_id in ("a", "b", "c")] == [True, True, False]
    assert launches.statistics().dropped == 1


async def test_a_try_that_is_launched_again_keeps_its_one_place(autojump_clock: MockClock) -> None:
    launches = Launches(capacity=2)
    launches.put(launch("a"))
    launches.put(launch("b"))
    await trio.sleep(30)
    assert launches.put(launch("a", "newer"))
    assert (launches.statistics().waiting, launches.statistics().waiting_s) == (2, 30.0)
    taken = [await launches.take(), await launches.take()]
    assert [(one.spec.try_id, one.token) for one in taken] == [("a", "newer"), ("b", "t")]


async def test_each_of_two_takers_gets_its_own() -> None:
    launches, got = Launches(), []

    async def take() -> None:
        got.append((await launches.take()).spec.try_id)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        launches.put(launch("a"))
        await wait_all_tasks_blocked()
        launches.put(launch("b"))
    assert sorted(got) == ["a", "b"]
