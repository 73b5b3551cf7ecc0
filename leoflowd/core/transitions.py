"""The legal moves of task instances and dag runs, and what each decision does to the facts. Nowhere else is this said.

Two tables: `MOVES` is what the scheduler and the agents may do, `PERSON_MOVES` what clearing and marking may do on top.
`apply` turns a decision into new facts; the store writes exactly that, by compare-and-set on the old state and id.

How tries are told apart, without a column of their own:

* a try begins with `Queue`: new id (the fencing token), `try_number` + 1;
* a try that ended has an `end_date`; `Queue` then replaces it, and the old row belongs into the history
  (`replaces_try`);
* a try that gave its slot back (reschedule, deferral) has a `start_date` but no `end_date`: the next `Queue` resumes
  it, with its number and start, but under a new id, since another process runs it;
* a native sensor's try begins with `Defer`, in the cheap-task pool, and usually ends there;
* `clear` and `Restart` leave neither date: whoever clears has archived the try already. An instance then skipped
  or fails upstream ends under the id of its last try: archiving must not mind finding that id in the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import assert_never
from uuid import NAMESPACE_OID, uuid5

import msgspec

from leoflowd.contract.states import FINISHED, LIVE, DagRunState, TaskInstanceState
from leoflowd.core.dag_shape import TaskNode
from leoflowd.core.decisions import (
    Decision,
    Defer,
    Expand,
    Fail,
    FinishDagRun,
    Queue,
    Remove,
    Requeue,
    RescheduleAt,
    Restart,
    Resume,
    RetryAt,
    Schedule,
    Skip,
    Start,
    StartDagRun,
    Succeed,
    UpstreamFail,
)
from leoflowd.core.run_view import InstanceFacts, RunFacts

_S = TaskInstanceState

MOVES: Mapping[TaskInstanceState, frozenset[TaskInstanceState]] = {
    # An empty operator succeeds from `none`; a decision taken upstream ends what never ran.
    # A native sensor goes from here straight into the cheap-task pool.
    _S.NONE: frozenset(
        {_S.SCHEDULED, _S.DEFERRED, _S.UP_FOR_RESCHEDULE, _S.SUCCESS, _S.SKIPPED, _S.UPSTREAM_FAILED, _S.REMOVED}
    ),
    _S.SCHEDULED: frozenset({_S.QUEUED, _S.DEFERRED, _S.UP_FOR_RESCHEDULE, _S.SKIPPED, _S.REMOVED}),
    # An outcome may overtake the message that the try runs: everything from `running` is possible from `queued`.
    _S.QUEUED: frozenset(
        {
            _S.RUNNING,
            _S.SUCCESS,
            _S.FAILED,
            _S.SKIPPED,
            _S.UP_FOR_RETRY,
            _S.UP_FOR_RESCHEDULE,
            _S.DEFERRED,
            _S.SCHEDULED,
        }
    ),
    _S.RUNNING: frozenset(
        {_S.SUCCESS, _S.FAILED, _S.SKIPPED, _S.UP_FOR_RETRY, _S.UP_FOR_RESCHEDULE, _S.DEFERRED, _S.SCHEDULED}
    ),
    _S.DEFERRED: frozenset({_S.SCHEDULED, _S.SUCCESS, _S.FAILED, _S.SKIPPED, _S.UP_FOR_RETRY}),
    _S.UP_FOR_RETRY: frozenset(
        {_S.SCHEDULED, _S.DEFERRED, _S.UP_FOR_RESCHEDULE, _S.SUCCESS, _S.SKIPPED, _S.UPSTREAM_FAILED, _S.REMOVED}
    ),
    # Failed and retried from the pool, or when execution_timeout passes while nothing runs.
    _S.UP_FOR_RESCHEDULE: frozenset(
        {
            _S.SCHEDULED,
            _S.DEFERRED,
            _S.UP_FOR_RESCHEDULE,
            _S.SUCCESS,
            _S.FAILED,
            _S.UP_FOR_RETRY,
            _S.SKIPPED,
            _S.UPSTREAM_FAILED,
            _S.REMOVED,
        }
    ),
    # Cleared while its try was alive; when the try is gone it starts from nothing.
    _S.RESTARTING: frozenset({_S.NONE, _S.SKIPPED}),
    _S.SUCCESS: frozenset(),
    _S.FAILED: frozenset(),
    _S.SKIPPED: frozenset(),
    # A branch that leaves it out decides after a failure elsewhere upstream did, as in Airflow.
    _S.UPSTREAM_FAILED: frozenset({_S.SKIPPED}),
    _S.REMOVED: frozenset(),
}

MARKABLE = frozenset({_S.SUCCESS, _S.FAILED, _S.SKIPPED})
"""States that a person may give to an instance, as Airflow's API offers them."""

