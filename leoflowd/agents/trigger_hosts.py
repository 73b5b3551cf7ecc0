"""The stream of a trigger host that is a pod: bytes go to whoever wants the host, and come from there (ADR 65).

Asyncio, as `service` calls it. Nothing of what host and daemon say to each other is understood here.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import trio
import trio_asyncio
from grpclib import GRPCError, Status

from leoflowd.agents.streams import AgentStream, NotUnderstood
from leoflowd.contract import agent_messages as m

PIECE_BYTES = 64 * 1024


class TriggerHosts(Protocol):
    """`cheap_tasks.trigger_host_pod.PodHosts`."""

    def connect(self, host_id: str) -> trio.SocketStream | None:
        """The other end of the line to this host, once; None: nobody here wants it."""

    def exited(self, host_id: str, end: m.TriggerHostExit) -> None:
        """Before its socket is closed."""


async def serve_trigger_host(stream: AgentStream, host_id: str, hosts: TriggerHosts | None) -> None:
    """Until either side has ended. Raises `GRPCError`: the host is another daemon's, or nobody's any more."""
    line = None if hosts is None else hosts.connect(host_id)
    if hosts is None or line is None:
        raise GRPCError(Status.NOT_FOUND, "this daemon wants no such trigger host; another one may")
    try:
        await stream.send(m.TriggerHostWelcome(protocol=stream.protocol))
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(_tell(stream, line))
            hearing = group.create_task(_hear(stream, line, host_id, hosts))
            await asyncio.wait((telling, hearing), return_when=asyncio.FIRST_COMPLETED)
            telling.cancel()
            hearing.cancel()
    finally:
        line.socket.close()


async def _hear(stream: AgentStream, line: trio.SocketStream, host_id: str, hosts: TriggerHosts) -> None:
    while (message := await stream.receive()) is not None:
        match message:
            case m.TriggerHostOutput():
                try:
                    await trio_asyncio.trio_as_aio(line.send_all)(message.content)
                except trio.BrokenResourceError:
                    return  # nobody wants it any more
            case m.TriggerHostExit():
                hosts.exited(host_id, message)
                return
            case _:
                raise NotUnderstood("TriggerHostHello is the first message of TriggerHost only")


async def _tell(stream: AgentStream, line: trio.SocketStream) -> None:
    while piece := await trio_asyncio.trio_as_aio(line.receive_some)(PIECE_BYTES):
        await stream.send(m.TriggerHostInput(content=piece))
