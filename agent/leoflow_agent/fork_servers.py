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
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from leoflow_agent.environment import clean_environment
from leoflow_agent.outcomes import Exit
from leoflow_agent.processes import Children, is_frozen
from leoflow_agent.reports import fields
from leoflow_agent.users import User

log = logging.getLogger(__name__)

START = Path(__file__).parent / "runner" / "start.py"
BECOME = START.with_name("become.py")
HELLO_WITHIN_S = 60.0
"""Preloading imports other people's modules; one that takes longer gets fresh interpreters."""
FORK_WITHIN_S = 60.0
"""A fork takes milliseconds; a server that takes longer is stopped or broken."""
IDLE_S = 60.0
_MESSAGE_BYTES = 65_536


class CannotStart(Exception):
    """The interpreter cannot be started at all; no further try would help."""


class Process(msgspec.Struct, frozen=True):
    """A started try."""

    pid: int
    ended: asyncio.Future[Exit]


class Descriptors(msgspec.Struct, frozen=True):
    """The child's ends; whoever opened them closes them after the start."""

    stdout: int
    stderr: int
    control: int


class Warmth(msgspec.Struct, frozen=True):
    """What a fork server has imported: tries that need the same share one."""

    python: str
    runtime: str = "shim"
    """`TrySpec.runtime`: is `airflow` our shim, or the real packages of the environment?"""
    preload: tuple[str, ...] = ()


class ForkServer:
    """One warm interpreter. Constructed by `start_fork_server`."""

    def __init__(self, connection: socket.socket, pid: int, ended: asyncio.Future[Exit]) -> None:
        loop = asyncio.get_running_loop()
        self.pid = pid
        self.idle_since = loop.time()
        self.frozen_since: float | None = None
        self.hello: asyncio.Future[dict[str, Any]] = loop.create_future()
        self._connection = connection
        self._ended = ended
        self._starting: dict[str, asyncio.Future[Process]] = {}
        self._running: dict[str, asyncio.Future[Exit]] = {}
        connection.setblocking(False)
        loop.add_reader(connection.fileno(), self._readable)

    @property
    def is_alive(self) -> bool:
        return self._connection.fileno() >= 0

    @property
    def tries(self) -> int:
        return len(self._running) + len(self._starting)

    async def start_try(self, try_id: str, descriptors: Descriptors) -> Process:
        """Raises ConnectionError when this server is gone, OSError and RuntimeError when only this try cannot start."""
        started: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        self._starting[try_id] = started
        request = json.dumps({"try_id": try_id}).encode()
        ends = [descriptors.stdout, descriptors.stderr, descriptors.control]
        try:
            async with asyncio.timeout(FORK_WITHIN_S):
                await self._send(request, ends)
                return await started
        except TimeoutError:
            self._lost("the warm interpreter of this try did not answer")
            self.kill()
            raise ConnectionError("the warm interpreter did not answer") from None
        except ConnectionError:
            self._lost()
            raise
        finally:
            self._starting.pop(try_id, None)

    async def _send(self, request: bytes, ends: list[int]) -> None:
        while True:  # noqa: ASYNC913  # ends with the first send that does not block
            if not self.is_alive:
                raise ConnectionError("the warm interpreter ended")
            try:
                socket.send_fds(self._connection, [request], ends)
            except BlockingIOError:  # many starts at once: the queue of the socket is short
                await asyncio.sleep(0.001)
            else:
                return

    def kill(self) -> None:
        """It may hang in a preload, or be stopped."""
        if not self._ended.done():
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return

    def close(self, because: str = "the agent closed the warm interpreter of this try") -> None:
        """It ends when its socket closes, and its tries with it."""
        self._lost(because)

    def _readable(self) -> None:
        while self.is_alive:
            try:
                body = self._connection.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                body = b""
            if not body:
                self._lost()
                return
            self._handle(json.loads(body))

    def _handle(self, message: dict[str, Any]) -> None:
        match message:
            case {"hello": _}:
                if not self.hello.done():
                    self.hello.set_result(message)
            case {"forked": try_id, "pid": pid}:
                ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
                self._running[try_id] = ended
                if (started := self._starting.pop(try_id, None)) is None:
                    os.kill(pid, signal.SIGKILL)  # nobody waits for it any more, and it was not given its try
                else:
                    _resolve(started, Process(pid, ended))
            case {"exited": try_id, "code": code, "signal": number}:
                _resolve(self._running.pop(try_id), Exit(code=code, signal=number))
                self.idle_since = asyncio.get_running_loop().time()
            case {"failed": try_id, "because": because}:
                if (refused := self._starting.pop(try_id, None)) is not None:
                    _fail(refused, RuntimeError(f"the warm interpreter could not fork: {because}"))
            case _:
                raise AssertionError(f"unknown message of a fork server: {message!r}")

    def _lost(self, because: str = "the warm interpreter of this try ended, and the try with it") -> None:
        if not self.is_alive:
            return
        asyncio.get_running_loop().remove_reader(self._connection.fileno())
        self._connection.close()
        if not self.hello.done():
            self.hello.set_exception(ConnectionError("the fork server ended before it was ready"))
            self.hello.exception()
        for started in self._starting.values():
            _fail(started, ConnectionError(because))
        for ended in self._running.values():
            _resolve(ended, Exit(lost=f"Lost: {because}."))
        self._starting.clear()
        self._running.clear()


