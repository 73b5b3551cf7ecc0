"""The daemon's end of the agent protocol, in memory, on a real Unix socket: records everything, answers by the rules.

Used by the tests of the agent. Its facts (`Facts`) outlive a server, so that a test can stop one `FakeControlPlane` and
start another, as a restarted daemon that reads Postgres. asyncio, because grpclib is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpclib.const
import grpclib.server
import msgspec
from grpclib.exceptions import StreamTerminatedError
from grpclib.protocol import H2Protocol

from leoflowd.contract.agent_messages import (
    ATTACH,
    PROTOCOL,
    TRY,
    AssetEventsAnswer,
    AssetEventsAsk,
    Beat,
    ConnectionAnswer,
    ConnectionAsk,
    CountsAnswer,
    CountsAsk,
    DagAnswer,
    DagAsk,
    DagRunAnswer,
    DagRunAsk,
    DagRunFacts,
    FromHost,
    FromTry,
    HostHello,
    HostWelcome,
    Launch,
    LaunchRefused,
    LogChunk,
    Outcome,
    OutcomeStored,
    PreviousRun,
    PreviousRunAsk,
    RenderedFields,
    ShutDown,
    Terminate,
    ToHost,
    ToTry,
    TryHello,
    TrySpec,
    VariableAnswer,
    VariableAsk,
    VariableWrite,
    Welcome,
    XComInput,
    XComPull,
    XComPush,
    XComValues,
)
from leoflowd.contract.agent_wire import MsgpackCodec
from leoflowd.contract.asset_spec import AssetEventFacts
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.wait_spec import Deferral


@dataclass
class TryFacts:
    """What a database would know of one try."""

    log: bytes = b""
    rendered: dict[str, Any] | None = None
    names: list[str] = field(default_factory=list)
    """What people were to see in place of the map index, as it came."""
    xcoms: dict[str, Any] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    """More than one means that an outcome was delivered twice."""
    hellos: list[TryHello] = field(default_factory=list)
    overlaps: int = 0
    """Log chunks that began before the end of what was stored: sent twice."""
    gaps: int = 0
    messages: list[str] = field(default_factory=list)
    """Names of the messages in the order in which they came."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines()]

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]

    @property
    def outcome(self) -> Outcome:
        assert len(self.outcomes) == 1, self.outcomes
        return self.outcomes[0]


@dataclass
class Facts:
    """What survives a restart of the daemon."""

    tries: dict[str, TryFacts] = field(default_factory=dict)
    hosts: list[HostHello] = field(default_factory=list)
    refusals: list[LaunchRefused] = field(default_factory=list)
    stale: set[str] = field(default_factory=set)
    specs: dict[str, TrySpec] = field(default_factory=dict)
    """For pods, which ask for theirs."""
    xcoms: list[XComInput] = field(default_factory=list)
    previous_run: DagRunFacts | None = None
    pulls: list[XComPull] = field(default_factory=list)
    connections: dict[str, ConnectionFacts] = field(default_factory=dict)
    connections_refused: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    variables_refused: str | None = None
    dag_runs: list[DagRunAsk] = field(default_factory=list)
    """Dag runs that tasks started; a second ask for a run id finds that it exists."""
    paused: set[str] = field(default_factory=set)
    counts: list[CountsAsk] = field(default_factory=list)
    count: int = 0
    """The answer to every one of them."""
    asset_events: tuple[AssetEventFacts, ...] = ()
    """The answer to whoever asks for any."""
    asset_asks: list[AssetEventsAsk] = field(default_factory=list)
    protocol: int = PROTOCOL
    """What this daemon speaks."""
    newer: dict[str, Any] = field(default_factory=dict)
    """Fields that a daemon of a newer release adds to whatever it says."""
    answer_with: Callable[[int], Any] | None = None
    """In place of the answer to an `XComPull`; gets its `request_id`."""
    store_outcomes: bool = True
    """False: outcomes are received but neither stored nor acknowledged."""

    def of(self, try_id: str) -> TryFacts:
        return self.tries.setdefault(try_id, TryFacts())


