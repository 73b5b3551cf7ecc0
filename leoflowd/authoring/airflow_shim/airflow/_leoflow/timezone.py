"""`airflow.utils.timezone` / `airflow.sdk.timezone`, with datetime only."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

utc = dt.timezone.utc
TIMEZONE = utc


def utcnow() -> dt.datetime:
    return dt.datetime.now(utc)


def utc_epoch() -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=utc)


def datetime(*args: Any, **kwargs: Any) -> dt.datetime:
    """Like `datetime.datetime`, in UTC when no zone is given."""
    if kwargs.get("tzinfo") is None and len(args) < 8:
        kwargs["tzinfo"] = utc
    return dt.datetime(*args, **kwargs)


def parse(string: str, timezone: Any = None, *, strict: bool = False) -> dt.datetime:
    """An ISO text as an aware datetime; UTC when the text names no zone."""
    del strict
    value = dt.datetime.fromisoformat(string.strip().replace("Z", "+00:00"))
    return make_aware(value, timezone) if value.tzinfo is None else value


def parse_timezone(name: str | int) -> Any:
    if isinstance(name, int):
        return dt.timezone(dt.timedelta(seconds=name))
    return utc if name.lower() == "utc" else ZoneInfo(name)


def is_localized(value: dt.datetime) -> bool:
    return value.utcoffset() is not None


def is_naive(value: dt.datetime) -> bool:
    return value.utcoffset() is None


def make_aware(value: dt.datetime, timezone: Any = None) -> dt.datetime:
    if is_localized(value):
        raise ValueError(f"make_aware expects a naive datetime, got {value}")
    return value.replace(tzinfo=parse_timezone(timezone) if isinstance(timezone, str) else timezone or utc)


def make_naive(value: dt.datetime, timezone: Any = None) -> dt.datetime:
    return value.astimezone(timezone or utc).replace(tzinfo=None)


def convert_to_utc(value: dt.datetime | None) -> dt.datetime | None:
    if value is None:
        return None
    return make_aware(value) if is_naive(value) else value.astimezone(utc)


def coerce_datetime(value: dt.datetime | None, tz: Any = None) -> dt.datetime | None:
    if value is None:
        return None
    aware = make_aware(value) if is_naive(value) else value
    return aware.astimezone(tz) if tz is not None else aware


def from_timestamp(timestamp: float, tz: Any = utc) -> dt.datetime:
    return dt.datetime.fromtimestamp(timestamp, parse_timezone(tz) if isinstance(tz, str) else tz)
