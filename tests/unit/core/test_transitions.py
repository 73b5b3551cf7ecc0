"""The table of legal moves, and what each decision does to the facts."""

from __future__ import annotations

import itertools
from datetime import datetime

import msgspec
import pytest

from leoflowd.contract.states import FINISHED, LIVE, DagRunState, TaskInstanceState
from leoflowd.core.dag_shape import TaskNode
from leoflowd.core.decisions import (
    Defer,
    Fail,
    FinishDagRun,
    InstanceDecision,
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
from leoflowd.core.transitions import (
    MOVES,
    PERSON_MOVES,
    IllegalMove,
    apply,
    apply_to_run,
    clear,
    clear_run,
    is_resumed,
    mark,
    mark_run,
    replaces_try,
)
from tests.unit.core.core_builders import NOW, S, seconds, task

NODE = TaskNode(index=0, spec=task("t", retries=2))
LATER = NOW + seconds(60)
MUCH_LATER = NOW + seconds(120)

DECISIONS: dict[TaskInstanceState, InstanceDecision] = {
    S.NONE: Restart(instance=0, because="b"),
    S.SCHEDULED: Schedule(instance=0, because="b"),
    S.RUNNING: Start(instance=0, because="b", at=NOW),
    S.SUCCESS: Succeed(instance=0, because="b"),
    S.FAILED: Fail(instance=0, because="b"),
    S.SKIPPED: Skip(instance=0, because="b"),
    S.UPSTREAM_FAILED: UpstreamFail(instance=0, because="b"),
    S.UP_FOR_RETRY: RetryAt(instance=0, because="b", at=LATER),
    S.UP_FOR_RESCHEDULE: RescheduleAt(instance=0, because="b", at=LATER),
    S.REMOVED: Remove(instance=0, because="b"),
    S.DEFERRED: Defer(instance=0, because="b"),
}


def facts_in(state: TaskInstanceState, **fields: object) -> InstanceFacts:
    return InstanceFacts(id="old", node=0, state=state, max_tries=2, **fields)  # type: ignore[arg-type]


def do(facts: InstanceFacts, *decisions: InstanceDecision, now: object = NOW) -> InstanceFacts:
    for decision in decisions:
        facts = apply(facts, NODE, decision, now)  # type: ignore[arg-type]
    return facts


@pytest.mark.parametrize(("before", "after"), list(itertools.product(TaskInstanceState, DECISIONS)))
def test_apply_allows_exactly_the_moves_of_the_table(before: TaskInstanceState, after: TaskInstanceState) -> None:
    if after in MOVES[before]:
        assert do(facts_in(before), DECISIONS[after]).state is after
    else:
        with pytest.raises(IllegalMove, match=f"cannot go from {before.value} to"):
            do(facts_in(before), DECISIONS[after])


def test_every_state_can_be_reached_and_only_finished_ones_are_ends() -> None:
    assert set(MOVES) == set(PERSON_MOVES) == set(TaskInstanceState)
    assert {state for state, after in MOVES.items() if not after} == FINISHED - {S.UPSTREAM_FAILED}
    assert MOVES[S.UPSTREAM_FAILED] == {S.SKIPPED}, "by a branch, and nobody else"
    by_people = {after for moves in PERSON_MOVES.values() for after in moves}
    assert {after for moves in MOVES.values() for after in moves} | by_people == set(TaskInstanceState)


def test_queueing_from_none_passes_through_scheduled_and_stamps_both_times() -> None:
    after = do(facts_in(S.NONE), Queue(instance=0, because="b", try_id="new"))
    assert (after.state, after.id, after.try_number) == (S.QUEUED, "new", 1)
    assert after.scheduled_at == after.queued_at == NOW


def test_the_try_runs_from_its_own_start() -> None:
    after = do(facts_in(S.QUEUED, try_number=1), Start(instance=0, because="b", at=LATER))
    assert (after.state, after.start_date, after.end_date) == (S.RUNNING, LATER, None)


def test_an_outcome_that_overtakes_the_start_brings_the_start_along() -> None:
    after = do(facts_in(S.QUEUED, try_number=1), Succeed(instance=0, because="b", started_at=NOW, ended_at=LATER))
    assert (after.state, after.start_date, after.end_date) == (S.SUCCESS, NOW, LATER)


def test_a_retry_waits_and_then_is_a_new_try() -> None:
    failed = do(
        facts_in(S.RUNNING, try_number=1, start_date=NOW), RetryAt(instance=0, because="b", at=LATER, ended_at=NOW)
    )
    assert (failed.state, failed.due_at, failed.end_date, failed.try_number) == (S.UP_FOR_RETRY, LATER, NOW, 1)
    scheduled = do(failed, Schedule(instance=0, because="b"), now=LATER)
    assert (scheduled.due_at, scheduled.id, scheduled.end_date) == (None, "old", NOW), "the ended try is still shown"
    queued = do(scheduled, Queue(instance=0, because="b", try_id="new"), now=LATER)
    assert (queued.try_number, queued.id, queued.start_date, queued.end_date) == (2, "new", None, None)
    assert replaces_try(scheduled, queued), "the row of the first try belongs into the history"


def test_a_rescheduled_try_keeps_number_and_start_under_a_new_id() -> None:
    waiting = do(facts_in(S.RUNNING, try_number=1, start_date=NOW), RescheduleAt(instance=0, because="b", at=LATER))
    assert (waiting.state, waiting.due_at) == (S.UP_FOR_RESCHEDULE, LATER)
    assert is_resumed(waiting)
    queued = do(waiting, Schedule(instance=0, because="b"), Queue(instance=0, because="b", try_id="new"), now=LATER)
    assert (queued.try_number, queued.id, queued.start_date) == (1, "new", NOW)
    assert not replaces_try(waiting, queued)
    running = do(queued, Start(instance=0, because="b", at=MUCH_LATER))
    assert running.start_date == NOW, "timeouts of sensors count from the first poke"


def test_a_native_wait_begins_a_try_of_its_own() -> None:
    after = do(facts_in(S.NONE), Defer(instance=0, because="b"))
    assert (after.state, after.id, after.try_number, after.start_date) == (S.DEFERRED, "old", 1, NOW)
    assert after.wait == "waiting"
    assert not after.is_open


def test_a_native_wait_after_a_retry_is_a_new_try_with_a_new_id() -> None:
    failed = facts_in(S.UP_FOR_RETRY, try_number=1, start_date=NOW, end_date=NOW, due_at=LATER)
    after = do(failed, Defer(instance=0, because="b"), now=LATER)
    assert (after.try_number, after.start_date, after.end_date, after.due_at) == (2, LATER, None, None)
    assert replaces_try(failed, after)


def test_a_process_that_defers_stays_the_same_try() -> None:
    waiting = do(facts_in(S.RUNNING, try_number=1, start_date=NOW), Defer(instance=0, because="b"), now=LATER)
    assert (waiting.id, waiting.try_number, waiting.start_date) == ("old", 1, NOW)
    resumed = do(waiting, Resume(instance=0, because="b"), Queue(instance=0, because="b", try_id="new"), now=LATER)
    assert (resumed.id, resumed.try_number, resumed.start_date, resumed.wait) == ("new", 1, NOW, "fired")
    assert do(resumed, Succeed(instance=0, because="b")).wait == ""


def test_a_wait_in_reschedule_mode_is_up_for_reschedule_without_a_time() -> None:
    after = do(facts_in(S.NONE), Defer(instance=0, because="b", state=S.UP_FOR_RESCHEDULE))
    assert (after.state, after.due_at, after.wait, after.is_open) == (S.UP_FOR_RESCHEDULE, None, "waiting", False)


@pytest.mark.parametrize("state", [S.DEFERRED, S.UP_FOR_RESCHEDULE])
def test_clearing_or_marking_leaves_no_wait(state: TaskInstanceState) -> None:
    waiting = facts_in(state, try_number=1, start_date=NOW, wait="waiting")
    assert clear(waiting, NODE, because="b").wait == ""
    assert mark(waiting, S.SUCCESS, LATER, because="b").wait == ""


def test_an_infrastructure_fault_raises_both_numbers_and_costs_no_retry() -> None:
    after = do(facts_in(S.RUNNING, try_number=1, start_date=NOW), Requeue(instance=0, because="b"))
    assert (after.state, after.max_tries, after.infra_faults, after.queued_at) == (S.SCHEDULED, 3, 1, None)
    queued = do(after, Queue(instance=0, because="b", try_id="new"))
    assert (queued.try_number, queued.id) == (2, "new")
    assert replaces_try(after, queued)


def test_an_infrastructure_fault_that_waits_costs_no_retry_either() -> None:
    fault = Requeue(instance=0, because="b", at=LATER)
    after = do(facts_in(S.QUEUED, try_number=1, infra_faults=1), fault)
    assert (after.state, after.due_at, after.max_tries, after.infra_faults) == (S.UP_FOR_RETRY, LATER, 3, 2)
    queued = do(after, Queue(instance=0, because="b", try_id="new"))
    assert (queued.try_number, queued.due_at) == (2, None)
    assert replaces_try(after, queued)


def test_a_fault_before_the_start_is_a_try_of_its_own_too() -> None:
    after = do(facts_in(S.QUEUED, try_number=1), Requeue(instance=0, because="b"))
    assert not is_resumed(after)
    assert do(after, Queue(instance=0, because="b", try_id="new")).try_number == 2


def test_an_empty_operator_has_its_try_at_the_moment_of_the_decision() -> None:
    after = do(facts_in(S.NONE), Succeed(instance=0, because="b"))
    assert (after.state, after.try_number, after.start_date, after.end_date) == (S.SUCCESS, 1, NOW, NOW)


def test_an_empty_operator_run_again_after_a_clear_is_a_try_under_another_id() -> None:
    first = do(facts_in(S.NONE), Succeed(instance=0, because="b"))
    again = do(clear(first, NODE, because="c"), Succeed(instance=0, because="b"))
    assert (first.id, again.try_number) == ("old", 2)
    assert again.id != first.id


def test_skipping_what_never_ran_counts_no_try() -> None:
    after = do(facts_in(S.NONE), Skip(instance=0, because="b"))
    assert (after.try_number, after.start_date, after.end_date) == (0, None, NOW)


@pytest.mark.parametrize("state", DECISIONS)
def test_the_reason_of_the_decision_becomes_the_reason_of_the_state(state: TaskInstanceState) -> None:
    before = next(before for before in TaskInstanceState if state in MOVES[before])
    assert do(facts_in(before, because="old"), DECISIONS[state]).because == "b"


def test_the_reason_of_a_person_becomes_the_reason_of_the_state() -> None:
    assert mark(facts_in(S.FAILED), S.SUCCESS, NOW, because="fine").because == "fine"
    assert clear(facts_in(S.FAILED), NODE, because="again").because == "again"
    assert clear(facts_in(S.RUNNING, try_number=1), NODE, because="again").because == "again"


@pytest.mark.parametrize("state", [S.UPSTREAM_FAILED, S.SKIPPED, S.SUCCESS, S.REMOVED])
def test_what_has_ended_waits_for_no_moment(state: TaskInstanceState) -> None:
    waits = facts_in(S.UP_FOR_RETRY, try_number=1, start_date=NOW, end_date=NOW, due_at=LATER)
    assert do(waits, DECISIONS[state]).due_at is None


def test_a_reschedule_that_overtakes_the_start_brings_the_start_along() -> None:
    early = RescheduleAt(instance=0, because="b", at=MUCH_LATER, started_at=NOW)
    assert do(facts_in(S.QUEUED, try_number=1), early, now=LATER).start_date == NOW
    unsaid = RescheduleAt(instance=0, because="b", at=MUCH_LATER)
    assert do(facts_in(S.QUEUED, try_number=1), unsaid, now=LATER).start_date == LATER


def test_a_live_try_that_defers_stays_itself_and_has_begun() -> None:
    after = do(facts_in(S.QUEUED, try_number=1), Defer(instance=0, because="b"), now=LATER)
    assert (after.id, after.try_number, after.start_date) == ("old", 1, LATER)


@pytest.mark.parametrize("state", [state for state in TaskInstanceState if state not in LIVE])
def test_clearing_begins_from_nothing_with_all_retries_again(state: TaskInstanceState) -> None:
    before = facts_in(state, try_number=3, infra_faults=2, start_date=NOW, end_date=NOW, due_at=NOW)
    after = clear(before, NODE, because="ann cleared it")
    assert (after.state, after.max_tries, after.infra_faults, after.try_number) == (S.NONE, 3 + 2, 0, 3)
    assert (after.start_date, after.end_date, after.due_at) == (None, None, None)
    assert replaces_try(before, after), "whoever clears it archives the try"
    queued = do(after, Queue(instance=0, because="b", try_id="new"))
    assert queued.try_number == 4
    assert not replaces_try(after, queued)


def test_clearing_a_live_try_stops_it_first() -> None:
    before = facts_in(S.RUNNING, try_number=1, start_date=NOW, infra_faults=2, wait="fired")
    restarting = clear(before, NODE, because="ann cleared it")
    assert (restarting.state, restarting.id, restarting.max_tries) == (S.RESTARTING, "old", 3)
    assert (restarting.infra_faults, restarting.wait) == (0, "")
    assert not replaces_try(before, restarting), "it is archived when it has ended"
    gone = do(restarting, Restart(instance=0, because="b"))
    assert replaces_try(restarting, gone)
    assert (gone.state, gone.start_date, gone.end_date) == (S.NONE, None, None)


@pytest.mark.parametrize("state", [S.SUCCESS, S.FAILED, S.SKIPPED])
def test_marking_ends_it_now(state: TaskInstanceState) -> None:
    before = facts_in(S.RUNNING, try_number=1, start_date=NOW)
    after = mark(before, state, LATER, because="ann marked it")
    assert (after.state, after.start_date, after.end_date, after.id) == (state, NOW, LATER, "old")


@pytest.mark.parametrize("state", [S.NONE, S.RUNNING, S.UPSTREAM_FAILED, S.REMOVED, S.RESTARTING])
def test_people_cannot_mark_what_only_the_scheduler_decides(state: TaskInstanceState) -> None:
    with pytest.raises(IllegalMove, match="a person cannot mark"):
        mark(facts_in(S.RUNNING), state, NOW, because="b")


def test_a_dag_run_starts_ends_and_waits_again_when_cleared() -> None:
    queued = RunFacts(state=DagRunState.QUEUED)
    running = apply_to_run(queued, StartDagRun(because="b"), NOW)
    assert running == RunFacts(state=DagRunState.RUNNING, start_date=NOW, because="b")
    done = apply_to_run(running, FinishDagRun(state=DagRunState.FAILED, reason="task_failure", because="x"), LATER)
    assert done == RunFacts(state=DagRunState.FAILED, start_date=NOW, end_date=LATER, because="x")
    assert clear_run(done, because="c") == RunFacts(state=DagRunState.QUEUED, because="c")
    assert clear_run(running, because="c") is running


def test_a_finished_dag_run_does_not_finish_again() -> None:
    with pytest.raises(IllegalMove):
        apply_to_run(
            RunFacts(state=DagRunState.SUCCESS),
            FinishDagRun(state=DagRunState.FAILED, reason="task_failure", because="x"),
            NOW,
        )


@pytest.mark.parametrize(("ended", "expected"), [(NOW, NOW), (None, LATER)])
def test_a_marked_dag_run_ended_when_it_did(ended: datetime | None, expected: datetime) -> None:
    run = RunFacts(state=DagRunState.FAILED if ended else DagRunState.RUNNING, start_date=NOW, end_date=ended)
    assert mark_run(run, DagRunState.SUCCESS, LATER, because="b").end_date == expected


def test_a_person_may_mark_a_dag_run_but_not_as_running() -> None:
    run = RunFacts(state=DagRunState.FAILED, start_date=NOW, end_date=NOW)
    assert mark_run(run, DagRunState.SUCCESS, LATER, because="b").state is DagRunState.SUCCESS
    with pytest.raises(IllegalMove):
        mark_run(run, DagRunState.RUNNING, LATER, because="b")


def test_decisions_survive_the_trip_through_json() -> None:
    decision = RetryAt(instance=3, because="b", at=LATER)
    assert msgspec.json.decode(msgspec.json.encode(decision), type=RetryAt) == decision
