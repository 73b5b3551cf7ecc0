"""Schedules as authors write them; `to_spec` gives the artifact's form (`leoflowd.contract.dag_spec`).

Nothing here computes a date: `leoflowd.core.timetable` does, from the artifact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from airflow._leoflow.errors import AuthoringError, ShimUnsupported, describe

PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_NAMES = {
    "month": "jan feb mar apr may jun jul aug sep oct nov dec".split(),
    "day of week": "sun mon tue wed thu fri sat".split(),
}
_CRON_HELP = "use five fields (minute hour day month weekday), a preset such as @daily, a timedelta or a timetable"


class BaseTimetable:
    """Base of the timetables; subclassing it in a DAG file is refused when the DAG is compiled."""

    def to_spec(self) -> dict[str, Any]:
        raise ShimUnsupported(
            f"schedule is a {type(self).__name__}",
            "the daemon never runs code of yours, so it cannot ask a timetable class for its next date",
            "use a cron string, a timedelta, EventsTimetable(...) with the dates, or trigger runs through the API",
        )

    @property
    def summary(self) -> str | None:
        return type(self).__name__


class DataInterval(NamedTuple):
    """For timetables of plugins, which may be defined."""

    start: datetime
    end: datetime

    @classmethod
    def exact(cls, at: datetime) -> DataInterval:
        return cls(at, at)


class TimeRestriction(NamedTuple):
    earliest: datetime | None
    latest: datetime | None
    catchup: bool


class DagRunInfo(NamedTuple):
    run_after: datetime
    data_interval: DataInterval | None

    @classmethod
    def exact(cls, at: datetime) -> DagRunInfo:
        return cls(at, DataInterval.exact(at))

    @classmethod
    def interval(cls, start: datetime, end: datetime) -> DagRunInfo:
        return cls(end, DataInterval(start, end))


class NullTimetable(BaseTimetable):
    def to_spec(self) -> dict[str, Any]:
        return {"type": "none"}

    @property
    def summary(self) -> str | None:
        return None


class OnceTimetable(BaseTimetable):
    def to_spec(self) -> dict[str, Any]:
        return {"type": "once"}

    @property
    def summary(self) -> str | None:
        return "@once"


class ContinuousTimetable(BaseTimetable):
    def to_spec(self) -> dict[str, Any]:
        return {"type": "continuous"}

    @property
    def summary(self) -> str | None:
        return "@continuous"


class _Cron(BaseTimetable):
    data_interval = False

    def __init__(self, cron: str, timezone: Any) -> None:
        self.written = cron
        self.expression = PRESETS.get(cron, cron)
        self.timezone = timezone_name(timezone)
        check_cron(cron)

    @property
    def summary(self) -> str | None:
        return self.written


class CronTriggerTimetable(_Cron):
    """A run at each slot; the data interval is `interval` wide and ends at the slot."""

    def __init__(
        self, cron: str, *, timezone: Any, interval: Any = timedelta(), run_immediately: bool | timedelta | None = False
    ) -> None:
        super().__init__(cron, timezone)
        if not isinstance(interval, timedelta):
            raise _only_timedelta("interval", interval)
        if not isinstance(run_immediately, bool):
            raise ShimUnsupported(
                f"run_immediately is {describe(run_immediately)}",
                "only True and False are supported",
                "use run_immediately=True or False",
            )
        self.interval = interval
        self.run_immediately = run_immediately

    def to_spec(self) -> dict[str, Any]:
        return {
            "type": "cron",
            "expression": self.expression,
            "timezone": self.timezone,
            "interval_s": self.interval.total_seconds(),
            "run_immediately": self.run_immediately,
        }


class CronDataIntervalTimetable(_Cron):
    """The data interval lasts from slot to slot; the run starts at its end."""

    def __init__(self, cron: str, timezone: Any) -> None:
        super().__init__(cron, timezone)

    def to_spec(self) -> dict[str, Any]:
        return {
            "type": "cron",
            "expression": self.expression,
            "timezone": self.timezone,
            "data_interval": True,
        }


class CronText(_Cron):
    """`schedule="..."`; which of the two cron timetables it means is the project's setting."""

    def to_spec(self) -> dict[str, Any]:
        return {
            "type": "cron",
            "expression": self.expression,
            "timezone": self.timezone,
            "from_text": True,
        }


