"""Small functions that Airflow 1 and 2 had and Airflow 3 has nowhere: `airflow.utils.dates` and a few others.

Like `moved.py` it is also loaded by its path, where the real Airflow runs a task: standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
SECONDS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


def days_ago(n: int, hour: int = 0, minute: int = 0, second: int = 0, microsecond: int = 0) -> datetime:
    """`n` days before today, by default at midnight; UTC."""
    today = datetime.now(timezone.utc).replace(hour=hour, minute=minute, second=second, microsecond=microsecond)
    return today - timedelta(days=n)


def date_range(
    start_date: datetime,
    end_date: datetime | None = None,
    num: int | None = None,
    delta: timedelta | float | None = None,
) -> list[datetime]:
    """The moments from `start_date` on, `delta` (seconds, or a timedelta) apart: up to `end_date`, or `num` of them."""
    if not delta:
        return []
    if end_date is not None and num is not None:
        raise ValueError("date_range() takes end_date or num, not both")
    if end_date is None and num is None:
        end_date = datetime.now(start_date.tzinfo)
    step = delta if isinstance(delta, timedelta) else timedelta(seconds=abs(delta))
    if num is not None:
        sign = 1 if num > 0 else -1
        return sorted(start_date + sign * index * step for index in range(abs(num)))
    assert end_date is not None
    return [start_date + index * step for index in range((end_date - start_date) // step + 1)]


def round_time(
    dt: datetime, delta: timedelta = timedelta(days=1), start_date: datetime = datetime(1970, 1, 1)
) -> datetime:
    """The moment of `start_date + k * delta` that is nearest to `dt`."""
    start = start_date.replace(tzinfo=dt.tzinfo)
    steps, rest = divmod(dt - start, delta)
    return start + (steps + (rest * 2 > delta)) * delta


def infer_time_unit(time_seconds_arr: list[float]) -> str:
    """The largest unit in which most of the seconds are no small fractions."""
    longest = max(time_seconds_arr, default=0)
    if longest <= 2 * 60:
        return "seconds"
    if longest <= 2 * 60 * 60:
        return "minutes"
    return "hours" if longest <= 2 * 24 * 60 * 60 else "days"


def scale_time_units(time_seconds_arr: list[float], unit: str) -> list[float]:
    """Seconds in another unit."""
    return [seconds / SECONDS.get(unit, 1) for seconds in time_seconds_arr]


def parse_execution_date(execution_date_str: str) -> datetime:
    """ISO text as an aware moment, UTC where it names no zone."""
    moment = datetime.fromisoformat(execution_date_str.strip().replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def apply_defaults(function: F) -> F:
    """Every operator applies `default_args` by itself."""
    return function


def mkdirs(path: str, mode: int) -> None:
    os.makedirs(path, mode=mode, exist_ok=True)
