"""The graph: order, leaves, weights, setups, and what is refused."""

from __future__ import annotations

import msgspec
import pytest

from leoflowd.contract.dag_spec import TaskGroupSpec, TaskSpec
from leoflowd.contract.overriding import override
from leoflowd.contract.states import WeightRule
from leoflowd.core.dag_shape import MAX_WEIGHT, DagShape, shape_of
from tests.unit.core.core_builders import dag, task


def ids(shape: DagShape, nodes: tuple[int, ...]) -> list[str]:
    return [shape.nodes[node].spec.task_id for node in nodes]


def test_nodes_stand_in_topological_order_and_keep_the_written_order_where_free() -> None:
    shape = shape_of(dag(task("last", "b", "a"), task("b"), task("a"), task("alone")))
    assert ids(shape, tuple(range(4))) == ["b", "a", "last", "alone"]
    assert ids(shape, shape.nodes[shape.index_of["last"]].upstream) == ["b", "a"]


def test_a_cycle_is_refused_and_listed() -> None:
    with pytest.raises(ValueError, match=r"has a cycle: b -> c -> d -> b;"):
        shape_of(dag(task("a"), task("b", "a", "d"), task("c", "b"), task("d", "c"), task("e", "d")))


def test_a_task_that_waits_for_itself_is_a_cycle() -> None:
    with pytest.raises(ValueError, match="a -> a;"):
        shape_of(dag(task("a", "a")))


def test_an_unknown_upstream_is_refused() -> None:
    with pytest.raises(ValueError, match="task 'a' of dag 'd' waits for 'nobody'"):
        shape_of(dag(task("a", "nobody")))


def test_two_tasks_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two tasks called 'a'"):
        shape_of(dag(task("a"), task("a")))


def test_leaves_are_the_tasks_with_nothing_after_them() -> None:
    shape = shape_of(dag(task("a"), task("b", "a"), task("c", "a")))
    assert ids(shape, shape.leaves) == ["b", "c"]


def test_a_teardown_neither_is_a_leaf_nor_hides_one() -> None:
    shape = shape_of(dag(task("s", is_setup=True), task("w", "s"), task("t", "w", "s", is_teardown=True)))
    assert ids(shape, shape.leaves) == ["w"]


def test_a_teardown_with_on_failure_fail_dagrun_is_a_leaf_like_any_other() -> None:
    shape = shape_of(dag(task("w"), task("t", "w", is_teardown=True, on_failure_fail_dagrun=True)))
    assert ids(shape, shape.leaves) == ["t"]


def test_in_a_dag_of_teardowns_the_last_ones_are_leaves() -> None:
    shape = shape_of(dag(task("t1", is_teardown=True), task("t2", "t1", is_teardown=True)))
    assert ids(shape, shape.leaves) == ["t2"]


@pytest.mark.parametrize(
    ("rule", "weight"), [(WeightRule.ABSOLUTE, 2), (WeightRule.DOWNSTREAM, 2 + 5 + 7), (WeightRule.UPSTREAM, 2 + 3)]
)
def test_the_weight_sums_over_all_relatives_each_counted_once(rule: WeightRule, weight: int) -> None:
    shape = shape_of(
        dag(
            task("a", priority_weight=3),
            task("b", "a", priority_weight=2, weight_rule=rule),
            task("c", "b", priority_weight=5),
            task("d", "b", "c", priority_weight=7),
        )
    )
    assert shape.nodes[shape.index_of["b"]].weight == weight


def test_a_weight_fits_the_column() -> None:
    shape = shape_of(dag(task("a", priority_weight=MAX_WEIGHT), task("b", "a", priority_weight=MAX_WEIGHT)))
    assert shape.nodes[0].weight == MAX_WEIGHT


def test_a_task_is_inside_of_a_setup_whose_teardown_comes_later() -> None:
    shape = shape_of(
        dag(
            task("s", is_setup=True),
            task("a", "s"),
            task("b", "a"),
            task("t", "b", "s", is_teardown=True),
            task("c", "t"),
        )
    )
    node = {task_id: shape.nodes[index] for task_id, index in shape.index_of.items()}
    assert ids(shape, node["a"].indirect_setups) == []
    assert ids(shape, node["b"].indirect_setups) == ["s"]
    assert ids(shape, node["c"].indirect_setups) == [], "after the teardown, the setup is no longer its affair"
    assert ids(shape, node["t"].scope) == ["a"]
    assert ids(shape, node["s"].feeds) == ["a", "b", "t"]
    assert ids(shape, node["a"].feeds) == ["b", "t"]


def test_a_setup_without_teardown_covers_all_that_follows() -> None:
    shape = shape_of(dag(task("s", is_setup=True), task("a", "s"), task("b", "a"), task("c", "b")))
    assert ids(shape, shape.nodes[shape.index_of["c"]].indirect_setups) == ["s"]


class CountedId(str):
    """A task id that counts how often it is looked up."""

    __slots__ = ()
    lookups = 0

    @override
    def __hash__(self) -> int:
        CountedId.lookups += 1
        return super().__hash__()


def lookups_for(tasks: int) -> int:
    ids = [CountedId(f"t{number}") for number in range(tasks)]
    spec = dag(*(TaskSpec(task_id=i, operator="E", upstream_task_ids=tuple(ids[:n][-2:])) for n, i in enumerate(ids)))
    CountedId.lookups = 0
    shape_of(spec)
    return CountedId.lookups


def test_twice_as_many_tasks_are_twice_the_work() -> None:
    """Ten thousand tasks held up everybody for seconds: each task looked at all ids."""
    assert lookups_for(400) < 2.5 * lookups_for(200)


def test_weights_of_many_different_values_add_up() -> None:
    weights = [1, -1, 2**31 - 1, 0, 12_345, -(2**30), 7]
    spec = dag(*(task(f"t{n}", *([f"t{n - 1}"] if n else []), priority_weight=w) for n, w in enumerate(weights)))
    expected = [max(-MAX_WEIGHT, min(MAX_WEIGHT, sum(weights[n:]))) for n in range(len(weights))]
    assert [node.weight for node in shape_of(spec).nodes] == expected


def test_a_long_cycle_is_found_and_listed() -> None:
    tasks = [task(f"t{n:04}", f"t{(n - 1) % 2000:04}") for n in range(2000)]
    with pytest.raises(ValueError, match=r"t0000 -> t0001 -> t0002 .* -> t0000;"):
        shape_of(dag(*tasks))


def groups(**parents: str | None) -> tuple[TaskGroupSpec, ...]:
    return tuple(TaskGroupSpec(group_id=i, label=i, parent_group_id=parent) for i, parent in parents.items())


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (groups(a="b", b="a"), "inside of itself"),
        (groups(a="a"), "inside of itself"),
        (groups(a="nobody"), "'nobody', which it does not have"),
        (groups(a=None) + groups(a=None), "two task groups of one id"),
        (groups(**{f"g{n}": f"g{n + 1}" for n in range(60)}, g60=None), "more than 50 others"),
    ],
)
def test_task_groups_that_are_no_trees_are_refused(found: tuple[TaskGroupSpec, ...], message: str) -> None:
    """A circle of groups was walked for ever when somebody looked at the DAG."""
    with pytest.raises(ValueError, match=message):
        shape_of(msgspec.structs.replace(dag(task("a")), groups=found))


def test_task_groups_in_any_order_are_accepted() -> None:
    spec = msgspec.structs.replace(dag(task("a")), groups=groups(**{f"g{n}": f"g{n + 1}" for n in range(49)}, g49=None))
    assert shape_of(spec).leaves == (0,)
