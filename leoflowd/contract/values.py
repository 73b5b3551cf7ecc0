"""What may cross a border: the one rule for every text, JSON value, moment and duration that comes from outside.

Two ways to treat what a store or a codec cannot carry. *Checked* values (ids, keys, conf, XComs) are refused with a
sentence (`Invalid`), because a changed one would be another value. *Shown* texts (reasons, exception texts, log lines)
are made storable with `shown`, because refusing a message about a fault would hide the fault.

JSON travels and is stored as text (columns of type `json`, never `jsonb`; `str` in MessagePack): so NUL, integers of
any size and `1e20` come back as they went in. ADR 18. The runner, which knows the standard library only, has the same
limits in `runner/xcom.py`; a unit test compares them.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from leoflowd.contract.errors import Invalid

DEPTH_MAX = 256
"""Levels of nesting in a JSON value: far more than people write, far fewer than Python's stack has frames."""
DIGITS_MAX = 4_000
"""Digits of an integer; Python itself reads no more than 4,300 from text."""
INTEGER_BITS = 63
"""Of a signed 64-bit integer, beside its sign."""
KEY_MAX = 512
"""Characters of an XCom's key, as in Airflow's table."""
CONF_MAX_BYTES = 256 * 1024
"""A run's conf as JSON text: it travels with every try of the run."""
SHOWN_MAX = 2_000
"""Characters of a reason; what is longer belongs in the log."""
INTEGER_MAX = 2**31 - 1
"""PostgreSQL's `integer`."""
EARLIEST, LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""Moments that every time zone can show."""
SECONDS_MAX = 100 * 366 * 86_400.0
"""Longest duration: a hundred years, so that it can be added to any moment that is meant seriously."""

_UNCARRIED = re.compile("[\x00\ud800-\udfff]")
"""What PostgreSQL's `text` (NUL) and UTF-8 (lone surrogates) cannot carry."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLACE_MAX = 200
"""Characters of a place in a value, such as `conf['a'][3]`, in a message."""
_INTEGER_END = 10**DIGITS_MAX


