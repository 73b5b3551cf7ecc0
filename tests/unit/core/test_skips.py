"""Skips that a try decides for others: branches, short circuits, and what is left of them after a clear."""

from __future__ import annotations

import pytest

from leoflowd.contract.agent_messages import OutcomeKind, XComItem
from leoflowd.contract.states import DagRunState, TriggerRule
from leoflowd.core.choices import CHOICE_KEY, Choice, choice_among, read_choice
from leoflowd.core.dag_run_plan import plan_expansion, plan_outcome
from leoflowd.core.decisions import Skip, Succeed
from leoflowd.core.run_view import RunView
from leoflowd.core.transitions import clear
from tests.unit.core.core_builders import (
    NOW,
    S,
    at,
    begin_try,
    carry_out,
    end_try,
    outcome,
    settle,
    state_of,
    states_of,
    task,
    view_of,
)

LIVE_TRY = {"state": S.RUNNING, "try_number": 1, "start_date": NOW}
LEFT_OUT = Choice(followed=frozenset({"a"}))


def branch(**fields: object) -> RunView:
    """b chooses between a and z, which meet in `join`."""
    return view_of(
        task("b", decides=True),
        task("a", "b"),
        task("z", "b"),
        task("join", "a", "z", trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS),
        **fields,  # type: ignore[arg-type]
    )


def test_what_a_try_skips_is_skipped_and_the_others_go_on() -> None:
    view = branch(facts={"b": LIVE_TRY})
    end_try(view, "b", OutcomeKind.SUCCESS, skips=("z",))
    assert states_of(view) == {"b": "success", "a": "scheduled", "z": "skipped", "join": "none"}
    assert view.facts[at(view, "z")].because == "task 'b' skips it"


def test_the_try_itself_comes_first() -> None:
    view = branch(facts={"b": LIVE_TRY})
    decisions = plan_outcome(view, at(view, "b"), outcome(OutcomeKind.SUCCESS, skips=("z", "a", "z")), NOW)
    assert [(type(one), one.instance) for one in decisions] == [
        (Succeed, at(view, "b")),
        (Skip, at(view, "z")),
        (Skip, at(view, "a")),
    ]


@pytest.mark.parametrize("kind", [OutcomeKind.FAILED, OutcomeKind.SKIPPED, OutcomeKind.LOST])
def test_only_a_success_skips_others(kind: OutcomeKind) -> None:
    view = branch(facts={"b": LIVE_TRY})
    assert len(plan_outcome(view, at(view, "b"), outcome(kind, skips=("z",)), NOW)) == 1


@pytest.mark.parametrize("state", [S.RUNNING, S.SUCCESS, S.FAILED, S.SKIPPED, S.REMOVED])
def test_what_runs_or_ran_is_left_alone(state: S) -> None:
    view = branch(facts={"b": LIVE_TRY, "z": {"state": state, "try_number": 1}})
    settle(view)
    end_try(view, "b", OutcomeKind.SUCCESS, skips=("z",))
    assert state_of(view, "z") is state


@pytest.mark.parametrize("state", [S.NONE, S.SCHEDULED, S.QUEUED, S.UP_FOR_RETRY, S.UPSTREAM_FAILED, S.RESTARTING])
def test_whatever_does_not_run_is_skipped(state: S) -> None:
    """Also where a failure elsewhere upstream came first: Airflow's update asks for the state alone."""
    view = branch(facts={"b": LIVE_TRY, "z": {"state": state, "try_number": 1}})
    settle(view)
    end_try(view, "b", OutcomeKind.SUCCESS, skips=("z",))
    assert state_of(view, "z") is S.SKIPPED


def test_a_wait_that_is_skipped_is_waited_for_no_longer() -> None:
    view = branch(facts={"b": LIVE_TRY, "z": {"state": S.DEFERRED, "wait": "waiting", "try_number": 1}})
    end_try(view, "b", OutcomeKind.SUCCESS, skips=("z",))
    assert (state_of(view, "z"), view.facts[at(view, "z")].wait) == (S.SKIPPED, "")


def test_itself_and_ids_that_the_dag_does_not_have_are_passed_over() -> None:
    view = branch(facts={"b": LIVE_TRY})
    end_try(view, "b", OutcomeKind.SUCCESS, skips=("b", "nobody"))
    assert states_of(view) == {"b": "success", "a": "scheduled", "z": "scheduled", "join": "none"}


def test_a_run_in_which_all_was_skipped_succeeds() -> None:
    view = branch(facts={"b": LIVE_TRY})
    end_try(view, "b", OutcomeKind.SUCCESS, skips=("a", "z"))
    assert state_of(view, "join") is S.SKIPPED
    assert view.state is DagRunState.SUCCESS


