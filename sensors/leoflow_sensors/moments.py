"""Moments and time zones as probes write them: ISO texts and zone names."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")


def parse_moment(text: str) -> datetime:
    """An ISO text as a moment in UTC; without a zone it is UTC, without a time midnight (Airflow's `timezone.parse`).

    Raises ValueError.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no moment that we understand; write it as ISO 8601 does, e.g. 2026-11-21T09:30:00+01:00"
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_zone(name: str) -> tzinfo:
    """An IANA zone, `UTC`, or an offset like `+02:00`: what a DAG's `timezone` may be. Raises ValueError."""
    if name.upper() == "UTC":
        return UTC
    offset = _OFFSET.fullmatch(name)
    if offset:
        distance = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(distance if offset[1] == "+" else -distance)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"time zone {name!r} is unknown; write an IANA name like Europe/Zurich, or +02:00") from error
