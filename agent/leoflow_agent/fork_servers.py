"""Warm interpreters: one `runner/start.py serve` per (interpreter, runtime, preloaded modules); a try is a fork of it.

`running_try` asks for a process and gets its pid and a future of its end. A fork server that dies takes its tries with
it (parent-death signal); their futures then say so, and the next try starts a new one. Code that cannot be forked
safely (threads after preloading) and `warm=False` specs get a fresh interpreter each.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from leoflow_agent.ends import close_theirs, open_ends
from leoflow_agent.environment import clean_environment
from leoflow_agent.fork_server import ForkServer, Process, Project
from leoflow_agent.loaded_servers import LOADED_IDLE_S, LoadedServers
from leoflow_agent.outcomes import Exit
from leoflow_agent.processes import Children, is_frozen
from leoflow_agent.reports import fields
from leoflow_agent.users import User

log = logging.getLogger(__name__)

START = Path(__file__).parent / "runner" / "start.py"
BECOME = START.with_name("become.py")
HELLO_WITHIN_S = 60.0
"""Preloading imports other people's modules; one that takes longer gets fresh interpreters."""
IDLE_S = 60.0


class CannotStart(Exception):
    """The interpreter cannot be started at all; no further try would help."""


class Warmth(msgspec.Struct, frozen=True):
    """What a fork server has imported: tries that need the same share one."""

    python: str
    runtime: str = "shim"
    """`TrySpec.runtime`: is `airflow` our shim, or the real packages of the environment?"""
    preload: tuple[str, ...] = ()


class Interpreters:
    """Starts tries, warm where possible."""

    def __init__(
        self,
        children: Children,
        *,
        shim: Path,
        idle_s: float = IDLE_S,
        source: Mapping[str, str] = os.environ,
        run_as: User | None = None,
    ) -> None:
        self._children = children
        self._shim = shim
        self._idle_s = idle_s
        self._source = source
        self._run_as = run_as
        self._loaded = LoadedServers(idle_s=min(idle_s, LOADED_IDLE_S))
        self._servers: dict[Warmth, asyncio.Task[ForkServer | None]] = {}

    async def start_try(self, *, warmth: Warmth, project: Project, warm: bool) -> Process:
        """Raises `CannotStart` when the interpreter is not there, ConnectionError when its fork server just died, and
        OSError or RuntimeError when this host cannot start a process just now."""
        server = await self.warm_up(warmth) if warm else None
        if server is None:
            return self._start_cold(warmth)
        if warmth.runtime == "shim":
            server = self._loaded.find(server, project) or server
        return await server.start_try()

    async def warm_up(self, warmth: Warmth) -> ForkServer | None:
        """The fork server of this environment; None when forking it would not be safe."""
        present = self._servers.get(warmth)
        if present is None or (present.done() and _is_over(present)):
            present = self._servers[warmth] = asyncio.create_task(self._start_server(warmth))
        return await asyncio.shield(present)

    async def _start_server(self, warmth: Warmth) -> ForkServer | None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [*self._command(warmth, "serve"), "--preload", json.dumps(warmth.preload)]
        try:
            pid, ended = self._spawn(argv, {3: theirs.fileno()})
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        server = ForkServer(ours, pid, ended)
        try:
            hello = await asyncio.wait_for(server.hello, HELLO_WITHIN_S)
        except (TimeoutError, ConnectionError) as error:
            log.warning("fork_server_not_ready", extra=fields(**msgspec.structs.asdict(warmth), error=repr(error)))
            self._end(server)
            return None
        log.info("fork_server_ready", extra=fields(python=warmth.python, runtime=warmth.runtime, pid=pid, **hello))
        if hello["threads"] > 1:
            # A fork copies only the calling thread; locks that the others hold would stay locked for ever.
            log.warning("fork_server_has_threads", extra=fields(**msgspec.structs.asdict(warmth), **hello))
            self._end(server)
            return None
        return server

    def _start_cold(self, warmth: Warmth) -> Process:
        ends, theirs = open_ends()
        try:
            targets = {1: theirs.stdout, 2: theirs.stderr, 3: theirs.control}
            return Process(*self._spawn(self._command(warmth, "once"), targets), ends)
        except BaseException:
            ends.close()
            raise
        finally:
            close_theirs(theirs)

    def _command(self, warmth: Warmth, mode: str) -> list[str]:
        head = [warmth.python, "-I", "-B", str(START), mode]
        return [*head, "--runtime", warmth.runtime, "--shim", str(self._shim), "--parent", str(os.getpid())]

    def _spawn(self, argv: list[str], descriptors: dict[int, int]) -> tuple[int, asyncio.Future[Exit]]:
        """Raises `CannotStart` when the interpreter is not there, OSError when this host has no room for a process."""
        env = clean_environment(argv[0], self._source)
        command = argv
        if self._run_as is not None:
            env |= self._run_as.environment
            command = [sys.executable, "-I", "-S", str(BECOME), *self._run_as.ids, *argv]
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            return self._children.spawn(command, env=env, descriptors={0: nothing, **descriptors})
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            raise CannotStart(
                f"cannot start the interpreter {argv[0]}: {error.strerror}; build the DAG's environment again"
            ) from error
        finally:
            os.close(nothing)

    def end_frozen(self, after_s: float) -> None:
        """A server that was stopped (SIGSTOP) reports no end of its tries; they are lost with it."""
        now = asyncio.get_running_loop().time()
        own = [task.result() for task in self._servers.values() if task.done() and not _is_over(task)]
        for server in (*own, *self._loaded.servers()):
            if server is None:
                continue
            if not is_frozen(server.pid):
                server.frozen_since = None
            elif server.frozen_since is None:
                server.frozen_since = now
            elif now - server.frozen_since >= after_s:
                log.error("fork_server_frozen", extra=fields(pid=server.pid, tries=server.tries))
                server.kill()
                server.close(f"the warm interpreter of this try was stopped (SIGSTOP) for {after_s:g} s")

    def end_idle(self, *, keep: Warmth | None = None) -> None:
        """End the fork servers that had no try for a while, except `keep`."""
        self._loaded.end_idle()
        now = asyncio.get_running_loop().time()
        for key, task in list(self._servers.items()):
            if not task.done() or key == keep or _is_cold(task):
                continue
            if _is_over(task):
                del self._servers[key]
                continue
            server = task.result()
            if server is None:
                continue
            if self._loaded.serves_from(server):
                continue
            if server.tries == 0 and now - server.idle_since >= self._idle_s:
                del self._servers[key]
                self._end(server)

    def close(self) -> None:
        self._loaded.close()
        for task in self._servers.values():
            if not task.done():
                task.cancel()
            elif not _is_over(task) and (server := task.result()) is not None:
                self._end(server)
        self._servers.clear()

    def _end(self, server: ForkServer) -> None:
        server.kill()
        server.close()


def _is_cold(task: asyncio.Task[ForkServer | None]) -> bool:
    return task.exception() is None and task.result() is None


def _is_over(task: asyncio.Task[ForkServer | None]) -> bool:
    if task.cancelled() or task.exception() is not None:
        return True
    server = task.result()
    return server is not None and not server.is_alive