PERSON_MOVES: Mapping[TaskInstanceState, frozenset[TaskInstanceState]] = {
    state: MARKABLE
    | {_S.RESTARTING if state in LIVE else _S.NONE}
    | (frozenset() if state in FINISHED else {_S.REMOVED})  # moved to a version of the DAG without the task
    for state in TaskInstanceState
}

RUN_MOVES: Mapping[DagRunState, frozenset[DagRunState]] = {
    DagRunState.QUEUED: frozenset({DagRunState.RUNNING}),
    DagRunState.RUNNING: frozenset({DagRunState.SUCCESS, DagRunState.FAILED}),
    DagRunState.SUCCESS: frozenset(),
    DagRunState.FAILED: frozenset(),
}

PERSON_RUN_MOVES: Mapping[DagRunState, frozenset[DagRunState]] = {
    state: frozenset({DagRunState.QUEUED, DagRunState.SUCCESS, DagRunState.FAILED}) for state in DagRunState
}


class IllegalMove(RuntimeError):
    """A move that no table allows: a bug, or a decision about facts that are no longer true."""


def apply(facts: InstanceFacts, node: TaskNode, decision: Decision, now: datetime) -> InstanceFacts:
    """The facts after this decision; raises IllegalMove when the table does not allow it."""
    match decision:
        case Schedule():
            # of a try that failed the reason stays until the next one begins: the archive is to have that
            because = facts.because if facts.state is _S.UP_FOR_RETRY else decision.because
            return _moved(facts, node, _S.SCHEDULED, because, scheduled_at=now, queued_at=None, due_at=None)
        case Queue():
            return _queued(facts, node, decision, now)
        case Defer():
            return _deferred(facts, node, decision, now)
        case Resume():
            return _moved(facts, node, _S.SCHEDULED, decision.because, scheduled_at=now, queued_at=None, wait="fired")
        case Start():
            start_date = facts.start_date or decision.at
            return _moved(facts, node, _S.RUNNING, decision.because, start_date=start_date)
        case Succeed():
            ended = _ended(_begun_in_place(facts, now), node, _S.SUCCESS, decision, now)
            return msgspec.structs.replace(ended, length=decision.length)
        case Fail():
            return _ended(facts, node, _S.FAILED, decision, now)
        case Skip():
            return _ended(facts, node, _S.SKIPPED, decision, now)
        case UpstreamFail():
            return _moved(facts, node, _S.UPSTREAM_FAILED, decision.because, end_date=now, due_at=None)
        case RetryAt():
            return _ended(facts, node, _S.UP_FOR_RETRY, decision, now, due_at=decision.at)
        case RescheduleAt():
            start_date = facts.start_date or decision.started_at or now
            return _moved(
                facts, node, _S.UP_FOR_RESCHEDULE, decision.because, start_date=start_date, due_at=decision.at
            )
        case Requeue():
            return _requeued(facts, node, decision, now)
        case Restart():
            return _moved(facts, node, _S.NONE, decision.because, **_NEVER_RAN)
        case Remove():
            return _moved(facts, node, _S.REMOVED, decision.because, end_date=now, due_at=None)
        case Expand() | StartDagRun() | FinishDagRun():
            raise IllegalMove(f"{type(decision).__name__} is not about one instance of task {node.spec.task_id!r}")
        case _:
            assert_never(decision)


