"""Which lines of a log hold a text. Pure: whoever reads the logs calls `search` for one piece of NDJSON after another.

A log is read for one line in a thousand: a piece is first looked at as bytes, and decoded where that finds something.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from leoflowd.contract.values import shown

TEXT_MAX = 200
SHOWN_BEFORE, SHOWN_AFTER = 100, 300
"""Characters of a line around the text that are shown."""
BETWEEN = ": "
"""The kind of an error and its message, which are two values in the log."""
_PLAIN = re.compile(r"[ !#-\[\]-~]+")
"""ASCII that JSON writes as it is."""


class FoundLine(msgspec.Struct, frozen=True):
    timestamp: str | None
    level: str | None
    text: str


class Found(msgspec.Struct, frozen=True):
    lines: tuple[FoundLine, ...]
    end: int
    """How much of the piece was looked at: whole lines, or all of it where one is longer."""


class _Error(msgspec.Struct, frozen=True):
    exc_type: Any = ""
    exc_value: Any = ""


class _Line(msgspec.Struct, frozen=True):
    event: Any = ""
    level: Any = None
    timestamp: Any = None
    error_detail: list[_Error] | None = None


class Wanted:
    """A text to look for; small letters and capitals are the same."""

    def __init__(self, text: str) -> None:
        self._text = text.lower()
        plain = (part for run in _PLAIN.findall(text) for part in run.split(BETWEEN))
        self._hint = max(plain, key=len, default="").lower().encode()
        """In the bytes of every line that holds the text, whatever JSON makes of its other characters."""

    def search(self, content: bytes, most: int) -> Found:
        """The first `most` lines of a piece that begins with a line."""
        end = content.rfind(b"\n") + 1 or len(content)
        if self._hint not in content.lower():
            return Found((), end)
        found: list[FoundLine] = []
        at = 0
        for line in content[:end].splitlines(keepends=True):
            at += len(line)
            if self._hint in line.lower() and (seen := self.in_line(line)) is not None:
                found.append(seen)
                if len(found) == most:
                    break
        return Found(tuple(found), at)

    def in_line(self, line: bytes) -> FoundLine | None:
        """Its message, or an error of it, around the text. What a task wrote with its own hands may be no JSON."""
        try:
            read = msgspec.json.decode(line, type=_Line)
        except (msgspec.DecodeError, UnicodeError):
            read = _Line(event=line.decode("utf-8", "replace").rstrip())
        errors = (f"{error.exc_type}{BETWEEN}{error.exc_value}" for error in read.error_detail or ())
        for text in (_text(read.event), *errors):
            at = text.lower().find(self._text)
            if at >= 0:
                return FoundLine(_name(read.timestamp), _name(read.level), self._around(text, at))
        return None

    def _around(self, text: str, at: int) -> str:
        begin, end = max(0, at - SHOWN_BEFORE), at + len(self._text) + SHOWN_AFTER
        return f"{'... ' if begin else ''}{shown(text[begin:end])}{' ...' if end < len(text) else ''}"


def _text(event: Any) -> str:
    return event if isinstance(event, str) else msgspec.json.encode(event).decode()


def _name(value: Any) -> str | None:
    return shown(value, 40) if isinstance(value, str) else None
