"""Which task instances a clear or mark touches."""

from __future__ import annotations

import pytest

from leoflowd.contract.dag_spec import DagSpec, MapInput, MappedSpec, TaskGroupSpec, TaskSpec
from leoflowd.contract.states import TaskInstanceState
from leoflowd.core.dag_shape import shape_of
from leoflowd.core.selection import Instance, first_live, select_tasks, to_clear, to_mark, to_resume, with_scopes

S = TaskInstanceState

SHAPE = shape_of(
    DagSpec(
        dag_id="d",
        tasks=(
            TaskSpec(task_id="a", operator="X"),
            TaskSpec(task_id="b", operator="X", upstream_task_ids=("a",)),
            TaskSpec(task_id="c", operator="X", upstream_task_ids=("b",)),
            TaskSpec(task_id="side", operator="X", upstream_task_ids=("a",)),
        ),
    )
)


def _instances(**states: TaskInstanceState) -> list[Instance]:
    return [Instance(1, task_id, -1, state) for task_id, state in states.items()]


def test_no_names_means_all_tasks() -> None:
    assert select_tasks(SHAPE, None).task_ids == {"a", "b", "c", "side"}


def test_an_empty_list_means_none() -> None:
    assert not select_tasks(SHAPE, []).task_ids


def test_relatives_are_whole_tasks_however_far() -> None:
    chosen = select_tasks(SHAPE, [("b", 3)], upstream=True, downstream=True)
    assert chosen.task_ids == {"a", "c"}
    assert chosen.keys == {("b", 3)}


def test_inside_of_a_mapped_group_relatives_have_the_same_map_index() -> None:
    mapped = MappedSpec(inputs=(MapInput(name="x", task_id="a"),), needs=("a",))
    shape = shape_of(
        DagSpec(
            dag_id="d",
            tasks=(
                TaskSpec(task_id="a", operator="X"),
                TaskSpec(task_id="g.1", operator="X", upstream_task_ids=("a",), group_id="g"),
                TaskSpec(task_id="g.2", operator="X", upstream_task_ids=("g.1",), group_id="g"),
                TaskSpec(task_id="z", operator="X", upstream_task_ids=("g.2",)),
            ),
            groups=(TaskGroupSpec(group_id="g", label="g", mapped=mapped),),
        )
    )
    chosen = select_tasks(shape, [("g.1", 3)], upstream=True, downstream=True)
    assert (chosen.task_ids, chosen.keys) == ({"a", "z"}, {("g.1", 3), ("g.2", 3)})
    chosen = select_tasks(shape, ["a"], downstream=True)
    assert (chosen.task_ids, chosen.keys) == ({"a", "g.1", "g.2", "z"}, frozenset())
    chosen = select_tasks(shape, [("g.1", -1)], downstream=True)
    assert chosen.task_ids == {"g.2", "z"}, "not expanded when it was chosen"


def test_a_single_map_index_is_only_that_one() -> None:
    chosen = select_tasks(SHAPE, [("b", 3)])
    assert Instance(1, "b", 3, S.FAILED) in chosen
    assert Instance(1, "b", 4, S.FAILED) not in chosen


def test_a_name_that_the_dag_has_lost_still_selects_old_instances() -> None:
    assert Instance(1, "gone", -1, S.FAILED) in select_tasks(SHAPE, ["gone"], downstream=True)


def test_only_failed_and_only_running_together_mean_either() -> None:
    instances = _instances(a=S.SUCCESS, b=S.FAILED, c=S.UPSTREAM_FAILED, side=S.RUNNING)
    everything = select_tasks(SHAPE, None)

    def cleared(**only: bool) -> set[str]:
        only = {"only_failed": False, "only_running": False} | only
        return {i.task_id for i in to_clear(instances, everything, **only)}

    assert cleared() == {"a", "b", "c", "side"}
    assert cleared(only_failed=True) == {"b", "c"}
    assert cleared(only_running=True) == {"side"}
    assert cleared(only_failed=True, only_running=True) == {"b", "c", "side"}


def test_a_mark_leaves_out_what_is_in_the_state_already() -> None:
    instances = _instances(a=S.SUCCESS, b=S.NONE)
    assert {i.task_id for i in to_mark(instances, select_tasks(SHAPE, None), S.SUCCESS)} == {"b"}


def test_after_a_mark_failed_ones_downstream_go_on_but_not_the_marked() -> None:
    instances = _instances(a=S.FAILED, b=S.UPSTREAM_FAILED, c=S.UPSTREAM_FAILED, side=S.SUCCESS)
    marked = [instances[0], instances[1]]
    assert {i.task_id for i in to_resume(SHAPE, instances, ["a"], marked)} == {"c"}


def test_live_instances_are_found() -> None:
    assert first_live(_instances(a=S.SUCCESS, b=S.QUEUED)) is not None
    assert first_live(_instances(a=S.SUCCESS, b=S.SCHEDULED)) is None


# --- setups and teardowns ----------------------------------------------------------------------------------------

SCOPED = shape_of(
    DagSpec(
        dag_id="d",
        tasks=(
            TaskSpec(task_id="cluster", operator="X", is_setup=True),
            TaskSpec(task_id="login", operator="X", is_setup=True, upstream_task_ids=("cluster",)),
            TaskSpec(task_id="load", operator="X", upstream_task_ids=("login",)),
            TaskSpec(task_id="check", operator="X", upstream_task_ids=("load",)),
            TaskSpec(task_id="drop", operator="X", is_teardown=True, upstream_task_ids=("cluster", "check")),
            TaskSpec(task_id="report", operator="X", upstream_task_ids=("check",)),
            TaskSpec(task_id="other_setup", operator="X", is_setup=True),
            TaskSpec(task_id="other", operator="X", upstream_task_ids=("other_setup", "report")),
            TaskSpec(task_id="other_drop", operator="X", is_teardown=True, upstream_task_ids=("other_setup",)),
        ),
    )
)
"""`cluster` lasts until `drop`; `login` has no teardown; `other` runs after `other_drop` may have run."""


@pytest.mark.parametrize(
    ("task_id", "with_it"),
    [
        ("load", {"login", "cluster", "drop"}),
        ("check", {"login", "cluster", "drop"}),
        ("report", {"login"}),
        ("other", {"login"}),
        ("cluster", {"drop"}),
        ("other_setup", {"other_drop"}),
        ("drop", set()),
    ],
)
def test_a_clear_brings_the_setups_around_a_task_and_their_teardowns(task_id: str, with_it: set[str]) -> None:
    assert with_scopes(SCOPED, select_tasks(SCOPED, [task_id])).task_ids == {task_id} | with_it


def test_it_brings_them_for_relatives_too() -> None:
    chosen = with_scopes(SCOPED, select_tasks(SCOPED, ["report"], upstream=True))
    assert chosen.task_ids == {"report", "check", "load", "login", "cluster", "drop"}


def test_of_a_single_map_index_they_come_whole() -> None:
    chosen = with_scopes(SCOPED, select_tasks(SCOPED, [("check", 3), ("gone", 1)]))
    assert chosen.task_ids == {"login", "cluster", "drop"}
    assert chosen.keys == {("check", 3), ("gone", 1)}


def test_nothing_chosen_brings_nothing() -> None:
    assert not with_scopes(SCOPED, select_tasks(SCOPED, [])).task_ids