class DeltaTriggerTimetable(BaseTimetable):
    """A run every `delta`, counted from the DAG's start."""

    data_interval = False

    def __init__(self, delta: Any, *, interval: Any = timedelta()) -> None:
        if interval:
            raise ShimUnsupported(
                f"DeltaTriggerTimetable has interval={interval!r}",
                "only the default, an empty data interval, is supported",
                "leave `interval` out, or use DeltaDataIntervalTimetable",
            )
        self.delta = delta
        self.seconds, self.months = _delta_parts(delta)

    def to_spec(self) -> dict[str, Any]:
        return {
            "type": "delta",
            "seconds": self.seconds,
            "months": self.months,
            "data_interval": self.data_interval,
        }

    @property
    def summary(self) -> str | None:
        return str(self.delta)


class DeltaDataIntervalTimetable(DeltaTriggerTimetable):
    """The data interval is `delta` wide; the run starts at its end."""

    data_interval = True

    def __init__(self, delta: Any) -> None:
        super().__init__(delta)


class EventsTimetable(BaseTimetable):
    """Runs exactly at the listed moments."""

    def __init__(
        self,
        event_dates: Iterable[datetime],
        *,
        restrict_to_events: bool = False,
        presorted: bool = False,
        description: str | None = None,
    ) -> None:
        if restrict_to_events:
            raise ShimUnsupported(
                "EventsTimetable has restrict_to_events=True",
                "manual runs are not moved to an event date",
                "leave it out, and pass the logical date when you trigger a run",
            )
        del presorted  # only a hint of speed; we sort anyway
        dates = {iso_utc(moment) for moment in event_dates}
        self.dates = sorted(dates)
        self.description = description

    def to_spec(self) -> dict[str, Any]:
        return {"type": "dates", "dates": self.dates, "description": self.description}

    @property
    def summary(self) -> str | None:
        return self.description or f"{len(self.dates)} events"


def create_timetable(schedule: Any, dag_timezone: str, *, keeps_intervals: bool = False) -> BaseTimetable:
    """What `schedule=` means in Airflow 3; `keeps_intervals`: what `schedule_interval=` meant in Airflow 2."""
    if schedule is None:
        return NullTimetable()
    if isinstance(schedule, BaseTimetable):
        return schedule
    if schedule == "@once":
        return OnceTimetable()
    if schedule == "@continuous":
        return ContinuousTimetable()
    if isinstance(schedule, str):
        return (CronDataIntervalTimetable if keeps_intervals else CronText)(schedule, dag_timezone)
    if isinstance(schedule, timedelta) or _is_relativedelta(schedule):
        return DeltaDataIntervalTimetable(schedule) if keeps_intervals else DeltaTriggerTimetable(schedule)
    raise ShimUnsupported(
        f"schedule is {describe(schedule)}",
        "only assets, times and timetables schedule a DAG",
        _CRON_HELP,
    )


def check_cron(expression: str) -> None:
    """Refuse what the scheduler could not read, with the field that is wrong."""
    if expression in PRESETS:
        return
    fields = expression.split()
    if expression.startswith("@") or len(fields) != 5:
        count = "an unknown preset" if expression.startswith("@") else f"{len(fields)} fields"
        raise AuthoringError(
            f"schedule {expression!r} is not a cron expression that we run", f"it has {count}", _CRON_HELP
        )
    for text, (name, low, high) in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            if not _is_cron_part(part, name, low, high):
                raise AuthoringError(
                    f"schedule {expression!r} is not a cron expression that we run",
                    f"{part!r} is no {name} ({low}-{high})",
                    _CRON_HELP,
                )


