"""Spans, and the bytes in which OTLP carries them: `ExportTraceServiceRequest` of opentelemetry-proto 1. ADR 82.

Written out here because it is six small messages: the SDK would cost a thread, its packages, and several times the CPU.
A test decodes it with the published protocol. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec

Attribute = str | int | bool
ERROR = 2
"""`Status.code`; a span without it ended well."""
INTERNAL = 1
"""`SpanKind`."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """`trace_id` has 16 bytes, the ids of spans 8; `parent_id` empty: the first of its trace."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes = b""
    name: str
    start: datetime
    end: datetime
    attributes: Mapping[str, Attribute] = {}
    error: str | None = None
    """What went wrong, as a sentence."""


def encode(spans: Iterable[Span], resource: Mapping[str, str], *, scope: str, version: str) -> bytes:
    """One request with all of them."""
    head = _field(1, _text(1, scope) + _text(2, version))
    body = head + b"".join(_field(2, _span(span)) for span in spans)
    of = _field(1, b"".join(_attribute(1, name, value) for name, value in resource.items()))
    return _field(1, of + _field(2, body))


def _span(span: Span) -> bytes:
    parts = [
        _field(1, span.trace_id),
        _field(2, span.span_id),
        _field(4, span.parent_id) if span.parent_id else b"",
        _text(5, span.name),
        _number(6, INTERNAL),
        _moment(7, span.start),
        _moment(8, max(span.start, span.end)),  # two clocks may have told them
        *(_attribute(9, name, value) for name, value in span.attributes.items()),
    ]
    if span.error is not None:
        parts.append(_field(15, _text(2, span.error) + _number(3, ERROR)))
    return b"".join(parts)


def _attribute(number: int, name: str, value: Attribute) -> bytes:
    match value:
        case bool():
            found = _number(2, int(value))
        case int():
            found = _number(3, value)
        case _:
            found = _text(1, value)
    return _field(number, _text(1, name) + _field(2, found))


def _moment(number: int, at: datetime) -> bytes:
    """fixed64, nanoseconds."""
    since = at - _EPOCH
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return _varint(number << 3 | 1) + struct.pack("<Q", max(0, microseconds) * 1000)


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode(errors="replace"))


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
