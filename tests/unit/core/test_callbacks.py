"""What calls for a callback, as Airflow 3.2.2 has it: the truth table, for tries and for dag runs."""

from __future__ import annotations

from typing import Any

import pytest

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.callback_spec import AlertSpec, NewCallback
from leoflowd.core.callbacks import STARTS_MAX, is_asked_for, is_tried_again, plan_callback, plan_dag_callback
from leoflowd.core.dag_run_plan import MAX_INFRA_FAULTS, plan_dag_run, plan_outcome
from leoflowd.core.decisions import FinishDagRun, StartDagRun
from leoflowd.core.run_view import InstanceFacts, RunView
from leoflowd.core.transitions import apply, apply_to_run

from .core_builders import NOW, S, at, dag, outcome, seconds, task, view_of

EVERY = ("execute", "failure", "retry", "skipped", "success")
ALERT = AlertSpec(on=("failure", "success", "task_failure", "task_retry"), kind="slack", connection="c")


def ended(kind: OutcomeKind, *, facts: dict[str, Any] | None = None, alerts: Any = (), **fields: Any) -> Any:
    """What the end of a running try of this task calls for."""
    one = task("a", **fields)
    running = {"state": S.RUNNING, "try_number": 1, "start_date": NOW, **(facts or {})}
    view = view_of(one, facts={"a": running})
    i = at(view, "a")
    before = view.facts[i]
    said = outcome(kind)
    decision = plan_outcome(view, i, said, NOW)[0]
    after = apply(before, view.node_of(i), decision, NOW)  # type: ignore[arg-type]  # it is about this instance
    return plan_callback(1, one, dag(one, alerts=alerts), before, after, decision, said.because)


@pytest.mark.parametrize(
    ("kind", "retries", "event"),
    [
        (OutcomeKind.SUCCESS, 0, "success"),
        (OutcomeKind.SUCCESS, 2, "success"),
        (OutcomeKind.FAILED, 0, "failure"),
        (OutcomeKind.FAILED, 2, "retry"),
        (OutcomeKind.TIMED_OUT, 0, "failure"),
        (OutcomeKind.TIMED_OUT, 2, "retry"),
        (OutcomeKind.FAILED_FOR_GOOD, 2, "failure"),
        (OutcomeKind.SKIPPED, 2, "skipped"),
        (OutcomeKind.LOST, 0, None),
        (OutcomeKind.RESCHEDULE, 0, None),
    ],
)
def test_the_end_of_a_try_calls_for_what_airflow_calls(kind: OutcomeKind, retries: int, event: str | None) -> None:
    called = ended(kind, retries=retries, callbacks=EVERY)
    assert (called and called.call.event) == event
    assert called is None or called.call.calls_functions


def test_only_what_the_file_has_functions_for_is_called() -> None:
    assert ended(OutcomeKind.SUCCESS, callbacks=("failure", "execute")) is None
    assert ended(OutcomeKind.FAILED, callbacks=("success",)) is None


def test_a_try_that_infrastructure_ends_for_good_has_failed() -> None:
    called = ended(OutcomeKind.LOST, callbacks=EVERY, facts={"infra_faults": MAX_INFRA_FAULTS})
    assert called.call.event == "failure"
    assert "infrastructure failed" in called.call.because


def test_a_callback_knows_the_try_that_ended() -> None:
    called: NewCallback = ended(OutcomeKind.FAILED, callbacks=EVERY, retries=1, facts={"map_index": 3})
    assert (called.task_id, called.map_index, called.of_try) == ("a", 3, "a-0")
    assert (called.try_number, called.max_tries) == (1, 1)
    assert (called.call.state, called.call.start_date, called.call.end_date) == ("up_for_retry", NOW, NOW)
    assert called.call.because == outcome(OutcomeKind.FAILED).because, "without when the next try is"


@pytest.mark.parametrize(
    ("kind", "retries", "switched_off", "mails"),
    [
        (OutcomeKind.FAILED, 0, "", True),
        (OutcomeKind.FAILED, 1, "", True),
        (OutcomeKind.FAILED, 0, "email_on_failure", False),
        (OutcomeKind.FAILED, 1, "email_on_retry", False),
        (OutcomeKind.FAILED, 0, "email_on_retry", True),
        (OutcomeKind.FAILED, 1, "email_on_failure", True),
        (OutcomeKind.SUCCESS, 0, "", False),
        (OutcomeKind.SKIPPED, 0, "", False),
    ],
)
def test_mails_are_of_failures_and_retries(kind: OutcomeKind, retries: int, switched_off: str, mails: bool) -> None:
    off = {switched_off: False} if switched_off else {}
    called = ended(kind, retries=retries, email=("a@b",), **off)
    assert (called is not None) is mails
    assert called is None or (called.call.email, called.call.calls_functions) == (("a@b",), False)