def _is_cron_part(part: str, name: str, low: int, high: int) -> bool:
    body, slash, step = part.partition("/")
    if slash and not (step.isdigit() and int(step) > 0):
        return False
    if body in {"*", "?"}:
        return True
    if name == "day of month" and body.lower() == "l":
        return not slash
    if name == "day of week":
        day, hash_sign, nth = body.partition("#")
        if hash_sign:
            return _cron_number(day, name) in range(low, high + 1) and nth in "12345"
        if body[:1].lower() == "l" and body[1:].isdigit():
            return int(body[1:]) in range(low, high + 1)
    first, dash, last = body.partition("-")
    numbers = [_cron_number(first, name)] + ([_cron_number(last, name)] if dash else [])
    return all(number is not None and low <= number <= high for number in numbers)


def _cron_number(text: str, name: str) -> int | None:
    if text.isdigit():
        return int(text)
    names = _NAMES.get(name, [])
    lowered = text.lower()
    return names.index(lowered) + (1 if name == "month" else 0) if lowered in names else None


def _is_relativedelta(value: Any) -> bool:
    return type(value).__name__ == "relativedelta" and type(value).__module__.startswith("dateutil")


def _delta_parts(delta: Any) -> tuple[float, int]:
    """(seconds, months) of a timedelta or a relativedelta."""
    if isinstance(delta, timedelta):
        seconds, months = delta.total_seconds(), 0
    elif _is_relativedelta(delta):
        absolute = [
            name
            for name in ("year", "month", "day", "hour", "minute", "second", "microsecond", "weekday")
            if getattr(delta, name) is not None
        ]
        if absolute or delta.leapdays:
            raise ShimUnsupported(
                f"schedule {delta!r} sets {', '.join(absolute) or 'leapdays'}",
                "only distances (years, months, weeks, days, hours, ...) are supported",
                "use a cron string for fixed dates",
            )
        rest = timedelta(
            days=delta.days,
            hours=delta.hours,
            minutes=delta.minutes,
            seconds=delta.seconds,
            microseconds=delta.microseconds,
        )
        seconds, months = rest.total_seconds(), delta.years * 12 + delta.months
    else:
        raise _only_timedelta("delta", delta)
    if seconds < 0 or months < 0 or not (seconds or months):
        raise AuthoringError(f"schedule is {delta!r}", "the distance between runs must be positive", _CRON_HELP)
    return seconds, months


def _only_timedelta(name: str, value: Any) -> ShimUnsupported:
    return ShimUnsupported(f"{name} is {describe(value)}", "it must be a datetime.timedelta", "pass a timedelta")


# --- time zones --------------------------------------------------------------------------------------------------


def timezone_name(zone: Any) -> str:
    """IANA name of a zone given as text, zoneinfo, pendulum or datetime.timezone; of an offset Etc/GMT or `+05:30`."""
    if zone is None:
        return "UTC"
    name = zone if isinstance(zone, str) else getattr(zone, "key", None) or getattr(zone, "name", None)
    if isinstance(name, str) and not name.startswith(("+", "-")):
        return "UTC" if name.lower() in {"utc", "etc/utc", "z"} else name
    if isinstance(zone, str) and re.fullmatch(r"[+-]\d\d:\d\d", zone):
        return zone
    offset = None if isinstance(zone, str) else zone.utcoffset(None)
    if offset is not None and offset % timedelta(hours=1) == timedelta():
        hours = offset // timedelta(hours=1)
        return "UTC" if hours == 0 else f"Etc/GMT{-hours:+d}"
    if offset is not None and offset % timedelta(minutes=1) == timedelta():
        sign, minutes = ("-" if offset < timedelta() else "+"), abs(offset) // timedelta(minutes=1)
        return f"{sign}{minutes // 60:02}:{minutes % 60:02}"
    raise ShimUnsupported(
        f"the time zone is {describe(zone)}",
        "schedules need the name of a zone from the IANA database",
        'use for example zoneinfo.ZoneInfo("Europe/Berlin") or pendulum.timezone("Europe/Berlin")',
    )


def iso_utc(moment: datetime) -> str:
    """UTC in ISO form with `Z`; a naive datetime counts as UTC, as in Airflow."""
    aware = moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
    plain = datetime(  # a pendulum DateTime becomes a plain one, whose isoformat is stable
        aware.year, aware.month, aware.day, aware.hour, aware.minute, aware.second, aware.microsecond
    )
    return plain.isoformat() + "Z"
