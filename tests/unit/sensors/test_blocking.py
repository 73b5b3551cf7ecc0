"""Blocking libraries inside a probe: how long they may take, and what happens when the probe is cut off."""

from __future__ import annotations

import threading

import pytest
import trio
from trio.testing import MockClock

from leoflow_sensors.blocking import run_blocking, time_left_s


async def test_without_a_deadline_work_may_take_its_own_limit() -> None:
    assert time_left_s(60) == 60


@pytest.mark.parametrize(("deadline_s", "left_s"), [(10, 8.0), (1000, 60), (0.5, 1.0)])
async def test_work_ends_before_the_probe_does(mock_clock: MockClock, deadline_s: float, left_s: float) -> None:
    with trio.move_on_after(deadline_s):
        await trio.lowlevel.checkpoint()
        assert time_left_s(60) == left_s


async def test_a_probe_that_is_cut_off_does_not_wait_for_its_thread() -> None:
    started, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        started.set()
        go_on.wait()

    limiter = trio.CapacityLimiter(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_blocking, hang, limiter)
        await trio.to_thread.run_sync(started.wait)
        nursery.cancel_scope.cancel()
    assert limiter.borrowed_tokens == 1  # the thread still hangs, and counts
    go_on.set()
    async with limiter:  # free again once it has ended
        pass


async def test_what_the_work_raises_is_raised() -> None:
    def fail() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await run_blocking(fail, trio.CapacityLimiter(1))
