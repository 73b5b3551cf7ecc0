"""What the end of a try or of a dag run calls for, as Airflow 3.2.2 does (ADR 48).

The scheduler asks for each try that ended by what was reported of it, and for each dag run that it finishes. What is
decided without a try calls for nothing: skipped by a rule, `upstream_failed`, `removed`, ended with its run, marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from leoflowd.contract.callback_spec import AlertEvent, AlertSpec, CallbackCall, NewCallback, Reason
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.contract.states import FINISHED, DagRunState, TaskInstanceState
from leoflowd.core.decisions import Decision, Fail, FinishDagRun, RetryAt, Skip, Succeed
from leoflowd.core.run_view import InstanceFacts, RunView

CallbackState = Literal["queued", "running", "success", "failed"]
STARTS_MAX = 3
"""Processes for one callback, when infrastructure ends them."""
_EPOCH = datetime.min.replace(tzinfo=UTC)


def is_asked_for(task: TaskSpec, dag: DagSpec) -> bool:
    """Can the end of a try of this task call for anything? Most cannot, and cost nothing more."""
    return bool(task.callbacks or task.email or dag.alerts)


def plan_callback(
    dag_run_id: int,
    task: TaskSpec,
    dag: DagSpec,
    before: InstanceFacts,
    after: InstanceFacts,
    decision: Decision,
    because: str,
) -> NewCallback | None:
    """`before` is the try that ended, `because` what was said of its end, `decision` what came of it.

    None: nobody wants to know.
    """
    match decision:
        case Succeed():
            call = _call(task, "success", after)
        case Skip():  # of what the task itself said
            call = _call(task, "skipped", after)
        case RetryAt():
            after = msgspec.structs.replace(after, because=because)  # without when the next one is
            call = _call(task, "retry", after, email=task.email_on_retry, alerts=_alerts(dag, "task_retry"))
        case Fail():
            call = _call(task, "failure", after, email=task.email_on_failure, alerts=_alerts(dag, "task_failure"))
        case _:  # it goes on (deferred, rescheduled), or infrastructure failed and it costs no retry
            return None
    if not (call.calls_functions or call.email or call.alerts):
        return None
    return NewCallback(
        dag_run_id=dag_run_id,
        task_id=task.task_id,
        map_index=after.map_index,
        of_try=before.id,
        try_number=after.try_number,
        max_tries=after.max_tries,
        call=call,
    )


def _call(
    task: TaskSpec,
    event: Literal["failure", "retry", "skipped", "success"],
    after: InstanceFacts,
    *,
    email: bool = False,
    alerts: tuple[AlertSpec, ...] = (),
) -> CallbackCall:
    return CallbackCall(
        event=event,
        calls_functions=event in task.callbacks,
        email=task.email if email else (),
        alerts=alerts,
        state=after.state.value,
        because=after.because,
        start_date=after.start_date,
        end_date=after.end_date,
    )


def _alerts(dag: DagSpec, event: AlertEvent) -> tuple[AlertSpec, ...]:
    return tuple(alert for alert in dag.alerts if event in alert.on)


def plan_dag_callback(view: RunView, dag: DagSpec, decision: FinishDagRun) -> NewCallback | None:
    """`view` with the run as it ended."""
    event: Literal["success", "failure"] = "success" if decision.state is DagRunState.SUCCESS else "failure"
    alerts, calls_functions = _alerts(dag, event), event in dag.callbacks
    if not alerts and not calls_functions:
        return None
    cause = _cause(view, decision.reason)
    facts = None if cause is None else view.facts[cause]
    return NewCallback(
        dag_run_id=view.dag_run_id,
        task_id=None if cause is None else view.node_of(cause).spec.task_id,
        map_index=-1 if facts is None else facts.map_index,
        try_number=0 if facts is None else facts.try_number,
        max_tries=0 if facts is None else facts.max_tries,
        call=CallbackCall(
            event=event,
            of_dag=True,
            calls_functions=calls_functions,
            alerts=alerts,
            state=decision.state.value,
            reason=decision.reason,
            because=decision.because,
            start_date=view.run.start_date,
            end_date=view.run.end_date,
            task_state=None if facts is None else facts.state.value,
            task_start_date=None if facts is None else facts.start_date,
            task_end_date=None if facts is None else facts.end_date,
        ),
    )


def _cause(view: RunView, reason: Reason) -> int | None:
    """The instance that Airflow puts into the context: the last that failed or succeeded, the one that hangs."""
    match reason:
        case "success":
            return _latest(view, [i for i, f in enumerate(view.facts) if f.state is TaskInstanceState.SUCCESS])
        case "task_failure":
            return _latest(view, [i for i, f in enumerate(view.facts) if f.state is TaskInstanceState.FAILED])
        case "timed_out":
            return _latest(view, [i for i, f in enumerate(view.facts) if f.start_date is not None])
        case "all_tasks_deadlocked":
            return next((i for i, f in enumerate(view.facts) if f.state not in FINISHED), None)


def _latest(view: RunView, instances: Sequence[int]) -> int | None:
    return max(instances, key=lambda i: view.facts[i].end_date or _EPOCH, default=None)


def is_tried_again(*, state: CallbackState, starts: int) -> bool:
    """Infrastructure ended it, or it never began: again, unless it has been started too often."""
    return state == "queued" or starts < STARTS_MAX