def shown(text: str, limit: int = SHOWN_MAX) -> str:
    r"""The text as everything here can carry it: NUL as `\x00`, a lone surrogate as `\ud800`, cut at `limit`."""
    if _UNCARRIED.search(text):
        text = _UNCARRIED.sub(_escape, text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def shown_value(value: Any) -> Any:
    """A JSON value that only people look at, as a column of type `jsonb` can keep it: every text and key is shown."""
    if isinstance(value, str):
        return shown(value, len(value) * 6)
    if isinstance(value, dict):
        return {shown_value(str(key)): shown_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shown_value(item) for item in value]
    if isinstance(value, int) and value.bit_length() > DIGITS_MAX * 3:
        return f"an integer of more than {DIGITS_MAX} digits"
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def checked_text(text: str, what: str, *, max_length: int, allow_empty: bool = False) -> str:
    """The text itself. Raises `Invalid` naming `what` when it is empty, too long, or holds NUL or a lone surrogate."""
    if not text and not allow_empty:
        raise Invalid(f"{what} is empty")
    if len(text) > max_length:
        raise Invalid(f"{what} has {len(text)} characters; at most {max_length} are possible")
    found = _UNCARRIED.search(text)
    if found is not None:
        raise Invalid(f"{what} holds {_escape(found)} at character {found.start()}, which cannot be stored")
    return text


def checked_name(text: str, what: str, *, max_length: int, location: tuple[str | int, ...] = ()) -> str:
    """A name that people give, and that stands in paths and lists. Raises `Invalid`."""
    try:
        checked_text(text, what, max_length=max_length)
    except Invalid as error:
        raise Invalid(str(error), location=location) from error
    if not text.isprintable() or text != text.strip() or "/" in text or text in (".", ".."):
        because = "has a slash, characters that do not print, or spaces around it, or is only dots"
        raise Invalid(f"{what} {shown(text)!r} {because}", location=location)
    return text


def checked_json(value: Any, what: str) -> Any:
    """The value itself, if JSON carries it exactly. Raises `Invalid` naming `what` and the place in it."""
    _check(value, what, DEPTH_MAX)
    return value


def checked_jsonb(value: Any, what: str) -> Any:
    """The value itself, if a `jsonb` column gives it back unchanged: no NUL, and numbers of 64 bits. Raises `Invalid`.

    Only the artifact is stored so (ADR 18); `jsonb` would give the float 1e20 back as an integer that no one can send.
    """
    _check(value, what, DEPTH_MAX, jsonb=True)
    return value


def json_text(value: Any, what: str, *, max_bytes: int) -> str:
    """The value as JSON text of at most `max_bytes` bytes. Raises `Invalid`."""
    text = msgspec.json.encode(checked_json(value, what)).decode()
    _check_size(text, what, max_bytes)
    return text


def checked_json_text(text: str, what: str, *, max_bytes: int) -> str:
    """The text itself, if it is JSON that everyone here can read. Raises `Invalid`."""
    _check_size(text, what, max_bytes)
    parsed_json(text, what)
    return text


def parsed_json(text: str | bytes, what: str) -> Any:
    """The value of a JSON text, however it came here. Raises `Invalid`."""
    try:
        raw = text.encode() if isinstance(text, str) else text
        value = msgspec.json.decode(raw)
    except RecursionError:
        raise _refusal(what, f"is nested more than {DEPTH_MAX} levels deep") from None
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise _refusal(what, f"is not JSON that can be stored: {error}") from error
    if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX:
        _check(value, what, DEPTH_MAX)
    return value


def shown_json(value: Any) -> str:
    """What only people look at (structs too), as JSON text for a column of type `jsonb`."""
    try:
        text = msgspec.json.encode(value)
    except UnicodeError:
        text = msgspec.json.encode(shown_value(msgspec.to_builtins(value)))
    return (msgspec.json.encode(shown_value(msgspec.json.decode(text))) if rb"\u0000" in text else text).decode()


def conf_text(conf: dict[str, Any]) -> str:
    """A run's conf as JSON text, spaced as people write it: they search in it. Raises `Invalid`."""
    return msgspec.json.format(json_text(conf, "conf", max_bytes=CONF_MAX_BYTES), indent=0)


def checked_integer(number: int, what: str, *, least: int, most: int = INTEGER_MAX) -> int:
    """The number itself. Raises `Invalid` when a column of type `integer` could not hold it, or it makes no sense."""
    if not least <= number <= most:
        raise Invalid(f"{what} is {shown(repr(number), 50)}; it must be between {least} and {most}")
    return number


def byte_size(text: str) -> int:
    """In UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _check_size(text: str, what: str, max_bytes: int) -> None:
    if len(text) > max_bytes or byte_size(text) > max_bytes:
        raise Invalid(f"{what} is larger than {max_bytes} bytes of JSON")


def _check(value: Any, where: str, levels: int, *, jsonb: bool = False) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        _check_carried(value, where)
        if jsonb and "\0" in value:
            raise _refusal(where, "holds NUL, which cannot be stored")
    elif isinstance(value, int):
        if abs(value) >= _INTEGER_END:
            raise _refusal(where, f"is an integer of more than {DIGITS_MAX} digits")
        if jsonb and value.bit_length() > INTEGER_BITS:
            raise _refusal(where, "is an integer beyond 64 bits; write it as a text")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _refusal(where, f"is {value}, which JSON does not have; use null or a text")
        if jsonb and abs(value) >= 2.0**INTEGER_BITS:
            raise _refusal(where, f"is {value}, a number beyond 64 bits; write it as a text")
    elif levels <= 0:
        raise _refusal(where, f"is nested more than {DEPTH_MAX} levels deep")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise _refusal(where, f"has the key {key!r}; JSON has only text as keys")
            if not _is_plain(key):
                _check(key, f"a key of {where}", levels, jsonb=jsonb)
            if not _is_plain(item):
                _check(item, f"{where}[{key!r}]", levels - 1, jsonb=jsonb)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if not _is_plain(item):
                _check(item, f"{where}[{index}]", levels - 1, jsonb=jsonb)
    else:
        raise _refusal(where, f"is a {type(value).__name__}, which JSON does not have")


def _is_plain(value: Any) -> bool:
    """Fine anywhere, and seen at a glance, as most values are: their place then needs no words."""
    kind = type(value)
    if kind is str:
        return value.isascii() and "\0" not in value
    return value is None or kind is bool or (kind is int and value.bit_length() <= INTEGER_BITS)


def _check_carried(text: str, where: str) -> None:
    """NUL passes: JSON text carries it escaped."""
    if not text.isascii() and (found := _SURROGATE.search(text)):
        raise _refusal(where, f"holds the lone surrogate {_escape(found)}, which UTF-8 cannot carry")


def _refusal(where: str, why: str) -> Invalid:
    return Invalid(f"{shown(where, _PLACE_MAX)} {why}")


def checked_moment(moment: datetime, what: str) -> datetime:
    """The moment in UTC. Raises `Invalid` when it is naive, or so near to the ends of time that a zone leaves them."""
    if moment.tzinfo is None:
        raise Invalid(f"{what} has no time zone")
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        moment = LATEST + timedelta(days=1)
    if not EARLIEST <= moment <= LATEST:
        raise Invalid(f"{what} is not between {EARLIEST.date()} and {LATEST.date()}")
    return moment


def later(moment: datetime, seconds: float) -> datetime:
    """`moment` plus `seconds`, never beyond `EARLIEST` and `LATEST`: a deadline that no one lives to see is none."""
    try:
        return min(max(moment + timedelta(seconds=seconds), EARLIEST), LATEST)
    except OverflowError:
        return LATEST if seconds > 0 else EARLIEST
