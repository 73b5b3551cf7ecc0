"""What may leave a task: the rule of `leoflowd.contract.values` with the standard library alone.

A value that JSON cannot carry exactly is refused where the task can still be told (`check`); texts about faults are
made storable (`shown`, `shown_value`). A unit test gives both modules the same values, and compares their figures.
"""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timezone
from typing import Any

DEPTH_MAX = 256
DIGITS_MAX = 4_000
KEY_MAX = 512
SHOWN_MAX = 2_000
CONF_MAX_BYTES = 256 * 1024
XCOM_MAX_BYTES = 256 * 1024
"""`leoflowd.contract.agent_messages.XCOM_MAX_BYTES`."""
QUESTION_MAX_BYTES = 900 * 1024
"""Far below what a message to the daemon may hold."""
OUTCOME_MAX_BYTES = 8 * 1024 * 1024
"""All XComs of one return value: half of what a message to the daemon may hold."""

EARLIEST, LATEST = datetime(1, 1, 2, tzinfo=timezone.utc), datetime(9999, 12, 30, tzinfo=timezone.utc)
"""Moments that every time zone can show, and so every reader."""

_UNCARRIED = re.compile("[\x00\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLACE_MAX = 200
_INTEGER_END = 10**DIGITS_MAX


class NotSerializable(TypeError):
    """JSON cannot carry the value exactly, or nobody beyond this process can store it."""


class TooLarge(ValueError):
    """The value is larger than it may be."""


def shown(text: str, limit: int = SHOWN_MAX) -> str:
    r"""The text as everything can carry it: NUL as `\x00`, a lone surrogate as `\ud800`, cut at `limit`."""
    if _UNCARRIED.search(text):
        text = _UNCARRIED.sub(_escape, text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def shown_value(value: Any, levels: int = DEPTH_MAX // 2) -> Any:
    """JSON that only people look at, made storable: nothing in it is refused."""
    if isinstance(value, str):
        return shown(value, len(value) * 6)
    if isinstance(value, (dict, list, tuple)) and levels <= 0:
        return "…"
    if isinstance(value, dict):
        return {shown_value(str(key)): shown_value(item, levels - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown_value(item, levels - 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) >= _INTEGER_END:
        return f"an integer of more than {DIGITS_MAX} digits"
    return value


def check(value: Any, where: str, levels: int = DEPTH_MAX) -> Any:
    """The value itself, if it is JSON that comes back exactly. Raises `NotSerializable` naming the place in it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        _check_carried(value, where)
    elif isinstance(value, int):
        if abs(value) >= _INTEGER_END:
            raise _refusal(where, f"is an integer of more than {DIGITS_MAX} digits; push it as text")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _refusal(where, f"is {value!r}, which JSON cannot carry; use None or text instead")
    elif levels <= 0:
        raise _refusal(where, f"is nested more than {DEPTH_MAX} levels deep")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise _refusal(where, f"has the key {key!r}; JSON has only text keys, use str(key)")
            _check_carried(key, f"a key of {where}")
            check(item, f"{where}[{key!r}]", levels - 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            check(item, f"{where}[{index}]", levels - 1)
    else:
        raise _refusal(where, f"is a {type(value).__name__}, which JSON does not have")
    return value


def _check_carried(text: str, where: str) -> None:
    """NUL passes: JSON text carries it escaped."""
    if not text.isascii() and (found := _SURROGATE.search(text)):
        raise _refusal(where, f"holds the lone surrogate {_escape(found)}, which no text that is stored may hold")


def json_text(value: Any, what: str, *, max_bytes: int = XCOM_MAX_BYTES) -> str:
    """The value as JSON text of at most `max_bytes` bytes. Raises `NotSerializable` and `TooLarge`."""
    text = json.dumps(check(value, what), ensure_ascii=False)  # people read it in the UI
    size = len(text.encode())
    if size > max_bytes:
        raise TooLarge(
            f"{what} is {size} bytes of JSON, more than the limit of {max_bytes} bytes; "
            "store the data in a file, a bucket or a table, and return its path"
        )
    return text


_pushed = {"max_bytes": XCOM_MAX_BYTES}
"""Of this process, which is one try."""


def take_xcoms_of(max_bytes: int | None) -> None:
    """What the daemon takes, where it takes more than `XCOM_MAX_BYTES`."""
    _pushed["max_bytes"] = max_bytes or XCOM_MAX_BYTES


def xcom_text(value: Any, what: str) -> str:
    """What is pushed, as `json_text` has it."""
    try:
        return json_text(value, what, max_bytes=_pushed["max_bytes"])
    except TooLarge as error:
        more = "LEOFLOW_XCOMS_LARGE_MAX_BYTES" if _pushed["max_bytes"] > XCOM_MAX_BYTES else "LEOFLOW_XCOMS_LARGE_URL"
        raise TooLarge(f"{error}; or have the operator raise the limit ({more})") from error


def checked_key(key: Any) -> str:
    """The key of an XCom itself. Raises `NotSerializable`."""
    if not isinstance(key, str):
        raise NotSerializable(f"the key of an XCom must be text; {_short(key)} is of type {type(key).__name__}")
    if not 0 < len(key) <= KEY_MAX:
        raise NotSerializable(f"the key of an XCom must have 1 to {KEY_MAX} characters; {_short(key)} has {len(key)}")
    found = _UNCARRIED.search(key)
    if found is not None:
        raise NotSerializable(f"the key {_short(key)} of an XCom holds {_escape(found)}, which cannot be stored")
    return key


def _short(value: Any) -> str:
    return shown(repr(value), 60)


def _refusal(where: str, why: str) -> NotSerializable:
    return NotSerializable(f"{shown(where, _PLACE_MAX)} {why}")