class FakeControlPlane:
    """One running server; see `serve`."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._host: grpclib.server.Stream[FromHost, ToHost] | None = None
        self._streams: dict[str, grpclib.server.Stream[FromTry, ToTry]] = {}
        self._changed = asyncio.Condition()

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        both_ways = grpclib.const.Cardinality.STREAM_STREAM
        return {
            ATTACH: grpclib.const.Handler(self._attach, both_ways, FromHost, ToHost),
            TRY: grpclib.const.Handler(self._try, both_ways, FromTry, ToTry),
        }

    # --- what a test does ----------------------------------------------------------------------------------------

    async def wait_for(self, condition: Callable[[], object]) -> None:
        """Until the facts satisfy the condition; checked whenever a message has been handled."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(condition()))

    async def attached(self) -> None:
        await self.wait_for(lambda: self._host is not None)

    async def say_to_host(self, message: Any) -> None:
        assert self._host is not None
        await self._say(self._host, message)

    async def say_to_try(self, try_id: str, message: Any) -> None:
        await self.wait_for(lambda: try_id in self._streams)
        await self._say(self._streams[try_id], message)

    async def launch(self, spec: TrySpec, token: str = "token-of-a-try") -> TryFacts:
        await self.attached()
        await self.say_to_host(Launch(spec=spec, token=token))
        return self.facts.of(spec.try_id)

    async def shut_down(self, *, grace_s: float = 1.0, reason: str = "the test is over") -> None:
        await self.say_to_host(ShutDown(grace_s=grace_s, reason=reason))

    async def terminate(self, try_id: str, **how: Any) -> None:
        await self.say_to_try(try_id, Terminate(**how))

    async def finished(self, *try_ids: str) -> None:
        await self.wait_for(lambda: all(self.facts.of(try_id).outcomes for try_id in try_ids))

    # --- the protocol --------------------------------------------------------------------------------------------

    async def _say(self, stream: grpclib.server.Stream[Any, Any], message: Any) -> None:
        if self.facts.newer:
            message = {**msgspec.msgpack.decode(msgspec.msgpack.encode(message)), **self.facts.newer}
        await stream.send_message(message)

    async def _attach(self, stream: grpclib.server.Stream[FromHost, ToHost]) -> None:
        hello = await stream.recv_message()
        assert isinstance(hello, HostHello)
        await self._say(stream, HostWelcome(heartbeat_s=0.2, protocol=self.facts.protocol))
        self.facts.hosts.append(hello)
        self._host = stream
        await self._tell()
        try:
            while (message := await stream.recv_message()) is not None:
                if isinstance(message, LaunchRefused):
                    self.facts.refusals.append(message)
                await self._tell()
        except StreamTerminatedError:
            pass
        finally:
            if self._host is stream:
                self._host = None

    async def _try(self, stream: grpclib.server.Stream[FromTry, ToTry]) -> None:
        hello = await stream.recv_message()
        assert isinstance(hello, TryHello)
        facts = self.facts.of(hello.try_id)
        facts.hellos.append(hello)
        if hello.try_id in self.facts.stale:
            await self._say(stream, Terminate(reason="this try is not the current one", stale=True))
            await self._tell()
            return
        spec = self.facts.specs.get(hello.try_id) if hello.wants_spec else None
        await self._say(stream, Welcome(log_offset=len(facts.log), spec=spec, protocol=self.facts.protocol))
        self._streams[hello.try_id] = stream
        await self._tell()
        try:
            while (message := await stream.recv_message()) is not None:
                answer = self._handle(hello.try_id, facts, message)
                if answer is not None:
                    await self._say(stream, answer)
                await self._tell()
        except StreamTerminatedError:
            pass
        finally:
            self._streams.pop(hello.try_id, None)

    def _handle(self, try_id: str, facts: TryFacts, message: FromTry) -> Any:
        facts.messages.append(type(message).__name__)
        match message:
            case LogChunk(offset=offset, content=content):
                facts.overlaps += offset < len(facts.log)
                facts.gaps += offset > len(facts.log)
                assert content.endswith(b"\n")
                facts.log += content[len(facts.log) - offset :]
            case RenderedFields(rendered_map_index=str(name)):
                facts.names.append(name)
            case RenderedFields(fields=fields):
                facts.rendered = json.loads(fields)
            case XComPush(key=key, value=value):
                facts.xcoms[key] = json.loads(value)
            case XComPull():
                self.facts.pulls.append(message)
                if self.facts.answer_with is not None:
                    return self.facts.answer_with(message.request_id)
                values = tuple(item for item in self.facts.xcoms if _fits(item, message))
                if message.limit is msgspec.UNSET:
                    return XComValues(request_id=message.request_id, values=values)
                first = message.offset or 0
                page = values[first : first + message.limit]
                return XComValues(request_id=message.request_id, values=page, total=len(values))
            case PreviousRunAsk():
                return PreviousRun(request_id=message.request_id, run=self.facts.previous_run)
            case ConnectionAsk(request_id=request_id, connection_id=connection_id):
                refused = self.facts.connections_refused
                found = None if refused else self.facts.connections.get(connection_id)
                return ConnectionAnswer(request_id=request_id, connection=found, refused=refused)
            case VariableAsk() | VariableWrite():
                return self._variable(message)
            case DagRunAsk():
                exists = any(run.run_id == message.run_id for run in self.facts.dag_runs)
                self.facts.dag_runs.append(message)
                return DagRunAnswer(request_id=message.request_id, run_id=message.run_id, exists=exists)
            case DagAsk(request_id=request_id, dag_id=dag_id):
                return DagAnswer(request_id=request_id, is_paused=dag_id in self.facts.paused, tags=("a tag",))
            case CountsAsk():
                self.facts.counts.append(message)
                return CountsAnswer(request_id=message.request_id, count=self.facts.count)
            case AssetEventsAsk():
                self.facts.asset_asks.append(message)
                return AssetEventsAnswer(request_id=message.request_id, events=self.facts.asset_events)
            case Outcome():
                if self.facts.store_outcomes:
                    facts.outcomes.append(_opened(message))
                    facts.xcoms.update({item.key: json.loads(item.value) for item in message.xcoms})
                    return OutcomeStored()
            case Beat() | TryHello():
                pass
        return None

    def _variable(self, ask: VariableAsk | VariableWrite) -> VariableAnswer:
        if self.facts.variables_refused:
            return VariableAnswer(request_id=ask.request_id, refused=self.facts.variables_refused)
        if isinstance(ask, VariableWrite):
            self.facts.variables.pop(ask.key, None)
            if ask.value is not None:
                self.facts.variables[ask.key] = ask.value
        return VariableAnswer(request_id=ask.request_id, value=self.facts.variables.get(ask.key))

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _opened(outcome: Outcome) -> Outcome:
    if outcome.deferral_json is None:
        return outcome
    return msgspec.structs.replace(outcome, deferral=msgspec.json.decode(outcome.deferral_json, type=Deferral))


