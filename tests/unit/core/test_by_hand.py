"""What people do to task instances: each is a move of the table, and what ends is archived."""

from __future__ import annotations

import pytest

from leoflowd.contract.states import FINISHED, LIVE, DagRunState, TaskInstanceState
from leoflowd.core.by_hand import GONE, Change, Held, plan_clear, plan_mark, plan_mark_run, plan_removal
from leoflowd.core.dag_shape import TaskNode
from leoflowd.core.run_view import InstanceFacts, RunFacts
from leoflowd.core.transitions import MARKABLE, PERSON_MOVES
from tests.unit.core.core_builders import NOW, S, seconds, task

LATER = NOW + seconds(60)
RUNNING = RunFacts(state=DagRunState.RUNNING, start_date=NOW)


def held(task_id: str, state: TaskInstanceState, *, index: int = 0, map_index: int = -1, **fields: object) -> Held:
    spec_fields = {name: fields.pop(name) for name in ("retries", "is_teardown") if name in fields}
    node = TaskNode(index=index, spec=task(task_id, **spec_fields))
    facts = InstanceFacts(id=f"{task_id}-id", node=index, map_index=map_index, state=state, **fields)  # type: ignore[arg-type]
    return Held(1, node, facts)


def after(changes: tuple[Change, ...]) -> dict[str, str]:
    return {change.held.node.spec.task_id: change.after.state.value for change in changes}


@pytest.mark.parametrize("state", list(TaskInstanceState))
def test_a_clear_archives_the_try_unless_it_is_live(state: TaskInstanceState) -> None:
    one = held("a", state, try_number=1, start_date=NOW, retries=2)
    (change,) = plan_clear([one], because="ann cleared it")
    assert change.after.state in PERSON_MOVES[state]
    assert change.after.max_tries == 3
    assert change.ended == (None if state in LIVE else one.facts)


def test_a_clear_archives_nothing_where_nothing_ran() -> None:
    (change,) = plan_clear([held("a", S.SKIPPED, end_date=NOW)], because="b")
    assert change.ended is None


@pytest.mark.parametrize("state", list(TaskInstanceState))
def test_of_a_task_that_is_gone_only_what_has_ended_stays(state: TaskInstanceState) -> None:
    """A try that lives is stopped: nobody would hear of its end."""
    rows = [held("gone", state, index=GONE, try_number=1), held("there", state)]
    assert after(plan_removal(rows, (), LATER)) == ({} if state in FINISHED else {"gone": "removed"})


@pytest.mark.parametrize("state", sorted(LIVE))
def test_a_live_try_that_is_cleared_when_its_task_is_gone_does_not_restart(state: TaskInstanceState) -> None:
    gone = held("gone", state, index=GONE, try_number=1, start_date=NOW)
    (change,) = plan_removal([gone], plan_clear([gone], because="b"), LATER)
    assert (change.after.state, change.after.end_date, change.after.try_number) == (S.REMOVED, LATER, 1)
    assert change.ended == (gone.facts if state is S.RESTARTING else None)


def test_a_task_that_is_gone_is_archived_and_removed_when_it_is_cleared() -> None:
    gone = held("gone", S.FAILED, index=GONE, try_number=1, start_date=NOW, end_date=NOW)
    there = held("there", S.FAILED, try_number=1, start_date=NOW, end_date=NOW)
    changes = plan_removal([gone, there], plan_clear([gone, there], because="b"), LATER)
    assert after(changes) == {"gone": "removed", "there": "none"}
    assert [change.ended for change in changes] == [gone.facts, there.facts]


def test_a_mark_leaves_alone_what_has_that_state() -> None:
    rows = [held("a", S.SUCCESS), held("b", S.FAILED, end_date=NOW), held("c", S.NONE)]
    changes = plan_mark(rows, S.SUCCESS, LATER, because="ann marked it")
    assert after(changes) == {"b": "success", "c": "success"}
    assert [change.after.end_date for change in changes] == [NOW, LATER], "what had ended did so when it did"


@pytest.mark.parametrize("state", list(TaskInstanceState))
def test_a_run_that_succeeds_by_hand_does_so_in_all_its_parts(state: TaskInstanceState) -> None:
    changes, run = plan_mark_run([held("a", state)], RUNNING, DagRunState.SUCCESS, LATER, because="b")
    assert after(changes) == ({} if state in (S.SUCCESS, S.REMOVED) else {"a": "success"})
    assert (run.state, run.start_date, run.end_date) == (DagRunState.SUCCESS, NOW, LATER)


@pytest.mark.parametrize("state", list(TaskInstanceState))
def test_a_run_that_fails_by_hand_fails_what_runs_and_skips_what_waits(state: TaskInstanceState) -> None:
    changes, run = plan_mark_run([held("a", state)], RUNNING, DagRunState.FAILED, LATER, because="b")
    fails = state in (S.RUNNING, S.DEFERRED, S.UP_FOR_RESCHEDULE)
    assert after(changes) == ({} if state in FINISHED else {"a": "failed" if fails else "skipped"})
    assert (run.state, run.end_date) == (DagRunState.FAILED, LATER)


@pytest.mark.parametrize("state", [DagRunState.SUCCESS, DagRunState.FAILED])
def test_teardowns_still_run_and_the_run_ends_with_them(state: DagRunState) -> None:
    rows = [held("a", S.RUNNING, try_number=1), held("down", S.NONE, is_teardown=True)]
    changes, run = plan_mark_run(rows, RUNNING, state, LATER, because="b")
    assert set(after(changes)) == {"a"}
    assert run is RUNNING
    ended = [rows[0], held("down", S.FAILED, is_teardown=True)]
    changes, run = plan_mark_run(ended, RUNNING, state, LATER, because="b")
    assert run.state is state
    assert ("down" in after(changes)) is (state is DagRunState.SUCCESS)


def test_a_run_that_is_queued_by_hand_waits_for_its_turn_with_all_as_it_is() -> None:
    failed = RunFacts(state=DagRunState.FAILED, start_date=NOW, end_date=NOW)
    changes, run = plan_mark_run([held("a", S.FAILED)], failed, DagRunState.QUEUED, LATER, because="b")
    assert changes == ()
    assert run == RunFacts(state=DagRunState.QUEUED, because="b")


def test_whatever_people_do_is_in_the_table() -> None:
    assert MARKABLE <= FINISHED
    for state in TaskInstanceState:
        one = held("a", state, try_number=1)
        results = [plan_clear([one], because="b")]
        results += [plan_mark([one], target, LATER, because="b") for target in sorted(MARKABLE)]
        results += [
            plan_mark_run([one], RUNNING, target, LATER, because="b")[0]
            for target in (DagRunState.SUCCESS, DagRunState.FAILED)
        ]
        for (change,) in filter(None, results):
            assert change.after.state in PERSON_MOVES[state]
        gone = held("a", state, index=GONE, try_number=1)
        for change in plan_removal([gone], (), LATER):
            assert change.after.state in PERSON_MOVES[state]
