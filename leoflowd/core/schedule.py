"""What a schedule would do: the next runs of a DAG, with their local time and what a change of the clocks does to it.

Called by `leoflow schedule`, for a file directly and for a DAG of the server through the API. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

import msgspec

from leoflowd.contract.dag_spec import (
    ContinuousTimetable,
    CronTimetable,
    CustomTimetable,
    DagSpec,
    MultipleCronTimetable,
    NoTimetable,
    Timetable,
)
from leoflowd.contract.errors import Invalid
from leoflowd.core.timetable import RunSlot, describe, next_run, time_restriction, zone_of

RUNS_MAX = 1_000
PASSED_OVER_MAX = 100_000
"""Slots before the moment that was asked for."""
_SECOND = timedelta(seconds=1)


class PlannedRun(msgspec.Struct, frozen=True, kw_only=True):
    run_after: datetime
    """UTC, as the next three."""
    logical_date: datetime
    data_interval_start: datetime
    data_interval_end: datetime
    local: str
    """`run_after` in the zone, with its distance from UTC."""
    partition_key: str | None = None
    notes: tuple[str, ...] = ()
    """The partition, and what the clocks did."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    dag_id: str
    summary: str | None
    description: str
    zone: str
    runs: tuple[PlannedRun, ...]
    notes: tuple[str, ...] = ()
    """Why there are no more, and what else starts runs."""


def what_if(
    spec: DagSpec, *, count: int, now: datetime, last: RunSlot | None, since: datetime | None, zone: str | None
) -> Schedule:
    """The next `count` runs after `last`, the newest one of the schedule, or from `since` on whatever has run.

    Raises `Invalid` for an unknown zone and for more than `RUNS_MAX`.
    """
    if not 1 <= count <= RUNS_MAX:
        raise Invalid(f"{count} runs were asked for; between 1 and {RUNS_MAX} are possible")
    name = zone or zone_name(spec)
    try:
        where = zone_of(name)
    except ValueError as error:
        raise Invalid(str(error)) from error
    slots, is_over = coming_slots(spec, count=count, now=now, last=last, since=since)
    befores = [None, *(slot.run_after for slot in slots)]
    return Schedule(
        dag_id=spec.dag_id,
        summary=spec.timetable_summary,
        description=describe(spec.timetable),
        zone=name,
        runs=tuple(_planned(slot, before, where) for slot, before in zip(slots, befores, strict=False)),
        notes=_notes(spec, is_over),
    )


def zone_name(spec: DagSpec) -> str:
    """Of the schedule; of the DAG where the schedule has none."""
    match spec.timetable:
        case CronTimetable(timezone=name):
            return name
        case MultipleCronTimetable(timetables=timetables):
            return timetables[0].timezone
        case _:
            return spec.timezone


def coming_slots(
    spec: DagSpec,
    *,
    count: int,
    now: datetime,
    last: RunSlot | None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[list[RunSlot], bool]:
    """The next slots, at most `count` and those before `until`, and whether the schedule has no more."""
    if isinstance(spec.timetable, ContinuousTimetable):
        return [], False
    start_date, end_date = time_restriction(spec)
    catchup = spec.catchup
    if since is not None:
        begin = since if start_date is None else max(start_date, since)
        last, catchup, start_date = None, True, begin
    found: list[RunSlot] = []
    for _ in range(PASSED_OVER_MAX):
        last = next_run(spec.timetable, last=last, start_date=start_date, end_date=end_date, catchup=catchup, now=now)
        if last is None:
            return found, True
        catchup = True  # from the next run on, every slot is one that comes
        if until is not None and last.run_after >= until:
            break
        if since is None or last.run_after >= since:
            found.append(last)
        if len(found) == count:
            break
    return found, False


def _planned(slot: RunSlot, before: datetime | None, zone: tzinfo) -> PlannedRun:
    return PlannedRun(
        run_after=slot.run_after,
        logical_date=slot.logical_date,
        data_interval_start=slot.data_interval_start,
        data_interval_end=slot.data_interval_end,
        local=slot.run_after.astimezone(zone).isoformat(sep=" "),
        partition_key=slot.partition_key,
        notes=(*_partition_note(slot), *_clock_notes(slot.run_after, before, zone)),
    )


def _partition_note(slot: RunSlot) -> tuple[str, ...]:
    return () if slot.partition_key is None else (f"partition {slot.partition_key}",)


def _clock_notes(at: datetime, before: datetime | None, zone: tzinfo) -> list[str]:
    found = []
    change = None if before is None else _change_between(before, at, zone)
    if before is not None and change is not None:
        jump = _offset(change, zone) - _offset(change - _SECOND, zone)
        wall = (change - _SECOND).astimezone(zone) + _SECOND
        way = "forward" if jump > timedelta() else "back"
        found.append(
            f"the clocks went {way} by {abs(jump)} at {wall:%Y-%m-%d %H:%M}: {at - before} after the run before"
        )
        if timedelta() <= at - change < jump:
            found.append("a time of day that this night has not: it runs as much later as the clocks jumped")
    local = at.astimezone(zone)
    first, second = local.replace(fold=0).utcoffset(), local.replace(fold=1).utcoffset()
    if first is not None and second is not None and first > second:
        found.append(f"this time of day comes twice that night: the {'second' if local.fold else 'first'} one")
    return found


def _change_between(before: datetime, after: datetime, zone: tzinfo) -> datetime | None:
    """The moment, to the second, at which the distance from UTC became another; None: it did not."""
    if _offset(before, zone) == _offset(after, zone):
        return None
    low, high = before.replace(microsecond=0), after.replace(microsecond=0)
    while high - low > _SECOND:
        middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
        low, high = (middle, high) if _offset(middle, zone) == _offset(before, zone) else (low, middle)
    return high.astimezone(UTC)


def _offset(at: datetime, zone: tzinfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _notes(spec: DagSpec, is_over: bool) -> tuple[str, ...]:
    notes = []
    timetable: Timetable = spec.timetable
    if isinstance(timetable, ContinuousTimetable):
        notes.append("each run starts when the one before has ended: nobody knows when")
    elif isinstance(timetable, NoTimetable):
        notes.append("runs start only when someone asks for one")
    elif isinstance(timetable, CustomTimetable) and timetable.valid_until is not None and is_over:
        notes.append(
            f"{timetable.name} was asked up to {timetable.valid_until.isoformat()}: compile the DAG again to know more"
        )
    elif is_over:
        _, end_date = time_restriction(spec)
        why = f": the end date is {end_date.isoformat()}" if end_date is not None else ""
        notes.append(f"the schedule has no more runs{why}")
    if spec.partitions is not None:
        notes.append("each partition has a run, once events of it have come for what the schedule names")
    elif spec.asset_condition is not None:
        notes.append("runs start by assets as well")
    return tuple(notes)
