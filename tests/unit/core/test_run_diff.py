"""Two runs compared: what changed most comes first, and nothing of either run is missing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from leoflowd.core.run_diff import Change, ComparedRun, TaskTally, diff_runs

BEGAN = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def tally(task_id: str, duration_s: float | None = 1.0, state: str | None = "success", **more: Any) -> TaskTally:
    facts = {"count": 1, "is_mapped": False, "max_try_number": 1, "first_start": BEGAN + timedelta(seconds=2)} | more
    return TaskTally(task_id=task_id, state=state, duration_s=duration_s, **facts)


def run(*tasks: TaskTally, **more: Any) -> ComparedRun:
    return ComparedRun(**({"conf": {}, "params": {}, "start_date": BEGAN, "tasks": tasks} | more))


def test_states_come_before_tasks_of_one_run_and_those_before_durations() -> None:
    before = run(tally("gone", 99), tally("slower", 1), tally("faster", 50), tally("broken", 1))
    after = run(tally("new"), tally("slower", 30), tally("faster", 10), tally("broken", 1, "failed"))
    found = diff_runs(before, after).tasks
    assert [(task.task_id, task.change) for task in found] == [
        ("broken", Change.STATE),
        ("new", Change.ADDED),
        ("gone", Change.REMOVED),
        ("faster", Change.OTHER),
        ("slower", Change.OTHER),
    ]
    assert [task.duration_delta_s for task in found] == [0, None, None, -40, 29]
    assert (found[1].before, found[2].after) == (None, None)


def test_a_mapped_task_is_one_line_with_all_its_instances() -> None:
    before = run(tally("each", 10, count=3, is_mapped=True))
    after = run(
        tally("each", 8, count=2, is_mapped=True, max_try_number=3),
        tally("each", None, "failed", count=1, is_mapped=True, first_start=BEGAN + timedelta(seconds=1)),
    )
    (task,) = diff_runs(before, after).tasks
    assert task.after is not None
    assert task.change is Change.STATE
    assert task.after.states == {"failed": 1, "success": 2}
    assert (task.after.count, task.after.try_number, task.after.duration_s, task.after.started_after_s) == (3, 3, 8, 1)


def test_more_instances_in_the_same_states_are_no_change_of_state() -> None:
    (task,) = diff_runs(run(tally("each", count=3)), run(tally("each", count=5))).tasks
    assert task.change is Change.OTHER


def test_what_has_not_run_has_no_durations() -> None:
    nothing = tally("a", None, None, first_start=None)
    (task,) = diff_runs(run(nothing, start_date=None), run(tally("a"))).tasks
    assert task.before is not None
    assert (task.before.states, task.before.duration_s, task.before.started_after_s) == ({"none": 1}, None, None)
    assert task.duration_delta_s is None


def test_a_param_is_what_tasks_saw_and_the_rest_of_the_conf_stays_apart() -> None:
    before = run(params={"n": 3, "same": 1}, conf={"extra": 1})
    after = run(params={"n": 3, "same": 1, "new": None}, conf={"n": 4, "other": 2})
    found = diff_runs(before, after)
    assert found.params == {"n": (3, 4)}
    assert found.conf == {"extra": (1, None), "other": (None, 2)}


def test_a_new_default_counts_as_much_as_a_conf() -> None:
    assert diff_runs(run(params={"n": 3}), run(params={"n": 4})).params == {"n": (3, 4)}
    assert diff_runs(run(params={"n": 3}, conf={"n": 4}), run(params={"n": 4})).params == {}


TALLIES = st.lists(
    st.builds(
        tally,
        st.sampled_from("abcd"),
        st.none() | st.floats(0, 1e6),
        st.sampled_from(["success", "failed", None]),
        count=st.integers(1, 5),
    ),
    unique_by=lambda one: (one.task_id, one.state),
)


@given(TALLIES, TALLIES)
def test_the_other_way_round_it_is_the_same_with_the_sides_changed(one: list[TaskTally], two: list[TaskTally]) -> None:
    there, back = diff_runs(run(*one), run(*two)), diff_runs(run(*two), run(*one))
    assert {task.task_id for task in there.tasks} == {tally.task_id for tally in (*one, *two)}
    turned = {task.task_id: (task.after, task.before) for task in back.tasks}
    assert {task.task_id: (task.before, task.after) for task in there.tasks} == turned
    assert sum(side.count for task in there.tasks if (side := task.before)) == sum(tally.count for tally in one)
