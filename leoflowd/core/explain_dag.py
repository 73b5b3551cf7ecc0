"""Answers to "why does this DAG not run?": its schedule, what it waits for, and who watches for that.

Called by `leoflow explain DAG` through the API, from rows; like `explain`, nothing is stored for it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from leoflowd.contract.dag_spec import ContinuousTimetable, CustomTimetable, DagSpec, NoTimetable
from leoflowd.core.asset_conditions import named_in
from leoflowd.core.human_times import when
from leoflowd.core.timetable import RunSlot, describe, next_run, ran_out, time_restriction
from leoflowd.core.watching import WatcherFacts, explain_watcher


class AwaitedAsset(msgspec.Struct, frozen=True):
    """An active asset on which the DAG is scheduled."""

    name: str
    came_at: datetime | None
    """Its last event that no run has taken."""


class DagFacts(msgspec.Struct, frozen=True, kw_only=True):
    is_paused: bool
    is_stale: bool
    """Its file is gone."""
    last: RunSlot | None
    """The newest run that the timetable or a backfill started."""
    active_runs: int
    """Queued and running, without those of backfills."""
    broken_file: str = ""
    """Its file, when the newest state of that does not compile."""
    assets: tuple[AwaitedAsset, ...] = ()
    watchers: tuple[WatcherFacts, ...] = ()
    """Of those assets, whichever file names them."""


def explain_dag(spec: DagSpec, facts: DagFacts, now: datetime) -> tuple[str, ...]:
    """Sentences: what holds up all of it first, then its schedule, then its assets and their watchers."""
    return tuple(_sentences(spec, facts, now))


def _sentences(spec: DagSpec, facts: DagFacts, now: datetime) -> Iterator[str]:
    if facts.is_stale:
        yield f"dag {spec.dag_id!r} is no longer in its file: no run of it begins until it is there again"
        return
    if facts.broken_file:
        yield (
            f"its file {facts.broken_file} has an import error: the version before that is in force, and runs are of "
            "it; `leoflow validate` and the UI show the line"
        )
    if facts.is_paused:
        yield f"dag {spec.dag_id!r} is paused: no run of it begins by itself until it is unpaused"
    if 0 < spec.max_active_runs <= facts.active_runs:
        limit = spec.max_active_runs
        yield (
            f"{facts.active_runs} runs are active, and its max_active_runs is {limit}: one has to end first; "
            f"`leoflow explain {spec.dag_id} RUN_ID` says what a run waits for"
        )
    if not isinstance(spec.timetable, NoTimetable):
        yield from _of_timetable(spec, facts, now)
    elif spec.asset_condition is None:
        yield "it has no schedule: a run begins when somebody asks for one"
    if spec.asset_condition is not None:
        yield from _of_assets(spec, facts, now)


def _of_timetable(spec: DagSpec, facts: DagFacts, now: datetime) -> Iterator[str]:
    yield f"its schedule: {describe(spec.timetable)}"
    if isinstance(spec.timetable, ContinuousTimetable):
        yield "a run begins when the one before has ended"
        return
    start, end = time_restriction(spec)
    slot = next_run(spec.timetable, last=facts.last, start_date=start, end_date=end, catchup=spec.catchup, now=now)
    if slot is not None:
        is_due = slot.run_after <= now
        yield f"its next run {'is due: it was to begin' if is_due else 'begins'} {when(slot.run_after, now)}"
    elif ran_out(spec.timetable, now):
        assert isinstance(spec.timetable, CustomTimetable)
        asked = f"{spec.timetable.valid_until:%Y-%m-%d %H:%M:%S} UTC"
        yield (
            f"its timetable {spec.timetable.name} was asked up to {asked} when it was compiled, and that has passed: "
            "nobody knows when it runs next. Compile it again: save its file, or `leoflow push` it"
        )
    else:
        over = f": its end_date is {end:%Y-%m-%d %H:%M:%S} UTC" if end is not None else ""
        yield f"its schedule has no more runs{over}"


def _of_assets(spec: DagSpec, facts: DagFacts, now: datetime) -> Iterator[str]:
    named = len(tuple(named_in(spec.asset_condition)))
    yield f"it is scheduled on {named} {'asset' if named == 1 else 'assets'} or aliases of them"
    for asset in facts.assets:
        if asset.came_at is None:
            yield f"asset {asset.name!r}: no event since the last run"
        else:
            came = f"{asset.came_at:%Y-%m-%d %H:%M:%S} UTC"
            yield f"asset {asset.name!r}: an event came at {came}, and waits for what else is needed"
    for watcher in facts.watchers:
        yield f"watcher {watcher.name!r} of asset {watcher.asset_name!r}: {explain_watcher(watcher, now)}"
