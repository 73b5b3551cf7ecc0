"""The agents' gRPC service: grpclib on asyncio, inside a trio-asyncio island, everything behind it in Trio (ADR 0004).

`daemon.py` runs it; agents of every executor connect to it: the host agent of Lite over a Unix socket, pods over TLS.
It decides nothing: starts and outcomes go to `Reports` (the scheduler's inbox), launches come from `LaunchSource`.

Every task of the island belongs to the task group of one stream, and what fails there ends that stream with a status
that its agent sees (ADR 20). Nothing that an agent sends reaches further.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime
from hmac import compare_digest
from pathlib import Path
from typing import Any, Protocol

import msgspec
import trio
import trio_asyncio
from grpclib import GRPCError, Status
from grpclib.config import Configuration
from grpclib.const import Cardinality, Handler
from grpclib.exceptions import ProtocolError, StreamTerminatedError
from grpclib.server import Server, Stream
from h2.exceptions import H2Error

from leoflowd import telemetry
from leoflowd.agents.callbacks import CallbackReports
from leoflowd.agents.incoming import ANSWERS
from leoflowd.agents.log_faults import LogFaults
from leoflowd.agents.pod_admission import REPLACED_BECAUSE, admits
from leoflowd.agents.questions import Connections, NoConnections, NoVariables, Questions, Variables
from leoflowd.agents.streams import UNSENDABLE, AgentStream, NotUnderstood
from leoflowd.agents.trigger_hosts import TriggerHosts, serve_trigger_host
from leoflowd.agents.try_session import Reports, TrySession
from leoflowd.contract import agent_messages as m
from leoflowd.contract.agent_wire import MsgpackCodec
from leoflowd.contract.dispatch import launch_fault
from leoflowd.contract.errors import Invalid, StoreUnavailable
from leoflowd.contract.logs import LogStore
from leoflowd.contract.values import shown
from leoflowd.contract.xcoms import ValueGone
from leoflowd.core.silence import Signs
from leoflowd.core.traces import Traceparent, untraced
from leoflowd.core.try_tokens import is_try_token
from leoflowd.store import tries
from leoflowd.store.callbacks import CallbackTry, fetch_any_try, fetch_row, list_callback_tries, load_dispatch
from leoflowd.store.database import Connection, Database
from leoflowd.store.hints import Hint
from leoflowd.store.run_views import BrokenRun
from leoflowd.store.try_specs import fetch_try_spec
from leoflowd.supervision import contain

log = telemetry.get_logger(__name__)

RENDERED_AFTER_S = 1.0
"""A try that runs for longer than this gets its rendered fields written before its end."""
SWEEP_S = 3.0
"""How often all open tries are compared with Postgres: the guarantee behind every lost hint to stop one."""
ANSWER_WITHIN_S = 25.0
"""A question that takes longer is refused with a sentence; the runner waits for longer than that."""
QUESTIONS_AT_ONCE = 256
"""Open questions of one try; those beyond are refused at once."""
QUESTIONS_MAX = 1024
"""Whoever asks on without taking the answers loses its stream."""
ATTACH_WITHIN_S = 15.0
"""Without an agent for longer, something is wrong: starting one takes a second."""
BEAT_LATE_S = 20.0
"""Four missed beats of a host."""
HEARD_WITHIN_S = 20.0
"""Two beats of a try."""
STALLED_S = 5.0
"""Our own loop standing still for longer: what was said meanwhile is not read yet, so silence begins anew."""
CLOSE_WITHIN_S = 2.0
REMEMBERED = 10_000
"""Tries whose signs of life are kept; agents remember as many that ended."""
STREAM_WINDOW_BYTES = 512 * 1024
CONNECTION_WINDOW_BYTES = 64 * 1024 * 1024
"""What a hundred streams may have sent unread: one that is not being read never takes the room of another."""

STREAM_ENDED = (StreamTerminatedError, ProtocolError, H2Error, ConnectionError)
"""The agent, or its connection, is gone."""


class HostReports(Reports, Protocol):
    """What the scheduler hears beside single tries."""

    async def host_attached(self, *, hostname: str, known_try_ids: frozenset[str], launcher: str, at: datetime) -> None:
        """A host agent (re)appeared; what it does not know and should hold was never started or is lost."""

    async def term_ended(self, *, hostname: str, known_try_ids: frozenset[str], launcher: str, at: datetime) -> None:
        """A term of this daemon ended while an agent was attached; what neither knows was never handed over."""


class LaunchSource(Protocol):
    """`executors.launches.Launches`."""

    async def take(self) -> m.Launch: ...


class PodIdentities(Protocol):
    """`kube.identity.PodIdentities`."""

    async def pod_of(self, try_id: str, token: str) -> str: ...


class Door(msgspec.Struct, frozen=True):
    """Where agents of other machines come in, beside the socket."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    """None: plain text, for loopback and for a mesh that encrypts."""
    identities: PodIdentities | None = None
    """Whose tokens are taken beside the tokens of tries."""
    trigger_hosts: TriggerHosts | None = None
    """Who wants the trigger hosts that come in here."""


class AgentStatistics(msgspec.Struct, frozen=True):
    hosts: int
    tries: int
    questions: int
    """Being answered now."""
    outcomes: int
    callbacks_failed: int
    log_bytes: int
    logs_unwritten: int
    """Tries whose agent keeps a log that cannot be stored here now."""
    launches_refused: int
    broken_streams: int
    """Ended by what the agent sent, or by a bug of ours."""


class AgentService:
    """`refuse(try_id, kind, because)` reports a try that could not be launched or understood; it never waits.

    `launcher` is the id of this daemon, whose executor the host agents belong to; they come to the `socket`, if there
    is one, agents of other machines through the `door`.
    """

    def __init__(
        self,
        *,
        db: Database,
        logs: LogStore,
        reports: HostReports,
        launches: LaunchSource,
        refuse: Callable[[str, m.OutcomeKind, str], None],
        hints: trio.MemoryReceiveChannel[Hint],
        socket: Path | None,
        try_secret: bytes,
        host_token: str,
        launcher: str,
        now: Callable[[], datetime],
        connections: Connections | None = None,
        variables: Variables | None = None,
        silence_max_s: float = 60.0,
        callback_timeout_s: float = 60.0,
        traceparent: Traceparent = untraced,
        door: Door | None = None,
    ) -> None:
        self._db = db
        self._logs = logs
        self._reports = reports
        self._callback_reports = CallbackReports(db, now)
        self._callback_timeout_s = callback_timeout_s
        self._traceparent = traceparent
        self._launches = launches
        self._refuse = refuse
        self._hints = hints
        self._socket = socket
        self._try_secret = try_secret
        self._host_token = host_token
        self._launcher = launcher
        self._door = door
        self._now = now
        self._silence_max_s = silence_max_s
        self._questions = Questions(db, connections or NoConnections(), variables or NoVariables(), now)
        self._sessions: dict[str, _OpenTry] = {}
        self._lives: OrderedDict[str, _Life] = OrderedDict()
        self._hosts: dict[str, _Host] = {}
        self._alone_since = 0.0
        """Since when no host is attached."""
        self._listening_since = 0.0
        self._heard_at = 0.0
        """The last message of any agent."""
        self._log_faults = LogFaults()
        self._shut_down: m.ShutDown | None = None
        self._stopping = trio.Event()
        self._stumbled: set[str] = set()
        self._outcomes = self._log_bytes = self._launches_refused = self._broken_streams = 0

    def statistics(self) -> AgentStatistics:
        return AgentStatistics(
            hosts=len(self._hosts),
            tries=len(self._sessions),
            questions=sum(len(opened.work) for opened in self._sessions.values()),
            outcomes=self._outcomes,
            callbacks_failed=self._callback_reports.failed,
            log_bytes=self._log_bytes,
            logs_unwritten=self._log_faults.count,
            launches_refused=self._launches_refused,
            broken_streams=self._broken_streams,
        )

    def complaint(self) -> str | None:
        """What keeps tries from being launched, reported or logged."""
        now = trio.current_time()
        if self._socket is not None and not self._hosts and now - self._alone_since >= ATTACH_WITHIN_S:
            return f"no agent has been attached for {now - self._alone_since:.0f} s, so nothing can be launched"
        for host in self._hosts.values():
            if now - max(host.heard_at, self._listening_since) >= BEAT_LATE_S:
                return f"the agent with process id {host.pid} has said nothing for {now - host.heard_at:.0f} s"
        return self._log_faults.complaint()

    def signs(self, try_id: str) -> Signs:
        """What is known of the life of this try. A session that we are busy with is not silent."""
        now, life, opened = trio.current_time(), self._lives.get(try_id), self._sessions.get(try_id)
        silent_s = None if life is None or life.heard_at is None else now - life.heard_at
        return Signs(
            silent_s=0.0 if opened is not None and opened.is_busy else silent_s,
            launched_s=None if life is None or life.launched_at is None else now - life.launched_at,
            launches=0 if life is None else life.launches,
            listening_s=now - self._listening_since,
        )

    def heard(self) -> list[str]:
        """Tries that somebody spoke of a moment ago: of these the other daemons need not worry."""
        now = trio.current_time()
        return [
            try_id
            for try_id, opened in self._sessions.items()
            if opened.is_busy or now - (self._life(try_id).heard_at or 0.0) < HEARD_WITHIN_S
        ]

    async def tell_held(self, waiting: frozenset[str], at: datetime) -> None:
        """What was decided until `at` and our agent was given, or spoke of, or will be given, since it is `waiting`.
        Nothing without an agent: its arrival will tell."""
        for host in list(self._hosts.values())[:1]:
            given = (try_id for try_id, life in self._lives.items() if life.is_known)
            known = waiting.union(given, self._sessions, *(each.known for each in self._hosts.values()))
            await self._reports.term_ended(hostname=host.hostname, known_try_ids=known, launcher=self._launcher, at=at)

    def silent_s(self) -> float:
        """How long no agent has said anything at all."""
        return trio.current_time() - max(self._heard_at, self._listening_since)

    @property
    def host_attached(self) -> bool:
        return bool(self._hosts)

    async def shut_down_hosts(self, *, grace_s: float, reason: str) -> None:
        """Tell every host agent to stop its tries, report them and exit."""
        self._shut_down = m.ShutDown(grace_s=grace_s, reason=reason)
        self._stopping.set()
        await trio.lowlevel.checkpoint()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio_asyncio.open_loop() as loop:
            loop.set_exception_handler(self._connection_broke)
            windows = Configuration(
                http2_stream_window_size=STREAM_WINDOW_BYTES, http2_connection_window_size=CONNECTION_WINDOW_BYTES
            )
            servers = [Server([self], codec=MsgpackCodec(), config=windows) for _ in (self._socket, self._door)]
            start_local, start_door = (trio_asyncio.aio_as_trio(server.start) for server in servers)
            if self._socket is not None:
                self._socket.parent.mkdir(parents=True, exist_ok=True)
                self._socket.unlink(missing_ok=True)
                await start_local(path=str(self._socket))
                self._socket.chmod(0o600)
            if self._door is not None:
                await start_door(self._door.host, self._door.port, ssl=self._door.tls)
            self._alone_since = self._listening_since = trio.current_time()
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._follow_hints)
                    nursery.start_soon(self._sweep)
                    nursery.start_soon(self._tend)
                    task_status.started()
            finally:
                opened = [one for one, at in zip(servers, (self._socket, self._door), strict=True) if at is not None]
                for server in opened:
                    server.close()
                if self._socket is not None:
                    self._socket.unlink(missing_ok=True)
                with trio.move_on_after(CLOSE_WITHIN_S, shield=True):
                    for server in opened:
                        await trio_asyncio.aio_as_trio(server.wait_closed)()

    def _connection_broke(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What no task can hear of: bytes that grpclib's protocol chokes on (the connection is closed), no descriptor
        left to accept another. Anything else has no owner: trio-asyncio's own handler crashes the component."""
        if context.keys() & {"transport", "protocol", "socket"}:
            self._note_broken(f"connection: {context.get('message')}", context.get("exception"))
        else:
            loop.default_exception_handler(context)

    def _note_broken(self, what: str, error: BaseException | None) -> None:
        """Counted always, logged with its traceback once for each kind: an agent that comes again brings it again."""
        self._broken_streams += 1
        kind = f"{what} {type(error).__name__}"
        if kind not in self._stumbled and len(self._stumbled) < 100:
            self._stumbled.add(kind)
            log.error("agent_stream_broke", exc_info=error, at=what)

    def _note_unknown_message(self, kind: str) -> None:
        """Once for each kind: an agent of a newer release says it again and again."""
        if kind not in self._stumbled and len(self._stumbled) < 100:
            self._stumbled.add(kind)
            log.info("agent_message_unknown", kind=kind, because="the agent is of a newer release")

    def __mapping__(self) -> dict[str, Handler]:
        """grpclib asks for its table of methods under this name."""
        both = Cardinality.STREAM_STREAM
        return {
            m.ATTACH: Handler(self._guarded(self._attach, m.FromHost), both, m.FromHost, m.ToHost),
            m.TRY: Handler(self._guarded(self._try, m.FromTry), both, m.FromTry, m.ToTry),
            m.TRIGGER_HOST: Handler(
                self._guarded(self._trigger_host, m.FromTriggerHost), both, m.FromTriggerHost, m.ToTriggerHost
            ),
        }

    def _guarded(
        self, converse: Callable[[AgentStream], Awaitable[None]], receives: Any
    ) -> Callable[[Stream[Any, Any]], Awaitable[None]]:
        """Whatever happens in a conversation ends its stream with a status, and nothing else."""

        async def handle(stream: Stream[Any, Any]) -> None:  # asyncio
            failure: Exception | None = None
            try:
                await converse(
                    AgentStream(stream, receives, silence_max_s=self._silence_max_s, unknown=self._note_unknown_message)
                )
            except* Exception as group:  # noqa: BLE001  # `contain` for one stream: the status is its record
                failure = _first(group)
            if failure is not None:
                raise self._status(failure, converse.__name__)

        return handle

    def _status(self, failure: Exception, where: str) -> GRPCError:
        match failure:
            case GRPCError():
                if isinstance(failure, NotUnderstood):
                    self._note_broken(f"{where}, not understood", None)
                return failure
            case StoreUnavailable():
                return GRPCError(Status.UNAVAILABLE, "the store does not answer; keep the outcome and come again")
            case Invalid():
                return GRPCError(Status.INVALID_ARGUMENT, str(failure))
            case _ if isinstance(failure, STREAM_ENDED):
                return GRPCError(Status.CANCELLED, "the stream is closed")
            case _:
                self._note_broken(where, failure)
                return GRPCError(Status.INTERNAL, f"the daemon failed over this ({type(failure).__name__})")

    # --- host agents ------------------------------------------------------------------------------------------

    async def _attach(self, stream: AgentStream) -> None:  # asyncio
        hello = await stream.receive()
        if not isinstance(hello, m.HostHello):
            raise GRPCError(Status.FAILED_PRECONDITION, "the first message of Attach is HostHello")
        _agree(stream, hello.protocol)
        if not compare_digest(hello.host_token.encode(), self._host_token.encode()):
            raise GRPCError(Status.PERMISSION_DENIED, "the host token is not the one of this installation")
        said_at = self._now()
        log.info("host_attached", hostname=hello.hostname, pid=hello.pid, tries=len(hello.known_try_ids))
        await stream.send(m.HostWelcome(protocol=stream.protocol))
        host = _Host(hello, trio.current_time())
        self._hosts[hello.boot_id] = host
        stream.heard = lambda: self._host_spoke(host)
        stream.heard()
        try:
            async with asyncio.TaskGroup() as group:
                sending = (
                    group.create_task(self._send_launches(stream)),
                    group.create_task(self._send_shut_down(stream)),
                )
                await trio_asyncio.trio_as_aio(self._reports.host_attached)(
                    hostname=hello.hostname,
                    known_try_ids=frozenset(hello.known_try_ids),
                    launcher=self._launcher,
                    at=said_at,
                )
                while (message := await stream.receive()) is not None:
                    self._hear_host(message)
                for task in sending:
                    task.cancel()
        finally:
            if self._hosts.get(hello.boot_id) is host:
                del self._hosts[hello.boot_id]
            if not self._hosts:
                self._alone_since = trio.current_time()
            log.info("host_detached", hostname=hello.hostname, pid=hello.pid)

    def _hear_host(self, message: m.FromHost) -> None:
        match message:
            case m.HostBeat():
                pass
            case m.LaunchRefused():
                self._launches_refused += 1
                self._refuse(message.try_id, m.OutcomeKind.LOST, f"its agent could not take it: {message.because}")
            case m.HostHello():
                raise NotUnderstood("HostHello is the first message of Attach only")

    def _host_spoke(self, host: _Host) -> None:
        host.heard_at = self._heard_at = trio.current_time()

    async def _send_launches(self, stream: AgentStream) -> None:  # asyncio
        """One Launch per try and agent process: a second could follow the acknowledged end of the first."""
        sent: OrderedDict[str, None] = OrderedDict()
        while True:
            launch = await trio_asyncio.trio_as_aio(self._launches.take)()
            try_id = launch.spec.try_id
            if try_id in sent:
                continue
            if launch.spec.callback is not None and stream.protocol < m.CALLBACKS_SINCE:
                self._launches_refused += 1
                self._refuse(try_id, m.OutcomeKind.FAILED, "its agent is of an older release, which has no callbacks")
                continue
            try:
                await stream.send(launch)
            except UNSENDABLE as error:
                self._launches_refused += 1
                self._refuse(try_id, m.OutcomeKind.FAILED, f"it cannot be launched: {_shown(error)}")
                continue
            sent[try_id] = None
            if len(sent) > REMEMBERED:
                sent.popitem(last=False)
            life = self._life(try_id)
            life.launches += 1
            if life.launched_at is None:
                life.launched_at = trio.current_time()

    async def _send_shut_down(self, stream: AgentStream) -> None:  # asyncio
        await trio_asyncio.trio_as_aio(self._stopping.wait)()
        assert self._shut_down is not None
        await stream.send(self._shut_down)

    # --- tries ------------------------------------------------------------------------------------------------

    async def _try(self, stream: AgentStream) -> None:  # asyncio
        hello = await stream.receive()
        if not isinstance(hello, m.TryHello):
            raise GRPCError(Status.FAILED_PRECONDITION, "the first message of Try is TryHello")
        _agree(stream, hello.protocol)
        pod_uid = await self._prove(hello)
        row = await trio_asyncio.trio_as_aio(self._fetch_try)(hello.try_id)
        if row is None or not row.live:
            await stream.send(m.Terminate(reason="this try is no longer current", stale=True))
            return
        if pod_uid and not await trio_asyncio.trio_as_aio(admits)(self._db, row, pod_uid):
            self._refuse(hello.try_id, m.OutcomeKind.LOST, REPLACED_BECAUSE)
            await stream.send(m.Terminate(reason="this pod is not the one that has the try", stale=True))
            return
        try:
            await self._converse(stream, hello, row)
        except* Exception as group:
            # Its agent would bring the same again, for ever.
            verdict = _end_by(_first(group))
            if verdict is not None:
                self._refuse(hello.try_id, *verdict)
            raise

    async def _prove(self, hello: m.TryHello) -> str:  # asyncio
        """The uid of the pod that speaks for the try; nothing for an agent that was given the try's own token."""
        if hello.token.isascii() and is_try_token(self._try_secret, hello.try_id, hello.token):
            return ""
        pod_uid = await self._pod_of(hello.try_id, hello.token)
        if not pod_uid:
            raise GRPCError(Status.PERMISSION_DENIED, "the token is not the one of this try")
        return pod_uid

    async def _pod_of(self, named: str, token: str) -> str:  # asyncio
        """A try or a trigger host: its pod is named after it."""
        if self._door is None or self._door.identities is None or not token.isascii():
            return ""
        return str(await trio_asyncio.trio_as_aio(self._door.identities.pod_of)(named, token))

    async def _trigger_host(self, stream: AgentStream) -> None:  # asyncio
        hello = await stream.receive()
        if not isinstance(hello, m.TriggerHostHello):
            raise GRPCError(Status.FAILED_PRECONDITION, "the first message of TriggerHost is TriggerHostHello")
        _agree(stream, hello.protocol)
        if not await self._pod_of(hello.host_id, hello.token):
            raise GRPCError(Status.PERMISSION_DENIED, "the token is not the one of this trigger host")
        await serve_trigger_host(stream, hello.host_id, None if self._door is None else self._door.trigger_hosts)

    async def _converse(self, stream: AgentStream, hello: m.TryHello, row: tries.TryRow) -> None:  # asyncio
        life = self._life(hello.try_id)
        stream.heard = lambda: self._try_spoke(life)
        stream.heard()
        spec = await trio_asyncio.trio_as_aio(self._fetch_spec)(row) if hello.wants_spec else None
        try:
            reports = self._callback_reports if isinstance(row, CallbackTry) else self._reports
            session = TrySession(self._db, self._logs, reports, self._questions, row, self._now)
            log_offset = await trio_asyncio.trio_as_aio(session.begin_log)()
        except OSError as error:
            raise await self._log_faults.pause(hello.try_id, trio.current_time(), error) from error
        await stream.send(m.Welcome(log_offset=log_offset, spec=spec, protocol=stream.protocol))
        async with asyncio.TaskGroup() as group:
            opened = self._sessions[hello.try_id] = _OpenTry(session, stream, group, trio.current_time())
            try:
                if row.state == "restarting":
                    opened.tell(m.Terminate(reason="cleared while it ran"))
                await trio_asyncio.trio_as_aio(session.started)(hello)
                opened.is_busy = False
                while (message := await stream.receive()) is not None:
                    opened.is_busy = True
                    if await self._hear_try(opened, message):
                        break
                    opened.is_busy = False
            finally:
                if self._sessions.get(hello.try_id) is opened:
                    del self._sessions[hello.try_id]
                opened.end()

    async def _hear_try(self, opened: _OpenTry, message: Any) -> bool:  # asyncio
        """True when this was the end."""
        match message:
            case m.Beat():
                pass
            case m.LogChunk():
                await self._store_log(opened, message)
            case m.TryHello():
                await trio_asyncio.trio_as_aio(opened.session.started)(message)
            case _ if type(message) in ANSWERS:
                # Beside the log and the beats, which do not wait for an answer; what was pushed before is stored.
                if len(opened.work) >= QUESTIONS_MAX:
                    raise GRPCError(Status.RESOURCE_EXHAUSTED, f"{QUESTIONS_MAX} answers were not taken")
                opened.begin(self._answer(opened, message))
            case m.Outcome():
                await self._store_outcome(opened, message)
                return True
            case _:
                await trio_asyncio.trio_as_aio(opened.session.handle)(message)
        return False

    async def _store_log(self, opened: _OpenTry, chunk: m.LogChunk) -> None:  # asyncio
        """What cannot be written is left to the agent, which sends it again when it comes again."""
        try_id = str(opened.session.row.id)
        if self._log_faults.leaves_out(try_id, opened.since):
            return
        try:
            await trio_asyncio.trio_as_aio(opened.session.append_log)(chunk)
        except OSError as error:
            self._log_faults.begin(try_id, opened.since, error)
        except ValueError as error:
            raise GRPCError(Status.DATA_LOSS, _shown(error)) from error
        else:
            self._log_faults.end(try_id)
            self._log_bytes += len(chunk.content)

    async def _store_outcome(self, opened: _OpenTry, outcome: m.Outcome) -> None:  # asyncio
        """After its log. But the log may lie on the disk that it filled, which only the end of the try makes free."""
        await self._flush_log(opened)
        missing = await self._log_faults.before_outcome(str(opened.session.row.id), opened.since)
        if missing is not None:
            because = f"{outcome.because} (the end of its log could not be stored: {missing})"
            outcome = msgspec.structs.replace(outcome, because=because)
        answer = await trio_asyncio.trio_as_aio(opened.session.handle)(outcome)
        if answer is not None:
            await opened.stream.send(answer)
        self._outcomes += 1

    async def _flush_log(self, opened: _OpenTry) -> None:  # asyncio
        """The agent forgets the log when its outcome is taken."""
        try:
            await trio_asyncio.trio_as_aio(opened.session.flush_log)()
        except OSError as error:
            self._log_faults.begin(str(opened.session.row.id), opened.since, error)

    async def _answer(self, opened: _OpenTry, question: Any) -> None:  # asyncio
        """Every question has an answer, if only a sentence that the task can read."""
        if len(opened.work) > QUESTIONS_AT_ONCE:
            await opened.stream.send(_refusal(question, f"it asks more than {QUESTIONS_AT_ONCE} questions at once"))
            return
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer = await trio_asyncio.trio_as_aio(opened.session.handle)(question)
        except TimeoutError:
            answer = _refusal(question, f"the daemon did not answer within {ANSWER_WITHIN_S:g} s; ask again")
        except StoreUnavailable:
            raise  # the agent comes again and asks again
        except Invalid as error:
            answer = _refusal(question, str(error))
        except Exception as error:  # noqa: BLE001  # `contain` for one question: the answer is its record
            self._note_broken(type(question).__name__, error)
            answer = _refusal(question, f"the daemon failed over this question: {_shown(error)}")
        if answer is None:
            return
        try:
            await opened.stream.send(answer)
        except UNSENDABLE as error:
            await opened.stream.send(_refusal(question, f"the answer cannot be sent: {_shown(error)}"))

    async def _fetch_try(self, try_id: str) -> tries.TryRow | None:
        async with self._db.agents.connection() as conn:
            return await fetch_any_try(conn, try_id)

    async def _fetch_spec(self, row: tries.TryRow) -> m.TrySpec:
        """Raises `GRPCError`: the agent comes again, unless the try ends for what is wrong with it."""
        try:
            async with self._db.agents.connection() as conn:
                spec = await self._spec_of(conn, row)
        except ValueGone as gone:
            self._refuse(str(row.id), m.OutcomeKind.FAILED, str(gone))
            raise GRPCError(Status.FAILED_PRECONDITION, str(gone)) from gone
        except BrokenRun as broken:  # the scheduler sets it aside for a person; the agent comes again
            raise GRPCError(Status.FAILED_PRECONDITION, _shown(broken)) from broken
        if spec is None:
            raise GRPCError(Status.NOT_FOUND, "the try was replaced a moment ago")
        fault = launch_fault(spec)
        if fault is not None:
            self._refuse(spec.try_id, m.OutcomeKind.FAILED, fault)
            raise GRPCError(Status.FAILED_PRECONDITION, fault)
        return spec

    async def _spec_of(self, conn: Connection, row: tries.TryRow) -> m.TrySpec | None:
        if not isinstance(row, CallbackTry):
            spec = await fetch_try_spec(conn, row)
            traceparent = self._traceparent(row.dag_run_id, str(row.id))
            return None if spec is None else msgspec.structs.replace(spec, traceparent=traceparent)
        open_row = await fetch_row(conn, str(row.id))
        found = None if open_row is None else await load_dispatch(conn, open_row, timeout_s=self._callback_timeout_s)
        return None if found is None else found.spec

    def _try_spoke(self, life: _Life) -> None:
        life.heard_at = self._heard_at = trio.current_time()

    def _life(self, try_id: str) -> _Life:
        life = self._lives.setdefault(try_id, _Life())
        self._lives.move_to_end(try_id)
        while len(self._lives) > max(REMEMBERED, 2 * len(self._sessions)):
            self._lives.popitem(last=False)
        return life

    # --- beside the streams -----------------------------------------------------------------------------------

    async def _follow_hints(self) -> None:
        """Tell live tries of changed runs to stop when they were cleared, marked or deleted."""
        async for hint in self._hints:
            wanted = {
                try_id: opened
                for try_id, opened in self._sessions.items()
                if hint.kind in ("all", "dag")
                or (hint.kind == "run" and str(opened.session.row.dag_run_id) == hint.value)
            }
            await self._compare(wanted)

    async def _sweep(self) -> None:
        """A hint may be dropped; then this costs the try a few seconds more."""
        while True:
            await trio.sleep(SWEEP_S)
            await self._compare(dict(self._sessions))

    async def _compare(self, wanted: dict[str, _OpenTry]) -> None:
        if wanted:
            async with contain(_log_failure("terminate_stale_tries")):
                await self._terminate_stale(wanted)

    async def _terminate_stale(self, wanted: dict[str, _OpenTry]) -> None:
        async with self._db.agents.connection() as conn:
            called = [try_id for try_id, one in wanted.items() if isinstance(one.session.row, CallbackTry)]
            found = await tries.list_tries(conn, [try_id for try_id in wanted if try_id not in called])
            found += await list_callback_tries(conn, called) if called else ()
            rows = {str(row.id): row for row in found}
        for try_id, opened in wanted.items():
            if self._sessions.get(try_id) is not opened:
                continue  # it ended while we asked
            row = rows.get(try_id)
            if row is None:
                opened.tell(m.Terminate(reason="its task instance was deleted or runs again", stale=True))
            elif row.state == "restarting":
                opened.tell(m.Terminate(reason="cleared while it ran"))
            elif not row.live:
                opened.tell(m.Terminate(reason=f"marked {row.state} while it ran"))
            elif row.state == "queued":
                await opened.session.tell_start()

    async def _tend(self) -> None:
        """Write rendered fields of tries that run for longer; notice when our own loop stood still."""
        while True:
            due = trio.current_time() + RENDERED_AFTER_S
            await trio.sleep_until(due)
            if trio.current_time() - due > STALLED_S:
                self._listening_since = trio.current_time()
            for opened in list(self._sessions.values()):
                if opened.since < trio.current_time() - RENDERED_AFTER_S:
                    async with contain(_log_failure("flush_rendered_fields")):
                        await opened.session.flush_rendered()