def _resolve(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


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
        self._servers: dict[Warmth, asyncio.Task[ForkServer | None]] = {}

    async def start_try(self, *, try_id: str, warmth: Warmth, warm: bool, descriptors: Descriptors) -> Process:
        """Raises `CannotStart` when the interpreter is not there, ConnectionError when its fork server just died, and
        OSError or RuntimeError when this host cannot start a process just now."""
        server = await self.warm_up(warmth) if warm else None
        if server is None:
            return self._start_cold(warmth, descriptors)
        return await server.start_try(try_id, descriptors)

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

    def _start_cold(self, warmth: Warmth, descriptors: Descriptors) -> Process:
        ends = {1: descriptors.stdout, 2: descriptors.stderr, 3: descriptors.control}
        return Process(*self._spawn(self._command(warmth, "once"), ends))

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
        for task in self._servers.values():
            if not task.done() or _is_over(task) or (server := task.result()) is None:
                continue
            if not is_frozen(server.pid):
                server.frozen_since = None
            elif server.frozen_since is None:
                server.frozen_since = now
            elif now - server.frozen_since >= after_s:
                log.error("fork_server_frozen", extra=fields(pid=server.pid, tries=server.tries))
                server.close(f"the warm interpreter of this try was stopped (SIGSTOP) for {after_s:g} s")
                server.kill()

    def end_idle(self, *, keep: Warmth | None = None) -> None:
        """End the fork servers that had no try for a while, except `keep`."""
        now = asyncio.get_running_loop().time()
        for key, task in list(self._servers.items()):
            if not task.done() or key == keep or _is_cold(task):
                continue
            if _is_over(task):
                del self._servers[key]
                continue
            server = task.result()
            if server is not None and server.tries == 0 and now - server.idle_since >= self._idle_s:
                del self._servers[key]
                self._end(server)

    def close(self) -> None:
        for task in self._servers.values():
            if not task.done():
                task.cancel()
            elif not _is_over(task) and (server := task.result()) is not None:
                self._end(server)
        self._servers.clear()

    def _end(self, server: ForkServer) -> None:
        server.close()
        server.kill()


def _is_cold(task: asyncio.Task[ForkServer | None]) -> bool:
    return task.exception() is None and task.result() is None


def _is_over(task: asyncio.Task[ForkServer | None]) -> bool:
    if task.cancelled() or task.exception() is not None:
        return True
    server = task.result()
    return server is not None and not server.is_alive
