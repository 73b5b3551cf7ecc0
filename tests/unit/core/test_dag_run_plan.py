"""What follows from the facts of a dag run."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.states import DagRunState, DagRunType, TriggerRule
from leoflowd.core.dag_run_plan import due_moments, is_held_by_the_past, plan_dag_run, plan_outcome, plan_start
from leoflowd.core.decisions import (
    Defer,
    Fail,
    FinishDagRun,
    Requeue,
    RescheduleAt,
    Restart,
    RetryAt,
    Schedule,
    Skip,
    Succeed,
    UpstreamFail,
)
from leoflowd.core.retries import MAX_INFRA_FAULTS
from leoflowd.core.transitions import IllegalMove
from tests.unit.core.core_builders import (
    NOW,
    S,
    at,
    empty,
    end_try,
    outcome,
    seconds,
    settle,
    state_of,
    states_of,
    task,
    view_of,
)

LIVE_TRY = {"state": S.RUNNING, "try_number": 1, "start_date": NOW}


def test_the_roots_are_scheduled_first() -> None:
    view = view_of(task("a"), task("b", "a"))
    (decision,) = plan_dag_run(view, NOW)
    assert isinstance(decision, Schedule)
    assert (decision.instance, decision.because) == (at(view, "a"), "nothing is upstream of it")


def test_planning_leaves_the_view_as_it_was() -> None:
    view = view_of(empty("a"), empty("b", "a"), task("c", "b"))
    before = list(view.facts)
    counts = view.upstream_counts(view.shape.index_of["c"]).success
    assert len(plan_dag_run(view, NOW)) == 3
    assert view.facts == before
    assert view.upstream_counts(view.shape.index_of["c"]).success == counts


def test_a_run_of_empty_operators_is_over_in_one_plan() -> None:
    view = view_of(empty("a"), empty("b", "a"), empty("c", "b"))
    decisions = settle(view)
    assert [type(decision) for decision in decisions] == [Succeed, Succeed, Succeed, FinishDagRun]
    assert view.state is DagRunState.SUCCESS


def test_a_dag_without_tasks_succeeds_at_once() -> None:
    view = view_of()
    settle(view)
    assert view.state is DagRunState.SUCCESS


@pytest.mark.parametrize("state", [DagRunState.QUEUED, DagRunState.SUCCESS, DagRunState.FAILED])
def test_only_a_running_dag_run_is_planned(state: DagRunState) -> None:
    assert plan_dag_run(view_of(task("a"), state=state), NOW) == ()


def test_touched_examines_only_what_the_change_concerns() -> None:
    view = view_of(task("a"), task("b", "a"), task("other"), states={"a": S.SUCCESS})
    decisions = plan_dag_run(view, NOW, touched=[at(view, "a")])
    assert [decision.instance for decision in decisions if isinstance(decision, Schedule)] == [at(view, "b")]


def test_a_skip_goes_down_the_graph_in_one_plan() -> None:
    view = view_of(task("a"), task("b", "a"), task("c", "b"), states={"a": S.SKIPPED})
    decisions = settle(view)
    assert [type(decision) for decision in decisions] == [Skip, Skip, FinishDagRun]
    assert view.state is DagRunState.SUCCESS, "skipped leaves are no failure"


def test_a_failure_goes_down_the_graph_and_fails_the_run() -> None:
    view = view_of(task("a"), task("b", "a"), task("c", "b"), facts={"a": LIVE_TRY})
    assert isinstance(end_try(view, "a", OutcomeKind.FAILED), Fail)
    assert states_of(view) == {"a": "failed", "b": "upstream_failed", "c": "upstream_failed"}
    assert view.state is DagRunState.FAILED
    assert view.run.because == "1 task(s) that decide the run failed: c"


def test_a_failure_that_no_leaf_shows_does_not_fail_the_run() -> None:
    view = view_of(task("a"), task("b", "a", trigger_rule=TriggerRule.ALL_DONE), states={"a": S.FAILED, "b": S.SUCCESS})
    settle(view)
    assert view.state is DagRunState.SUCCESS


def test_one_failed_runs_while_others_still_do() -> None:
    view = view_of(
        task("a"), task("b"), task("alarm", "a", "b", trigger_rule=TriggerRule.ONE_FAILED),
        facts={"a": {"state": S.FAILED}, "b": LIVE_TRY},
    )  # fmt: skip
    settle(view)
    assert state_of(view, "alarm") is S.SCHEDULED


def test_a_failed_try_with_retries_left_is_not_done_for_those_who_wait() -> None:
    view = view_of(
        task("a", retries=1, retry_delay_s=60), task("b", "a", trigger_rule=TriggerRule.ALL_DONE), facts={"a": LIVE_TRY}
    )
    decision = end_try(view, "a", OutcomeKind.FAILED)
    assert isinstance(decision, RetryAt)
    assert decision.at == NOW + seconds(60)
    assert states_of(view) == {"a": "up_for_retry", "b": "none"}


def test_a_retry_is_scheduled_when_it_is_due_and_not_before() -> None:
    view = view_of(task("a", retries=1), facts={"a": {"state": S.UP_FOR_RETRY, "due_at": NOW + seconds(60)}})
    assert min(due_moments(view)) == NOW + seconds(60)
    assert plan_dag_run(view, NOW + seconds(59)) == ()
    assert isinstance(plan_dag_run(view, NOW + seconds(60))[0], Schedule)


def test_a_due_retry_waits_when_its_upstream_was_cleared_meanwhile() -> None:
    view = view_of(
        task("a"), task("b", "a", retries=1),
        facts={"a": LIVE_TRY, "b": {"state": S.UP_FOR_RETRY, "due_at": NOW}},
    )  # fmt: skip
    assert plan_dag_run(view, NOW) == ()


# --- outcomes ---


@pytest.mark.parametrize(
    ("kind", "decided"),
    [
        (OutcomeKind.SUCCESS, Succeed),
        (OutcomeKind.FAILED, RetryAt),
        (OutcomeKind.TIMED_OUT, RetryAt),
        (OutcomeKind.FAILED_FOR_GOOD, Fail),
        (OutcomeKind.SKIPPED, Skip),
        (OutcomeKind.RESCHEDULE, RescheduleAt),
        (OutcomeKind.DEFERRED, Defer),
        (OutcomeKind.LOST, Requeue),
        (OutcomeKind.TERMINATED, Requeue),
    ],
)
def test_each_outcome_has_its_decision(kind: OutcomeKind, decided: type) -> None:
    view = view_of(task("a", retries=1), facts={"a": LIVE_TRY})
    (decision,) = plan_outcome(view, 0, outcome(kind, reschedule_at=NOW + seconds(5)), NOW)
    assert type(decision) is decided
    assert f"it said {kind.value}" in decision.because


def test_infrastructure_faults_have_their_own_bound() -> None:
    faults = {**LIVE_TRY, "infra_faults": MAX_INFRA_FAULTS}
    (decision,) = plan_outcome(view_of(task("a", retries=9), facts={"a": faults}), 0, outcome(OutcomeKind.LOST), NOW)
    assert isinstance(decision, Fail)
    assert decision.because.startswith("infrastructure failed 7 times, most recently: it said lost.")


def test_after_a_second_infrastructure_fault_the_next_try_waits_ever_longer() -> None:
    """A disk that is full is full for a while: six tries within a second would help nobody."""

    def next_at(faults: int) -> datetime | None:
        view = view_of(task("a"), facts={"a": {**LIVE_TRY, "infra_faults": faults}})
        (decision,) = plan_outcome(view, 0, outcome(OutcomeKind.LOST), NOW)
        assert isinstance(decision, Requeue)
        return decision.at

    moments = [next_at(faults) for faults in range(MAX_INFRA_FAULTS)]
    assert moments[0] is None
    later = [moment for moment in moments if moment is not None]
    assert len(later) == MAX_INFRA_FAULTS - 1
    assert later == sorted(set(later))


@pytest.mark.parametrize("kind", OutcomeKind)
def test_whatever_the_end_of_a_cleared_try_it_starts_from_nothing(kind: OutcomeKind) -> None:
    view = view_of(task("a"), facts={"a": {**LIVE_TRY, "state": S.RESTARTING}})
    (decision,) = plan_outcome(view, 0, outcome(kind), NOW)
    assert isinstance(decision, Restart)
    end_try(view, "a", kind)
    assert state_of(view, "a") is S.SCHEDULED


def test_an_outcome_without_a_live_try_is_refused() -> None:
    with pytest.raises(IllegalMove, match="its state is success"):
        plan_outcome(view_of(task("a"), states={"a": S.SUCCESS}), 0, outcome(OutcomeKind.FAILED), NOW)


# --- the past, dates, timeouts, fail_fast, deadlock ---


@pytest.mark.parametrize("fields", [{"depends_on_past": True}, {"wait_for_downstream": True}])
def test_the_past_holds_a_task_back_until_it_is_satisfied(fields: dict[str, object]) -> None:
    view = view_of(task("a", **fields))
    assert plan_dag_run(view, NOW) == (), "and it is no deadlock either"
    view.past_ok[0] = True
    assert isinstance(plan_dag_run(view, NOW, touched=[0])[0], Schedule)


def test_the_past_does_not_hold_back_a_skip() -> None:
    view = view_of(task("a"), task("b", "a", depends_on_past=True), states={"a": S.SKIPPED})
    settle(view)
    assert state_of(view, "b") is S.SKIPPED


def test_a_task_outside_of_its_own_dates_is_no_part_of_the_run_and_nobody_waits_for_it() -> None:
    tasks = (task("new", start_date=NOW + timedelta(days=1)), task("old", end_date=NOW - timedelta(days=1)))
    view = view_of(*tasks, task("after", "new", "old"))
    settle(view)
    assert states_of(view) == {"new": "removed", "old": "removed", "after": "scheduled"}


def test_a_backfill_ignores_the_dates_of_tasks() -> None:
    view = view_of(task("new", start_date=NOW + timedelta(days=1)), run_type=DagRunType.BACKFILL)
    settle(view)
    assert state_of(view, "new") is S.SCHEDULED


def test_the_run_times_out_with_everything_in_it() -> None:
    view = view_of(
        task("a"), task("b", "a"), task("done"),
        facts={"a": LIVE_TRY, "done": {"state": S.SUCCESS}}, dagrun_timeout_s=60,
    )  # fmt: skip
    assert min(due_moments(view)) == NOW + seconds(60)
    settle(view, NOW + seconds(60))
    assert states_of(view) == {"a": "skipped", "b": "skipped", "done": "success"}
    assert (view.state, view.run.because) == (DagRunState.FAILED, "the dag run timed out after 60 s")


def test_fail_fast_ends_everything_but_teardowns() -> None:
    view = view_of(
        task("bad"), task("busy"), task("queued"), task("later", "busy"), task("down", "later", is_teardown=True,
        trigger_rule=TriggerRule.ALL_DONE_SETUP_SUCCESS),
        facts={"bad": LIVE_TRY, "busy": LIVE_TRY, "queued": {"state": S.QUEUED, "try_number": 1}},
        fail_fast=True,
    )  # fmt: skip
    end_try(view, "bad", OutcomeKind.FAILED)
    assert states_of(view) == {
        "bad": "failed", "busy": "failed", "queued": "skipped", "later": "skipped", "down": "scheduled",
    }  # fmt: skip
    assert view.facts[at(view, "queued")].because == "fail_fast: task 'bad' failed"


def test_fail_fast_ignores_failures_from_before_the_run_was_cleared() -> None:
    old_failure = {"state": S.FAILED, "end_date": NOW - seconds(1)}
    view = view_of(task("bad"), task("cleared"), facts={"bad": old_failure}, fail_fast=True)
    settle(view)
    assert state_of(view, "cleared") is S.SCHEDULED


def test_a_run_in_which_nothing_can_ever_move_is_a_deadlock() -> None:
    view = view_of(task("a"), task("b", "a"), states={"a": S.REMOVED})
    (decision,) = settle(view)
    assert isinstance(decision, FinishDagRun)
    assert decision.state is DagRunState.FAILED
    assert decision.because.startswith("deadlock: 1 task instance(s) can never run; 'b' waits for ever")


# --- setup and teardown ---


def test_a_failed_setup_fails_what_it_was_for_and_its_teardown_too() -> None:
    view = view_of(
        task("s", is_setup=True), task("w", "s"), task("w2", "w"),
        task("t", "s", "w2", is_teardown=True, trigger_rule=TriggerRule.ALL_DONE_SETUP_SUCCESS),
        facts={"s": LIVE_TRY},
    )  # fmt: skip
    end_try(view, "s", OutcomeKind.FAILED)
    assert states_of(view) == {"s": "failed", "w": "upstream_failed", "w2": "upstream_failed", "t": "upstream_failed"}
    assert view.state is DagRunState.FAILED


def test_a_teardown_runs_after_failed_work_and_does_not_decide_the_run() -> None:
    view = view_of(
        task("s", is_setup=True), task("w", "s"),
        task("t", "s", "w", is_teardown=True, trigger_rule=TriggerRule.ALL_DONE_SETUP_SUCCESS),
        facts={"s": {"state": S.SUCCESS}, "w": LIVE_TRY},
    )  # fmt: skip
    end_try(view, "w", OutcomeKind.FAILED)
    assert state_of(view, "t") is S.SCHEDULED
    view.put(at(view, "t"), view.facts[at(view, "t")].__class__(id="t", node=2, state=S.SUCCESS))
    settle(view)
    assert view.state is DagRunState.FAILED


def test_a_task_waits_for_a_setup_further_up_whatever_its_own_rule() -> None:
    view = view_of(
        task("s", is_setup=True), task("a", "s", trigger_rule=TriggerRule.ALWAYS),
        task("b", "a", trigger_rule=TriggerRule.ALL_DONE),
        facts={"s": LIVE_TRY, "a": {"state": S.SUCCESS}},
    )  # fmt: skip
    assert plan_dag_run(view, NOW) == ()
    end_try(view, "s", OutcomeKind.FAILED)
    assert state_of(view, "b") is S.UPSTREAM_FAILED


def test_a_teardown_waits_for_its_scope_even_off_its_direct_upstream() -> None:
    view = view_of(
        task("s", is_setup=True), task("w", "s"), task("x", "w", trigger_rule=TriggerRule.ONE_DONE),
        task("t", "s", "x", is_teardown=True, trigger_rule=TriggerRule.ONE_SUCCESS),
        facts={"s": {"state": S.SUCCESS}, "w": LIVE_TRY},
    )  # fmt: skip
    settle(view)
    assert state_of(view, "t") is S.NONE, "w is not done, though one_success alone would run it"


# --- starting dag runs ---


@pytest.mark.parametrize(
    ("state", "active", "limit", "starts"),
    [
        (DagRunState.QUEUED, 0, 1, True),
        (DagRunState.QUEUED, 1, 1, False),
        (DagRunState.QUEUED, 99, 0, True),
        (DagRunState.RUNNING, 0, 1, False),
        (DagRunState.FAILED, 0, 1, False),
    ],
)
def test_a_queued_dag_run_starts_below_the_limit(state: DagRunState, active: int, limit: int, starts: bool) -> None:
    assert (plan_start(state, active_runs=active, max_active_runs=limit) is not None) is starts


def test_an_unfinished_upstream_decision_names_its_reason() -> None:
    view = view_of(task("a"), task("b", "a"), states={"a": S.FAILED})
    first = settle(view)[0]
    assert isinstance(first, UpstreamFail)
    assert first.because == "all_success: 1 of 1 upstream failed"


# --- execution_timeout of what has given its process back ------------------------------------------------------------

WAITS = [
    pytest.param({"state": S.DEFERRED, "wait": "waiting"}, id="deferred"),
    pytest.param({"state": S.UP_FOR_RESCHEDULE, "wait": "waiting"}, id="waits in the pool as rescheduled"),
    pytest.param({"state": S.UP_FOR_RESCHEDULE, "due_at": NOW + seconds(3600)}, id="its process comes again"),
]


@pytest.mark.parametrize("waits", WAITS)
def test_execution_timeout_counts_while_a_task_waits_without_a_process(waits: dict[str, object]) -> None:
    began = {**waits, "try_number": 1, "start_date": NOW}
    view = view_of(task("sensor", execution_timeout_s=4.0, retries=1, retry_delay_s=60), facts={"sensor": began})
    timeout_at = NOW + seconds(4)
    assert timeout_at in due_moments(view), "somebody has to look then"
    assert plan_dag_run(view, timeout_at - seconds(0.001)) == ()
    (decision,) = plan_dag_run(view, timeout_at)
    assert isinstance(decision, RetryAt), "a timeout is a failure that is retried"
    assert (decision.ended_at, decision.at) == (timeout_at, timeout_at + seconds(60))
    assert decision.because.startswith("The task ran and waited longer than its execution_timeout of 4 s.")


def test_without_retries_left_such_a_timeout_fails_the_task() -> None:
    waits = {"state": S.DEFERRED, "wait": "waiting", "try_number": 1, "start_date": NOW}
    view = view_of(task("sensor", execution_timeout_s=4.0), facts={"sensor": waits})
    settle(view, NOW + seconds(5))
    assert state_of(view, "sensor") is S.FAILED
    assert view.state is DagRunState.FAILED


@pytest.mark.parametrize("state", [S.QUEUED, S.RUNNING, S.SCHEDULED])
def test_where_there_is_or_will_be_a_process_its_agent_counts(state: S) -> None:
    view = view_of(
        task("sensor", execution_timeout_s=4.0),
        facts={"sensor": {"state": state, "try_number": 1, "start_date": NOW}},
    )
    assert plan_dag_run(view, NOW + seconds(5)) == ()
    assert due_moments(view) == ()


# --- a run that is held by the run before it -------------------------------------------------------------------------


def test_a_run_is_held_by_its_past_when_only_that_can_move_it() -> None:
    view = view_of(task("a", depends_on_past=True), task("b", "a"))
    assert is_held_by_the_past(view)
    view.past_ok[at(view, "a")] = True
    assert not is_held_by_the_past(view)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"state": S.RUNNING, "try_number": 1}, id="another task runs"),
        pytest.param({"state": S.SCHEDULED}, id="another task is about to"),
        pytest.param({"state": S.DEFERRED, "wait": "waiting"}, id="another task waits in the pool"),
        pytest.param({"state": S.UP_FOR_RETRY, "due_at": NOW + seconds(60)}, id="another task is retried"),
        pytest.param({"state": S.UP_FOR_RESCHEDULE, "wait": "waiting"}, id="another task waits as rescheduled"),
        pytest.param({"state": S.NONE}, id="another task may begin"),
    ],
)
def test_a_run_in_which_something_can_happen_is_not_held(other: dict[str, object]) -> None:
    view = view_of(task("a", depends_on_past=True), task("other"), facts={"other": other})
    assert not is_held_by_the_past(view)


def test_a_run_whose_tasks_wait_for_each_other_only_is_not_held_by_its_past() -> None:
    view = view_of(task("a"), task("b", "a"), states={"a": S.REMOVED})
    assert not is_held_by_the_past(view)
