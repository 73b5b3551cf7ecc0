"""The marker: whose code runs now, as the daemon reads it when the host is dead."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from leoflow_agent.trigger_host.marking import SIZE, Marker, current_wait
from leoflowd.cheap_tasks.trigger_host_process import MARKER_BYTES


@pytest.fixture
def descriptor() -> Iterator[int]:
    opened = os.memfd_create("marker")
    os.ftruncate(opened, SIZE)
    yield opened
    os.close(opened)


def marked(descriptor: int) -> str:
    return os.pread(descriptor, SIZE, 0).rstrip(b"\0").decode()


def run_as(wait_id: str, coroutine: Coroutine[Any, Any, Any], descriptor: int) -> Any:
    async def main() -> Any:
        asyncio.get_running_loop().set_task_factory(Marker(descriptor).task_factory)
        current_wait.set(wait_id)
        task = asyncio.create_task(coroutine)
        current_wait.set("")
        return await task

    return asyncio.run(main())


def test_daemon_and_host_agree_on_its_size() -> None:
    assert SIZE == MARKER_BYTES


def test_a_step_of_a_trigger_is_marked(descriptor: int) -> None:
    async def look() -> str:
        await asyncio.sleep(0)
        return marked(descriptor)

    assert run_as("w1", look(), descriptor) == "w1"


def test_between_two_steps_there_is_no_mark(descriptor: int) -> None:
    async def wait_for_callback() -> str:
        seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: seen.set_result(marked(descriptor)))
        return await seen

    assert run_as("w1", wait_for_callback(), descriptor) == ""


def test_a_task_that_a_trigger_makes_is_the_triggers(descriptor: int) -> None:
    async def look() -> str:
        return marked(descriptor)

    async def make() -> str:
        return await asyncio.create_task(look())

    assert run_as("w1", make(), descriptor) == "w1"


def test_our_own_tasks_leave_no_mark(descriptor: int) -> None:
    async def look() -> str:
        return marked(descriptor)

    assert run_as("", look(), descriptor) == ""


def test_an_error_passes_and_the_mark_goes(descriptor: int) -> None:
    async def fail() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        run_as("w1", fail(), descriptor)
    assert marked(descriptor) == ""


def test_what_ends_the_process_leaves_its_mark(descriptor: int) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run_as("w1", leave(), descriptor)
    assert marked(descriptor) == "w1"


def test_a_cancellation_reaches_the_trigger(descriptor: int) -> None:
    async def wait() -> str:
        asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)  # type: ignore[union-attr]
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "cancelled"
        return "not cancelled"

    assert run_as("w1", wait(), descriptor) == "cancelled"


def test_a_task_that_is_cancelled_before_its_first_step_ends_quietly(descriptor: int) -> None:
    async def never() -> None:
        raise AssertionError

    async def make() -> bool:
        task = asyncio.create_task(never())
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run_as("w1", make(), descriptor)
