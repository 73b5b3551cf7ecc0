"""A mapped task gets its instances when its rule lets it run; inside of a mapped group they wait index by index."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leoflowd.contract.agent_messages import OutcomeKind, XComItem
from leoflowd.contract.dag_spec import MapInput, MappedItem, MappedSpec, TaskGroupSpec, TaskSpec
from leoflowd.contract.states import DagRunState, TriggerRule
from leoflowd.contract.wait_spec import ProbeSpec, WaitSpec
from leoflowd.core import expansion
from leoflowd.core.dag_run_plan import plan_dag_run, plan_outcome
from leoflowd.core.dag_shape import shape_of
from leoflowd.core.decisions import Decision, Expand, Fail, RetryAt, Succeed
from leoflowd.core.expansion import plain_item
from leoflowd.core.run_view import InstanceFacts, RunView
from tests.unit.core.core_builders import (
    NOW,
    S,
    begin_try,
    carry_out,
    dag,
    outcome,
    settle,
    state_of,
    task,
    view_of,
)


def over(*sources: str, **literals: int) -> MappedSpec:
    """A mapping over the outputs of these tasks, and over lists of these lengths."""
    inputs = (
        *(MapInput(name=source, task_id=source) for source in sources),
        *(MapInput(name=name, length=length) for name, length in literals.items()),
    )
    return MappedSpec(inputs=inputs, needs=sources)


def mapped(task_id: str, *upstream: str, over: MappedSpec, **fields: object) -> TaskSpec:
    return task(task_id, *upstream, mapped=over, **fields)


def instances(view: RunView, task_id: str) -> dict[int, int]:
    """Position by map index."""
    return {view.facts[i].map_index: i for i in view.instances_of(view.shape.index_of[task_id])}


def states(view: RunView, task_id: str) -> dict[int, str]:
    return {index: view.facts[i].state.value for index, i in instances(view, task_id).items()}


def end(
    view: RunView, task_id: str, returned: Any = None, *, index: int = -1, kind: OutcomeKind = OutcomeKind.SUCCESS
) -> Decision:
    """A try of this instance runs and ends so; what follows is settled. `returned` None pushes nothing."""
    position = instances(view, task_id)[index]
    begin_try(view, position)
    xcoms = () if returned is None else (XComItem(key="return_value", value=json.dumps(returned)),)
    decisions = plan_outcome(view, position, outcome(kind, xcoms=xcoms), NOW)
    carry_out(view, decisions)
    settle(view, touched=[position])
    return decisions[0]


def view_in(*tasks: TaskSpec, groups: tuple[TaskGroupSpec, ...]) -> RunView:
    shape = shape_of(dag(*tasks, groups=groups))
    facts = [InstanceFacts(id=f"{node.spec.task_id}-0", node=node.index) for node in shape.nodes]
    return RunView(
        dag_run_id=1, dag_id="d", run_id="r", shape=shape, state=DagRunState.RUNNING, start_date=NOW, facts=facts
    )


# --- when and how many --------------------------------------------------------------------------------------------


def test_literals_expand_as_soon_as_the_rule_lets_them_run() -> None:
    view = view_of(task("a"), mapped("m", "a", over=over(x=2, y=3)))
    settle(view)
    assert states(view, "m") == {-1: "none"}, "Airflow expands what may run"
    end(view, "a")
    assert states(view, "m") == dict.fromkeys(range(6), "scheduled")


@pytest.mark.parametrize(
    ("returned", "count"), [([7], 1), ([1, 2, 3], 3), ({"a": 1, "b": 2}, 2)], ids=["one", "three", "dict"]
)
def test_an_output_is_as_long_as_what_was_returned(returned: Any, count: int) -> None:
    view = view_of(task("a"), mapped("m", "a", over=over("a")), task("z", "m"))
    settle(view)
    end(view, "a", returned)
    assert states(view, "m") == dict.fromkeys(range(count), "scheduled")
    assert state_of(view, "z") is S.NONE
    for index in range(count):
        end(view, "m", index=index)
    assert state_of(view, "z") is S.SCHEDULED


def test_a_returned_tuple_has_items_and_a_set_has_none() -> None:
    items = {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1, 2]}
    view = view_of(task("a"), mapped("m", "a", over=over("a")))
    settle(view)
    end(view, "a", items)
    assert states(view, "m") == {0: "scheduled", 1: "scheduled"}
    view = view_of(task("a"), mapped("m", "a", over=over("a")))
    settle(view)
    assert isinstance(end(view, "a", {**items, "__classname__": "builtins.set"}), Fail)


def test_instances_are_the_product_of_what_is_mapped_over() -> None:
    view = view_of(task("a"), task("b"), mapped("m", "a", "b", over=over("a", "b", x=2)))
    settle(view)
    end(view, "a", [1, 2])
    assert states(view, "m") == {-1: "none"}
    end(view, "b", [1, 2, 3])
    assert len(states(view, "m")) == 12


def test_no_items_skip_the_task_and_what_needs_it() -> None:
    view = view_of(task("a"), mapped("m", "a", over=over("a")), task("z", "m"))
    settle(view)
    end(view, "a", [])
    assert states(view, "m") == {-1: "skipped"}
    assert state_of(view, "z") is S.SKIPPED
    assert view.state is DagRunState.SUCCESS


@pytest.mark.parametrize(
    ("parts", "combine", "count"), [((2, 3), "zip", 2), ((2, 3), "zip_longest", 3), ((2, 3), "concat", 5)]
)
def test_derived_outputs_have_lengths_of_their_own(parts: tuple[int, ...], combine: str, count: int) -> None:
    made = MapInput(parts=tuple(MapInput(task_id=name) for name in "ab"), combine=combine)  # type: ignore[arg-type]
    view = view_of(task("a"), task("b"), mapped("m", "a", "b", over=MappedSpec(inputs=(made,), needs=("a", "b"))))
    settle(view)
    for name, length in zip("ab", parts, strict=True):
        end(view, name, list(range(length)))
    assert len(states(view, "m")) == count


def test_a_task_mapped_over_a_mapped_task_takes_what_its_instances_returned() -> None:
    view = view_of(mapped("m", over=over(x=3)), mapped("n", "m", over=over("m")), task("z", "n"))
    settle(view)
    end(view, "m", 10, index=0)
    end(view, "m", index=1)
    assert states(view, "n") == {-1: "none"}, "not before all of them have ended"
    end(view, "m", [1, 2, 3], index=2)
    assert states(view, "n") == {0: "scheduled", 1: "scheduled"}, "one of them returned nothing"


def test_a_mapping_of_too_many_instances_fails_instead_of_filling_the_memory() -> None:
    view = view_of(mapped("m", over=over(x=1000, y=1000)))
    settle(view)
    assert states(view, "m") == {-1: "upstream_failed"}
    assert "1000000" in view.facts[0].because


# --- what cannot be mapped over -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "did not push XCom for task mapping"),
        (5, "unmappable return type"),
        ("text", "unmappable return type"),
        ([1] * 11, "unmappable return value length: 11 > 10"),
    ],
)
def test_the_task_that_returned_it_fails(returned: Any, words: str) -> None:
    view = view_of(task("a", retries=1), mapped("m", "a", over=over("a")))
    settle(view)
    position = instances(view, "a")[-1]
    begin_try(view, position)
    xcoms = () if returned is None else (XComItem(key="return_value", value=json.dumps(returned)),)
    ended = outcome(OutcomeKind.SUCCESS, xcoms=xcoms)
    (decision,) = plan_outcome(view, position, ended, NOW, max_map_length=10)
    assert isinstance(decision, RetryAt), "it may return something else next time"
    assert words in decision.because


def test_a_task_that_nobody_maps_over_returns_what_it_likes() -> None:
    view = view_of(task("a"), task("z", "a"))
    settle(view)
    decision = end(view, "a", 5)
    assert isinstance(decision, Succeed)
    assert decision.length is None


def test_a_source_that_succeeded_without_output_fails_what_maps_over_it() -> None:
    view = view_of(task("a", kind="empty"), mapped("m", "a", over=over("a")))
    settle(view)
    assert states(view, "m") == {-1: "upstream_failed"}


@pytest.mark.parametrize(("kind", "state"), [(OutcomeKind.FAILED, "upstream_failed"), (OutcomeKind.SKIPPED, "skipped")])
def test_a_mapping_needs_the_success_of_its_source_whatever_the_rule_says(kind: OutcomeKind, state: str) -> None:
    view = view_of(task("a"), mapped("m", "a", over=over("a"), trigger_rule=TriggerRule.ALL_DONE))
    settle(view)
    end(view, "a", kind=kind)
    assert states(view, "m") == {-1: state}


# --- again --------------------------------------------------------------------------------------------------------


def cleared(view: RunView, *task_ids: str) -> RunView:
    """As the store reads it after a clear of all instances of these tasks."""
    facts = [
        InstanceFacts(id=f.id, node=f.node, map_index=f.map_index)
        if view.shape.nodes[f.node].spec.task_id in task_ids
        else f
        for f in view.facts
    ]
    return RunView(
        dag_run_id=1, dag_id="d", run_id="r", shape=view.shape, state=DagRunState.RUNNING, start_date=NOW, facts=facts
    )


@pytest.mark.parametrize(
    ("again", "after"),
    [
        ([1, 2, 3], {0: "scheduled", 1: "scheduled", 2: "scheduled"}),
        ([1], {0: "scheduled", 1: "removed"}),
        ([1, 2], {0: "scheduled", 1: "scheduled"}),
        ([], {0: "skipped", 1: "removed"}),
    ],
)
def test_a_source_that_runs_again_revises_the_instances(again: list[int], after: dict[int, str]) -> None:
    view = view_of(task("a"), mapped("m", "a", over=over("a")), task("z", "m"))
    settle(view)
    end(view, "a", [1, 2])
    for index in (0, 1):
        end(view, "m", index=index)
    view = cleared(view, "a", "m", "z")
    settle(view)
    assert states(view, "m") == {0: "none", 1: "none"}
    end(view, "a", again)
    assert states(view, "m") == after


def test_a_plan_that_expands_leaves_the_view_as_it_was() -> None:
    view = view_of(mapped("m", over=over(x=3)), task("z", "m"))
    before, counts = list(view.facts), view.upstream_counts(1).total
    decisions = plan_dag_run(view, NOW)
    assert [type(d).__name__ for d in decisions] == ["Expand", "Schedule", "Schedule", "Schedule"]
    assert view.facts == before
    assert list(view.instances_of(0)) == [0]
    assert view.upstream_counts(1).total == counts == 1
    assert plan_dag_run(view, NOW) == decisions


def test_the_past_holds_back_the_expansion_as_well() -> None:
    view = view_of(mapped("m", over=over(x=3), depends_on_past=True), past_ok={0: False})
    settle(view)
    assert states(view, "m") == {-1: "none"}


# --- a finish costs what depends on it ----------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tasks whose rules were looked at, once for each look."""
    found: list[str] = []
    ask = RunView.rule_verdict

    def noting(view: RunView, instance: int) -> Any:
        found.append(view.node_of(instance).spec.task_id)
        return ask(view, instance)

    monkeypatch.setattr(RunView, "rule_verdict", noting)
    return found


