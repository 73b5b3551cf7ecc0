"""Branches that look at a clock: `BranchDateTimeOperator`, `BranchDayOfWeekOperator`, `LatestOnlyOperator`."""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow._leoflow import timezone
from airflow._leoflow.branching import BaseBranchOperator
from airflow._leoflow.enums import DagRunType, WeekDay
from airflow._leoflow.errors import AuthoringError


class _TwoWays(BaseBranchOperator):
    """What two of them share: two answers, and which moment is looked at."""

    def __init__(
        self,
        *,
        follow_task_ids_if_true: Any,
        follow_task_ids_if_false: Any,
        use_task_logical_date: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.follow_task_ids_if_true = follow_task_ids_if_true
        self.follow_task_ids_if_false = follow_task_ids_if_false
        self.use_task_logical_date = use_task_logical_date

    def choose_branch(self, context: Any) -> Any:
        if self.use_task_logical_date:
            moment = context.get("logical_date") or context["dag_run"].run_after
        else:
            moment = timezone.utcnow()
        return self.follow_task_ids_if_true if self._is_true_at(moment) else self.follow_task_ids_if_false

    def _is_true_at(self, moment: Any) -> bool:
        """What each of the two operators asks of the moment."""
        raise NotImplementedError


class BranchDayOfWeekOperator(_TwoWays):
    """Is it one of these days? Today's day is that of the DAG's time zone, a logical date's that of its own."""

    def __init__(self, *, week_day: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.week_day = week_day
        self._week_day_num = WeekDay.validate_week_day(week_day)

    def _is_true_at(self, moment: Any) -> bool:
        if not self.use_task_logical_date:
            moment = moment.astimezone(timezone.parse_timezone(self.dag.timezone))
        return moment.isoweekday() in self._week_day_num


class BranchDateTimeOperator(_TwoWays):
    """Is it between two moments, or two times of the day? Those without a zone are of the DAG's."""

    def __init__(self, *, target_lower: Any, target_upper: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if target_lower is None and target_upper is None:
            raise AuthoringError(
                f"task {self.task_id!r}: target_lower and target_upper are both None",
                "there is nothing to compare with",
                "give at least one of them",
                self._location,
            )
        self.target_lower = target_lower
        self.target_upper = target_upper

    def _is_true_at(self, moment: Any) -> bool:
        zone = timezone.parse_timezone(self.dag.timezone)
        targets = (self.target_lower, self.target_upper)
        lower, upper = (_moment(target, moment, zone) for target in targets)
        if lower is not None and upper is not None and upper < lower and not all(map(_is_datetime, targets)):
            upper += dt.timedelta(days=1)  # from an evening to the next morning
        return (lower is None or lower <= moment) and (upper is None or moment <= upper)


def _is_datetime(target: Any) -> bool:
    return isinstance(target, dt.datetime)


def _moment(target: Any, day: Any, zone: Any) -> Any:
    """A time of the day is one of this day; without a zone of its own it is in `zone`."""
    if target is None:
        return None
    moment = target if _is_datetime(target) else dt.datetime.combine(day, target)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


class LatestOnlyOperator(BaseBranchOperator):
    """Follows all in the newest run of the timetable, and in runs that people started; nothing in others."""

    ui_color = "#e9ffdb"

    def choose_branch(self, context: Any) -> Any:
        if context["dag_run"].run_type == DagRunType.MANUAL:
            self.log.info("Manually triggered DAG run: allowing execution to proceed.")
            return list(self.get_direct_relative_ids())
        window = context["ti"].latest_window  # the daemon knows the timetable
        if window is None:
            self.log.info("Last scheduled execution: allowing execution to proceed.")
            return list(self.get_direct_relative_ids())
        start, end = window
        now = timezone.utcnow()
        self.log.info("Checking latest only with left_window: %s right_window: %s now: %s", start, end, now)
        if start < now <= end:
            self.log.info("Latest, allowing execution to proceed.")
            return list(self.get_direct_relative_ids())
        self.log.info("Not latest execution, skipping downstream.")
        return []
