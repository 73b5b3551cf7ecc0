"""Python's `logging` and `warnings` of the task -> structured records for the agent; errors with their frames.

The shape is what the log pages of Airflow's UI draw: `error_detail` is a list of errors, each with `frames`.
"""

# mypy: disable-error-code="explicit-override"
# `typing.override` may be newer than the author's interpreter.

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from datetime import datetime, timezone
from typing import Any

from . import limits
from .control import Control

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MOST_FRAMES = 60
_MOST_ERRORS = 20
_TEXT_LENGTH = 4000
_EVENT_LENGTH = 256 * 1024


class ControlHandler(logging.Handler):
    def __init__(self, control: Control) -> None:
        super().__init__()
        self._control = control

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
            if not self._control.is_usable:
                # A child that user code forked: its stderr is a pipe to the agent as well.
                sys.stderr.write(f"{record.levelname} {record.name}: {message}\n")
                return
            line: dict[str, Any] = {
                "timestamp": _timestamp(record.created),
                "event": clean(message)[:_EVENT_LENGTH],
                "level": clean(record.levelname.lower()),
                "logger": clean(record.name),
            }
            if record.exc_info and record.exc_info[1] is not None:
                line["error_detail"] = describe_error(record.exc_info[1])
            with contextlib.suppress(Exception):  # the task may have closed or replaced it
                sys.stdout.flush()
            self._control.send({"log": line})
        except Exception:  # noqa: BLE001  logging must not break the task; Python's own handlers do the same
            with contextlib.suppress(Exception):  # it writes to sys.stderr, which the task may have closed as well
                self.handleError(record)


def set_up_logging(control: Control) -> None:
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(ControlHandler(control))
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)


def _timestamp(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def clean(text: str) -> str:
    """Text that everything can carry: lone surrogates (file names) and NUL become escapes."""
    return limits.shown(text, len(text) * 6)


def describe_error(error: BaseException) -> list[dict[str, Any]]:
    """The error, then what caused it, and so on; groups carry their members."""
    described: list[dict[str, Any]] = []
    seen: set[int] = set()
    current: BaseException | None = error
    is_cause = False
    while current is not None and id(current) not in seen and len(described) < _MOST_ERRORS:
        seen.add(id(current))
        described.append(_describe_one(current, is_cause=is_cause))
        is_cause = current.__cause__ is not None
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return described


def _describe_one(error: BaseException, *, is_cause: bool) -> dict[str, Any]:
    members = getattr(error, "exceptions", None)
    is_group = isinstance(members, tuple) and all(isinstance(member, BaseException) for member in members)
    return {
        "exc_type": type(error).__name__,
        "exc_value": safe_text(error),
        "exc_notes": [clean(str(note))[:_TEXT_LENGTH] for note in getattr(error, "__notes__", ())],
        "syntax_error": _syntax_error(error),
        "is_cause": is_cause,
        "frames": _frames(error),
        "is_group": is_group,
        "exceptions": [describe_error(member) for member in members[:_MOST_ERRORS]] if is_group and members else [],
    }


def _syntax_error(error: BaseException) -> dict[str, Any] | None:
    if not isinstance(error, SyntaxError):
        return None
    return {
        "offset": error.offset or 0,
        "filename": clean(str(error.filename or "?")),
        "line": clean(error.text or ""),
        "lineno": error.lineno or 0,
        "msg": clean(error.msg),
    }


def _frames(error: BaseException) -> list[dict[str, Any]]:
    """Innermost last, without ours at the outer end; of a very deep stack both ends."""
    frames = [
        {"filename": clean(frame.f_code.co_filename), "lineno": line, "name": clean(frame.f_code.co_name)}
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    outer = 0
    while outer < len(frames) and str(frames[outer]["filename"]).startswith(_OURS):
        outer += 1
    frames = frames[outer:]
    if len(frames) > _MOST_FRAMES:
        frames = frames[: _MOST_FRAMES // 2] + frames[-_MOST_FRAMES // 2 :]
    return frames


def safe_text(error: BaseException) -> str:
    """`str(error)`, cut; an error whose `__str__` fails is no reason to lose the error."""
    try:
        return clean(str(error))[:_TEXT_LENGTH]
    except Exception:  # noqa: BLE001  user code
        return "<its text cannot be shown>"