def _fits(item: XComInput, pull: XComPull) -> bool:
    return (
        item.key == pull.key
        and (pull.task_ids is None or item.task_id in pull.task_ids)
        and (pull.map_indexes is None or item.map_index in pull.map_indexes)
    )


class _BreakableServer(grpclib.server.Server):
    """grpclib leaves connections open when a server closes, because its process usually ends next; ours does not."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._protocols: list[H2Protocol] = []

    def _protocol_factory(self) -> H2Protocol:  # type: ignore[explicit-override]  # typing.override is newer than 3.11
        protocol = super()._protocol_factory()
        self._protocols.append(protocol)
        return protocol

    def break_connections(self) -> None:
        for protocol in self._protocols:
            protocol.connection.close()


@asynccontextmanager
async def serve(path: Path, facts: Facts) -> AsyncIterator[FakeControlPlane]:
    """Listens on this Unix socket until the block is left; then every connection breaks, as when a daemon is killed."""
    plane = FakeControlPlane(facts)
    server = _BreakableServer([plane], codec=MsgpackCodec())
    path.unlink(missing_ok=True)  # noqa: ASYNC240  a test's own folder
    await server.start(path=str(path))
    try:
        yield plane
    finally:
        server.break_connections()
        server.close()
        await server.wait_closed()
