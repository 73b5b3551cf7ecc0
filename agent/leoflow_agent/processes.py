"""Processes as Linux sees them: waiting for children, ending process groups, telling a process from its successor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from pathlib import Path

from leoflow_agent.outcomes import Exit
from leoflow_agent.runner.linux import adopt_orphans

log = logging.getLogger(__name__)
_POLL_S = 0.01
"""How often a group that was asked to end is looked at; nothing announces the end of a group."""


class Children:
    """Reaps every child of the agent, also those that it inherits, as PID 1 of a pod or from fork servers."""

    def __init__(self) -> None:
        adopt_orphans()
        self._waiting: dict[int, asyncio.Future[Exit]] = {}
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def spawn(
        self, argv: list[str], *, env: dict[str, str], descriptors: dict[int, int]
    ) -> tuple[int, asyncio.Future[Exit]]:
        """Start a program with exactly these descriptors (target number -> ours). Raises OSError."""
        actions = [(os.POSIX_SPAWN_DUP2, ours, target) for target, ours in descriptors.items()]
        pid = os.posix_spawn(argv[0], argv, env, file_actions=actions)
        ended = asyncio.get_running_loop().create_future()
        self._waiting[pid] = ended
        return pid, ended

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended = self._waiting.pop(pid, None)
            if ended is not None and not ended.done():
                ended.set_result(exit_of_status(status))


def exit_of_status(status: int) -> Exit:
    code = os.waitstatus_to_exitcode(status)
    return Exit(code=code) if code >= 0 else Exit(signal=-code)


def signal_group(pid: int, number: int) -> bool:
    """Signal the group that `pid` leads; False when nothing of it is left."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # some member changed its user; it exists, and it is not ours to end
    return True


def leads_group(pid: int) -> bool:
    """Has this process a group of its own?"""
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


async def end_group(pid: int, grace_s: float | None) -> None:
    """TERM, grace, KILL; returns at once when the group is already empty. No grace: KILL at once."""
    if grace_s is None:
        signal_group(pid, signal.SIGKILL)
        return
    if not signal_group(pid, signal.SIGTERM):
        return
    signal_group(pid, signal.SIGCONT)  # a stopped process would not see the TERM
    deadline = asyncio.get_running_loop().time() + grace_s
    while signal_group(pid, 0):
        if asyncio.get_running_loop().time() >= deadline:
            signal_group(pid, signal.SIGKILL)
            return
        await asyncio.sleep(_POLL_S)


def kill_leftovers(pid: int, started_ticks: int | None) -> None:
    """End what is left of a group that an earlier agent started, unless the number belongs to someone else now."""
    present = start_ticks(pid)
    if present is not None and present != started_ticks:
        return
    if signal_group(pid, signal.SIGKILL):
        log.info("killed_leftover_group", extra={"fields": {"pid": pid}})


def start_ticks(pid: int) -> int | None:
    """When the kernel started this process, in clock ticks since boot; None if it does not exist."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def is_group_frozen(pid: int) -> bool:
    """Is every process of the group that `pid` leads stopped (SIGSTOP, or traced)? Zombies do not count."""
    if _state(pid) not in _FROZEN:
        return False
    return all(_state(each) in (*_FROZEN, "Z", "") for each in _group(pid))


def is_frozen(pid: int) -> bool:
    return _state(pid) in _FROZEN


_FROZEN = ("T", "t")


def _group(leader: int) -> list[int]:
    """A look at every process; only for groups whose leader is stopped, which is rare."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(int(path.name)) == leader:
                    found.append(int(path.name))
    return found


def _state(pid: int) -> str:
    """One letter, as in `ps`; empty when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def boot_id() -> str:
    """Changes with every boot, so that process numbers of an earlier boot are not believed."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
