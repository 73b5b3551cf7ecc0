"""One gRPC stream of an agent, with limits: what comes is a message or ends the stream with a status.

Asyncio. `service` reads and writes through it; grpclib logs a traceback for anything but `GRPCError`, and reads a
message of any size into memory before a codec sees it, so neither is left to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from grpclib import GRPCError, Status
from grpclib.server import Stream

from leoflowd.contract import agent_messages as m
from leoflowd.contract.agent_wire import MAX_MESSAGE_BYTES, MsgpackCodec, Unknown
from leoflowd.contract.values import shown

SEND_WITHIN_S = 30.0
"""An agent that does not take a message for so long is frozen, or reads nothing on purpose."""
KIND_MAX = 100
"""Characters of the name of a message that we do not know."""
_HEAD_BYTES = 5
"""gRPC's frame: one byte of flags, four of length."""
UNSENDABLE = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)
"""What a codec raises about a message before any byte of it is sent: the stream is as it was."""


class NotUnderstood(GRPCError):
    """The agent sent what is no message of this stream."""

    def __init__(self, why: str) -> None:
        super().__init__(Status.INVALID_ARGUMENT, why)


class AgentStream:
    """`heard` is called for every message, whatever it is, `unknown` with the kind of one that is of a newer release.

    `protocol` is what both sides speak, once the agent has said hello.
    """

    def __init__(
        self, stream: Stream[Any, Any], receives: Any, *, silence_max_s: float, unknown: Callable[[str], None]
    ) -> None:
        self.protocol = 1
        self._unknown = unknown
        self.heard: Callable[[], None] = lambda: None
        self._stream = stream
        self._receives = receives
        self._silence_max_s = silence_max_s
        self._codec = MsgpackCodec()
        self._writing = asyncio.Lock()

    async def receive(self) -> Any:
        """The next message that we know; None when the agent has ended its side. Raises `GRPCError`."""
        while isinstance(message := await self._receive(), Unknown):
            await self._pass_over(message)
        return message

    async def _pass_over(self, message: Unknown) -> None:
        """The task that asks is told why it gets no answer."""
        kind = shown(message.kind, KIND_MAX)
        self._unknown(kind)
        if message.request_id is not None:
            because = f"the daemon is of an older release than the agent and does not know the question {kind}"
            await self.send(m.Refused(request_id=message.request_id, refused=because))

    async def _receive(self) -> Any:
        try:
            async with asyncio.timeout(self._silence_max_s):
                message = await self._read()
        except TimeoutError:
            raise GRPCError(
                Status.DEADLINE_EXCEEDED, f"no message came for {self._silence_max_s:g} s; come again"
            ) from None
        self.heard()
        return message

    async def _read(self) -> Any:
        http2 = self._stream._stream  # noqa: SLF001  # grpclib's own `recv_message` has no limit
        try:
            head = await http2.recv_data(_HEAD_BYTES)
            if not head:
                return None
            size = int.from_bytes(head[1:], "big")
            if head[0] or size > MAX_MESSAGE_BYTES:
                raise NotUnderstood(f"a message is compressed or larger than {MAX_MESSAGE_BYTES} bytes")
            return self._codec.decode(await http2.recv_data(size), self._receives)
        except (AssertionError, *UNSENDABLE) as error:  # grpclib asserts that nothing is cut off
            raise NotUnderstood(f"this is no message of this stream: {error}") from error

    async def send(self, message: Any) -> None:
        """One message at a time, and none that the agent does not know. Raises one of `UNSENDABLE` if it cannot be
        encoded, `GRPCError` if nobody takes it."""
        if not m.is_known_to(message, self.protocol):
            return
        try:
            async with asyncio.timeout(SEND_WITHIN_S), self._writing:
                await self._stream.send_message(message)
        except TimeoutError:
            raise GRPCError(Status.DEADLINE_EXCEEDED, f"a message was not taken within {SEND_WITHIN_S:g} s") from None
