"""Answers to "why is this not running?"."""

from __future__ import annotations

import pytest

from leoflowd.contract.states import DagRunState, TaskInstanceState
from leoflowd.core.explain import GRANTED_NEXT, LauncherFacts, SlotHolder, SlotUse, explain_instance
from leoflowd.core.pool_slots import UNLIMITED
from leoflowd.core.run_view import SET_ASIDE
from tests.unit.core.core_builders import NOW, S, at, seconds, task, view_of


def test_a_waiting_task_names_its_rule_and_who_is_not_done() -> None:
    view = view_of(task("a"), task("b"), task("c", "a", "b"), states={"a": S.SUCCESS, "b": S.RUNNING})
    assert explain_instance(view, at(view, "c"), NOW) == (
        "task 'c' is in state none",
        "upstream: all_success: 1 of 2 upstream have not succeeded",
        "not done yet: task 'b' (running)",
    )


def test_a_retry_says_when() -> None:
    view = view_of(
        task("a", retries=1),
        facts={"a": {"state": S.UP_FOR_RETRY, "due_at": NOW + seconds(30), "because": "exit code 1"}},
    )
    assert explain_instance(view, 0, NOW) == (
        "task 'a' is in state up_for_retry: exit code 1",
        "upstream: nothing is upstream of it",
        "it may go on in 30 s, 12:00:30 UTC",
    )


def test_the_past_is_named() -> None:
    sentences = explain_instance(view_of(task("a", depends_on_past=True)), 0, NOW)
    assert any(sentence.startswith("depends_on_past: ") for sentence in sentences)


def use(*holders: tuple[str | None, int], pool_slots: int | None = 8, **counts: int) -> SlotUse:
    given = {"in_run": 0, "of_task": 0, "of_task_in_run": 0, **counts}
    return SlotUse(pool_slots=pool_slots, holders=tuple(SlotHolder(*holder) for holder in holders), **given)


@pytest.mark.parametrize(
    ("slots", "why"),
    [
        (
            use(("etl", 5), ("b", 3)),
            "pool 'p' is full: 8 of 8 slots are taken (5 by dag 'etl', 3 by dag 'b'), and it needs 2",
        ),
        (
            use(("a", 4), (None, 3)),
            "7 of 8 slots are taken (4 by dag 'a', 3 by DAGs that you may not see), and it needs 2",
        ),
        (
            use(*((name, 2) for name in "abcd")),
            "(2 by dag 'a', 2 by dag 'b', 2 by dag 'c', 2 by others), and it needs 2",
        ),
        (
            use(pool_slots=None),
            "pool 'p' does not exist: create it (`leoflow pools set`), or name another pool in the task",
        ),
        (use(pool_slots=1), "it needs 2 slots, but pool 'p' has only 1: enlarge the pool"),
        (use(in_run=4), "4 task instances of this dag run hold slots, and its max_active_tasks is 4"),
        (use(of_task=3), "3 instances of task 'a' hold slots in all its dag runs: its max_active_tis_per_dag is 3"),
        (
            use(of_task_in_run=2),
            "2 instances of task 'a' hold slots in this dag run: its max_active_tis_per_dagrun is 2",
        ),
        (use(("b", 6)), GRANTED_NEXT),
        (use(("b", 99), pool_slots=UNLIMITED), GRANTED_NEXT),
        (use(in_run=3, of_task=2, of_task_in_run=1), GRANTED_NEXT),
    ],
)
def test_a_scheduled_task_names_the_pool_or_limit_that_is_full(slots: SlotUse, why: str) -> None:
    limits = {"max_active_tis_per_dag": 3, "max_active_tis_per_dagrun": 2}
    view = view_of(task("a", pool="p", pool_slots=2, **limits), states={"a": S.SCHEDULED}, max_active_tasks=4)
    said = explain_instance(view, 0, NOW, slots=slots)[1]
    assert said.startswith("it waits for a slot: ")
    assert said.endswith(why)


def test_a_scheduled_task_of_a_paused_dag_waits_for_nothing_else() -> None:
    view = view_of(task("a"), states={"a": S.SCHEDULED})
    assert len(explain_instance(view, 0, NOW, slots=use(pool_slots=None), is_paused=True)) == 2


@pytest.mark.parametrize(
    ("agents", "silent_s", "why"),
    [
        (0, 0, "no agent is attached to the daemon host/7 that was given it: it begins when one is"),
        (2, 40, "the daemon host/7 that was given it was last heard 40 s ago: the try runs again if it stays silent"),
        (1, 10, "has not begun"),
    ],
)
def test_a_queued_task_says_what_is_wrong_with_who_was_given_it(agents: int, silent_s: float, why: str) -> None:
    launcher = LauncherFacts("host/7", agents, NOW - seconds(silent_s))
    facts = {"a": {"state": S.QUEUED, "try_number": 1, "queued_at": NOW}}
    assert explain_instance(view_of(task("a"), facts=facts), 0, NOW, launcher=launcher)[-1].endswith(why)
    inline = explain_instance(view_of(task("a", kind="http"), facts=facts), 0, NOW, launcher=launcher)
    assert inline[-1].endswith("has not begun"), "an HTTP task needs no agent"


def test_a_queued_dag_run_is_the_reason_itself() -> None:
    view = view_of(task("a"), state=DagRunState.QUEUED)
    assert "max_active_runs" in explain_instance(view, 0, NOW)[1]


def test_a_dag_run_that_is_set_aside_is_the_reason_itself() -> None:
    view = view_of(task("a"), states={"a": S.RUNNING}, because=f"{SET_ASIDE}: DataError: no")
    assert explain_instance(view, 0, NOW)[1:] == (f"the dag run itself is {SET_ASIDE}: DataError: no",)


def test_a_finished_dag_run_is_the_reason_itself() -> None:
    view = view_of(task("a"), state=DagRunState.FAILED)
    assert explain_instance(view, 0, NOW)[1].startswith("the dag run is over (failed)")


@pytest.mark.parametrize("state", TaskInstanceState)
def test_every_state_has_an_explanation(state: TaskInstanceState) -> None:
    view = view_of(task("a"), facts={"a": {"state": state, "try_number": 1, "start_date": NOW, "queued_at": NOW}})
    assert len(explain_instance(view, 0, NOW + seconds(5))) >= 2


def test_a_paused_dag_is_the_first_reason() -> None:
    view = view_of(task("a"))
    sentences = explain_instance(view, 0, NOW, is_paused=True)
    assert sentences[1] == f"dag {view.dag_id!r} is paused: nothing of it is started until it is unpaused"


def test_a_paused_dag_is_no_reason_for_what_is_done() -> None:
    view = view_of(task("a"), states={"a": S.SUCCESS})
    assert not any("paused" in sentence for sentence in explain_instance(view, 0, NOW, is_paused=True))


def test_a_run_of_later_says_when_it_begins() -> None:
    view = view_of(task("a"), state=DagRunState.QUEUED)
    assert "it may begin in" in explain_instance(view, 0, NOW, run_after=NOW + seconds(90))[1]
    assert "in 1 min 30 s" in explain_instance(view, 0, NOW, run_after=NOW + seconds(90))[1]
    assert "max_active_runs" in explain_instance(view, 0, NOW, run_after=NOW)[1]
