"""Kinds `time`, `time_of_day`, `day_of_week`: met by the clock alone, so that nobody ever pokes them.

Airflow's DateTimeSensor, TimeDeltaSensor and WaitSensor; TimeSensor; DayOfWeekSensor. All is decided from the arguments
and the moment at which the wait was registered. Arguments that make no sense are refused when the spec is read.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from leoflow_sensors.kinds import KindSpec, NoPredicate, SensorKind
from leoflow_sensors.moments import parse_moment, parse_zone

Weekday = Annotated[int, msgspec.Meta(ge=1, le=7)]
"""ISO: Monday is 1."""
DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class TimeSpec(KindSpec, frozen=True, kw_only=True):
    """A moment, or so long after (before, if negative) one."""

    moment: str
    """ISO; without a zone UTC."""
    plus_s: float = 0.0

    def __post_init__(self) -> None:
        _moment_of(self)


def due_at_moment(spec: TimeSpec, _registered_at: datetime) -> datetime:
    return _moment_of(spec)


@lru_cache(maxsize=10_000)  # a day's sensors wait for the same few moments
def _moment_of(spec: TimeSpec) -> datetime:
    try:
        return parse_moment(spec.moment) + timedelta(seconds=spec.plus_s)
    except OverflowError as error:
        raise ValueError(f"{spec.plus_s:g} s after {spec.moment} is no moment that a calendar has") from error


def describe_moment(spec: TimeSpec) -> str:
    return f"until {_moment_of(spec):%Y-%m-%d %H:%M:%S} UTC"


class TimeOfDaySpec(KindSpec, frozen=True, kw_only=True):
    """A time of the day on which the wait was registered. If it is past, the wait is met at once, as in Airflow."""

    time: str
    """`HH:MM:SS.ffffff`, on the wall clock of `timezone`."""
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        _time_of(self)
        parse_zone(self.timezone)


def due_at_time_of_day(spec: TimeOfDaySpec, registered_at: datetime) -> datetime:
    zone = parse_zone(spec.timezone)
    return _on_the_clock(registered_at.astimezone(zone).date(), _time_of(spec), zone)


def _time_of(spec: TimeOfDaySpec) -> time:
    parsed = time.fromisoformat(spec.time)
    if parsed.tzinfo is not None:
        raise ValueError(f"{spec.time!r} has an offset of its own; the zone is what `timezone` says")
    return parsed


def _on_the_clock(day: date, at: time, zone: tzinfo) -> datetime:
    """In UTC. A time that the clock shows twice is the first of the two; one that it leaps over comes an hour later."""
    return datetime.combine(day, at, zone).astimezone(UTC)


class DayOfWeekSpec(KindSpec, frozen=True, kw_only=True):
    """One of these days has come; or, with `moment`, that moment is on one of them, or the wait is never met."""

    days: Annotated[tuple[Weekday, ...], msgspec.Meta(min_length=1)]
    moment: str | None = None
    """The dag run's logical date, if that is to decide."""
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        parse_zone(self.timezone)
        if self.moment is not None:
            parse_moment(self.moment)


def due_at_day_of_week(spec: DayOfWeekSpec, registered_at: datetime) -> datetime | None:
    zone = parse_zone(spec.timezone)
    if spec.moment is not None:
        is_on_day = parse_moment(spec.moment).astimezone(zone).isoweekday() in spec.days
        return registered_at if is_on_day else None
    today = registered_at.astimezone(zone).date()
    if today.isoweekday() in spec.days:
        return registered_at
    in_days = min((day - today.isoweekday()) % 7 for day in spec.days)
    return _on_the_clock(today + timedelta(days=in_days), time(), zone)


def describe_day_of_week(spec: DayOfWeekSpec) -> str:
    days = " or ".join(DAY_NAMES[day - 1] for day in sorted(set(spec.days)))
    return f"{spec.moment} being a {days}" if spec.moment is not None else f"until it is {days} ({spec.timezone})"


KINDS: tuple[SensorKind[Any, Any], ...] = (
    SensorKind(name="time", spec=TimeSpec, predicate=NoPredicate, describe=describe_moment, due_at=due_at_moment),
    SensorKind(
        name="time_of_day",
        spec=TimeOfDaySpec,
        predicate=NoPredicate,
        describe=lambda spec: f"until {spec.time} ({spec.timezone})",
        due_at=due_at_time_of_day,
    ),
    SensorKind(
        name="day_of_week",
        spec=DayOfWeekSpec,
        predicate=NoPredicate,
        describe=describe_day_of_week,
        due_at=due_at_day_of_week,
    ),
)
