"""What a task skips downstream goes with its outcome, and so does the choice that outlives a clear."""

from __future__ import annotations

import json

import pytest

from leoflowd.contract.agent_messages import OutcomeKind
from tests.integration.agent.harness import HEADER, run_one

DOWNSTREAM = """
from airflow.providers.standard.operators.empty import EmptyOperator
x, y = EmptyOperator(task_id="x"), EmptyOperator(task_id="y")
"""


def test_a_branch_is_a_success_that_skips_and_tells_its_choice() -> None:
    facts = run_one(DOWNSTREAM + "@task.branch\ndef run():\n    return 'x'\nrun() >> [x, y]\n")
    assert (facts.outcome.kind, facts.outcome.skips) == (OutcomeKind.SUCCESS, ("y",))
    assert facts.outcome.because == "The task returned, and skips y."
    assert facts.xcoms == {"skipmixin_key": {"followed": ["x"]}}, "as in Airflow it has no return value then"
    assert [json.loads(item.value) for item in facts.outcome.xcoms] == [{"followed": ["x"]}], "one commit for both"


def test_one_that_follows_all_has_a_return_value() -> None:
    facts = run_one(DOWNSTREAM + "@task.branch\ndef run():\n    return ['x', 'y']\nrun() >> [x, y]\n")
    assert facts.outcome.skips == ()
    assert facts.xcoms == {"return_value": ["x", "y"], "skipmixin_key": {"followed": ["x", "y"]}}


def test_a_wrong_answer_fails_with_those_that_are_possible() -> None:
    facts = run_one(DOWNSTREAM + "@task.branch\ndef run():\n    return 'q'\nrun() >> [x, y]\n")
    assert facts.outcome.kind is OutcomeKind.FAILED
    assert "'q', which is no task downstream of it; it can answer x, y" in facts.outcome.because
    assert facts.xcoms == {}


@pytest.mark.parametrize(
    ("statement", "skips"),
    [
        ("DownstreamTasksSkipped(tasks='y')", ("y",)),
        ("DownstreamTasksSkipped(tasks=['y', ('x', -1)])", ("y", "x")),
    ],
)
def test_an_operator_may_say_it_itself(statement: str, skips: tuple[str, ...]) -> None:
    facts = run_one(f"@task\ndef run():\n    raise {statement}\nrun()\n")
    assert (facts.outcome.kind, facts.outcome.skips) == (OutcomeKind.SUCCESS, skips)


def test_a_single_index_of_another_task_cannot_be_skipped() -> None:
    facts = run_one("@task\ndef run():\n    raise DownstreamTasksSkipped(tasks=[('y', 2)])\nrun()\n")
    assert facts.outcome.kind is OutcomeKind.FAILED
    assert "map index 2 of task 'y'" in facts.outcome.because


def test_latest_only_is_told_the_window_of_its_run() -> None:
    header = HEADER.replace(
        "with DAG", "from airflow.providers.standard.operators.latest_only import LatestOnlyOperator\nwith DAG"
    )
    tasks = DOWNSTREAM + "LatestOnlyOperator(task_id='run') >> x\n"
    past = ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z")
    late = run_one(tasks, header=header, dag_run={"run_type": "scheduled"}, latest_window=past)
    assert late.outcome.skips == ("x",)
    by_hand = run_one(tasks, header=header, latest_window=past)
    assert by_hand.outcome.skips == ()
