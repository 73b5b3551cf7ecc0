"""Small things that Airflow 3 has nowhere any more: functions of `airflow.utils` (`dates`, `helpers`), a run's order.

Like `moved.py` it is also loaded by its path, where the real Airflow runs a task: standard library only.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
ScheduleInterval = ScheduleArg = ScheduleIntervalArg = Any
DagStateChangeCallback = Callable[[Any], None]
"""For annotations: whoever writes one of these wraps a DAG's arguments."""
SECONDS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


class DagRunOrder:
    """What the `python_callable` of a `TriggerDagRunOperator` gave back in Airflow 1."""

    def __init__(self, run_id: str | None = None, payload: Any = None) -> None:
        self.run_id = run_id
        self.payload = payload


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


# --- airflow.utils.helpers ---------------------------------------------------------------------------------------


def is_container(obj: Any) -> bool:
    return hasattr(obj, "__iter__") and not isinstance(obj, str)


def exactly_one(*args: Any) -> bool:
    """Is one of them true? A list in place of them is an error."""
    if is_container(args[0]):
        raise ValueError("exactly_one() takes the values one by one: write exactly_one(*values)")
    return sum(map(bool, args)) == 1


def at_most_one(*args: Any) -> bool:
    return sum(map(bool, args)) <= 1


def chunks(items: list[Any], chunk_size: int) -> Iterator[list[Any]]:
    if chunk_size <= 0:
        raise ValueError("chunk_size must be at least 1")
    for start in range(0, len(items), chunk_size):
        yield items[start : start + chunk_size]


def as_flattened_list(iterable: Iterable[Iterable[Any]]) -> list[Any]:
    """Of one level."""
    return [*itertools.chain.from_iterable(iterable)]


def merge_dicts(dict1: dict[Any, Any], dict2: dict[Any, Any]) -> dict[Any, Any]:
    """Both, with dicts inside merged as well; elsewhere the second one counts."""
    merged = dict(dict1)
    for key, value in dict2.items():
        merged[key] = merge_dicts(merged.get(key) or {}, value) if key in merged and isinstance(value, dict) else value
    return merged


def partition(pred: Callable[[Any], bool], iterable: Iterable[Any]) -> tuple[Iterable[Any], Iterable[Any]]:
    """(those for which it is false, those for which it is true)."""
    one, other = itertools.tee(iterable)
    return itertools.filterfalse(pred, one), filter(pred, other)


def convert_camel_to_snake(camel_str: str) -> str:
    return re.sub(r"(?<=.)([A-Z]+)", r"_\1", camel_str).lower()


def prune_dict(val: Any, mode: str = "strict") -> Any:
    """Without what is None ("strict") or false ("truthy"), at every level of dicts and lists."""
    if mode not in ("strict", "truthy"):
        raise ValueError("mode is 'strict' or 'truthy'")
    if not isinstance(val, (dict, list)):
        return val
    pairs = (
        (key, prune_dict(value, mode)) for key, value in (val.items() if isinstance(val, dict) else enumerate(val))
    )
    kept = [(key, value) for key, value in pairs if (value is not None if mode == "strict" else bool(value))]
    return dict(kept) if isinstance(val, dict) else [value for _, value in kept]