class _Host:
    def __init__(self, hello: m.HostHello, heard_at: float) -> None:
        self.pid = hello.pid
        self.hostname = hello.hostname
        self.known = frozenset(hello.known_try_ids)
        self.heard_at = heard_at


class _Life:
    """When a try was launched and heard, in Trio's time."""

    __slots__ = ("heard_at", "launched_at", "launches")

    def __init__(self) -> None:
        self.heard_at: float | None = None
        self.launched_at: float | None = None
        self.launches = 0

    @property
    def is_known(self) -> bool:
        """To some agent."""
        return self.heard_at is not None or self.launched_at is not None


class _OpenTry:
    """A session with its stream and the scope of everything that happens on it."""

    def __init__(self, session: TrySession, stream: AgentStream, group: asyncio.TaskGroup, since: float) -> None:
        self.session = session
        self.stream = stream
        self.since = since
        self.is_busy = True
        """We work on its last message: what comes meanwhile is unread, and no silence."""
        self.work: set[asyncio.Task[None]] = set()
        self._group = group
        self._told: set[bool] = set()

    def begin(self, work: Any) -> None:
        """Beside the conversation; its failure is the stream's."""
        task = self._group.create_task(work)
        self.work.add(task)
        task.add_done_callback(self.work.discard)

    def tell(self, message: m.Terminate) -> None:
        """Once; never waits, since a frozen agent takes nothing."""
        if message.stale not in self._told:
            self._told.add(message.stale)
            self.begin(self.stream.send(message))

    def end(self) -> None:
        for task in self.work:
            task.cancel()


