"""Schedules as authors write them; `to_spec` gives the artifact's form (`leoflowd.contract.dag_spec`).

Nothing here computes a date: `leoflowd.core.timetable` does, from the artifact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from airflow._leoflow.errors import AuthoringError, ShimUnsupported, describe

cron_presets = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""`airflow.utils.dates.cron_presets`: authors add their own."""
_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 7),
    ("second", 0, 59),
)
_NAMES = {
    "month": "jan feb mar apr may jun jul aug sep oct nov dec".split(),
    "day of week": "sun mon tue wed thu fri sat".split(),
}
_CRON_HELP = (
    "use five fields (minute hour day month weekday) or six (seconds last), a preset such as @daily, a timedelta or a "
    "timetable"
)


class BaseTimetable:
    """Base of the timetables, of the author's own too, which `custom_timetable` asks when the DAG is compiled."""

    description = ""
    periodic = True
    can_be_scheduled = True
    run_ordering = ("data_interval_end", "logical_date")
    active_runs_limit: int | None = None
    asset_condition: Any = None

    def to_spec(self) -> dict[str, Any]:
        raise NotImplementedError

    def validate(self) -> None:
        """Of the author's own: raise what is wrong with it."""

    def serialize(self) -> dict[str, Any]:
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> BaseTimetable:
        return cls()

    @property
    def summary(self) -> str | None:
        return type(self).__name__


class DataInterval(NamedTuple):
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
    partition_date: datetime | None = None
    partition_key: str | None = None

    @property
    def logical_date(self) -> datetime | None:
        return self.data_interval.start if self.data_interval else None

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
        self.expression = cron_presets.get(cron, cron)
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
        self.width = _width(interval)
        self.run_immediately = run_immediately

    def to_spec(self) -> dict[str, Any]:
        within = self.run_immediately.total_seconds() if isinstance(self.run_immediately, timedelta) else None
        return {
            "type": "cron",
            "expression": self.expression,
            "timezone": self.timezone,
            **self.width,
            "run_immediately": self.run_immediately is True,
            "run_within_s": within,
        }


class MultipleCronTriggerTimetable(BaseTimetable):
    """A run whenever one of the expressions wants one."""

    def __init__(
        self,
        *crons: str,
        timezone: Any,
        interval: Any = timedelta(),
        run_immediately: bool | timedelta | None = False,
    ) -> None:
        if not crons:
            raise AuthoringError(
                "MultipleCronTriggerTimetable has no cron expression", "it would never run", "pass one or more"
            )
        self.timetables = [
            CronTriggerTimetable(cron, timezone=timezone, interval=interval, run_immediately=run_immediately)
            for cron in crons
        ]

    def to_spec(self) -> dict[str, Any]:
        return {"type": "crons", "timetables": [one.to_spec() for one in self.timetables]}

    @property
    def summary(self) -> str | None:
        return ", ".join(one.expression for one in self.timetables)


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
        self.delta = delta
        self.seconds, self.months = _delta_parts(delta)
        if not (self.seconds or self.months):
            raise AuthoringError(f"schedule is {delta!r}", "the distance between runs must be positive", _CRON_HELP)
        self.width = _width(interval)

    def to_spec(self) -> dict[str, Any]:
        return {
            "type": "delta",
            "seconds": self.seconds,
            "months": self.months,
            "data_interval": self.data_interval,
            **self.width,
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
        restrict_to_events: bool = False,
        presorted: bool = False,
        description: str | None = None,
    ) -> None:
        del presorted  # only a hint of speed; we sort anyway
        dates = {iso_utc(moment) for moment in event_dates}
        self.dates = sorted(dates)
        self.name = description
        self.restrict_to_events = bool(restrict_to_events)

    def to_spec(self) -> dict[str, Any]:
        return {
            "type": "dates",
            "dates": self.dates,
            "description": self.name,
            "restrict_to_events": self.restrict_to_events,
        }

    @property
    def summary(self) -> str | None:
        return self.name or f"{len(self.dates)} events"


def create_timetable(schedule: Any, dag_timezone: str, *, keeps_intervals: bool = False) -> BaseTimetable:
    """What `schedule=` means in Airflow 3; `keeps_intervals`: what `schedule_interval=` meant in Airflow 2."""
    if schedule is None:
        return NullTimetable()
    if isinstance(schedule, BaseTimetable):
        check_custom(schedule)
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


def is_own(timetable: BaseTimetable) -> bool:
    """Is its class the author's?"""
    module = type(timetable).__module__
    return module == "airflow._leoflow.custom_timetable" or not module.startswith("airflow._leoflow.")


def check_custom(timetable: BaseTimetable) -> None:
    """Refuse a class that stands on one of Airflow's: only Airflow's own packages have the code that it calls."""
    ours = (cls for cls in type(timetable).__mro__ if cls.__module__.startswith("airflow._leoflow."))
    base = next((cls for cls in ours if cls.__module__ != "airflow._leoflow.custom_timetable"), BaseTimetable)
    if is_own(timetable) and base is not BaseTimetable:
        raise ShimUnsupported(
            f"schedule is a {type(timetable).__name__}, a class that derives from {base.__name__}",
            "the code that it inherits is Airflow's",
            "add `connectors: [standard]` to leoflow.yaml, so that Airflow's packages load the file",
        )


def check_cron(expression: str) -> None:
    """Refuse what the scheduler could not read, with the field that is wrong."""
    expression = cron_presets.get(expression, expression)
    fields = expression.split()
    if expression.startswith("@") or len(fields) not in (5, 6):
        count = "an unknown preset" if expression.startswith("@") else f"{len(fields)} fields"
        raise AuthoringError(
            f"schedule {expression!r} is not a cron expression that we run", f"it has {count}", _CRON_HELP
        )
    for text, (name, low, high) in zip(fields, _FIELDS, strict=False):
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
        raise ShimUnsupported(
            f"a distance in time is {describe(delta)}", "it must be a timedelta or relativedelta", "pass a timedelta"
        )
    if seconds < 0 or months < 0:
        raise AuthoringError(f"{delta!r} is a distance in time", "it must not be negative", _CRON_HELP)
    return seconds, months


def _width(interval: Any) -> dict[str, Any]:
    """Of the data interval, as the artifact has it."""
    seconds, months = _delta_parts(interval)
    return {"interval_s": seconds, "interval_months": months}


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