def apply_to_run(run: RunFacts, decision: Decision, now: datetime) -> RunFacts:
    """The dag run after this decision; decisions about instances leave it as it is."""
    match decision:
        case StartDagRun():
            _check_run(run.state, DagRunState.RUNNING, RUN_MOVES)
            return RunFacts(state=DagRunState.RUNNING, start_date=run.start_date or now, because=decision.because)
        case FinishDagRun():
            _check_run(run.state, decision.state, RUN_MOVES)
            return msgspec.structs.replace(run, state=decision.state, end_date=now, because=decision.because)
        case _:
            return run


def clear(facts: InstanceFacts, node: TaskNode, *, because: str) -> InstanceFacts:
    """A person wants it to run again. Its retries count anew from the tries it already had, as in Airflow.

    A live try has to be stopped first: the instance is `restarting` until its end is reported.
    """
    max_tries = facts.try_number + node.spec.retries
    if facts.state in LIVE:
        return msgspec.structs.replace(
            facts, state=_S.RESTARTING, max_tries=max_tries, infra_faults=0, because=because, wait=""
        )
    return msgspec.structs.replace(
        facts, state=_S.NONE, max_tries=max_tries, infra_faults=0, because=because, wait="", **_NEVER_RAN
    )


def mark(facts: InstanceFacts, state: TaskInstanceState, now: datetime, *, because: str) -> InstanceFacts:
    """A person sets the state; raises IllegalMove for states that only the scheduler may give.

    As Airflow's `set_state`: a try that had ended did so when it did, whatever is thought of it now.
    """
    if state not in MARKABLE:
        raise IllegalMove(f"a person cannot mark a task instance {state}; use one of {sorted(MARKABLE)}")
    return msgspec.structs.replace(
        facts,
        state=state,
        start_date=facts.start_date or now,
        end_date=facts.end_date or now,
        due_at=None,
        because=because,
        wait="",
    )


def remove(facts: InstanceFacts, now: datetime, *, because: str) -> InstanceFacts:
    """A person moved the run to a version of the DAG without this task: a live try is stopped, as when it is marked."""
    if facts.state in FINISHED:
        raise IllegalMove(f"a task instance that is {facts.state} stays what it is")
    return msgspec.structs.replace(
        facts, state=_S.REMOVED, end_date=facts.end_date or now, due_at=None, because=because, wait=""
    )


def clear_run(run: RunFacts, *, because: str) -> RunFacts:
    """Instances of a dag run were cleared: a finished run waits for its turn again, an active one goes on."""
    if run.state in (DagRunState.QUEUED, DagRunState.RUNNING):
        return run
    return RunFacts(state=DagRunState.QUEUED, because=because)


def mark_run(run: RunFacts, state: DagRunState, now: datetime, *, because: str) -> RunFacts:
    """A person sets the state of a dag run (queued, success, failed). One that had ended did so when it did."""
    _check_run(run.state, state, PERSON_RUN_MOVES)
    if state is DagRunState.QUEUED:
        return RunFacts(state=state, because=because)
    return RunFacts(state=state, start_date=run.start_date or now, end_date=run.end_date or now, because=because)


def is_resumed(facts: InstanceFacts) -> bool:
    """Does the next `Queue` go on with a try that gave its slot back?"""
    return facts.try_number >= 1 and facts.start_date is not None and facts.end_date is None


def replaces_try(before: InstanceFacts, after: InstanceFacts) -> bool:
    """Must the row be archived before this write, because it is that of a try that it will no longer show?"""
    if before.try_number < 1:
        return False
    if before.state is _S.RESTARTING:
        return after.state is not _S.RESTARTING
    if before.id != after.id:
        return before.end_date is not None
    is_forgotten = after.start_date is None and after.end_date is None
    return is_forgotten and (before.start_date is not None or before.end_date is not None)