def test_the_end_of_one_of_many_instances_looks_at_what_depends_on_it(asked: list[str]) -> None:
    view = view_of(mapped("m", over=over(x=500)), task("z", "m"))
    settle(view)
    position = instances(view, "m")[7]
    begin_try(view, position)
    carry_out(view, plan_outcome(view, position, outcome(OutcomeKind.SUCCESS), NOW))
    asked.clear()
    assert plan_dag_run(view, NOW, touched=[position]) == ()
    assert asked == ["z"]


def test_many_instances_that_wait_alike_are_judged_as_one(asked: list[str]) -> None:
    view = view_of(task("a"), task("b"), mapped("m", "a", "b", over=over(x=500)))
    settle(view)
    end(view, "a")
    end(view, "b")
    for index in range(500):
        view.put(instances(view, "m")[index], InstanceFacts(id=str(index), node=2, map_index=index, state=S.SUCCESS))
    view = cleared(view, "a", "b", "m")
    settle(view)
    position = instances(view, "b")[-1]
    begin_try(view, position)
    carry_out(view, plan_outcome(view, position, outcome(OutcomeKind.SUCCESS), NOW))
    asked.clear()
    assert plan_dag_run(view, NOW, touched=[position]) == ()
    assert asked == ["m"]


# --- mapped groups ------------------------------------------------------------------------------------------------

