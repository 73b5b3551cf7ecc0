"""Answers to "what is this dag run waiting for?" and "why did it fail?". Pure; `explain` tells of its instances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from leoflowd.contract.states import FINISHED, DagRunState, TaskInstanceState
from leoflowd.core.explain_causes import NAMED
from leoflowd.core.human_times import ago, when
from leoflowd.core.run_view import SET_ASIDE, RunView

_S = TaskInstanceState


class RunLimit(msgspec.Struct, frozen=True, kw_only=True):
    """What a queued run competes with."""

    max_active_runs: int
    """0: no limit."""
    running: tuple[str, ...]
    """Ids of the runs that count, the oldest first."""
    is_backfill: bool = False


def explain_run(
    view: RunView,
    now: datetime,
    *,
    instances: Mapping[int, tuple[str, ...]],
    is_paused: bool = False,
    run_after: datetime | None = None,
    limit: RunLimit | None = None,
) -> tuple[str, ...]:
    """Sentences, the state first. `instances`: what `explain_instance` says of those that are to be told of."""
    return tuple(_sentences(view, now, instances, is_paused, run_after, limit))


def what_holds_up(
    view: RunView, now: datetime, *, is_paused: bool, run_after: datetime | None, limit: RunLimit | None
) -> Iterator[str]:
    """Why nothing of an unfinished run goes on, if that is so: of the whole run, not of one task."""
    if view.state in (DagRunState.SUCCESS, DagRunState.FAILED):
        return
    if is_paused:
        yield f"dag {view.dag_id!r} is paused: nothing of it is started until it is unpaused"
    if view.run.because.startswith(SET_ASIDE):
        yield f"the dag run itself is {view.run.because}"
    elif view.state is DagRunState.QUEUED and run_after is not None and now < run_after:
        yield f"the dag run itself is queued: it may begin {when(run_after, now)} (its run_after)"
    elif view.state is DagRunState.QUEUED:
        yield f"the dag run itself is queued: {_of_limit(view, limit)}"


def to_tell_of(view: RunView) -> tuple[int, ...]:
    """Instances whose own sentences make up the answer: what failed first, or what is nearest to running."""
    if view.state is DagRunState.FAILED:
        failed = [i for i, facts in enumerate(view.facts) if facts.state is _S.FAILED]
        return tuple((failed or [i for i, one in enumerate(view.facts) if one.state is _S.UPSTREAM_FAILED])[:NAMED])
    if view.state is not DagRunState.RUNNING:
        return ()
    order = [_S.UP_FOR_RETRY, _S.UP_FOR_RESCHEDULE, _S.DEFERRED, _S.SCHEDULED, _S.QUEUED, _S.RESTARTING, _S.RUNNING]
    begun = [i for state in order for i, facts in enumerate(view.facts) if facts.state is state]
    waiting = [i for i, facts in enumerate(view.facts) if facts.state is _S.NONE]
    return tuple((begun or waiting)[:NAMED])


def _sentences(
    view: RunView,
    now: datetime,
    instances: Mapping[int, tuple[str, ...]],
    is_paused: bool,
    run_after: datetime | None,
    limit: RunLimit | None,
) -> Iterator[str]:
    since = f", begun {ago(view.run.start_date, now)}" if view.run.start_date and not view.run.end_date else ""
    reason = f": {view.run.because}" if view.run.because and not view.run.because.startswith(SET_ASIDE) else ""
    yield f"dag run {view.run_id!r} is {view.state}{since}{reason}"
    yield from what_holds_up(view, now, is_paused=is_paused, run_after=run_after, limit=limit)
    counts = Counter(facts.state for facts in view.facts)
    yield "its task instances: " + ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    for told in instances.values():
        yield "; ".join(told)
    others = len([facts for facts in view.facts if facts.state not in FINISHED]) - len(instances)
    if view.state is DagRunState.RUNNING and others > 0:
        yield f"{others} more are not done; `leoflow explain DAG_ID RUN_ID TASK_ID` tells of each"


def _of_limit(view: RunView, limit: RunLimit | None) -> str:
    if limit is None:
        return "it begins when max_active_runs of its dag (or backfill) allows it"
    if not limit.max_active_runs or len(limit.running) < limit.max_active_runs:
        return "it begins at the next decision"
    whose = "of its backfill" if limit.is_backfill else f"of dag {view.dag_id!r}"
    named = ", ".join(map(repr, limit.running[:NAMED]))
    more = f" and {len(limit.running) - NAMED} more" if len(limit.running) > NAMED else ""
    return (
        f"{len(limit.running)} runs {whose} are running ({named}{more}), and max_active_runs is "
        f"{limit.max_active_runs}: one has to end first"
    )
