"""Raw output of a task -> lines of its log file: one JSON object per line, as the log pages of the UI read them.

Pure: `running_try` feeds bytes in and writes what comes out. A line never exceeds `LOG_CHUNK_BYTES`, so that every
chunk of the protocol holds whole lines; there is never a key named `content`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from leoflow_agent.masking import Secrets
from leoflowd.contract.agent_messages import LOG_CHUNK_BYTES

LINE_BYTES = 16 * 1024
"""A longer line of output is split here; a browser draws such a line badly anyway."""
_LONGEST = LOG_CHUNK_BYTES - 1
_STANDARD_KEYS = ("timestamp", "event", "level", "logger")
_encoder = msgspec.json.Encoder()


def timestamp(now: datetime) -> str:
    return now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class LineSplitter:
    """Cuts a byte stream into masked lines; holds back `LINE_BYTES`, or what is needed to recognise a secret."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            yield from _split_long(self._secrets.in_output(line.removesuffix(b"\r")))
        held = max(LINE_BYTES, self._secrets.longest)
        while len(self._rest) > LINE_BYTES + held:
            # A secret that begins before this cut is here as a whole: what is held back is longer than any.
            cut = self._secrets.cut_before(self._rest, _cut_at(self._rest))
            yield from _split_long(self._secrets.in_output(self._rest[:cut]))
            self._rest = self._rest[cut:]

    def end(self) -> Iterator[bytes]:
        """The last line, if it had no newline."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from _split_long(self._secrets.in_output(rest))


def _split_long(line: bytes) -> Iterator[bytes]:
    while len(line) > LINE_BYTES:
        cut = _cut_at(line)
        yield line[:cut]
        line = line[cut:]
    yield line


def _cut_at(line: bytes) -> int:
    """Where to cut a long line: not inside a UTF-8 character (continuation bytes are 10xxxxxx)."""
    cut = LINE_BYTES
    while cut > LINE_BYTES - 4 and line[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut if line[cut] & 0xC0 != 0x80 else LINE_BYTES


def output_line(raw: bytes, *, stream: str, now: datetime) -> bytes:
    """One line of stdout or stderr as log lines (more than one only if JSON escapes blow it up)."""
    event = raw.decode("utf-8", "backslashreplace")
    return record_line(
        {"event": event, "level": "info" if stream == "stdout" else "error", "logger": f"task.{stream}"}, now=now
    )


def record_line(record: dict[str, Any], *, now: datetime) -> bytes:
    """A structured record (of the runner's logging) as log lines, split when too long for one chunk."""
    known = {
        "timestamp": str(record.get("timestamp") or timestamp(now)),
        "event": str(record.get("event", "")),
        "level": str(record.get("level", "info")).lower(),
        "logger": str(record.get("logger", "root")),
    }
    extra = {key: value for key, value in record.items() if key not in _STANDARD_KEYS and key != "content"}
    line = _encoder.encode({**known, **extra}) + b"\n"
    if len(line) <= _LONGEST:
        return line
    # Too long: the facts besides the text are worth less than a bounded line, and an error's text is in the event too.
    return b"".join(_encoder.encode({**known, "event": part}) + b"\n" for part in _parts(known["event"]))


def _parts(event: str) -> Iterator[str]:
    """Pieces whose JSON is safely below the limit: one character is at most 6 bytes as an escape, 4 as UTF-8."""
    size = _LONGEST // 8
    for start in range(0, max(len(event), 1), size):
        yield event[start : start + size]
