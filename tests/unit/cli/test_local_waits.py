"""`leoflow test` without a pool: moments are not waited for, and nothing else is guessed."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leoflowd.cli.failures import ExitCode
from leoflowd.cli.local_human import Answers
from leoflowd.cli.local_waits import end_of
from leoflowd.contract.agent_messages import Outcome, OutcomeKind, ResumeCall
from leoflowd.contract.human import Question
from leoflowd.contract.wait_spec import Deferral, ProbeSpec, TriggerSpec, WaitSpec

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def native(kind: str) -> Deferral:
    return Deferral(wait=WaitSpec(probe=ProbeSpec(kind=kind)))


def test_a_moment_is_met_at_once() -> None:
    end = end_of(native("time"), NOW)
    assert isinstance(end, Outcome)
    assert end.kind is OutcomeKind.SUCCESS


def test_what_only_the_world_knows_fails_for_good_and_says_what_to_do() -> None:
    end = end_of(native("file"), NOW)
    assert isinstance(end, Outcome)
    assert (end.kind, "kind 'file'" in end.because, "leoflow lite" in end.because) == (
        OutcomeKind.FAILED_FOR_GOOD,
        True,
        True,
    )


def test_a_trigger_that_nobody_knows_is_named() -> None:
    end = end_of(Deferral(trigger=TriggerSpec(classpath="bells.Bell"), next_method="go_on"), NOW)
    assert isinstance(end, Outcome)
    assert "trigger bells.Bell" in end.because


def test_a_trigger_of_the_clock_lets_the_task_go_on() -> None:
    moment = {"__classname__": "datetime.datetime", "__version__": 2, "__data__": {"timestamp": 0.0, "tz": "UTC"}}
    classpath = "airflow.providers.standard.triggers.temporal.DateTimeTrigger"
    trigger = TriggerSpec(classpath=classpath, kwargs={"moment": moment})
    end = end_of(Deferral(trigger=trigger, next_method="go_on", next_kwargs={"a": 1}), NOW)
    assert isinstance(end, ResumeCall)
    assert (end.next_method, end.next_kwargs) == ("go_on", '{"a":1}')


DEFERRING = """
from datetime import datetime, timezone
from airflow.sdk import DAG, BaseOperator

class Moment:
    def serialize(self):
        kwargs = {"moment": datetime(2026, 1, 1, tzinfo=timezone.utc)}
        return "airflow.providers.standard.triggers.temporal.DateTimeTrigger", kwargs

class Waiting(BaseOperator):
    def execute(self, context):
        context["ti"].xcom_push("before", 1)
        self.defer(trigger=Moment(), method_name="go_on")
    def go_on(self, context, event):
        return "after"

with DAG("waits"):
    Waiting(task_id="wait")
"""


def test_a_task_that_defers_goes_on_in_a_second_process_and_keeps_its_xcoms(leoflow, tmp_path: Path) -> None:
    (tmp_path / "dag.py").write_text(DEFERRING)
    result = leoflow("test", str(tmp_path), "--python", sys.executable, "-o", "json")
    (task,) = result.document["task_instances"]
    assert (task["state"], task["try_number"]) == ("success", 1), result.output
    assert task["xcoms"] == {"before": 1, "return_value": "after"}


ASKING = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import DAG

with DAG("asks"):
    go = ApprovalOperator(task_id="go", subject="Go?", defaults="Approve")
    go >> EmptyOperator(task_id="after")
    HITLOperator.partial(task_id="each", options=["a", "b"], params={"n": 1}).expand(subject=["x", "y"])
"""


def test_questions_are_answered_on_the_command_line_else_by_their_defaults(leoflow, tmp_path: Path) -> None:
    (tmp_path / "dag.py").write_text(ASKING)
    words = ("test", str(tmp_path), "--python", sys.executable, "-o", "json", "--answer", "each=a")
    result = leoflow(*words, "--answer", "each[1]=b")
    tasks = {(one["task_id"], one.get("map_index", -1)): one for one in result.document["task_instances"]}
    assert tasks["go", -1]["xcoms"]["return_value"]["chosen_options"] == ["Approve"]
    assert tasks["go", -1]["xcoms"]["return_value"]["responded_by_user"] is None
    each = [tasks["each", index]["xcoms"]["return_value"] for index in (0, 1)]
    assert [one["chosen_options"] for one in each] == [["a"], ["b"]]
    assert each[0]["params_input"] == {"n": 1}


def test_a_question_that_nobody_answers_fails_and_says_what_to_do(leoflow, tmp_path: Path) -> None:
    (tmp_path / "dag.py").write_text(ASKING)
    words = ("test", str(tmp_path), "--python", sys.executable, "-o", "json", "--answer", "go=Reject")
    result = leoflow(*words)
    tasks = {(one["task_id"], one.get("map_index", -1)): one for one in result.document["task_instances"]}
    assert tasks["after", -1]["state"] == "skipped"
    assert (tasks["each", 0]["state"], "--answer" in tasks["each", 0]["because"]) == ("failed", True)


def test_an_answer_that_does_not_fit_fails_its_task(leoflow, tmp_path: Path) -> None:
    (tmp_path / "dag.py").write_text(ASKING)
    result = leoflow("test", str(tmp_path), "--python", sys.executable, "-o", "json", "--answer", "go=Maybe")
    tasks = {(one["task_id"], one.get("map_index", -1)): one for one in result.document["task_instances"]}
    assert tasks["go", -1]["state"] == "failed"
    assert "'Maybe' is not one of the options" in tasks["go", -1]["because"]


@pytest.mark.parametrize(("answer", "why"), [("nobody=a", "no such task"), ("go", "TASK=OPTION"), ("go=", "TASK=")])
def test_an_answer_that_means_nothing_is_refused_before_anything_runs(
    leoflow, tmp_path: Path, answer: str, why: str
) -> None:
    (tmp_path / "dag.py").write_text(ASKING)
    result = leoflow("test", str(tmp_path), "--python", sys.executable, "--answer", answer)
    assert result.code == ExitCode.USAGE
    assert why in result.err


def test_a_person_is_asked_until_the_answer_fits(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    typed = iter(["c", "1", "x", "b", "7", "us"])
    monkeypatch.setattr("click.prompt", lambda *_args, **_options: next(typed))
    question = Question(
        subject="Which?",
        options=("a", "b"),
        params={"n": {"value": 1, "schema": {}, "description": None}, "zone": "eu"},
    )
    answer = Answers({}, nullcontext).of("t", "t[0]", question, NOW)
    assert answer is not None
    assert (answer.chosen_options, answer.params_input) == (("b",), {"n": 7, "zone": "us"})
    said = capsys.readouterr().out
    assert "t[0] asks: Which?" in said
    assert "'c' is not one of the options" in said
