"""Native sensors that wait for a moment: of the calendar, of the day, or so long after something."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta, timezone
from typing import Any

from airflow._leoflow import timezone as zones
from airflow._leoflow.enums import WeekDay
from airflow._leoflow.errors import AuthoringError, describe
from airflow._leoflow.load_clock import is_from_the_clock
from airflow._leoflow.native_sensor import RUN_DATE, NativeSensor, base_time, fact, registered_at, run_date


class DateTimeSensor(NativeSensor):
    """Waits until a moment; texts are ISO, and without a zone UTC."""

    sensor_kind = "time"
    template_fields: Sequence[str] = ("target_time",)

    def __init__(self, *, target_time: str | datetime, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_time = target_time

    def needs_process(self) -> bool:
        return super().needs_process() or (
            isinstance(self.target_time, datetime) and is_from_the_clock(self.target_time)
        )

    def probe_arguments(self) -> dict[str, Any]:
        target = self.target_time
        if not isinstance(target, (str, datetime)):
            raise TypeError(f"Expected str or datetime.datetime type for target_time. Got {type(target)}")
        return {"moment": target.isoformat() if isinstance(target, datetime) else target, "plus_s": 0.0}

    def poke(self, context: Any) -> bool:
        return zones.utcnow() > zones.parse(self.probe_arguments()["moment"])


class DateTimeSensorAsync(DateTimeSensor):
    deferral_arguments = ("start_from_trigger", "end_from_trigger", "trigger_kwargs")
    is_deferrable = True
    waits_for_ever = True


class TimeSensor(NativeSensor):
    """Waits until a time of the day, in the DAG's time zone."""

    sensor_kind = "time_of_day"
    deferral_arguments = ("deferrable", "start_from_trigger", "end_from_trigger", "trigger_kwargs")

    def __init__(self, *, target_time: time, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(target_time, time):
            raise AuthoringError(
                f"task {self.task_id!r} has target_time={describe(target_time)}",
                "a TimeSensor waits for a time of the day",
                "write for example datetime.time(9, 30), or use DateTimeSensor",
                self._location,
            )
        self.target_time = target_time
        self.waits_for_ever = self.deferrable

    @property
    def target_datetime(self) -> datetime:
        zone = zones.parse_timezone(self.dag.timezone)
        return datetime.combine(datetime.now(zone), self.target_time, zone).astimezone(timezone.utc)

    def needs_process(self) -> bool:
        return super().needs_process() or is_from_the_clock(self.target_time)

    def probe_arguments(self) -> dict[str, Any]:
        return {"time": self.target_time.strftime("%H:%M:%S.%f"), "timezone": self.dag.timezone}

    def poke(self, context: Any) -> bool:
        return zones.utcnow() > self.target_datetime


class TimeSensorAsync(TimeSensor):
    deferral_arguments = ("start_from_trigger", "end_from_trigger", "trigger_kwargs")
    is_deferrable = True


class TimeDeltaSensor(NativeSensor):
    """Waits until so long after the end of the data interval; a number means minutes, as in Airflow."""

    sensor_kind = "time"
    deferral_arguments = ("deferrable", "end_from_trigger")
    template_fields: Sequence[str] = ("delta",)

    def __init__(self, *, delta: timedelta | int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.delta = delta

    def needs_process(self) -> bool:
        return super().needs_process() or _is_template(self.delta)

    def probe_arguments(self) -> dict[str, Any]:
        return {"moment": fact("{{ leoflow_base_time }}", base_time), "plus_s": _minutes_or_delta(self.delta)}

    def poke(self, context: Any) -> bool:
        return zones.utcnow() > base_time(context) + timedelta(seconds=_minutes_or_delta(self.delta))


class TimeDeltaSensorAsync(TimeDeltaSensor):
    deferral_arguments = ("end_from_trigger",)
    is_deferrable = True


class WaitSensor(NativeSensor):
    """Waits so long after the task began; a number means minutes, as in Airflow."""

    sensor_kind = "time"
    deferral_arguments = ("deferrable",)
    template_fields: Sequence[str] = ("time_to_wait",)
    waits_for_ever = True

    def __init__(self, *, time_to_wait: timedelta | int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.time_to_wait = time_to_wait

    def needs_process(self) -> bool:
        return super().needs_process() or _is_template(self.time_to_wait)

    def probe_arguments(self) -> dict[str, Any]:
        return {
            "moment": fact("{{ leoflow_registered_at }}", registered_at),
            "plus_s": _minutes_or_delta(self.time_to_wait),
        }

    def poke(self, context: Any) -> bool:
        return zones.utcnow() > registered_at(context) + timedelta(seconds=_minutes_or_delta(self.time_to_wait))


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and "{" in value


def _minutes_or_delta(value: Any) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else int(value) * 60.0


class DayOfWeekSensor(NativeSensor):
    """Waits until it is one of these days (UTC), or checks the logical date's."""

    sensor_kind = "day_of_week"

    def __init__(self, *, week_day: Any, use_task_logical_date: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.week_day = week_day
        self.use_task_logical_date = use_task_logical_date
        self._week_day_num = WeekDay.validate_week_day(week_day)

    def probe_arguments(self) -> dict[str, Any]:
        return {
            "days": sorted(self._week_day_num),
            "moment": fact(RUN_DATE, run_date) if self.use_task_logical_date else None,
            "timezone": "UTC",
        }

    def poke(self, context: Any) -> bool:
        today = run_date(context) if self.use_task_logical_date else zones.utcnow()
        return today.isoweekday() in self._week_day_num
