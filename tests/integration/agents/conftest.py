"""The agent service on its socket, with the real scheduler and Postgres behind it, and the test as the agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio_asyncio
from grpclib import GRPCError
from grpclib.client import Channel, StreamStreamMethod
from grpclib.exceptions import StreamTerminatedError

from leoflowd.agents.service import AgentService, Door
from leoflowd.contract import agent_messages as m
from leoflowd.contract.agent_wire import MsgpackCodec
from leoflowd.core.try_tokens import try_token
from leoflowd.executors.launches import Launches
from leoflowd.store.database import Database
from leoflowd.store.hints import Hint
from leoflowd.store.log_files import LogFiles
from tests.conftest import PATIENCE_S
from tests.integration.scheduler.conftest import World, utc_now

SECRET = b"s" * 32
HOST_TOKEN = "host-token"
REFUSED = (GRPCError, StreamTerminatedError)
"""grpclib answers with a status and resets the stream; which of the two the client sees first is a race."""


class Agent:
    """One stream, spoken from Trio."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def say(self, message: Any) -> None:
        await trio_asyncio.aio_as_trio(self._stream.send_message)(message)

    async def say_bytes(self, frame: bytes) -> None:
        """What no codec would send."""
        await trio_asyncio.aio_as_trio(self._stream._stream.send_data)(frame)

    async def hear(self) -> Any:
        with trio.fail_after(PATIENCE_S):
            return await trio_asyncio.aio_as_trio(self._stream.recv_message)()


class Service:
    def __init__(
        self,
        world: World,
        service: AgentService,
        socket: Path,
        hints: Any,
        launches: Launches,
        logs: Path,
        refused: list[tuple[str, str, str]],
    ) -> None:
        self.world = world
        self.service = service
        self.hints = hints
        self.launches = launches
        self.logs = logs
        self.refused = refused
        """What the service refused: try id, kind, reason."""
        self.socket = socket

    @asynccontextmanager
    async def stream(self, method: str, out: Any, back: Any) -> AsyncIterator[Agent]:
        channel = Channel(path=str(self.socket), codec=MsgpackCodec())
        opened = StreamStreamMethod(channel, method, out, back).open()
        stream = await trio_asyncio.aio_as_trio(opened.__aenter__)()
        try:
            yield Agent(stream)
        finally:
            channel.close()
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()  # the transport closes itself on the loop's next turn
                await trio_asyncio.aio_as_trio(asyncio.sleep)(0)

    @asynccontextmanager
    async def a_try(self, try_id: str, token: str | None = None, **hello: Any) -> AsyncIterator[Agent]:
        async with self.stream(m.TRY, m.FromTry, m.ToTry) as agent:
            said = m.TryHello(
                try_id=try_id,
                token=token or try_token(SECRET, try_id),
                **{"hostname": "host", "pid": 7, "protocol": m.PROTOCOL, **hello},
            )
            await agent.say(said)
            yield agent


@pytest.fixture
async def service(database: Database, tmp_path: Path) -> AsyncIterator[Service]:
    async with serve_agents(database, tmp_path) as service:
        yield service


@asynccontextmanager
async def serve_agents(database: Database, tmp_path: Path, door: Door | None = None) -> AsyncIterator[Service]:
    world = World(database)
    hints_in, hints_out = trio.open_memory_channel[Hint](10)
    launches = Launches()
    refused: list[tuple[str, str, str]] = []
    socket = tmp_path / "agents.sock"
    agents = AgentService(
        db=database,
        logs=LogFiles(tmp_path / "logs"),
        reports=world.inbox,
        launches=launches,
        refuse=lambda try_id, kind, because: refused.append((try_id, kind, because)),
        hints=hints_out,
        socket=socket,
        try_secret=SECRET,
        host_token=HOST_TOKEN,
        launcher="",
        now=utc_now,
        door=door,
    )
    async with trio_asyncio.open_loop(), trio.open_nursery() as nursery, world.leading():
        await nursery.start(agents.run)
        yield Service(world, agents, socket, hints_in, launches, tmp_path / "logs", refused)
        nursery.cancel_scope.cancel()


def outcome(**fields: Any) -> m.Outcome:
    base: dict[str, Any] = {
        "kind": m.OutcomeKind.SUCCESS,
        "because": "done",
        "start_date": utc_now(),
        "end_date": utc_now(),
    }
    return m.Outcome(**{**base, **fields})
