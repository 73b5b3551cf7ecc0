"""Answers to "why is this not running?"."""

from __future__ import annotations

import pytest

from leoflowd.contract.states import DagRunState, TaskInstanceState
from leoflowd.core.explain import explain_instance
from tests.unit.core.core_builders import NOW, S, at, seconds, task, view_of


def test_a_waiting_task_names_its_rule_and_who_is_not_done() -> None:
    view = view_of(task("a"), task("b"), task("c", "a", "b"), states={"a": S.SUCCESS, "b": S.RUNNING})
    assert explain_instance(view, at(view, "c"), NOW) == (
        "task 'c' is in state none",
        "upstream: all_success: 1 of 2 upstream have not succeeded",
        "not done yet: b",
    )


def test_a_retry_says_when() -> None:
    view = view_of(
        task("a", retries=1),
        facts={"a": {"state": S.UP_FOR_RETRY, "due_at": NOW + seconds(30), "because": "exit code 1"}},
    )
    assert explain_instance(view, 0, NOW) == (
        "task 'a' is in state up_for_retry: exit code 1",
        "upstream: nothing is upstream of it",
        "it may go on from 2026-05-04 12:00:30+00:00 on, in 30 s",
    )


def test_the_past_is_named() -> None:
    sentences = explain_instance(view_of(task("a", depends_on_past=True)), 0, NOW)
    assert any(sentence.startswith("depends_on_past: ") for sentence in sentences)


def test_a_scheduled_task_says_what_the_ledger_says() -> None:
    view = view_of(task("a"), states={"a": S.SCHEDULED})
    assert explain_instance(view, 0, NOW, waiting="pool 'p' is full")[1] == "it waits for a slot: pool 'p' is full"


def test_a_queued_dag_run_is_the_reason_itself() -> None:
    view = view_of(task("a"), state=DagRunState.QUEUED)
    assert "max_active_runs" in explain_instance(view, 0, NOW)[1]


def test_a_queued_dag_run_of_a_paused_dag_says_paused() -> None:
    view = view_of(task("a"), state=DagRunState.QUEUED)
    assert "its dag is paused" in explain_instance(view, 0, NOW, is_paused=True)[1]


def test_a_finished_dag_run_is_the_reason_itself() -> None:
    view = view_of(task("a"), state=DagRunState.FAILED)
    assert explain_instance(view, 0, NOW)[1].startswith("the dag run is over (failed)")


@pytest.mark.parametrize("state", TaskInstanceState)
def test_every_state_has_an_explanation(state: TaskInstanceState) -> None:
    view = view_of(task("a"), facts={"a": {"state": state, "try_number": 1, "start_date": NOW, "queued_at": NOW}})
    assert len(explain_instance(view, 0, NOW + seconds(5))) >= 2
