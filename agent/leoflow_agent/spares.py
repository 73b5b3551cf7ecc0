"""An idle child of a fork server, forked before the launch that it will be given arrives (ADR 53).

It is a try's process without a try: it waits on its control socket for the line with which every try begins, so whoever
takes it has only to say that line. It is nobody's until then, holds no token, and is ended by closing its socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from leoflow_agent.ends import Ends
from leoflow_agent.outcomes import Exit
from leoflow_agent.processes import is_frozen

AFTER_S = 0.005
"""Not beside the start of the try that took the last one."""
IDLE_S = 15.0
"""Only what was used lately has one."""
MEMORY_LEFT = 0.05
"""Share of the host's memory that must be available; a spare dirties two megabytes, and its try a little more."""
_LOOK_S = 1.0


class Process(msgspec.Struct, frozen=True):
    """A started try, and our ends of what it speaks through."""

    pid: int
    ended: asyncio.Future[Exit]
    ends: Ends


class SpareCounts(msgspec.Struct):
    """Of all fork servers of an agent."""

    forked: int = 0
    taken: int = 0
    died: int = 0
    """Found dead or stopped when they were to be taken; their tries were started another way."""
    left_out: int = 0
    """For lack of memory."""


class Spare:
    """At most one, of one fork server. `fork` raises ConnectionError, OSError or RuntimeError."""

    def __init__(self, fork: Callable[[], Awaitable[Process]], counts: SpareCounts) -> None:
        self._fork = fork
        self._counts = counts
        self._forking: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._idle: Process | None = None
        self._since = 0.0
        self._is_over = False

    @property
    def is_there(self) -> bool:
        return self._idle is not None

    def take(self) -> Process | None:
        """None when there is none that lives. Also says that one is wanted for the next try."""
        spare, self._idle = self._idle, None
        if self._later is None and not self._is_over:
            self._later = asyncio.get_running_loop().call_later(AFTER_S, self._begin)
        if spare is None:
            return None
        if spare.ended.done() or not spare.ends.has_listener() or is_frozen(spare.pid):
            self._counts.died += 1
            _end(spare)
            return None
        self._counts.taken += 1
        return spare

    def end_idle(self) -> None:
        if self._idle is not None and asyncio.get_running_loop().time() - self._since >= IDLE_S:
            self._end()

    def close(self) -> None:
        """With its server."""
        self._is_over = True
        if self._later is not None:
            self._later.cancel()
        if self._forking is not None:
            self._forking.cancel()
        self._end()

    def _begin(self) -> None:
        self._later = None
        if self._is_over or self._idle is not None or (self._forking is not None and not self._forking.done()):
            return
        if is_memory_short():
            self._counts.left_out += 1
            return
        self._forking = asyncio.create_task(self._fork_one())

    async def _fork_one(self) -> None:
        with contextlib.suppress(ConnectionError, OSError, RuntimeError):  # the next try will say why
            self._idle = await self._fork()
            self._since = asyncio.get_running_loop().time()
            self._counts.forked += 1

    def _end(self) -> None:
        spare, self._idle = self._idle, None
        if spare is not None:
            _end(spare)


def _end(spare: Process) -> None:
    """Also one that is stopped and would not see its socket close."""
    spare.ends.close()
    if not spare.ended.done():  # else its number may be another's by now
        with contextlib.suppress(ProcessLookupError):
            os.kill(spare.pid, signal.SIGKILL)


_memory: tuple[float, bool] = (float("-inf"), False)


def is_memory_short() -> bool:
    """Looks once a second."""
    global _memory
    now = asyncio.get_running_loop().time()
    if now - _memory[0] >= _LOOK_S:
        _memory = (now, _is_below(MEMORY_LEFT))
    return _memory[1]


def _is_below(share: float, meminfo: Path = Path("/proc/meminfo")) -> bool:
    try:
        sizes = dict(line.split()[:2] for line in meminfo.read_text().splitlines())
        return int(sizes["MemAvailable:"]) < share * int(sizes["MemTotal:"])
    except (OSError, KeyError, ValueError):
        return True