_KEEPS_WAIT = frozenset({_S.SCHEDULED, _S.QUEUED, _S.RUNNING, _S.RESTARTING})

_NEVER_RAN: dict[str, None] = dict.fromkeys(("scheduled_at", "queued_at", "start_date", "end_date", "due_at", "length"))


def _queued(facts: InstanceFacts, node: TaskNode, decision: Queue, now: datetime) -> InstanceFacts:
    """From `none` and `up_for_*` it passes through `scheduled` within the same commit."""
    if facts.state is not _S.SCHEDULED:
        facts = apply(facts, node, Schedule(instance=decision.instance, because=decision.because), now)
    resumed = is_resumed(facts)
    return _moved(
        facts,
        node,
        _S.QUEUED,
        decision.because,
        id=decision.try_id,
        launcher=decision.launcher,
        try_number=facts.try_number if resumed else facts.try_number + 1,
        queued_at=now,
        start_date=facts.start_date if resumed else None,
        end_date=None,
    )


def _requeued(facts: InstanceFacts, node: TaskNode, decision: Requeue, now: datetime) -> InstanceFacts:
    """Both numbers rise, so that the try costs no retry; it waits like one that is to be retried, if at all."""
    counted = msgspec.structs.replace(facts, max_tries=facts.max_tries + 1, infra_faults=facts.infra_faults + 1)
    if decision.at is not None:
        return _ended(counted, node, _S.UP_FOR_RETRY, decision, now, due_at=decision.at)
    ended = _ended(counted, node, _S.SCHEDULED, decision, now)
    return msgspec.structs.replace(ended, scheduled_at=now, queued_at=None)


def _deferred(facts: InstanceFacts, node: TaskNode, decision: Defer, now: datetime) -> InstanceFacts:
    """A try that has begun waits as itself; otherwise the wait is how one begins."""
    begun = facts if facts.state in LIVE or is_resumed(facts) else _begun_in_place(facts, now)
    start_date = begun.start_date or now
    return _moved(begun, node, decision.state, decision.because, start_date=start_date, due_at=None, wait="waiting")


def _begun_in_place(facts: InstanceFacts, now: datetime) -> InstanceFacts:
    """An instance that succeeds without an executor (empty operator) has its try at this very moment, as in Airflow."""
    if facts.state in LIVE or facts.wait:
        return facts
    try_number = facts.try_number + 1
    # After a clear the old id is in the history; the new one fences nobody, so it may follow from the old one.
    try_id = facts.id if try_number == 1 else str(uuid5(NAMESPACE_OID, f"{facts.id}/{try_number}"))
    return msgspec.structs.replace(facts, id=try_id, try_number=try_number, start_date=now, end_date=None)


def _ended(
    facts: InstanceFacts,
    node: TaskNode,
    state: TaskInstanceState,
    decision: Succeed | Fail | Skip | RetryAt | Requeue,
    now: datetime,
    *,
    due_at: datetime | None = None,
) -> InstanceFacts:
    ended_at = decision.ended_at or now
    return _moved(
        facts,
        node,
        state,
        decision.because,
        start_date=facts.start_date or decision.started_at,
        end_date=ended_at,
        due_at=due_at,
    )


def _moved(
    facts: InstanceFacts, node: TaskNode, state: TaskInstanceState, because: str, **changes: object
) -> InstanceFacts:
    if state not in MOVES[facts.state]:
        raise IllegalMove(f"task instance {node.spec.task_id!r} cannot go from {facts.state} to {state} ({because})")
    # Nothing is left of a wait, except where the try goes on after it, or waits again.
    changes.setdefault("wait", facts.wait if state in _KEEPS_WAIT else "")
    return msgspec.structs.replace(facts, state=state, because=because, **changes)


def _check_run(before: DagRunState, after: DagRunState, table: Mapping[DagRunState, frozenset[DagRunState]]) -> None:
    if after not in table[before]:
        raise IllegalMove(f"a dag run cannot go from {before} to {after}")
