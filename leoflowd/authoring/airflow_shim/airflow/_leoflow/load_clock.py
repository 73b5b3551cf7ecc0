"""What a DAG file takes from the clock while it is loaded: each loading would give another DAG.

The loader imports this module just before it runs the author's file. `serialize` refuses such a moment where it is
structure; a sensor that waits for one is prepared by its task's process.
"""

from __future__ import annotations

from datetime import datetime, time, timezone

LOADING_SINCE = datetime.now(timezone.utc).replace(microsecond=0)
"""Whole, as files often cut the microseconds."""


def is_from_the_clock(value: datetime | time) -> bool:
    """Two loads side by side may read the same moment, so that comparing them would not tell."""
    now = datetime.now(timezone.utc)
    if isinstance(value, datetime):
        if abs(value.year - now.year) > 1:  # local time may not reach to the ends of time
            return False
        meanings = [value] if value.tzinfo else [value.astimezone(), value.replace(tzinfo=timezone.utc)]
        return any(LOADING_SINCE <= meaning <= now for meaning in meanings)
    spans = ((LOADING_SINCE, now), (LOADING_SINCE.astimezone(), now.astimezone()))
    return any(since.time() <= value.replace(tzinfo=None) <= until.time() for since, until in spans)
