"""What clearing and marking mean for the task instances that a person chose, and for their dag run.

Called by `store.task_instances` and `store.dag_runs` with facts that they read under the run's lock; which instances a
request touches is `selection`'s to say. Each move is one of `transitions`: there is no other rule about them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from leoflowd.contract.states import FINISHED, LIVE, DagRunState, TaskInstanceState
from leoflowd.core.dag_shape import TaskNode
from leoflowd.core.run_view import InstanceFacts, RunFacts
from leoflowd.core.transitions import clear, mark, mark_run, remove, replaces_try

_S = TaskInstanceState

GONE = -1
"""`TaskNode.index` of a task that the version of the DAG does not have: all that is known of it is its id."""


class Held(msgspec.Struct, frozen=True):
    """One task instance, as it is while its run is locked."""

    dag_run_id: int
    node: TaskNode
    facts: InstanceFacts

    @property
    def key(self) -> tuple[int, str, int]:
        """(dag_run_id, task_id, map_index)"""
        return self.dag_run_id, self.node.spec.task_id, self.facts.map_index


class Change(msgspec.Struct, frozen=True):
    """`held` becomes `after`."""

    held: Held
    after: InstanceFacts
    ended: InstanceFacts | None = None
    """Its try, if that is to be archived."""
    forgets_xcoms: bool = False


def plan_clear(chosen: Iterable[Held], *, because: str) -> tuple[Change, ...]:
    """They run again. What is live is stopped first, and archived when it has ended."""
    changes = []
    for held in chosen:
        after = clear(held.facts, held.node, because=because)
        ended = held.facts if replaces_try(held.facts, after) else None
        # What a live try pushed goes when that try has ended.
        changes.append(Change(held, after, ended, forgets_xcoms=held.facts.state not in LIVE))
    return tuple(changes)


def plan_removal(rows: Iterable[Held], cleared: Iterable[Change], now: datetime) -> tuple[Change, ...]:
    """The run moves to a version without some of its tasks: what is left of them and has not ended is no part of it.

    Also a live try: the scheduler has no view of it any more, so that its end would be nobody's.
    """
    changes = {held.key: Change(held, held.facts) for held in rows} | {change.held.key: change for change in cleared}
    because = "the task is not in this version of the DAG"
    for key, change in changes.items():
        if change.held.node.index == GONE and change.after.state not in FINISHED:
            after = remove(change.after, now, because=because)
            ended = change.held.facts if replaces_try(change.held.facts, after) else change.ended
            changes[key] = msgspec.structs.replace(change, after=after, ended=ended)
    return tuple(change for change in changes.values() if change.after != change.held.facts)


def plan_mark(chosen: Iterable[Held], state: TaskInstanceState, now: datetime, *, because: str) -> tuple[Change, ...]:
    """They end as `state`; what has ended so already is left alone."""
    return tuple(
        Change(held, mark(held.facts, state, now, because=because)) for held in chosen if held.facts.state is not state
    )


def plan_mark_run(
    rows: Sequence[Held], run: RunFacts, state: DagRunState, now: datetime, *, because: str
) -> tuple[tuple[Change, ...], RunFacts]:
    """As Airflow's PATCH of a dag run. success: all instances succeed. failed: what runs fails, what waits is skipped.

    Unfinished teardowns are left to run, and the run then ends when they do. queued: its turn comes again.
    """
    if state is DagRunState.QUEUED:
        return (), mark_run(run, state, now, because=because)
    end = _end_with_success if state is DagRunState.SUCCESS else _end_with_failure
    changes = tuple(
        Change(held, mark(held.facts, target, now, because=because))
        for held in rows
        if (target := end(held)) is not None
    )
    if any(_is_open_teardown(held) for held in rows):
        return changes, run
    return changes, mark_run(run, state, now, because=because)


def _end_with_success(held: Held) -> TaskInstanceState | None:
    if held.facts.state in (_S.SUCCESS, _S.REMOVED) or _is_open_teardown(held):
        return None
    return _S.SUCCESS


def _end_with_failure(held: Held) -> TaskInstanceState | None:
    if held.facts.state in FINISHED or held.node.spec.is_teardown:
        return None
    return _S.FAILED if held.facts.state in (_S.RUNNING, _S.DEFERRED, _S.UP_FOR_RESCHEDULE) else _S.SKIPPED


def _is_open_teardown(held: Held) -> bool:
    return held.node.spec.is_teardown and held.facts.state not in FINISHED
