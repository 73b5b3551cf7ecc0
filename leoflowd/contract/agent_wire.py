"""The MessagePack codec that both ends of the agent protocol give to grpclib (ADR 0004).

`agents/` (server) and `leoflow_agent` (client) pass the unions of `agent_messages` as grpclib's message types:
`Attach` is `FromHost` in, `ToHost` out; `Try` is `FromTry` in, `ToTry` out. This module knows no message by name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, get_args

import msgspec
from grpclib.encoding.base import CodecBase

from leoflowd.contract.overriding import override

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""A larger message is refused on both sides: a spec with all its XComs is the largest that we send."""

_encoder = msgspec.msgpack.Encoder()


@lru_cache(maxsize=32)
def _decoder(message_type: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(message_type)


class Unknown(msgspec.Struct, frozen=True):
    """A message of a kind that is not in the union: a newer neighbour's. Whoever gets one goes on without it."""

    kind: str
    request_id: int | None = None
    """Of a question, or of the answer to one."""


class _Head(msgspec.Struct, frozen=True):
    """What every message has, and what those of questions and answers have."""

    type: str
    request_id: int | None = None


_head_decoder = msgspec.msgpack.Decoder(_Head)


class MessageTooLarge(ValueError):
    """The message is larger than `MAX_MESSAGE_BYTES`; it was neither sent nor read."""


class MsgpackCodec(CodecBase):
    """One message of a union <-> MessagePack. A body of another kind is `Unknown`; one that does not fit its kind
    raises `msgspec.ValidationError`."""

    __content_subtype__ = "msgpack"

    @override
    def encode(self, message: Any, message_type: Any) -> bytes:
        return _refuse_too_large(_encoder.encode(message))

    @override
    def decode(self, data: bytes, message_type: Any) -> Any:
        try:
            return _decoder(message_type).decode(_refuse_too_large(data))
        except msgspec.ValidationError:
            head = _head_of(data)
            if head is None or head.type in _kinds(message_type):
                raise
            return Unknown(head.type, head.request_id)


def _head_of(data: bytes) -> _Head | None:
    try:
        return _head_decoder.decode(data)
    except msgspec.MsgspecError:
        return None


@lru_cache(maxsize=32)
def _kinds(message_type: Any) -> frozenset[str]:
    return frozenset(member.__name__ for member in get_args(message_type) or (message_type,))


def fault_of(message: Any, *, room: int = 0) -> str | None:
    """Why this message cannot be sent, as a sentence for people; None when it can.

    Whoever builds a message from what people or tasks gave asks this first: a stream that fails while it sends takes
    everything behind it along. `room` bytes are left for what is added later.
    """
    try:
        size = len(_encoder.encode(message))
    except (OverflowError, UnicodeError, ValueError, TypeError) as error:
        return f"it cannot be sent: {error}"
    if size > MAX_MESSAGE_BYTES - room:
        return f"it takes {size} bytes, and a message has {MAX_MESSAGE_BYTES - room} at most"
    return None


def _refuse_too_large(body: bytes) -> bytes:
    if len(body) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(f"a message of {len(body)} bytes is over the limit of {MAX_MESSAGE_BYTES} bytes")
    return body