def test_alerts_of_tries_are_of_failures_and_retries() -> None:
    assert ended(OutcomeKind.FAILED, alerts=(ALERT,)).call.alerts == (ALERT,)
    assert ended(OutcomeKind.FAILED, alerts=(ALERT,), retries=1).call.event == "retry"
    assert ended(OutcomeKind.SUCCESS, alerts=(ALERT,)) is None
    assert ended(OutcomeKind.FAILED, alerts=(AlertSpec(on=("failure",), kind="slack", connection="c"),)) is None


def test_most_tasks_are_not_asked_at_all() -> None:
    plain = task("a")
    assert not is_asked_for(plain, dag(plain))
    for fields in ({"callbacks": ("success",)}, {"email": ("a@b",)}):
        assert is_asked_for(task("a", **fields), dag(plain))
    assert is_asked_for(plain, dag(plain, alerts=(ALERT,)))


# --- dag runs --------------------------------------------------------------------------------------------------------


def finished(view: RunView, **fields: Any) -> NewCallback | None:
    decision = next(one for one in plan_dag_run(view, NOW + seconds(60)) if isinstance(one, FinishDagRun))
    for one in plan_dag_run(view, NOW + seconds(60)):
        if not isinstance(one, FinishDagRun | StartDagRun):
            i = one.instance  # type: ignore[union-attr]  # nothing is mapped here
            view.put(i, apply(view.facts[i], view.node_of(i), one, NOW + seconds(60)))  # type: ignore[arg-type]
    view.run = apply_to_run(view.run, decision, NOW + seconds(60))
    return plan_dag_callback(view, dag(*(node.spec for node in view.shape.nodes), **fields), decision)


def done(state: S, second: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"state": state, "try_number": 1, "start_date": NOW, "end_date": NOW + seconds(second), **more}


def test_a_run_that_succeeds_tells_of_the_instance_that_succeeded_last() -> None:
    view = view_of(task("a"), task("b"), task("c"), facts={
        "a": done(S.SUCCESS, 2), "b": done(S.SUCCESS, 1), "c": done(S.SKIPPED, 3),
    })  # fmt: skip
    called = finished(view, callbacks=("success", "failure"))
    assert called is not None
    assert (called.task_id, called.of_try, called.call.of_dag) == ("a", None, True)
    assert (called.call.event, called.call.reason, called.call.state) == ("success", "success", "success")
    assert (called.call.task_state, called.call.task_end_date) == ("success", NOW + seconds(2))


def test_a_run_that_fails_tells_of_the_instance_that_failed_last() -> None:
    view = view_of(task("a"), task("b"), facts={"a": done(S.FAILED, 1), "b": done(S.FAILED, 2)})
    called = finished(view, callbacks=("failure",))
    assert called is not None
    assert (called.task_id, called.call.event, called.call.reason) == ("b", "failure", "task_failure")


def test_a_run_that_times_out_says_so() -> None:
    view = view_of(task("a"), facts={"a": {"state": S.RUNNING, "try_number": 1, "start_date": NOW}}, dagrun_timeout_s=1)
    called = finished(view, callbacks=("failure",))
    assert called is not None
    assert (called.task_id, called.call.reason, called.call.task_state) == ("a", "timed_out", "skipped")


def test_a_run_that_cannot_go_on_says_so() -> None:
    view = view_of(task("a"), task("b", "a"), facts={"a": done(S.REMOVED)})
    called = finished(view, callbacks=("failure",))
    assert called is not None
    assert (called.task_id, called.call.reason) == ("b", "all_tasks_deadlocked")


@pytest.mark.parametrize(("callbacks", "is_told"), [((), False), (("failure",), False), (("success",), True)])
def test_a_run_calls_what_the_file_has_functions_for(callbacks: tuple[str, ...], is_told: bool) -> None:
    view = view_of(task("a"), facts={"a": done(S.SUCCESS)})
    assert (finished(view, callbacks=callbacks) is not None) is is_told


def test_alerts_of_runs_need_no_functions() -> None:
    called = finished(view_of(task("a"), facts={"a": done(S.SUCCESS)}), alerts=(ALERT,))
    assert called is not None
    assert (called.call.calls_functions, called.call.alerts) == (False, (ALERT,))


def test_what_a_rule_decides_calls_for_nothing() -> None:
    """`plan_callback` is asked about reported ends only; the plan's own decisions are no ends of tries."""
    facts = InstanceFacts(id="x", node=0)
    view = view_of(task("a"), task("b", "a"), facts={"a": done(S.FAILED)})
    decisions = [one for one in plan_dag_run(view, NOW) if not isinstance(one, FinishDagRun)]
    b = task("b", callbacks=EVERY)
    assert [type(one).__name__ for one in decisions] == ["UpstreamFail"]
    assert plan_callback(1, b, dag(b), facts, facts, decisions[0], "") is None


@pytest.mark.parametrize(
    ("state", "starts", "again"),
    [
        ("queued", 0, True),
        ("queued", STARTS_MAX, True),
        ("running", STARTS_MAX - 1, True),
        ("running", STARTS_MAX, False),
    ],
)
def test_infrastructure_may_end_a_callback_a_few_times(state: Any, starts: int, again: bool) -> None:
    assert is_tried_again(state=state, starts=starts) is again
