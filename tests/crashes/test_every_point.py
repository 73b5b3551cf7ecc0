"""Every statement and hint of each journey, broken once each; afterwards nothing is lost and nothing is doubled.

The points are not listed anywhere: a first walk of each journey records what its code sends (ADR 34). `make crashes`
walks all of them. Otherwise one for some ways of each journey, drawn by `LEOFLOW_CRASHES_SEED`, which a failure names.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import trio

from tests.crashes.journeys import JOURNEYS, Journey, script
from tests.crashes.watched import Fault, Way, watched_connections
from tests.crashes.world import Done, World, points_of, told

# What a killed daemon leaves open in its event loop, a killed process leaves to the kernel.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore:coroutine .* was never awaited:RuntimeWarning",
)
ALL = os.environ.get("LEOFLOW_CRASHES") == "all"
SEED = int(
    os.environ.get("LEOFLOW_CRASHES_SEED")
    or random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID")).randrange(10_000)  # workers draw the same tests
)
WAYS_DRAWN = 3
"""Of each journey, in a usual run of the tests."""


async def walk(journey: Journey, conninfo: str, folder: Path, fault: Fault | None = None) -> Done:
    world = World(conninfo, folder, script, fault, has_standby=journey.has_standby)
    wrong: list[str] = []
    seen: dict[str, str] = {}
    with watched_connections(world.find):
        try:
            async with world.running(watch_start=journey.begins_with_the_daemon):
                await world.unwatched(lambda: world.register(journey.spec), but=journey.begins_with_the_daemon)
                await world.unwatched(lambda: journey.stage(world), but=journey.begins_with_the_daemon)
                await journey.act(world)
                await world.until_states(**journey.comes_to)
                await world.check_views()
                world.watch.is_on = False
                world.release()
                was_killed = fault is not None and fault.way in (Way.KILLED, Way.KILLED_AFTER)
                may_repeat = was_killed or await world.has_changed_leaders()
                await world.until_runs(journey.runs, fails=journey.fails, or_more=journey.heard > 0 and may_repeat)
                await world.until(world.has_called_back)
                await world.until(world.has_filled_back)
                await world.until(world.is_idle)
                wrong = await world.judge(journey.callbacks)
                wrong += await world.judge_partitions(journey.partitions)
                wrong += await world.judge_canaries(journey.verdicts)
                wrong += await world.judge_heard(journey.heard, or_more=may_repeat)
                seen = await world.states()
        except* (AssertionError, trio.TooSlowError) as group:
            wrong += [told(group), *world.crashes]
    return Done(points_of(world), world.watch.happened, tuple(wrong), seen)


_unharmed: dict[str, Done] = {}


async def walk_unharmed(name: str, conninfo: str, folder: Path) -> Done:
    """Once for all ways: what a journey sends without any fault does not change."""
    if name not in _unharmed:
        _unharmed[name] = await walk(JOURNEYS[name], conninfo, folder)
    return _unharmed[name]


def faults_of(done: Done, way: Way) -> list[Fault]:
    return sorted(Fault(point, way) for point in done.points if way in point.ways)


def chosen(faults: list[Fault], name: str) -> list[Fault]:
    if ALL:
        return faults
    return random.Random(f"{SEED} {name}").sample(faults, min(1, len(faults)))


def walks() -> list[tuple[str, Way]]:
    drawn = {name: random.Random(f"{SEED} {name}").sample(list(Way), WAYS_DRAWN) for name in JOURNEYS}
    return [(name, way) for name in JOURNEYS for way in Way if ALL or way in drawn[name]]


@pytest.mark.parametrize(("name", "way"), walks(), ids=lambda one: one.name.lower() if isinstance(one, Way) else one)
async def test_nothing_is_lost_or_doubled(
    name: str, way: Way, watched_conninfo: str, tmp_path: Path, fast_clock: trio.abc.Clock
) -> None:
    journey = JOURNEYS[name]
    unharmed = await walk_unharmed(name, watched_conninfo, tmp_path)
    assert unharmed.wrong == (), "without any fault"
    faults = chosen(faults_of(unharmed, way), name)
    failed: list[str] = []
    unmet = 0
    for fault in faults:
        done = await walk(journey, watched_conninfo, tmp_path, fault)
        wrong = list(done.wrong)
        if not wrong and done.seen != unharmed.seen:
            wrong.append(f"it came to {done.seen} instead of {unharmed.seen}")
        unmet += not done.happened
        failed += [f"{fault}: {what}" for what in wrong]
    print(f"{name}, {way}: {len(faults)} points, {unmet} of them not met again, seed {SEED}")
    print(*failed, sep="\n")  # whole, which an assertion is not
    assert failed == [], f"LEOFLOW_CRASHES_SEED={SEED}"
