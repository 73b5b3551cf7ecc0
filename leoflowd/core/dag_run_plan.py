"""The decision function: what is to happen next in one dag run.

The scheduler calls `plan_dag_run` after every change (with the instances it touched) and from its sweep (with none
named), and `plan_outcome` when a try ended. They only read: the shell applies the decisions, and applying all of a
plan leaves nothing to plan. A touched instance costs the out-degree of its node; instances are examined in topological
order, so that each is looked at once, after everything upstream of it has been decided.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from functools import partial
from heapq import heappop, heappush
from typing import assert_never

import msgspec

from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.dag_spec import TaskSpec
from leoflowd.contract.states import FINISHED, LIVE, DagRunState, TaskInstanceState
from leoflowd.contract.values import later
from leoflowd.contract.wait_spec import Deferral, WaitMode
from leoflowd.contract.xcoms import RETURN_KEY
from leoflowd.core.decisions import (
    Decision,
    Defer,
    Expand,
    Fail,
    FinishDagRun,
    InstanceDecision,
    Remove,
    Requeue,
    RescheduleAt,
    Restart,
    Resume,
    RetryAt,
    Schedule,
    Skip,
    StartDagRun,
    Succeed,
    UpstreamFail,
)
from leoflowd.core.expansion import MAX_MAP_LENGTH, Unmappable, returned_length
from leoflowd.core.retries import MAX_INFRA_FAULTS, has_retries_left, next_infra_try_at, next_retry_at
from leoflowd.core.run_view import WAITING, InstanceFacts, RunView
from leoflowd.core.transitions import IllegalMove, apply
from leoflowd.core.trigger_rules import Verdict

_S = TaskInstanceState

EMPTY_KIND = "empty"
"""`TaskSpec.kind` of tasks that execute nothing: decided in place."""
WAIT_KIND = "wait"
"""`TaskSpec.kind` of native sensors."""


def plan_dag_run(view: RunView, now: datetime, *, touched: Collection[int] | None = None) -> tuple[Decision, ...]:
    """Everything that follows from the facts, in the order of application; only a running dag run has something to do.

    `touched`: instances whose facts (or due time, or past) changed since the last plan; None examines all unfinished.
    """
    if view.state is not DagRunState.RUNNING:
        return ()
    draft = _Draft(view, now)
    try:
        return draft.plan(touched)
    finally:
        draft.undo()


def plan_start(state: DagRunState, *, active_runs: int, max_active_runs: int) -> StartDagRun | None:
    """May a queued dag run begin, while `active_runs` of its DAG are running? 0 = no limit."""
    if state is not DagRunState.QUEUED or 0 < max_active_runs <= active_runs:
        return None
    limit = f"limit {max_active_runs}" if max_active_runs else "no limit"
    return StartDagRun(because=f"{active_runs} other dag run(s) of this dag are running ({limit})")


def plan_outcome(
    view: RunView, instance: int, outcome: Outcome, now: datetime, *, max_map_length: int = MAX_MAP_LENGTH
) -> tuple[InstanceDecision, ...]:
    """What the end of a live try means: first for its instance, then for others, to be applied in this order.

    A success whose output others map over is none when that is not possible, or longer than `max_map_length`.
    Raises IllegalMove when the instance has no live try.
    """
    facts = view.facts[instance]
    if facts.state not in LIVE and facts.wait != "waiting":
        raise IllegalMove(
            f"a try of task {view.node_of(instance).spec.task_id!r} ended, but its state is {facts.state}"
        )
    own = _own_end(view, instance, outcome, now, max_map_length)
    return (own, *_skips(view, instance, outcome)) if isinstance(own, Succeed) else (own,)


def _own_end(view: RunView, instance: int, outcome: Outcome, now: datetime, max_map_length: int) -> InstanceDecision:
    facts = view.facts[instance]
    if facts.state is _S.RESTARTING:
        return Restart(instance=instance, because=f"it was cleared, and its old try is gone: {outcome.because}")
    because, started_at, ended_at = outcome.because, outcome.start_date, outcome.end_date
    match outcome.kind:
        case OutcomeKind.SUCCESS:
            return _after_success(view, instance, outcome, max_map_length)
        case OutcomeKind.SKIPPED:
            return Skip(instance=instance, because=because, started_at=started_at, ended_at=ended_at)
        case OutcomeKind.FAILED_FOR_GOOD:
            return Fail(instance=instance, because=because, started_at=started_at, ended_at=ended_at)
        case OutcomeKind.FAILED | OutcomeKind.TIMED_OUT:
            return _after_failure(view, instance, outcome)
        case OutcomeKind.RESCHEDULE:
            return RescheduleAt(
                instance=instance,
                because=because,
                started_at=started_at,
                ended_at=ended_at,
                at=outcome.reschedule_at or now,
            )
        case OutcomeKind.DEFERRED:
            return Defer(instance=instance, because=because, state=_waiting_state(outcome.deferral))
        case OutcomeKind.LOST | OutcomeKind.TERMINATED:
            return _after_infra_fault(facts, instance, outcome, now)
        case _:
            assert_never(outcome.kind)


def _skips(view: RunView, instance: int, outcome: Outcome) -> Iterator[Skip]:
    """What a try that succeeded skips, as Airflow's `ti_skip_downstream`: whatever runs or ran is left as it is.

    An instance of a mapped task speaks for its own map index, any other for all instances of the tasks that it names.
    """
    decider = view.facts[instance]
    because = f"task {view.node_of(instance).spec.task_id!r} skips it"
    for task_id in dict.fromkeys(outcome.skips):
        node = view.shape.index_of.get(task_id, decider.node)
        for i in view.instances_of(node) if node != decider.node else ():
            facts = view.facts[i]
            if facts.state not in _NOT_SKIPPED and decider.map_index in (-1, facts.map_index):
                yield Skip(instance=i, because=because)


def plan_expansion(view: RunView, node: int, count: int, because: str) -> tuple[Decision, ...]:
    """What the length of a mapped node means for its instances, also when it was expanded before (as Airflow 3.2's
    `expand_mapped_task` and `_revise_map_indexes_if_mapped`).

    Zero is a state of its own: one instance stays, and is skipped, so that whoever waits for the node hears of a skip
    and never takes it for a task without upstream. What an earlier, longer expansion left open is removed; what ended
    stays as it ended, so a node of which nothing waits any more (skipped, upstream_failed) is not expanded.
    """
    waiting = sorted(
        (i for i in view.instances_of(node) if view.facts[i].is_open), key=lambda i: view.facts[i].map_index
    )
    if not waiting:
        return ()
    if count == 0:
        first, *others = waiting
        return Skip(instance=first, because=because), *(Remove(instance=i, because=because) for i in others)
    beyond = [i for i in waiting if view.facts[i].map_index >= count]
    return Expand(node=node, count=count, because=because), *(Remove(instance=i, because=because) for i in beyond)


def plan_resume(view: RunView, instance: int, because: str) -> Resume:
    """A deferral ended; raises IllegalMove when the instance no longer waits."""
    if view.facts[instance].wait != "waiting":
        raise IllegalMove(f"task {view.node_of(instance).spec.task_id!r} waits for nothing any more")
    return Resume(instance=instance, because=because)


def begins_with_wait(view: RunView, instance: int) -> bool:
    """Does a try of it go into the cheap-task pool before, or instead of, any process?"""
    spec = view.node_of(instance).spec
    if spec.kind != WAIT_KIND or spec.wait is None:
        return spec.deferral is not None
    return spec.prepare == "daemon" or view.items_of(instance) is not None


def plan_wait(spec: TaskSpec, instance: int, because: str) -> Defer:
    """For a task that begins with one."""
    mode = WaitMode.DEFERRABLE if spec.wait is None else spec.wait.terms.mode
    return Defer(instance=instance, because=because, state=_STATE_OF_MODE[mode])


def due_moments(view: RunView) -> tuple[datetime, ...]:
    """The moments at which time alone changes the plan: retries, reschedules, timeouts of the dag run and of tasks that
    wait without a process; in no order.

    Looks at every instance: for a freshly loaded view. Later moments are in the decisions themselves (`at`).
    """
    moments = {facts.due_at for facts in view.facts if facts.state in WAITING}
    for instance, facts in enumerate(view.facts):
        moments.add(wait_timeout_at(view, instance, facts))
    if view.state is DagRunState.RUNNING:
        moments.add(run_timeout_at(view))
    return tuple(moment for moment in moments if moment is not None)


def run_timeout_at(view: RunView) -> datetime | None:
    """When `dagrun_timeout` ends the run."""
    if view.dagrun_timeout_s is None or view.start_date is None:
        return None
    return later(view.start_date, view.dagrun_timeout_s)


def _after_success(view: RunView, instance: int, outcome: Outcome, max_map_length: int) -> Succeed | RetryAt | Fail:
    length = None
    if view.node_of(instance).is_source:
        value = next((item.value for item in outcome.xcoms if item.key == RETURN_KEY), None)
        try:
            length = _counted_length(view.facts[instance], value, max_map_length)
        except Unmappable as fault:
            because = f"others map over its output, and it {fault}"
            return _after_failure(view, instance, msgspec.structs.replace(outcome, because=because))
    return Succeed(
        instance=instance,
        because=outcome.because,
        started_at=outcome.start_date,
        ended_at=outcome.end_date,
        length=length,
    )


def _counted_length(facts: InstanceFacts, value: str | None, max_map_length: int) -> int | None:
    if facts.map_index < 0:
        return returned_length(value, at_most=max_map_length)
    return None if value is None else 1


def wait_timeout_at(view: RunView, instance: int, facts: InstanceFacts) -> datetime | None:
    """When `execution_timeout` ends a try that has given its process back: it counts from the try's start, also while
    the task is deferred or rescheduled. As long as there is a process, its agent ends it."""
    limit_s = view.node_of(instance).spec.execution_timeout_s
    has_no_process = facts.state in (_S.DEFERRED, _S.UP_FOR_RESCHEDULE)
    if limit_s is None or not has_no_process or facts.start_date is None:
        return None
    return later(facts.start_date, limit_s)


def is_held_by_the_past(view: RunView) -> bool:
    """Can nothing happen in this run before something happens in the dag run before it? Looks at every instance."""
    if view.unfinished_count > sum(view.count(state) for state in WAITING):
        return False
    is_held = False
    for instance in view.unfinished():
        facts = view.facts[instance]
        if facts.due_at is not None or not facts.is_open:
            return False
        if view.rule_verdict(instance).verdict is Verdict.RUN:
            if view.is_past_ok(facts.node):
                return False
            is_held = True
    return is_held


def _after_failure(view: RunView, instance: int, outcome: Outcome) -> RetryAt | Fail:
    facts, node = view.facts[instance], view.node_of(instance)
    started_at, ended_at = outcome.start_date, outcome.end_date
    if not has_retries_left(node, facts):
        return Fail(instance=instance, because=outcome.because, started_at=started_at, ended_at=ended_at)
    at = next_retry_at(node, facts, ended_at, dag_id=view.dag_id, logical_date=view.logical_date)
    because = f"{outcome.because} (try {facts.try_number} of {facts.max_tries + 1}, next from {_clock(at)})"
    return RetryAt(instance=instance, because=because, started_at=started_at, ended_at=ended_at, at=at)


def _after_infra_fault(facts: InstanceFacts, instance: int, outcome: Outcome, now: datetime) -> Requeue | Fail:
    started_at, ended_at = outcome.start_date, outcome.end_date
    if facts.infra_faults >= MAX_INFRA_FAULTS:
        because = (
            f"infrastructure failed {facts.infra_faults + 1} times, most recently: {outcome.because}. "
            "It is not tried again by itself: see to the agent, then clear the task"
        )
        return Fail(instance=instance, because=because, started_at=started_at, ended_at=ended_at)
    at = next_infra_try_at(facts, now)
    because = (
        f"infrastructure fault {facts.infra_faults + 1} of {MAX_INFRA_FAULTS}, no retry used up: {outcome.because}"
        f"{f' (next from {_clock(at)})' if at else ''}"
    )
    return Requeue(instance=instance, because=because, started_at=started_at, ended_at=ended_at, at=at)


WHOLE = -1
"""In place of an instance: all of its node that are open."""


class _Draft:
    """A plan in the making: applies its decisions to the view, so that the cascade sees them, and takes them back."""

    def __init__(self, view: RunView, now: datetime) -> None:
        self._view = view
        self._now = now
        self._decisions: list[Decision] = []
        self._undo: list[Callable[[], None]] = []
        self._to_examine: list[tuple[int, int]] = []
        """Heap of (node, instance or WHOLE): a node's index is its rank, so what is upstream is examined first."""

    def plan(self, touched: Collection[int] | None) -> tuple[Decision, ...]:
        if self._time_out():
            return tuple(self._decisions)
        self._stop_fast()
        if touched is None:
            self._end_overdue_waits()
        self._touch(self._view.unfinished() if touched is None else touched)
        self._cascade()
        self._finish()
        return tuple(self._decisions)

    def undo(self) -> None:
        for step in reversed(self._undo):
            step()

    # --- instances ---

    def _touch(self, instances: Iterable[int]) -> None:
        for instance in instances:
            state = self._view.facts[instance].state
            if state in FINISHED:
                self._touch_those_who_wait_for(instance)
            elif self._view.facts[instance].is_open:
                heappush(self._to_examine, (self._view.facts[instance].node, instance))

    def _touch_those_who_wait_for(self, instance: int) -> None:
        for node in self._view.node_of(instance).feeds:
            waiting = self._view.who_waits_for(instance, node)
            for one in (WHOLE,) if waiting is None else waiting:
                heappush(self._to_examine, (node, one))

    def _cascade(self) -> None:
        while self._to_examine:
            node, instance = heappop(self._to_examine)
            if instance == WHOLE:
                self._examine_all(node)
            # An instance may stand in the heap several times; once decided it is open no longer.
            elif self._view.facts[instance].is_open:
                self._examine(instance)

    def _examine_all(self, node: int) -> None:
        """Nothing is to be said of ten thousand instances that the same rule lets wait."""
        view = self._view
        waiting = view.open_of(node)
        if not waiting:
            return
        if node not in view.absent and view.is_judged_alike(node):
            one = next(iter(waiting))
            if view.rule_verdict(one).verdict is Verdict.WAIT:
                return
        for instance in sorted(waiting):
            if view.facts[instance].is_open:
                self._examine(instance)

    def _examine(self, instance: int) -> None:
        view = self._view
        facts = view.facts[instance]
        if facts.node in view.absent:
            because = "its own start_date and end_date leave this logical date out"
            self._decide(Remove(instance=instance, because=because))
            return
        ruling = view.rule_verdict(instance)
        match ruling.verdict:
            case Verdict.WAIT:
                pass
            case Verdict.SKIP:
                self._decide(Skip(instance=instance, because=ruling.because))
            case Verdict.UPSTREAM_FAIL:
                self._decide(UpstreamFail(instance=instance, because=ruling.because))
            case Verdict.REMOVE:
                self._decide(Remove(instance=instance, because=ruling.because))
            case Verdict.RUN:
                if not self._expand(instance, facts):
                    self._run_if_allowed(instance, facts, ruling.because)
            case _:
                assert_never(ruling.verdict)

    def _expand(self, instance: int, facts: InstanceFacts) -> bool:
        """Its rule lets it run: it needs the instances that its mapping has by now, no more and no less."""
        view = self._view
        if view.shape.nodes[facts.node].mapped is None or (facts.map_index < 0 and not view.is_past_ok(facts.node)):
            return False
        length = view.length_of(facts.node)
        if length is None or (0 <= facts.map_index < length <= len(view.instances_of(facts.node))):
            return False
        decisions = plan_expansion(view, facts.node, length, f"its mapping has {length} instance(s)")
        for decision in decisions:
            if isinstance(decision, Expand):
                self._grow(decision)
            elif not isinstance(decision, StartDagRun | FinishDagRun):
                self._decide(decision)
        return bool(decisions)

    def _grow(self, decision: Expand) -> None:
        view, node = self._view, decision.node
        first = view.instances_of(node)[0]
        before = view.facts[first]
        added = view.expand(node, decision.count)
        self._undo += [partial(view.put, first, before), partial(view.shrink, added)]
        self._decisions.append(decision)
        heappush(self._to_examine, (node, WHOLE))
        for waiting in view.shape.nodes[node].feeds:
            heappush(self._to_examine, (waiting, WHOLE))

    def _run_if_allowed(self, instance: int, facts: InstanceFacts, because: str) -> None:
        """Upstream agrees; so must the clock (retry, reschedule) and the previous dag run."""
        if facts.due_at is not None and self._now < facts.due_at:
            return
        if not self._view.is_past_ok(facts.node):
            return
        spec = self._view.shape.nodes[facts.node].spec
        if spec.kind == EMPTY_KIND:
            self._decide(Succeed(instance=instance, because=f"nothing to execute; {because}"))
        elif begins_with_wait(self._view, instance):
            self._decide(plan_wait(spec, instance, because))
        else:
            self._decide(Schedule(instance=instance, because=because))

    def _decide(self, decision: InstanceDecision) -> None:
        view, instance = self._view, decision.instance
        before = view.facts[instance]
        after = apply(before, view.node_of(instance), decision, self._now)
        self._undo.append(partial(view.put, instance, before))
        self._decisions.append(decision)
        view.put(instance, after)
        if after.state in FINISHED:
            self._touch_those_who_wait_for(instance)

    # --- the whole run ---

    def _time_out(self) -> bool:
        """As Airflow: what is unfinished is skipped, the run failed."""
        timeout_at = run_timeout_at(self._view)
        if timeout_at is None or self._now < timeout_at:
            return False
        because = f"the dag run timed out after {self._view.dagrun_timeout_s:g} s"
        for instance in self._view.unfinished():
            self._decide(Skip(instance=instance, because=because))
        self._decisions.append(FinishDagRun(state=DagRunState.FAILED, reason="timed_out", because=because))
        return True

    def _end_overdue_waits(self) -> None:
        for instance in self._view.unfinished():
            facts = self._view.facts[instance]
            timeout_at = wait_timeout_at(self._view, instance, facts)
            if timeout_at is None or self._now < timeout_at or facts.start_date is None:
                continue
            limit_s = self._view.node_of(instance).spec.execution_timeout_s
            outcome = Outcome(
                kind=OutcomeKind.TIMED_OUT,
                because=f"The task ran and waited longer than its execution_timeout of {limit_s:g} s.",
                start_date=facts.start_date,
                end_date=timeout_at,
            )
            self._decide(_after_failure(self._view, instance, outcome))

    def _stop_fast(self) -> None:
        """`fail_fast`: a failure ends all but teardowns; running tasks fail, others are skipped, as in Airflow."""
        view = self._view
        if not view.shape.fail_fast or not view.count(_S.FAILED):
            return
        culprit = next((i for i, facts in enumerate(view.facts) if self._failed_in_this_run(facts)), None)
        if culprit is None:
            return
        because = f"fail_fast: task {view.node_of(culprit).spec.task_id!r} failed"
        for instance in view.unfinished():
            if view.node_of(instance).spec.is_teardown:
                continue
            if view.facts[instance].state is _S.RUNNING:
                self._decide(Fail(instance=instance, because=because))
            else:
                self._decide(Skip(instance=instance, because=because))

    def _failed_in_this_run(self, facts: InstanceFacts) -> bool:
        """A failure from before the dag run was cleared and started again stops nobody."""
        if facts.state is not _S.FAILED:
            return False
        start_date = self._view.start_date
        return start_date is None or facts.end_date is None or facts.end_date >= start_date

    def _finish(self) -> None:
        """As Airflow's `update_state`: with nothing unfinished the leaves decide; a run that cannot move failed."""
        view = self._view
        if view.unfinished_count:
            if self._is_deadlocked():
                because = self._describe_deadlock()
                self._decisions.append(
                    FinishDagRun(state=DagRunState.FAILED, reason="all_tasks_deadlocked", because=because)
                )
            return
        failed = self._failed_leaves()
        if failed:
            because = f"{len(failed)} task(s) that decide the run failed: {', '.join(failed[:5])}"
            self._decisions.append(FinishDagRun(state=DagRunState.FAILED, reason="task_failure", because=because))
        else:
            because = "all tasks are done and no leaf failed"
            self._decisions.append(FinishDagRun(state=DagRunState.SUCCESS, reason="success", because=because))

    def _is_deadlocked(self) -> bool:
        """Everything unfinished waits, and none of it for the clock or the past: nothing can ever change by itself.

        Happens with removed upstream instances. Scans only while nothing is scheduled, live or deferred.
        """
        view = self._view
        if view.unfinished_count > sum(view.count(state) for state in WAITING):
            return False
        return all(view.rule_verdict(i).verdict is Verdict.WAIT for i in view.unfinished())

    def _describe_deadlock(self) -> str:
        view = self._view
        unfinished = view.unfinished()
        first = min(unfinished, key=lambda i: view.facts[i].node)
        return (
            f"deadlock: {len(unfinished)} task instance(s) can never run; "
            f"{view.node_of(first).spec.task_id!r} waits for ever ({view.rule_verdict(first).because})"
        )

    def _failed_leaves(self) -> list[str]:
        view = self._view
        return [
            view.shape.nodes[leaf].spec.task_id
            for leaf in view.shape.leaves
            if any(view.facts[i].state in _FAILED_STATES for i in view.instances_of(leaf))
        ]


def _waiting_state(deferral: Deferral | None) -> TaskInstanceState:
    mode = deferral.wait.terms.mode if deferral is not None and deferral.wait is not None else WaitMode.DEFERRABLE
    return _STATE_OF_MODE[mode]


_STATE_OF_MODE = {
    WaitMode.POKE: _S.DEFERRED,
    WaitMode.DEFERRABLE: _S.DEFERRED,
    WaitMode.RESCHEDULE: _S.UP_FOR_RESCHEDULE,
}
_FAILED_STATES = frozenset({_S.FAILED, _S.UPSTREAM_FAILED})
_NOT_SKIPPED = frozenset({_S.RUNNING, _S.SUCCESS, _S.FAILED, _S.SKIPPED, _S.REMOVED})


def _clock(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="seconds")
