"""Moments and durations as people say them: "in 5 h 25 min, 14:00 UTC". Pure; every sentence of `explain` uses it."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_SECONDS_MATTER_S = 600
"""A moment nearer than this is told to the second."""


def span(seconds: float) -> str:
    """The two largest units that are not zero next to each other: `5 h 25 min`, `2 d`, `40 s`."""
    left = max(0, round(seconds))
    position = next((i for i, (size, _) in enumerate(_UNITS) if left >= size), len(_UNITS) - 1)
    parts: list[str] = []
    for size, unit in _UNITS[position : position + 2]:
        count, left = divmod(left, size)
        if count or not parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts)


def when(moment: datetime, now: datetime) -> str:
    """`in 5 h 25 min, 14:00 UTC`, or `5 min ago, ...`; with its date when it is not of today."""
    moment, today = moment.astimezone(UTC), now.astimezone(UTC).date()
    seconds = (moment - now).total_seconds()
    clock = f"{moment:%H:%M:%S}" if moment.second or abs(seconds) < _SECONDS_MATTER_S else f"{moment:%H:%M}"
    day = "" if moment.date() == today else f"{moment:%Y-%m-%d} "
    away = f"in {span(seconds)}" if seconds >= 0 else f"{span(-seconds)} ago"
    return f"{away}, {day}{clock} UTC"


def ago(moment: datetime, now: datetime) -> str:
    return f"{span((now - moment).total_seconds())} ago"
