"""Airflow's enumerations, and class names that DAG files use in annotations only."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, EnumMeta, IntEnum
from typing import Any

from airflow._leoflow.errors import warn
from airflow._leoflow.moved import TRIGGER_RULES


class _Text(str, Enum):
    def __str__(self) -> str:
        return str(self.value)


class _WithOldNames(EnumMeta):
    """`TriggerRule.DUMMY`: Airflow 2's members are today's under another name."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        member = cls._member_map_.get(name)
        if member is None and name.isupper() and name.lower() in TRIGGER_RULES:
            member = cls(TRIGGER_RULES[name.lower()])
            warn(f"{cls.__name__}.{name} has another name", f"write {cls.__name__}.{member.name}")
        if member is None:
            raise AttributeError(name)
        return member


class TriggerRule(_Text, metaclass=_WithOldNames):
    ALL_SUCCESS = "all_success"
    ALL_FAILED = "all_failed"
    ALL_DONE = "all_done"
    ALL_DONE_MIN_ONE_SUCCESS = "all_done_min_one_success"
    ALL_DONE_SETUP_SUCCESS = "all_done_setup_success"
    ALL_SKIPPED = "all_skipped"
    ONE_SUCCESS = "one_success"
    ONE_FAILED = "one_failed"
    ONE_DONE = "one_done"
    NONE_FAILED = "none_failed"
    NONE_FAILED_MIN_ONE_SUCCESS = "none_failed_min_one_success"
    NONE_SKIPPED = "none_skipped"
    ALWAYS = "always"


def trigger_rule(rule: Any) -> Any:
    """As the enum; what is none of its values stays as it is, for `serialize.py` to refuse with the place."""
    try:
        return TriggerRule(rule)
    except (ValueError, TypeError):
        return rule


class WeightRule(_Text):
    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    ABSOLUTE = "absolute"


class TaskInstanceState(_Text):
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"
    UP_FOR_RETRY = "up_for_retry"
    UP_FOR_RESCHEDULE = "up_for_reschedule"
    DEFERRED = "deferred"
    RESTARTING = "restarting"
    REMOVED = "removed"


class TerminalTIState(_Text):
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"
    REMOVED = "removed"


class DagRunState(_Text):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


class DagRunType(_Text):
    MANUAL = "manual"
    SCHEDULED = "scheduled"
    BACKFILL_JOB = "backfill"
    ASSET_TRIGGERED = "asset_triggered"


class WeekDay(IntEnum):
    """Days of the week, by their ISO number."""

    MONDAY = 1
    TUESDAY = 2
    WEDNESDAY = 3
    THURSDAY = 4
    FRIDAY = 5
    SATURDAY = 6
    SUNDAY = 7

    @classmethod
    def convert(cls, day: str | WeekDay) -> int:
        if isinstance(day, WeekDay):
            return int(day)
        if day.upper() not in cls.__members__:
            raise AttributeError(f'Invalid Week Day passed: "{day}"')
        return int(cls[day.upper()])

    @classmethod
    def validate_week_day(cls, week_day: Any) -> set[int]:
        """The numbers of one day or of several."""
        if isinstance(week_day, (str, WeekDay)):
            week_day = (week_day,)
        if not isinstance(week_day, Iterable):
            raise TypeError(f"Unsupported Type for week_day parameter: {type(week_day)}; pass names or WeekDay")
        return {cls.convert(day) for day in week_day}


class State:
    """Airflow 2's class of constants."""

    SUCCESS = TaskInstanceState.SUCCESS
    RUNNING = TaskInstanceState.RUNNING
    FAILED = TaskInstanceState.FAILED
    SKIPPED = TaskInstanceState.SKIPPED
    QUEUED = TaskInstanceState.QUEUED
    UPSTREAM_FAILED = TaskInstanceState.UPSTREAM_FAILED
    UP_FOR_RETRY = TaskInstanceState.UP_FOR_RETRY
    NONE = None


class TaskInstance:
    """For annotations: the object that a task gets as `ti` is the runner's."""