def _end_by(failure: Exception) -> tuple[m.OutcomeKind, str] | None:
    """How a try ends over whose report we failed; None when its agent may come again with it."""
    match failure:
        case NotUnderstood():
            return (
                m.OutcomeKind.LOST,
                f"the daemon does not understand what its agent reports; is it of another release? {_shown(failure)}",
            )
        case Invalid():
            return m.OutcomeKind.FAILED, f"what it reported cannot be stored: {_shown(failure)}"
        case GRPCError() | StoreUnavailable() | OSError():
            return None
        case _ if isinstance(failure, STREAM_ENDED):
            return None
        case _:
            return (
                m.OutcomeKind.LOST,
                f"the daemon failed over what it reported ({type(failure).__name__}); the daemon's log has the cause",
            )


def _agree(stream: AgentStream, protocol: int) -> None:
    """From here on both speak what the older one does."""
    fault = m.distance_fault(agent=protocol, daemon=m.PROTOCOL)
    if fault is not None:
        raise GRPCError(Status.FAILED_PRECONDITION, fault)
    stream.protocol = min(protocol, m.PROTOCOL)


def _refusal(question: Any, because: str) -> m.ToTry:
    return ANSWERS[type(question)](request_id=question.request_id, refused=because)


def _shown(error: BaseException) -> str:
    return shown(str(error) or type(error).__name__, 500)


def _first(error: BaseException) -> Exception:
    """What began it; a group's other members are its consequences."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Exception)
    return error


def _log_failure(event: str) -> Callable[[Exception], Any]:
    async def record(failure: Exception) -> None:
        log.warning(event, error=str(failure))
        await trio.lowlevel.checkpoint()

    return record
