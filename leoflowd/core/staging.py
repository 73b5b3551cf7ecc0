"""When a staging volume is of no use any more."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

FRESH = timedelta(minutes=5)
"""A volume without a run that is so young may be of one that we do not read yet."""


class RunEnd(msgspec.Struct, frozen=True):
    """How far a dag run is. Its id alone may be that of another one, of an older database."""

    id: int
    dag_id: str
    run_id: str
    state: str
    end_date: datetime | None


def is_over(run: RunEnd | None, *, created_at: datetime, ttl: timedelta, now: datetime) -> bool:
    """`run` is whose volume it is; None: there is no such run."""
    if run is None:
        return now - created_at >= FRESH
    return run.state in ("success", "failed") and run.end_date is not None and now - run.end_date >= ttl