def test_an_unmapped_decider_speaks_for_every_instance_and_a_mapped_one_for_its_own_index() -> None:
    def expanded() -> RunView:
        view = view_of(task("b"), task("m", "b", trigger_rule=TriggerRule.ALWAYS), task("u", "b"))
        for name in ("b", "m"):
            carry_out(view, plan_expansion(view, view.shape.index_of[name], 2, "it has 2"))
        return view

    def skipped(view: RunView) -> list[int]:
        return [f.map_index for f in view.facts if f.node == view.shape.index_of["m"] and f.state is S.SKIPPED]

    one_of_two = expanded()
    second = one_of_two.instances_of(one_of_two.shape.index_of["b"])[1]
    begin_try(one_of_two, second)
    carry_out(one_of_two, plan_outcome(one_of_two, second, outcome(OutcomeKind.SUCCESS, skips=("m", "u")), NOW))
    assert skipped(one_of_two) == [1]
    assert state_of(one_of_two, "u") is S.NONE

    alone = view_of(task("b"), task("m", "b"), facts={"b": LIVE_TRY})
    carry_out(alone, plan_expansion(alone, alone.shape.index_of["m"], 3, "it has 3"))
    end_try(alone, "b", OutcomeKind.SUCCESS, skips=("m",))
    assert sorted(skipped(alone)) == [0, 1, 2]


# --- after a clear -----------------------------------------------------------------------------------------------


def cleared(view: RunView, task_id: str) -> RunView:
    """As the store does it: a new view, with the facts of the old one."""
    facts = list(view.facts)
    position = at(view, task_id)
    facts[position] = clear(facts[position], view.node_of(position), because="ann cleared it")
    return RunView(
        dag_run_id=1, dag_id="d", run_id="r", shape=view.shape, state=DagRunState.RUNNING, logical_date=NOW,
        facts=facts, choices=view.choices,
    )  # fmt: skip


def test_a_cleared_task_that_the_branch_left_out_is_skipped_again() -> None:
    view = branch(
        states={"b": S.SUCCESS, "a": S.SUCCESS, "z": S.SKIPPED, "join": S.SUCCESS}, choices={(0, -1): LEFT_OUT}
    )
    view = cleared(view, "z")
    settle(view)
    assert state_of(view, "z") is S.SKIPPED
    assert view.facts[at(view, "z")].because == "task 'b' chose to leave it out"


def test_one_that_it_followed_runs_again() -> None:
    states = {"b": S.SUCCESS, "a": S.SUCCESS, "z": S.SKIPPED, "join": S.SUCCESS}
    view = cleared(branch(states=states, choices={(0, -1): LEFT_OUT}), "a")
    settle(view)
    assert state_of(view, "a") is S.SCHEDULED


def test_a_choice_holds_whatever_the_trigger_rule_says() -> None:
    view = view_of(
        task("b", decides=True), task("z", "b", trigger_rule=TriggerRule.ALL_DONE),
        states={"b": S.SUCCESS}, choices={(0, -1): Choice(skipped=frozenset({"z"}))},
    )  # fmt: skip
    settle(view)
    assert state_of(view, "z") is S.SKIPPED


def test_a_new_choice_counts_instead_of_the_old_one() -> None:
    view = branch(facts={"b": LIVE_TRY}, choices={(0, -1): LEFT_OUT})
    view.choose(at(view, "b"), Choice(followed=frozenset({"z"})))
    end_try(view, "b", OutcomeKind.SUCCESS)
    assert (state_of(view, "a"), state_of(view, "z")) == (S.SKIPPED, S.SCHEDULED)


def test_it_counts_directly_downstream_only() -> None:
    """As Airflow: whoever is further down follows the rules, and none of them is named in a branch's choice."""
    states = {"b": S.SUCCESS, "a": S.SUCCESS, "z": S.SKIPPED}
    view = branch(states=states, choices={(0, -1): Choice(skipped=frozenset({"z", "join"}))})
    settle(view)
    assert state_of(view, "join") is S.SCHEDULED


def test_a_mapped_branch_speaks_for_the_instance_of_the_same_index() -> None:
    view = view_of(task("b", decides=True), task("m", "b"), task("u", "b"))
    for name in ("b", "m"):
        carry_out(view, plan_expansion(view, view.shape.index_of[name], 2, "it has 2"))
    view.choose(view.instances_of(view.shape.index_of["b"])[1], Choice(followed=frozenset()))
    settle(view)
    states = {f.map_index: f.state for f in view.facts if f.node == view.shape.index_of["m"]}
    assert states == {0: S.NONE, 1: S.SKIPPED}
    assert state_of(view, "u") is S.NONE, "it is not mapped: no instance of the branch is its own"


# --- the XCom ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "left_out"),
    [
        ('{"followed": ["a", "b"]}', {"c"}),
        ('{"followed": []}', {"a", "b", "c"}),
        ('{"skipped": ["b"]}', {"b"}),
        ('{"skipped": ["b"], "followed": ["a", "b"]}', {"b", "c"}),
        ('{"other": 1}', set()),
    ],
)
def test_a_choice_is_read_from_the_xcom_that_airflow_writes(value: str, left_out: set[str]) -> None:
    choice = read_choice(value)
    assert choice is not None
    assert {task_id for task_id in "abc" if choice.leaves_out(task_id)} == left_out


@pytest.mark.parametrize("value", ["7", "null", '["a"]', '{"followed": "a"}', '{"skipped": [1]}', "[" * 5000, "x"])
def test_anything_else_under_its_key_is_no_choice(value: str) -> None:
    assert read_choice(value) is None


def test_it_is_found_among_the_xcoms_of_an_outcome() -> None:
    items = [XComItem(key="return_value", value='"a"'), XComItem(key=CHOICE_KEY, value='{"followed": ["a"]}')]
    assert choice_among(items) == LEFT_OUT
    assert choice_among(items[:1]) is None
