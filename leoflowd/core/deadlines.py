"""When a dag run is to have succeeded, and what a missed deadline calls for, as Airflow 3.2.2 does (ADR 58).

`store.deadlines` asks when a run is made; `scheduler.deadlines` looks at the rows when the next one is due.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import assert_never

import msgspec

from leoflowd.contract.callback_spec import CallbackCall, NewCallback
from leoflowd.contract.deadline_spec import DeadlineSpec, MissedDeadline


class NewDeadline(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is written together with its run."""

    position: int
    deadline_time: datetime
    after_queued_s: float | None = None
    """When it is reckoned from the run's `queued_at`, which moves when the run is cleared."""


def runs_averaged(specs: Sequence[DeadlineSpec]) -> int:
    """How many durations `plan_deadlines` wants to see; 0 for none."""
    return max((spec.max_runs for spec in specs if spec.reference == "average_runtime"), default=0)


def plan_deadlines(
    specs: Sequence[DeadlineSpec], *, logical_date: datetime | None, durations_s: Sequence[float], now: datetime
) -> tuple[NewDeadline, ...]:
    """Of a run that is made and queued now. `durations_s`: of ended runs of the DAG, the latest logical date first.

    What has nothing to be reckoned from, or lies behind the end of time, is no deadline.
    """
    return tuple(_planned(specs, logical_date, durations_s, now))


def _planned(
    specs: Sequence[DeadlineSpec], logical_date: datetime | None, durations_s: Sequence[float], now: datetime
) -> Iterator[NewDeadline]:
    for position, spec in enumerate(specs):
        try:
            start = _start(spec, logical_date, durations_s, now)
            if start is None:
                continue
            deadline_time = start.astimezone(UTC) + timedelta(seconds=spec.interval_s)
        except OverflowError:
            continue
        after_queued_s = spec.interval_s if spec.reference == "queued_at" else None
        yield NewDeadline(position=position, deadline_time=deadline_time, after_queued_s=after_queued_s)


def _start(
    spec: DeadlineSpec, logical_date: datetime | None, durations_s: Sequence[float], now: datetime
) -> datetime | None:
    match spec.reference:
        case "logical_date":
            return logical_date
        case "queued_at":
            return now
        case "fixed":
            return spec.at
        case "average_runtime":
            averaged = durations_s[: spec.max_runs]
            if len(averaged) < spec.min_runs:
                return None
            return now + timedelta(seconds=sum(averaged) / len(averaged))
        case _:
            assert_never(spec.reference)


def callback_of(
    dag_run_id: int, missed: MissedDeadline, *, state: str, start_date: datetime | None, end_date: datetime | None
) -> NewCallback:
    """`state` and dates are those of the run as it is now: it may run, or have failed."""
    return NewCallback(
        dag_run_id=dag_run_id,
        task_id=None,
        call=CallbackCall(
            event="deadline",
            of_dag=True,
            calls_functions=True,
            state=state,
            because=f"The deadline {missed.deadline_time:%Y-%m-%d %H:%M:%S} UTC was missed.",
            start_date=start_date,
            end_date=end_date,
            deadline=missed,
        ),
    )
