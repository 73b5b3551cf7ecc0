"""What differs between two runs of a DAG, for people: conf, params, and of each task its states, tries and duration.

What changed most comes first. Called by `api.own.run_diff`, which adds code (`core.version_diff`) and logs. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from leoflowd.core.version_diff import Changes


class TaskTally(msgspec.Struct, frozen=True):
    """The instances of one task of a run that are in one state; as `store.run_tallies` counts them."""

    task_id: str
    state: str | None
    count: int
    is_mapped: bool
    max_try_number: int
    duration_s: float | None
    """Of all of them together; None: none has ended."""
    first_start: datetime | None


class TaskSide(msgspec.Struct, frozen=True, kw_only=True):
    """One task in one of the two runs."""

    states: dict[str, int]
    """State -> how many instances; `none` for those that have none."""
    count: int
    is_mapped: bool
    try_number: int
    """Of an instance that was tried most often."""
    duration_s: float | None
    started_after_s: float | None
    """From the start of the run to the first start of an instance."""


class Change(StrEnum):
    """In the order in which tasks are listed."""

    STATE = "state"
    ADDED = "added"
    REMOVED = "removed"
    OTHER = "other"
    """In both runs, in the same states: duration, tries or number of instances may differ."""


class TaskDiff(msgspec.Struct, frozen=True, kw_only=True):
    task_id: str
    change: Change
    before: TaskSide | None
    after: TaskSide | None
    duration_delta_s: float | None
    """Seconds more; None where one has no duration."""


class ComparedRun(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared of a run."""

    conf: Mapping[str, Any]
    params: Mapping[str, Any]
    """Name -> default of the DAG's version that it ran."""
    start_date: datetime | None
    tasks: tuple[TaskTally, ...]


class RunDiff(msgspec.Struct, frozen=True, kw_only=True):
    params: Changes
    """Values that tasks saw: the conf's, or the default of that version."""
    conf: Changes
    """Keys that are no param."""
    tasks: tuple[TaskDiff, ...]


def diff_runs(before: ComparedRun, after: ComparedRun) -> RunDiff:
    was, now = _sides(before), _sides(after)
    tasks = [_task_diff(task_id, was.get(task_id), now.get(task_id)) for task_id in was.keys() | now.keys()]
    names = before.params.keys() | after.params.keys()
    return RunDiff(
        params=_changes(_effective(before), _effective(after)),
        conf=_changes(_without(before.conf, names), _without(after.conf, names)),
        tasks=tuple(sorted(tasks, key=_most_changed_first)),
    )


def _sides(run: ComparedRun) -> dict[str, TaskSide]:
    by_task: dict[str, list[TaskTally]] = {}
    for tally in run.tasks:
        by_task.setdefault(tally.task_id, []).append(tally)
    return {task_id: _side(tallies, run.start_date) for task_id, tallies in by_task.items()}


def _side(tallies: Iterable[TaskTally], began: datetime | None) -> TaskSide:
    tallies = sorted(tallies, key=lambda tally: tally.state or "none")
    durations = [tally.duration_s for tally in tallies if tally.duration_s is not None]
    starts = [tally.first_start for tally in tallies if tally.first_start is not None]
    return TaskSide(
        states={tally.state or "none": tally.count for tally in tallies},
        count=sum(tally.count for tally in tallies),
        is_mapped=any(tally.is_mapped for tally in tallies),
        try_number=max(tally.max_try_number for tally in tallies),
        duration_s=sum(durations) if durations else None,
        started_after_s=(min(starts) - began).total_seconds() if starts and began is not None else None,
    )


def _task_diff(task_id: str, before: TaskSide | None, after: TaskSide | None) -> TaskDiff:
    delta = None
    if before is None:
        change = Change.ADDED
    elif after is None:
        change = Change.REMOVED
    else:
        # a mapped task that has more instances than before, all as before, has not changed its state
        change = Change.OTHER if before.states.keys() == after.states.keys() else Change.STATE
        if before.duration_s is not None and after.duration_s is not None:
            delta = after.duration_s - before.duration_s
    return TaskDiff(task_id=task_id, change=change, before=before, after=after, duration_delta_s=delta)


def _most_changed_first(task: TaskDiff) -> tuple[int, float, str]:
    return list(Change).index(task.change), -abs(task.duration_delta_s or 0.0), task.task_id


def _effective(run: ComparedRun) -> dict[str, Any]:
    return {name: run.conf.get(name, default) for name, default in run.params.items()}


def _without(conf: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    left_out = set(names)
    return {name: value for name, value in conf.items() if name not in left_out}


def _changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    return {
        name: (was.get(name), now.get(name))
        for name in sorted(was.keys() | now.keys())
        if was.get(name) != now.get(name)
    }