GROUP = TaskGroupSpec(group_id="g", label="g", mapped=over("a"))


def group_view(*inside: TaskSpec, group: TaskGroupSpec = GROUP) -> RunView:
    return view_in(task("a"), task("b"), *inside, task("z", inside[-1].task_id), groups=(group,))


def test_all_tasks_of_a_group_get_its_instances_and_follow_each_other_by_index() -> None:
    view = group_view(task("g.1", "a", group_id="g"), task("g.2", "g.1", group_id="g"))
    settle(view)
    end(view, "b")
    assert states(view, "g.1") == {-1: "none"}
    end(view, "a", ["x", "y"])
    assert states(view, "g.1") == {0: "scheduled", 1: "scheduled"}
    assert states(view, "g.2") == {0: "none", 1: "none"}
    end(view, "g.1", index=1)
    assert states(view, "g.2") == {0: "none", 1: "scheduled"}, "the second waits for the second"
    end(view, "g.1", index=0, kind=OutcomeKind.FAILED)
    assert states(view, "g.2") == {0: "upstream_failed", 1: "scheduled"}
    end(view, "g.2", index=1)
    assert state_of(view, "z") is S.UPSTREAM_FAILED


def test_what_is_outside_counts_for_every_index() -> None:
    view = group_view(task("g.1", "a", group_id="g"), task("g.2", "g.1", "b", group_id="g"))
    settle(view)
    end(view, "a", [1, 2])
    end(view, "g.1", index=0)
    assert states(view, "g.2") == {-1: "none"}, "b is not done, so nothing may run, and nothing is expanded"
    end(view, "b")
    assert states(view, "g.2") == {0: "scheduled", 1: "none"}


