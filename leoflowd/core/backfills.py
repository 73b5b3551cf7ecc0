"""What a backfill is about: which moments of a timetable lie in its range, and what becomes of each, as Airflow 3.2.

Called by `store.backfills` for the dry run, for what is asked, and when the runs are made: all of them ask the same
functions. The moments are worked out once, when the backfill is asked for; whether a moment gets a run is decided when
its turn comes, since runs may have come or ended meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, assert_never

import msgspec

from leoflowd.contract.dag_spec import ContinuousTimetable, DagSpec, NoTimetable
from leoflowd.contract.errors import Invalid
from leoflowd.contract.states import DagRunState
from leoflowd.core.run_conf import checked_conf
from leoflowd.core.timetable import RunSlot, next_run

SLOTS_MAX = 10_000
"""Of one backfill: a year of runs every hour. More is a slip of the finger, or can be asked for in parts."""


class Reprocess(StrEnum):
    """Which of the runs that exist run again (Airflow's `reprocess_behavior`)."""

    NONE = "none"
    FAILED = "failed"
    COMPLETED = "completed"


class SkipReason(StrEnum):
    """Airflow's `exception_reason`: why a moment gets no run."""

    IN_FLIGHT = "in flight"
    ALREADY_EXISTS = "already exists"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A backfill as somebody asks for it; dates in UTC, both included."""

    from_date: datetime
    to_date: datetime
    reverse: bool = False
    reprocess: Reprocess = Reprocess.NONE
    conf: dict[str, Any] | None = None


def plan_slots(spec: DagSpec, asked: Asked, now: datetime) -> tuple[RunSlot, ...]:
    """The moments of this backfill in the order in which their runs start; all of their intervals are over.

    As in Airflow, the DAG's own start and end do not matter, nor does catchup. Raises `Invalid` for what cannot be
    backfilled.
    """
    _check(spec, asked, now)
    slots: list[RunSlot] = []
    for slot in _slots(spec, asked, now):
        if len(slots) == SLOTS_MAX:
            raise _invalid(
                f"The range holds more than {SLOTS_MAX} runs of Dag `{spec.dag_id}`, the most that one backfill makes; "
                "ask for a part of it"
            )
        slots.append(slot)
    return tuple(reversed(slots)) if asked.reverse else tuple(slots)


def skip_reason(existing: DagRunState | None, reprocess: Reprocess) -> SkipReason | None:
    """Why a moment whose run is in this state (None: there is none) is left alone; None: it is made, or runs again."""
    if existing is None:
        return None
    if existing not in (DagRunState.SUCCESS, DagRunState.FAILED):
        return SkipReason.IN_FLIGHT
    match reprocess:
        case Reprocess.COMPLETED:
            return None
        case Reprocess.FAILED:
            return None if existing is DagRunState.FAILED else SkipReason.ALREADY_EXISTS
        case Reprocess.NONE:
            return SkipReason.ALREADY_EXISTS
        case _:
            assert_never(reprocess)


def slots_to_run(
    slots: Iterable[RunSlot], existing: Mapping[datetime | str, DagRunState], reprocess: Reprocess
) -> tuple[RunSlot, ...]:
    """What the backfill would run if its turn came now. `existing`: by the slot's key."""
    states, chosen = dict(existing), []
    for slot in slots:
        if skip_reason(states.get(slot.key), reprocess) is None:
            chosen.append(slot)
            states[slot.key] = DagRunState.QUEUED  # slots may share a partition: the first one makes its run
    return tuple(chosen)


# --- what it costs ---


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a backfill asks of its surroundings. Of tasks that are mapped one instance is counted."""

    runs: int
    task_instances: int
    runs_at_once: int
    pools: dict[str, int]
    """Pool -> slots that all tasks of the runs at once would hold if none waited for another: the most there can be."""
    run_duration_s: float | None
    """Median of the newest runs that succeeded; None: none has."""
    runs_per_hour: float | None
    duration_s: float | None
    """How long it takes at that throttle, when nothing else holds it up."""


def preview(spec: DagSpec, runs: int, *, max_active_runs: int, durations_s: Sequence[float]) -> Preview:
    """`durations_s`: of runs of this DAG that succeeded, in any order."""
    at_once = min(runs, max_active_runs)
    pools: dict[str, int] = {}
    for task in spec.tasks:
        pools[task.pool] = pools.get(task.pool, 0) + task.pool_slots * at_once
    one_s = sorted(durations_s)[len(durations_s) // 2] if durations_s else None
    per_hour = 3600 * max_active_runs / one_s if one_s else None
    return Preview(
        runs=runs,
        task_instances=runs * len(spec.tasks),
        runs_at_once=at_once,
        pools=pools,
        run_duration_s=one_s,
        runs_per_hour=per_hour,
        duration_s=runs / per_hour * 3600 if per_hour else None,
    )


# --- what is refused ---


def _check(spec: DagSpec, asked: Asked, now: datetime) -> None:
    if spec.partitions is not None:
        raise _invalid(
            f"{spec.dag_id} runs when events of its assets come for a partition, not by time: make the events "
            "(`leoflow assets emit --partition-key`), or trigger a run with partition_key for each partition that is "
            "missing"
        )
    if isinstance(spec.timetable, NoTimetable):
        raise _invalid(f"{spec.dag_id} has no schedule: a timetable says which runs a backfill makes")
    if isinstance(spec.timetable, ContinuousTimetable):
        raise _invalid(
            f"{spec.dag_id} runs @continuous: its runs have no moments of their own that could be made again"
        )
    if any(task.depends_on_past for task in spec.tasks):
        if asked.reverse:
            raise _invalid("Backfill cannot be run in reverse when the Dag has tasks where depends_on_past=True.")
        if asked.reprocess is Reprocess.NONE:
            raise _invalid(
                "Dag has tasks for which depends_on_past=True. "
                "You must set reprocess behavior to reprocess completed or reprocess failed."
            )
    if asked.from_date >= now and asked.to_date >= now:
        raise _invalid("Backfill cannot be executed for future dates.")
    if asked.conf is not None:
        try:
            checked_conf(spec.params, asked.conf)
        except ValueError as error:
            raise _invalid(str(error)) from error


def _slots(spec: DagSpec, asked: Asked, now: datetime) -> Iterator[RunSlot]:
    last: RunSlot | None = None
    try:
        while True:
            last = next_run(
                spec.timetable, last=last, start_date=asked.from_date, end_date=asked.to_date, catchup=True, now=now
            )
            if last is None or last.data_interval_end >= now:
                return
            yield last
    except (OverflowError, ValueError) as error:
        raise _invalid(f"the timetable of Dag `{spec.dag_id}` has no runs in this range: {error}") from error


def _invalid(message: str) -> Invalid:
    return Invalid(message, location=("body",))
