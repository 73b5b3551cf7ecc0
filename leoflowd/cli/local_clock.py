"""The clock of `leoflow test`: real time, plus all that nobody had to wait for. Used by `local_run`'s one thread."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

EACH_POKE = 5
"""So many pokes come at their interval, each later one after twice the time of the one before: whoever looks again at a
world in which nothing else happens sees the same, and a week of minutes is ten thousand looks."""


class Clock:
    """`is_real`: everything is waited for, and this is the wall clock."""

    def __init__(self, *, is_real: bool = False) -> None:
        self.is_real = is_real
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def leap_to(self, moment: datetime) -> None:
        """Only forward, and not at all where time is real."""
        if not self.is_real:
            self.ahead = max(self.ahead, moment - datetime.now(UTC))

    def after(self, interval_s: float, pokes: int) -> timedelta:
        """Until the poke after `pokes` others."""
        if self.is_real:
            return timedelta(seconds=interval_s)
        doubled = interval_s * 2.0 ** min(max(0, pokes - EACH_POKE), 64)
        return timedelta(seconds=min(doubled, timedelta(days=365).total_seconds()))


def pause(longest_s: float) -> None:
    """Where nothing can be done before a moment comes."""
    time.sleep(longest_s)


def shown_ahead(ahead: timedelta) -> str:
    """`+7 d 2 h`: the two largest parts; empty below a second."""
    seconds = int(ahead.total_seconds())
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return f"+{' '.join(parts[:2])}" if parts else ""
