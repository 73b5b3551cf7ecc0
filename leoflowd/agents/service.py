"""The agents' gRPC service: grpclib on asyncio, inside a trio-asyncio island, everything behind it in Trio (ADR 0004).

`daemon.py` runs it; agents of every executor connect to it: the host agent of Lite over a Unix socket, pods over TLS.
It decides nothing: starts and outcomes go to `Reports` (the scheduler's inbox), launches come through a channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec
import trio
import trio_asyncio
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from leoflowd import telemetry
from leoflowd.agents.questions import Connections, NoConnections, Questions
from leoflowd.agents.try_session import Reports, TrySession
from leoflowd.contract import agent_messages as m
from leoflowd.contract.agent_wire import MsgpackCodec
from leoflowd.contract.errors import Invalid, StoreUnavailable
from leoflowd.core.try_tokens import is_try_token
from leoflowd.store import tries
from leoflowd.store.database import Database
from leoflowd.store.hints import Hint
from leoflowd.store.log_files import LogFiles, LogNotStored
from leoflowd.supervision import contain

log = telemetry.get_logger(__name__)

RENDERED_AFTER_S = 1.0
"""A try that runs for longer than this gets its rendered fields written before its end."""


class HostReports(Reports, Protocol):
    """What the scheduler hears beside single tries."""

    async def host_attached(self, *, hostname: str, known_try_ids: frozenset[str]) -> None:
        """A host agent (re)appeared; what it does not know and should hold was never started or is lost."""


class AgentStatistics(msgspec.Struct, frozen=True):
    hosts: int
    tries: int
    outcomes: int
    log_bytes: int
    launches_waiting: int


class AgentService:
    def __init__(
        self,
        *,
        db: Database,
        logs: LogFiles,
        reports: HostReports,
        launches: trio.MemoryReceiveChannel[m.Launch],
        hints: trio.MemoryReceiveChannel[Hint],
        socket: Path,
        try_secret: bytes,
        host_token: str,
        now: Callable[[], datetime],
        connections: Connections | None = None,
    ) -> None:
        self._db = db
        self._logs = logs
        self._reports = reports
        self._launches = launches
        self._hints = hints
        self._socket = socket
        self._try_secret = try_secret
        self._host_token = host_token
        self._now = now
        self._questions = Questions(db, connections or NoConnections(), now)
        self._sessions: dict[str, _OpenTry] = {}
        self._heard: dict[str, float] = {}
        self._hosts: set[str] = set()
        self._shut_down: m.ShutDown | None = None
        self._stopping = trio.Event()
        self._outcomes = 0
        self._log_bytes = 0

    def statistics(self) -> AgentStatistics:
        return AgentStatistics(
            hosts=len(self._hosts),
            tries=len(self._sessions),
            outcomes=self._outcomes,
            log_bytes=self._log_bytes,
            launches_waiting=self._launches.statistics().current_buffer_used,
        )

    def last_heard(self, try_id: str) -> float | None:
        """Trio time of the last word about this try, None if it was never heard of."""
        if try_id in self._sessions:
            return trio.current_time()
        return self._heard.get(try_id)

    @property
    def host_attached(self) -> bool:
        return bool(self._hosts)

    async def shut_down_hosts(self, *, grace_s: float, reason: str) -> None:
        """Tell every host agent to stop its tries, report them and exit."""
        self._shut_down = m.ShutDown(grace_s=grace_s, reason=reason)
        self._stopping.set()
        await trio.lowlevel.checkpoint()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._socket.parent.mkdir(parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        async with trio_asyncio.open_loop():
            server = Server([self], codec=MsgpackCodec())
            await trio_asyncio.aio_as_trio(server.start)(path=str(self._socket))
            self._socket.chmod(0o600)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._follow_hints)
                    nursery.start_soon(self._flush_rendered)
                    task_status.started()
            finally:
                server.close()
                self._socket.unlink(missing_ok=True)

    def __mapping__(self) -> dict[str, Handler]:
        """grpclib asks for its table of methods under this name."""
        both = Cardinality.STREAM_STREAM
        return {
            m.ATTACH: Handler(self._attach, both, m.FromHost, m.ToHost),
            m.TRY: Handler(self._try, both, m.FromTry, m.ToTry),
        }

    # --- host agents ------------------------------------------------------------------------------------------

    async def _attach(self, stream: Stream[Any, Any]) -> None:  # asyncio
        hello = await stream.recv_message()
        if not isinstance(hello, m.HostHello):
            raise GRPCError(Status.FAILED_PRECONDITION, "the first message of Attach is HostHello")
        if not hmac.compare_digest(hello.host_token, self._host_token):
            raise GRPCError(Status.PERMISSION_DENIED, "the host token is not the one of this installation")
        log.info("host_attached", hostname=hello.hostname, pid=hello.pid, tries=len(hello.known_try_ids))
        await stream.send_message(m.HostWelcome())
        self._hosts.add(hello.boot_id)
        writing = asyncio.Lock()
        sending = [
            asyncio.ensure_future(self._send_launches(stream, writing)),
            asyncio.ensure_future(self._send_shut_down(stream, writing)),
        ]
        try:
            await trio_asyncio.trio_as_aio(self._reports.host_attached)(
                hostname=hello.hostname, known_try_ids=frozenset(hello.known_try_ids)
            )
            while await stream.recv_message() is not None:
                pass
        finally:
            self._hosts.discard(hello.boot_id)
            for task in sending:
                task.cancel()
            log.info("host_detached", hostname=hello.hostname, pid=hello.pid)

    async def _send_launches(self, stream: Stream[Any, Any], writing: asyncio.Lock) -> None:  # asyncio
        """One Launch per try and agent process: a second could follow the acknowledged end of the first."""
        sent: set[str] = set()
        while True:
            launch = await trio_asyncio.trio_as_aio(self._launches.receive)()
            if launch.spec.try_id not in sent:
                sent.add(launch.spec.try_id)
                async with writing:
                    await stream.send_message(launch)

    async def _send_shut_down(self, stream: Stream[Any, Any], writing: asyncio.Lock) -> None:  # asyncio
        await trio_asyncio.trio_as_aio(self._stopping.wait)()
        assert self._shut_down is not None
        async with writing:
            await stream.send_message(self._shut_down)

    # --- tries ------------------------------------------------------------------------------------------------

    async def _try(self, stream: Stream[Any, Any]) -> None:  # asyncio
        hello = await stream.recv_message()
        if not isinstance(hello, m.TryHello):
            raise GRPCError(Status.FAILED_PRECONDITION, "the first message of Try is TryHello")
        if not is_try_token(self._try_secret, hello.try_id, hello.token):
            raise GRPCError(Status.PERMISSION_DENIED, "the token is not the one of this try")
        try:
            await self._converse(stream, hello)
        except StoreUnavailable as error:
            raise GRPCError(Status.UNAVAILABLE, "the store does not answer; keep the outcome and come again") from error
        except LogNotStored as error:
            raise GRPCError(Status.UNAVAILABLE, str(error)) from error
        except Invalid as error:
            raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error

    async def _converse(self, stream: Stream[Any, Any], hello: m.TryHello) -> None:  # asyncio
        row = await trio_asyncio.trio_as_aio(self._fetch_try)(hello.try_id)
        if row is None or not row.live:
            await stream.send_message(m.Terminate(reason="this try is no longer current", stale=True))
            return
        session = TrySession(self._db, self._logs, self._reports, self._questions, row, self._now)
        opened = _OpenTry(session, stream, trio.current_time())
        self._sessions[hello.try_id] = opened
        try:
            await opened.send(m.Welcome(log_offset=session.log_offset))
            if row.state == "restarting":
                await opened.send(m.Terminate(reason="cleared while it ran"))
            await trio_asyncio.trio_as_aio(session.started)(hello)
            while (message := await stream.recv_message()) is not None:
                if isinstance(message, m.LogChunk):
                    await trio_asyncio.trio_as_aio(session.append_log)(message)
                    self._log_bytes += len(message.content)
                elif isinstance(message, m.TryHello):
                    await trio_asyncio.trio_as_aio(session.started)(message)
                elif not isinstance(message, m.Beat):
                    answer = await trio_asyncio.trio_as_aio(session.handle)(message)
                    if answer is not None:
                        await opened.send(answer)
                    if isinstance(answer, m.OutcomeStored):
                        self._outcomes += 1
                        return
        finally:
            if self._sessions.get(hello.try_id) is opened:
                del self._sessions[hello.try_id]
            self._heard[hello.try_id] = trio.current_time()
            self._forget_old()

    async def _fetch_try(self, try_id: str) -> tries.TryRow | None:
        async with self._db.agents.connection() as conn:
            return await tries.fetch_try(conn, try_id)

    def _forget_old(self) -> None:
        if len(self._heard) > 20_000:
            for try_id in list(self._heard)[:10_000]:
                del self._heard[try_id]

    async def _follow_hints(self) -> None:
        """Tell live tries of changed runs to stop when they were cleared, marked or deleted."""
        async for hint in self._hints:
            wanted = {
                try_id: opened
                for try_id, opened in self._sessions.items()
                if hint.kind in ("all", "dag")
                or (hint.kind == "run" and str(opened.session.row.dag_run_id) == hint.value)
            }
            if wanted:
                async with contain(_log_failure("terminate_stale_tries")):
                    await self._terminate_stale(wanted)

    async def _terminate_stale(self, wanted: dict[str, _OpenTry]) -> None:
        async with self._db.agents.connection() as conn:
            rows = {str(row.id): row for row in await tries.list_tries(conn, list(wanted))}
        for try_id, opened in wanted.items():
            row = rows.get(try_id)
            if row is None:
                message = m.Terminate(reason="its task instance was deleted or runs again", stale=True)
            elif row.state == "restarting":
                message = m.Terminate(reason="cleared while it ran")
            elif not row.live:
                message = m.Terminate(reason=f"marked {row.state} while it ran")
            else:
                continue
            with contextlib.suppress(OSError, GRPCError, RuntimeError):
                await trio_asyncio.aio_as_trio(opened.send)(message)

    async def _flush_rendered(self) -> None:
        while True:
            await trio.sleep(RENDERED_AFTER_S)
            for opened in list(self._sessions.values()):
                if opened.since < trio.current_time() - RENDERED_AFTER_S:
                    async with contain(_log_failure("flush_rendered_fields")):
                        await opened.session.flush_rendered()


class _OpenTry:
    """A session with its stream; two asyncio tasks may answer on it, one message at a time."""

    def __init__(self, session: TrySession, stream: Stream[Any, Any], since: float) -> None:
        self.session = session
        self.since = since
        self._stream = stream
        self._lock = asyncio.Lock()

    async def send(self, message: m.ToTry) -> None:  # asyncio
        async with self._lock:
            await self._stream.send_message(message)


def _log_failure(event: str) -> Callable[[Exception], Any]:
    async def record(failure: Exception) -> None:
        log.warning(event, error=str(failure))
        await trio.lowlevel.checkpoint()

    return record