def test_no_items_skip_the_whole_group() -> None:
    view = group_view(task("g.1", "a", group_id="g"), task("g.2", "g.1", group_id="g"))
    settle(view)
    end(view, "a", [])
    assert (states(view, "g.1"), states(view, "g.2")) == ({-1: "skipped"}, {-1: "skipped"})


def test_a_rule_that_needs_one_looks_at_all_indexes_as_in_airflow() -> None:
    rule = TriggerRule.ONE_SUCCESS
    view = group_view(task("g.1", "a", group_id="g"), task("g.2", "g.1", group_id="g", trigger_rule=rule))
    settle(view)
    end(view, "a", [1, 2])
    end(view, "g.1", index=0)
    assert states(view, "g.2") == {0: "scheduled", 1: "scheduled"}


def test_a_task_that_is_mapped_over_the_output_of_a_group_takes_each_instance() -> None:
    view = view_in(
        task("a"),
        task("g.1", "a", group_id="g"),
        mapped("m", "g.1", over=over("g.1")),
        groups=(GROUP,),
    )
    settle(view)
    end(view, "a", [1, 2, 3])
    for index in range(3):
        end(view, "g.1", index * 10, index=index)
    assert len(states(view, "m")) == 3


def test_a_teardown_inside_of_a_group_waits_for_its_own_index() -> None:
    view = group_view(
        task("g.s", "a", group_id="g", is_setup=True),
        task("g.w", "g.s", group_id="g"),
        task("g.t", "g.s", "g.w", group_id="g", is_teardown=True, trigger_rule=TriggerRule.ALL_DONE_SETUP_SUCCESS),
    )
    settle(view)
    end(view, "a", [1, 2])
    for index in (0, 1):
        end(view, "g.s", index=index)
    end(view, "g.w", index=1, kind=OutcomeKind.FAILED)
    assert states(view, "g.t") == {0: "none", 1: "scheduled"}


