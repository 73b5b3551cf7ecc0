"""Instances of a mapped task: (node, map_index) is who they are, and a view grows when their number is known."""

from __future__ import annotations

import pytest

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.states import TriggerRule
from leoflowd.core.dag_run_plan import plan_expansion
from leoflowd.core.decisions import Fail, RetryAt
from leoflowd.core.run_view import RunView
from tests.unit.core.core_builders import (
    NOW,
    S,
    at,
    begin_try,
    carry_out,
    end_instance,
    end_try,
    seconds,
    settle,
    state_of,
    task,
    view_of,
)

LIVE_TRY = {"state": S.RUNNING, "try_number": 1, "start_date": NOW}


def expand(view: RunView, task_id: str, count: int) -> None:
    decisions = plan_expansion(view, view.shape.index_of[task_id], count, f"its list has {count} item(s)")
    carry_out(view, decisions)


def instances(view: RunView, task_id: str) -> dict[int, int]:
    """Position by map index."""
    return {view.facts[i].map_index: i for i in view.instances_of(view.shape.index_of[task_id])}


def states(view: RunView, task_id: str) -> dict[int, str]:
    return {index: view.facts[i].state.value for index, i in instances(view, task_id).items()}


def test_the_unexpanded_instance_becomes_the_first_and_everyone_stays_where_it_stands() -> None:
    view = view_of(task("a"), task("m", "a", retries=4), task("z", "m"))
    before = {task_id: at(view, task_id) for task_id in ("a", "m", "z")}
    assert instances(view, "m") == {-1: before["m"]}
    expand(view, "m", 3)
    assert instances(view, "m") == {0: before["m"], 1: 3, 2: 4}
    assert (at(view, "a"), at(view, "z")) == (before["a"], before["z"])
    assert [view.facts[i].max_tries for i in view.instances_of(1)] == [4, 4, 4]
    assert len({facts.id for facts in view.facts}) == len(view.facts)


def test_one_item_makes_map_index_0_of_the_unexpanded_instance() -> None:
    view = view_of(task("m"))
    expand(view, "m", 1)
    assert instances(view, "m") == {0: 0}


def test_expanding_twice_changes_nothing_more() -> None:
    view = view_of(task("a"), task("m", "a"))
    expand(view, "m", 3)
    once = list(view.facts)
    expand(view, "m", 3)
    assert view.facts == once


def test_a_downstream_waits_for_the_expansion_and_then_for_every_instance() -> None:
    view = view_of(task("a"), task("m", "a"), task("z", "m"), facts={"a": LIVE_TRY})
    assert view.upstream_counts(view.shape.index_of["z"]).total == 1, "the one that is not expanded yet"
    expand(view, "m", 2)
    assert view.upstream_counts(view.shape.index_of["z"]).total == 2
    end_try(view, "a", OutcomeKind.SUCCESS)
    assert states(view, "m") == {0: "scheduled", 1: "scheduled"}
    for index in (1, 0):
        assert state_of(view, "z") is S.NONE
        position = instances(view, "m")[index]
        begin_try(view, position)
        end_instance(view, position, OutcomeKind.SUCCESS)
    assert state_of(view, "z") is S.SCHEDULED


def test_one_instance_is_tried_again_while_the_other_has_ended() -> None:
    view = view_of(task("m", retries=1, retry_delay_s=60), task("z", "m"))
    expand(view, "m", 2)
    settle(view)
    zero, one = instances(view, "m")[0], instances(view, "m")[1]
    for position in (zero, one):
        begin_try(view, position)
    assert isinstance(end_instance(view, zero, OutcomeKind.FAILED), RetryAt)
    end_instance(view, one, OutcomeKind.SUCCESS)
    assert states(view, "m") == {0: "up_for_retry", 1: "success"}
    assert state_of(view, "z") is S.NONE, "one of two upstream has not ended"
    settle(view, NOW + seconds(60), touched=[zero])
    assert states(view, "m") == {0: "scheduled", 1: "success"}, "only the one that failed is tried again"


def test_one_failed_instance_fails_what_needs_them_all() -> None:
    view = view_of(task("m"), task("z", "m"))
    expand(view, "m", 2)
    settle(view)
    zero = instances(view, "m")[0]
    begin_try(view, zero)
    assert isinstance(end_instance(view, zero, OutcomeKind.FAILED), Fail)
    assert state_of(view, "z") is S.UPSTREAM_FAILED


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        (TriggerRule.ALL_SUCCESS, S.SKIPPED),
        (TriggerRule.NONE_SKIPPED, S.SKIPPED),
        (TriggerRule.ALL_DONE, S.SCHEDULED),
        (TriggerRule.NONE_FAILED, S.SCHEDULED),
        (TriggerRule.ALL_SKIPPED, S.SCHEDULED),
    ],
)
def test_zero_items_are_a_skip_and_not_nothing_upstream(rule: TriggerRule, state: S) -> None:
    view = view_of(task("a"), task("m", "a"), task("z", "m", trigger_rule=rule), facts={"a": {"state": S.SUCCESS}})
    expand(view, "m", 0)
    settle(view)
    assert states(view, "m") == {-1: "skipped"}
    assert view.upstream_counts(view.shape.index_of["z"]).total == 1
    assert state_of(view, "z") is state


def test_a_shorter_list_removes_what_is_open_beyond_it_and_leaves_what_has_ended() -> None:
    view = view_of(task("a"), task("m", "a"), task("z", "m"))
    expand(view, "m", 4)
    settle(view)
    ended = instances(view, "m")[3]
    begin_try(view, ended)
    end_instance(view, ended, OutcomeKind.SUCCESS)
    expand(view, "m", 1)
    assert states(view, "m") == {0: "none", 1: "removed", 2: "removed", 3: "success"}


def test_a_longer_list_adds_what_is_missing() -> None:
    view = view_of(task("a"), task("m", "a"))
    expand(view, "m", 2)
    expand(view, "m", 4)
    assert instances(view, "m") == {0: 1, 1: 2, 2: 3, 3: 4}


def test_an_empty_list_after_a_longer_one_leaves_one_that_is_skipped() -> None:
    view = view_of(task("a"), task("m", "a"), task("z", "m"))
    expand(view, "m", 3)
    expand(view, "m", 0)
    assert states(view, "m") == {0: "skipped", 1: "removed", 2: "removed"}
    settle(view)
    assert state_of(view, "z") is S.SKIPPED


@pytest.mark.parametrize("state", [S.SKIPPED, S.UPSTREAM_FAILED, S.SUCCESS, S.SCHEDULED, S.RUNNING])
def test_what_waits_for_nothing_any_more_is_not_expanded(state: S) -> None:
    view = view_of(task("m"), states={"m": state})
    assert plan_expansion(view, 0, 2, "its list has 2 items") == ()


def test_an_instance_that_never_was_expanded_fails_with_its_upstream() -> None:
    view = view_of(task("a"), task("m", "a"), facts={"a": LIVE_TRY})
    end_try(view, "a", OutcomeKind.FAILED)
    assert states(view, "m") == {-1: "upstream_failed"}
