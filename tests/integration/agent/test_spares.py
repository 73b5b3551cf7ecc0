"""A try may get a process that was forked before its launch arrived: nobody could tell, and its death costs nothing."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from leoflow_agent.processes import is_frozen
from tests.fakes.fake_control_plane import FakeControlPlane
from tests.integration.agent.harness import (
    World,
    agent_and_plane,
    fork_server_pid,
    gone,
    in_world,
    run_tries,
    until,
)
from tests.integration.agent.test_loaded import HEAD, TELLS, loaded, run_one, value_of


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


async def spare_of(server: int, after: dict[str, object]) -> int:
    """The idle child of this server, once it leads a session; the process of the try before may not be gone yet."""

    def look() -> int:
        with contextlib.suppress(ProcessLookupError):
            led = [child for child in _children(server) if os.getsid(child) == child and not _children(child)]
            return next((child for child in led if child != after["pid"]), 0)
        return 0

    return await until(look)


def _holds_files(pid: int) -> bool:
    """The kernel closes what a process had open a moment after it was killed."""
    try:
        return any(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


async def _plain_and_spare(world: World, plane: FakeControlPlane) -> tuple[dict[str, object], int]:
    first = await run_one(world, plane, env={"MINE": "x"})
    return first, await spare_of(fork_server_pid(world.agents[-1].pid), first)


def test_a_try_in_a_spare_is_as_one_without() -> None:
    async def test(world: World) -> None:
        world.project(TELLS, header=HEAD)
        async with agent_and_plane(world) as plane:
            first, spare = await _plain_and_spare(world, plane)
            second = await run_one(world, plane, env={"MINE": "x"})
            third = await spare_of(fork_server_pid(world.agents[-1].pid), second)
            assert second["pid"] == second["loaded_by"] == spare != first["pid"]
            assert third not in (spare, first["pid"])
            own = ("loaded_by", "pid", "random", "secret", "cwd")
            assert {n: v for n, v in second.items() if n not in own} == {n: v for n, v in first.items() if n not in own}
            assert first["random"] != second["random"]
            assert first["secret"] != second["secret"]
            assert second["cwd"] != first["cwd"]
            assert Path(str(second["cwd"])).parent == Path(str(first["cwd"])).parent

    in_world(test)


def test_a_spare_of_a_loaded_version_is_not_used_for_another_version() -> None:
    async def test(world: World) -> None:
        world.project(TELLS, header=HEAD)
        async with agent_and_plane(world) as plane:
            for _ in range(2):
                await run_one(world, plane)
            await loaded(world)
            last = await run_one(world, plane)
            spare = await spare_of(int(str(last["loaded_by"])), last)
            other = world.folder / "other"
            other.mkdir()
            (other / "dag.py").write_text((world.folder / "project" / "dag.py").read_text())
            told = await run_one(world, plane, bundle_path=str(other))
            assert told["pid"] == told["loaded_by"] != spare
            assert (await run_one(world, plane))["pid"] == spare

    in_world(test)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_spare_that_died_or_was_stopped_costs_no_try(number: int) -> None:
    async def test(world: World) -> None:
        world.project(TELLS, header=HEAD)
        async with agent_and_plane(world) as plane:
            _, spare = await _plain_and_spare(world, plane)
            os.kill(spare, number)
            await until(lambda: is_frozen(spare) or not _holds_files(spare))
            told = await run_one(world, plane)
            assert told["pid"] != spare
            await gone(spare)
            world.agents[-1].terminate()
            await world.agents[-1].wait()
            assert '"event":"spares"' in world.agent_log
            assert '"taken":0,"died":1' in world.agent_log

    in_world(test)


def test_a_spare_ends_with_the_agent() -> None:
    async def test(world: World) -> None:
        world.project(TELLS, header=HEAD)
        async with agent_and_plane(world) as plane:
            _, spare = await _plain_and_spare(world, plane)
            world.agents[-1].kill()
            await gone(spare)

    in_world(test)


def test_tries_at_once_share_no_spare() -> None:
    async def test(world: World) -> None:
        world.project(TELLS, header=HEAD)
        async with agent_and_plane(world) as plane:
            await _plain_and_spare(world, plane)
            found = await run_tries(world, plane, *(world.spec() for _ in range(6)))
            assert len({value_of(each)["pid"] for each in found}) == 6

    in_world(test)
