"""One warm interpreter (`runner/fork_server.py`), as the agent sees it: ask for a fork, hear how it ended.

It dies with its socket, and its tries with it (parent-death signal); their futures then say so.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from typing import Any

import msgspec

from leoflow_agent.ends import Descriptors, Ends, close_theirs, open_ends
from leoflow_agent.outcomes import Exit

FORK_WITHIN_S = 60.0
"""A fork takes milliseconds; a server that takes longer is stopped or broken."""
_MESSAGE_BYTES = 65_536


class Project(msgspec.Struct, frozen=True):
    """What loading depends on: tries that load the same may be forked from one that has loaded it (ADR 31)."""

    bundle_path: str
    source_path: str
    import_paths: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()


class Process(msgspec.Struct, frozen=True):
    """A started try, and our ends of what it speaks through."""

    pid: int
    ended: asyncio.Future[Exit]
    ends: Ends


class ForkServer:
    """One warm interpreter, of ours (`ended`) or a child of one, which tells its process id in its hello."""

    def __init__(
        self,
        connection: socket.socket,
        pid: int = 0,
        ended: asyncio.Future[Exit] | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.pid = pid
        self.born = loop.time()
        self.idle_since = loop.time()
        self.frozen_since: float | None = None
        self.hello: asyncio.Future[dict[str, Any]] = loop.create_future()
        self._connection = connection
        self._ended = ended
        self._forks = 0
        self._starting: dict[int, asyncio.Future[tuple[int, asyncio.Future[Exit]]]] = {}
        self._running: dict[int, asyncio.Future[Exit]] = {}
        connection.setblocking(False)
        loop.add_reader(connection.fileno(), self._readable)

    @property
    def is_alive(self) -> bool:
        return self._connection.fileno() >= 0

    @property
    def tries(self) -> int:
        return len(self._running) + len(self._starting)

    async def start_try(self) -> Process:
        """Raises ConnectionError when this server is gone, OSError and RuntimeError when only this try cannot start."""
        ends, theirs = open_ends()
        try:
            return Process(*await self._fork_with(theirs), ends)
        except BaseException:
            ends.close()
            raise
        finally:
            close_theirs(theirs)

    async def _fork_with(self, ends: Descriptors) -> tuple[int, asyncio.Future[Exit]]:
        self._forks += 1
        fork = self._forks
        started: asyncio.Future[tuple[int, asyncio.Future[Exit]]] = asyncio.get_running_loop().create_future()
        self._starting[fork] = started
        try:
            async with asyncio.timeout(FORK_WITHIN_S):
                await self._send(json.dumps({"fork": fork}).encode(), [ends.stdout, ends.stderr, ends.control])
                return await started
        except TimeoutError:
            self._lost("the warm interpreter of this try did not answer")
            self.kill()
            raise ConnectionError("the warm interpreter did not answer") from None
        except ConnectionError:
            self._lost()
            raise
        finally:
            self._starting.pop(fork, None)

    async def load(self, project: Project) -> ForkServer:
        """A child of it that loads this; its hello says whether it may serve. Raises ConnectionError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        loaded = ForkServer(ours)
        try:
            request = {**msgspec.to_builtins(project), "env": dict(project.env)}
            await self._send(json.dumps({"load": request}).encode(), [theirs.fileno()])
        except BaseException:
            loaded.close()
            raise
        finally:
            theirs.close()
        return loaded

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
        if self.is_alive or (self._ended is not None and not self._ended.done()):
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
            case {"hello": pid}:
                self.pid = pid
                if not self.hello.done():
                    self.hello.set_result(message)
            case {"forked": fork, "pid": pid}:
                ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
                self._running[fork] = ended
                if (started := self._starting.pop(fork, None)) is None:
                    os.kill(pid, signal.SIGKILL)  # nobody waits for it any more, and it was not given its try
                else:
                    _resolve(started, (pid, ended))
            case {"exited": fork, "code": code, "signal": number}:
                _resolve(self._running.pop(fork), Exit(code=code, signal=number))
                self.idle_since = asyncio.get_running_loop().time()
            case {"failed": fork, "because": because}:
                if (refused := self._starting.pop(fork, None)) is not None:
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