@pytest.mark.parametrize(
    ("tasks", "groups", "words"),
    [
        ((task("a"), mapped("m", over=over("a"))), (), "before"),
        ((mapped("m", over=over("nobody")),), (), "nobody"),
        (
            (task("a"), mapped("g.m", "a", over=over("a"), group_id="g")),
            (GROUP,),
            "inside of the mapped task group 'g'",
        ),
        (
            (task("a"), task("g.h.m", "a", group_id="g.h")),
            (GROUP, TaskGroupSpec(group_id="g.h", label="h", parent_group_id="g", mapped=over("a"))),
            "inside of the mapped task group 'g'",
        ),
    ],
)
def test_an_artifact_with_an_impossible_mapping_is_refused(
    tasks: tuple[TaskSpec, ...], groups: tuple[TaskGroupSpec, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        shape_of(dag(*tasks, groups=groups))


def test_an_expansion_is_one_decision() -> None:
    view = view_of(mapped("m", over=over(x=3)))
    (first, *_) = plan_dag_run(view, NOW)
    assert first == Expand(node=0, count=3, because="its mapping has 3 instance(s)")


# --- items that the daemon puts into waits -------------------------------------------------------------------------


def waiting(*names: str, **fields: object) -> TaskSpec:
    """A sensor that is mapped over the outputs of tasks of these names."""
    probe = ProbeSpec(kind="file", arguments=dict.fromkeys(names, ""))
    items = tuple(MappedItem(name=name, paths=(("probe", "arguments", name),)) for name in names)
    return mapped(
        "w",
        *names,
        over=over(*names),
        kind="wait",
        wait=WaitSpec(probe=probe),
        prepare="process",
        mapped_items=items,
        **fields,
    )


def test_an_instance_takes_the_items_of_its_map_index_the_last_argument_varying_first() -> None:
    view = view_of(task("a"), task("b"), waiting("a", "b"))
    settle(view)
    for name, value in (("a", ["x", "y"]), ("b", ["1", "2", "3"])):
        view.keep_items(instances(view, name)[-1], json.dumps(value))
        end(view, name, value)
    found = [view.items_of(instances(view, "w")[index]) for index in range(6)]
    assert found == [{"a": a, "b": b} for a in "xy" for b in "123"]
    assert set(states(view, "w").values()) == {"deferred"}


@pytest.mark.parametrize("item", ["", 7, None, True, ["x"], {"x": 1}, {"__classname__": "datetime.date"}])
def test_an_item_that_is_no_text_is_left_to_a_process(item: object) -> None:
    view = view_of(task("a"), waiting("a"))
    view.keep_items(instances(view, "a")[-1], json.dumps(["x", item]))
    end(view, "a", ["x", item])
    assert states(view, "w") == {0: "deferred", 1: "scheduled"}


@pytest.mark.parametrize(
    ("item", "is_taken"),
    [({"x": [1, {"y": None}]}, True), ("x", True), ({}, False), ([1], False), ({"x": [{"__type": "y"}]}, False)],
)
def test_where_an_object_may_stand_one_of_plain_json_is_taken(item: object, is_taken: bool) -> None:
    takes = MappedItem(name="a", takes_objects=True)
    assert plain_item(json.dumps(item), takes) == (item if is_taken else None)


def test_a_long_output_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion, "ITEMS_MAX_BYTES", 20)
    assert expansion.kept_items(json.dumps(["x" * 16])) == (json.dumps("x" * 16),)
    assert expansion.kept_items(json.dumps(["x" * 17])) == ()


def test_what_maps_over_no_waits_keeps_nothing() -> None:
    view = view_of(task("a"), mapped("m", "a", over=over("a")))
    assert [node.gives_items for node in view.shape.nodes] == [False, False]
