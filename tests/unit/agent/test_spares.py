"""One idle child of a fork server: taken once, never when it is dead, and not kept for ever."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from leoflow_agent import spares
from leoflow_agent.ends import Descriptors, close_theirs, open_ends
from leoflow_agent.spares import Process, Spare, SpareCounts
from tests.conftest import PATIENCE_S


class _Server:
    """Forks are processes that wait; `theirs` are the ends that the latest one would hold."""

    def __init__(self) -> None:
        self.forks: list[subprocess.Popen[bytes]] = []
        self.theirs: list[Descriptors] = []
        self.counts = SpareCounts()
        self.spare = Spare(self.fork, self.counts)

    async def fork(self) -> Process:
        ends, theirs = open_ends()
        self.theirs.append(theirs)
        self.forks.append(subprocess.Popen(["sleep", "1000"]))  # noqa: ASYNC220  it only waits
        return Process(self.forks[-1].pid, asyncio.get_running_loop().create_future(), ends)

    def close(self) -> None:
        self.spare.close()
        for each in self.theirs:
            if each.control >= 0:
                close_theirs(each)
        for process in self.forks:
            process.kill()
            process.wait()


def _with_server(test):
    async def run() -> None:
        server = _Server()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await test(server)
        finally:
            server.close()

    asyncio.run(run())


async def _there(spare: Spare) -> None:
    while not spare.is_there:  # noqa: ASYNC110  a timer of its own makes it
        await asyncio.sleep(0.001)


def test_the_first_take_finds_none_and_calls_for_one_and_each_is_taken_once():
    async def test(server: _Server) -> None:
        assert server.spare.take() is None
        await _there(server.spare)
        taken = server.spare.take()
        assert taken is not None
        assert taken.pid == server.forks[0].pid
        assert server.spare.take() is None
        taken.ends.close()
        await _there(server.spare)
        assert len(server.forks) == 2
        assert server.counts == SpareCounts(forked=2, taken=1)

    _with_server(test)


def test_one_whose_end_of_the_socket_is_closed_is_not_given_a_try():
    async def test(server: _Server) -> None:
        server.spare.take()
        await _there(server.spare)
        close_theirs(server.theirs[0])
        server.theirs[0] = Descriptors(-1, -1, -1)
        assert server.spare.take() is None
        assert server.counts.died == 1

    _with_server(test)


def test_one_that_waits_too_long_is_ended(monkeypatch):
    async def test(server: _Server) -> None:
        server.spare.take()
        await _there(server.spare)
        server.spare.end_idle()
        assert server.spare.is_there
        monkeypatch.setattr(spares, "IDLE_S", 0.0)
        server.spare.end_idle()
        assert not server.spare.is_there
        assert await asyncio.to_thread(server.forks[0].wait) != 0

    _with_server(test)


def test_without_memory_there_is_none(monkeypatch):
    monkeypatch.setattr(spares, "is_memory_short", lambda: True)

    async def test(server: _Server) -> None:
        server.spare.take()
        while not server.counts.left_out:  # noqa: ASYNC110  a timer of its own looks
            await asyncio.sleep(0.001)
        assert not server.forks

    _with_server(test)


@pytest.mark.parametrize(
    ("text", "is_short"),
    [
        ("MemTotal: 1000 kB\nMemAvailable: 49 kB\n", True),
        ("MemTotal: 1000 kB\nMemAvailable: 50 kB\n", False),
        ("MemTotal: 1000 kB\n", True),
    ],
)
def test_memory_is_short_when_little_of_it_is_available_or_nobody_can_tell(tmp_path: Path, text: str, is_short: bool):
    (tmp_path / "meminfo").write_text(text)
    assert spares._is_below(0.05, tmp_path / "meminfo") is is_short
    assert spares._is_below(0.05, tmp_path / "none") is True


def test_a_closed_one_forks_no_more():
    async def test(server: _Server) -> None:
        server.spare.take()
        server.spare.close()
        server.spare.take()
        assert server.spare._later is None or server.spare._later.cancelled()

    _with_server(test)
