"""gRPC connections to the daemon: where it is, how streams are opened, how long to wait between attempts."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from grpclib.client import Channel, Stream, StreamStreamMethod
from grpclib.config import Configuration
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from leoflow_agent.reports import fields
from leoflowd.contract import agent_messages as messages
from leoflowd.contract.agent_wire import MsgpackCodec, Unknown
from leoflowd.contract.overriding import override

log = logging.getLogger(__name__)

DISCONNECTED = (GRPCError, StreamTerminatedError, ConnectionError, OSError, TimeoutError, asyncio.IncompleteReadError)
"""What a stream raises when the daemon is away, restarts, or refuses; the answer to all of them is to come back."""
_STREAMS_PER_CONNECTION = 64
"""h2 refuses more than 100 streams on one connection, and a refused stream would wait for another try to end."""
_LEAVE_WITHIN_S = 2.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A Unix socket (Lite) or host and port (pods)."""

    path: str | None = None
    host: str | None = None
    port: int | None = None
    ca_file: str | None = None
    """Certificate authority of the daemon; None is plain text, for loopback and meshes only."""
    ca: str | None = None
    """The same as PEM text."""
    tls_name: str | None = None
    """The name in its certificate; None: the host."""


def parse_address(
    text: str, *, ca_file: str | None = None, ca: str | None = None, tls_name: str | None = None
) -> Address:
    """`unix:/path`, `/path` or `host:port`."""
    if text.startswith(("unix:", "/")):
        return Address(path=text.removeprefix("unix:"))
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError(f"{text!r} is no address; give host:port or unix:/path")
    return Address(host=host.strip("[]"), port=int(port), ca_file=ca_file, ca=ca, tls_name=tls_name)


class Unreadable(msgspec.Struct, frozen=True):
    """A message that does not fit its type, as far as it could be read: the stream goes on after it."""

    content: Any
    """The decoded fields, or None."""
    because: str


class _TolerantCodec(MsgpackCodec):
    """One message that cannot be read is one message's fault; grpclib would end the stream for it."""

    @override
    def decode(self, data: bytes, message_type: Any) -> Any:
        try:
            message = super().decode(data, message_type)
        except (ValueError, RecursionError) as error:
            return Unreadable(_content(data), f"the agent cannot read this message of the daemon: {error}")
        if isinstance(message, Unknown):
            _note_unknown(message.kind)
        return message


def _note_unknown(kind: str) -> None:
    """Once for each kind: a daemon of a newer release says it again and again."""
    if kind not in _noted and len(_noted) < 100:
        _noted.add(kind)
        log.info("daemon_message_unknown", extra=fields(kind=kind[:100], because="the daemon is of a newer release"))


_noted: set[str] = set()


def _content(data: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(data)
    except (ValueError, RecursionError):
        return None


class Connections:
    """As many HTTP/2 connections as the streams need; grpclib reconnects them by itself."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._streams: dict[Channel, int] = {}

    @asynccontextmanager
    async def open_try(self) -> AsyncIterator[Stream[messages.FromTry, messages.ToTry]]:
        async with self._open(messages.TRY, messages.FromTry, messages.ToTry) as stream:
            yield stream

    @asynccontextmanager
    async def open_trigger_host(self) -> AsyncIterator[Stream[messages.FromTriggerHost, messages.ToTriggerHost]]:
        async with self._open(messages.TRIGGER_HOST, messages.FromTriggerHost, messages.ToTriggerHost) as stream:
            yield stream

    @asynccontextmanager
    async def open_attach(self) -> AsyncIterator[Stream[messages.FromHost, messages.ToHost]]:
        async with self._open(messages.ATTACH, messages.FromHost, messages.ToHost) as stream:
            yield stream

    @asynccontextmanager
    async def _open(self, method: str, sends: Any, receives: Any) -> AsyncIterator[Any]:
        channel = self._least_used()
        self._streams[channel] += 1
        try:
            async with StreamStreamMethod(channel, method, sends, receives).open() as stream:
                try:
                    yield stream
                    await _leave(stream)
                except BaseException:
                    await _reset(stream)
                    raise
        finally:
            self._streams[channel] -= 1

    def _least_used(self) -> Channel:
        for channel, count in self._streams.items():
            if count < _STREAMS_PER_CONNECTION:
                return channel
        channel = self._new_channel()
        self._streams[channel] = 0
        return channel

    def _new_channel(self) -> Channel:
        address = self._address
        if address.path is not None:
            return Channel(path=address.path, codec=_TolerantCodec())
        # A peer that vanished without a word is noticed by pings; on one machine the kernel tells.
        config = Configuration(_keepalive_time=30.0, _keepalive_timeout=20.0, ssl_target_name_override=address.tls_name)
        is_tls = address.ca_file or address.ca
        tls = ssl.create_default_context(cafile=address.ca_file, cadata=address.ca) if is_tls else None
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        return Channel(address.host, address.port, codec=_TolerantCodec(), ssl=tls, config=config)

    def close(self) -> None:
        for channel in self._streams:
            channel.close()


async def _leave(stream: Stream[Any, Any]) -> None:
    """End our half and let the daemon end its own, so that its last steps are not cut off."""
    try:
        async with asyncio.timeout(_LEAVE_WITHIN_S):
            await stream.end()
            while await stream.recv_message() is not None:
                pass
    except (*DISCONNECTED, ProtocolError):
        await _reset(stream)


async def _reset(stream: Stream[Any, Any]) -> None:
    try:
        await stream.cancel()
    except (*DISCONNECTED, ProtocolError):
        return


def pauses() -> Iterator[float]:
    """Seconds between attempts to reach the daemon: short at first, because a restart is short."""
    pause = _FIRST_PAUSE_S
    while True:
        yield pause
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def check_protocol(daemon: int) -> None:
    """Raises `ConnectionError` with a sentence when the daemon is more than one release away."""
    fault = messages.distance_fault(agent=messages.PROTOCOL, daemon=daemon)
    if fault is not None:
        raise ConnectionError(fault)
