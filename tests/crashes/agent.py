"""A host's agent without processes: it outlives daemons, starts each try once, keeps outcomes until they are stored.

What the real one promises (ADR 5, 20) and nothing more, so that a daemon that loses or doubles something is seen.
`script(spec)` says how a try ends; None: it runs until somebody ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import trio
import trio_asyncio
from grpclib import GRPCError
from grpclib.client import Channel, StreamStreamMethod
from grpclib.exceptions import ProtocolError, StreamTerminatedError

from leoflowd.contract import agent_messages as m
from leoflowd.contract.agent_wire import MsgpackCodec
from leoflowd.core.history import Started
from leoflowd.core.try_tokens import try_token

# AttributeError: grpclib begins a stream on a connection whose other end has gone at that moment.
CUT_OFF = (GRPCError, StreamTerminatedError, ProtocolError, OSError, AttributeError)
AGAIN_S = 0.5
BEAT_S = 100.0
"""By the world's clock: often enough not to be taken for silent."""
HOST_TOKEN = "host-token"
SECRET = b"s" * 32
Script = Callable[[m.TrySpec], m.Outcome | None]


class CutOff(Exception):
    """The daemon's side ended the stream."""


class Agent:
    def __init__(self, host: str, socket: Callable[[], Path], script: Script, now: Callable[[], datetime]) -> None:
        self.started: list[Started] = []
        self.ran: list[str] = []
        """The task of each try that it started."""
        self.called: list[str] = []
        """What the callbacks were about that it started: `task_id` or the dag run, and the event."""
        self.stored: list[str] = []
        """Tries whose outcome was acknowledged."""
        self._host = host
        self._socket = socket
        self._script = script
        self._now = now
        self._boots = 0
        self._open: dict[str, m.TrySpec] = {}
        self._seen: set[str] = set()
        self._released = trio.Event()
        self._links: set[trio.CancelScope] = set()

    def cut_off(self) -> None:
        """The process at the other end is gone, and its sockets with it."""
        for link in self._links:
            link.cancel()

    def release(self) -> None:
        """Whatever runs until somebody ends it ends well."""
        self._released.set()

    def shown(self) -> str:
        """For a walk that failed: how often it came, and which tries it has."""
        return f"the agent attached {self._boots} times, has {list(self._open)} and was given {sorted(self._seen)}"

    async def is_idle(self) -> bool:
        """Every try that it was given is over, and acknowledged."""
        await trio.lowlevel.checkpoint()
        return not self._open

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await self._patiently(lambda: self._attach(nursery))

    async def _patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        """Once; if the daemon went away meanwhile, a moment passes."""
        link = trio.CancelScope()
        self._links.add(link)
        try:
            with link:
                await work()
                return
        except (*CUT_OFF, CutOff):
            pass
        finally:
            self._links.discard(link)
        await trio.sleep(AGAIN_S)

    async def _attach(self, nursery: trio.Nursery) -> None:
        async with _stream(self._socket(), m.ATTACH, m.FromHost, m.ToHost) as stream:
            self._boots += 1
            hello = m.HostHello(
                host_token=HOST_TOKEN,
                boot_id=f"{self._host} {self._boots}",
                hostname=self._host,
                pid=1,
                known_try_ids=tuple(self._open),
                protocol=m.PROTOCOL,
            )
            await stream.say(hello)
            while True:
                message = await stream.hear()
                if isinstance(message, m.Launch) and message.spec.try_id not in self._seen:
                    self._seen.add(message.spec.try_id)
                    self._open[message.spec.try_id] = message.spec
                    self._note(message.spec)
                    nursery.start_soon(self._run_try, message.spec)

    def _note(self, spec: m.TrySpec) -> None:
        if spec.callback is None:
            self.ran.append(spec.task_id)
            self.started.append(Started(spec.try_id, self._host))
        else:
            self.called.append(f"{'the run' if spec.callback.of_dag else spec.task_id} {spec.callback.event}")

    async def _run_try(self, spec: m.TrySpec) -> None:
        started_at = self._now()
        outcome: list[m.Outcome] = []
        while spec.try_id in self._open:
            await self._patiently(lambda: self._converse(spec, started_at, outcome))

    async def _converse(self, spec: m.TrySpec, started_at: datetime, outcome: list[m.Outcome]) -> None:
        """`outcome` lies on the agent's disk: what was decided once is reported again."""
        async with _stream(self._socket(), m.TRY, m.FromTry, m.ToTry) as stream:
            token = try_token(SECRET, spec.try_id)
            await stream.say(
                m.TryHello(
                    try_id=spec.try_id,
                    token=token,
                    hostname=self._host,
                    pid=7,
                    started_at=started_at,
                    protocol=m.PROTOCOL,
                )
            )
            if isinstance(await stream.hear(), m.Terminate):
                del self._open[spec.try_id]
                return
            await stream.say(m.XComPush(key="pushed", value=f'"{spec.try_id}"'))
            if not outcome:
                ended = self._script(spec) or await self._until_ended(stream)
                outcome.append(msgspec.structs.replace(ended, start_date=started_at, end_date=self._now()))
            await stream.say(outcome[0])
            while True:
                message = await stream.hear()
                if isinstance(message, m.OutcomeStored) or (isinstance(message, m.Terminate) and message.stale):
                    self.stored.append(spec.try_id)
                    del self._open[spec.try_id]
                    return

    async def _until_ended(self, stream: _Stream) -> m.Outcome:
        """A task that would run on: released, or told to stop."""
        ended: list[m.Outcome] = []

        async def until_told(scope: trio.CancelScope) -> None:
            while not isinstance(await stream.hear(), m.Terminate):
                pass
            ended.append(outcome(m.OutcomeKind.TERMINATED))
            scope.cancel()

        async def until_released(scope: trio.CancelScope) -> None:
            await self._released.wait()
            ended.append(outcome(m.OutcomeKind.SUCCESS))
            scope.cancel()

        async def beat() -> None:
            while True:
                await trio.sleep(BEAT_S)
                await stream.say(m.Beat())

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(beat)
                nursery.start_soon(until_told, nursery.cancel_scope)
                nursery.start_soon(until_released, nursery.cancel_scope)
        except* CUT_OFF as group:
            raise CutOff from group
        except* CutOff as group:
            raise CutOff from group
        return ended[0]


def outcome(kind: m.OutcomeKind, **fields: Any) -> m.Outcome:
    """Its dates are set when it is said."""
    long_ago = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    return m.Outcome(kind=kind, because="the script says so", start_date=long_ago, end_date=long_ago, **fields)


class _Stream:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def say(self, message: Any) -> None:
        await trio_asyncio.aio_as_trio(self._stream.send_message)(message)

    async def hear(self) -> Any:
        message = await trio_asyncio.aio_as_trio(self._stream.recv_message)()
        if message is None:
            raise CutOff
        return message


@asynccontextmanager
async def _stream(socket: Path, method: str, out: Any, back: Any) -> AsyncIterator[_Stream]:
    channel = Channel(path=str(socket), codec=MsgpackCodec())
    try:
        opened = StreamStreamMethod(channel, method, out, back).open()
        yield _Stream(await trio_asyncio.aio_as_trio(opened.__aenter__)())
    finally:
        channel.close()
        with trio.CancelScope(shield=True):
            await trio_asyncio.aio_as_trio(asyncio.sleep)(0)
