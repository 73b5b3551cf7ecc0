"""`leoflow test` without a pool: time is leapt over, the world is asked for real, and nothing else is guessed."""

from __future__ import annotations

import sys
import uuid
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from leoflow_agent.runner import skipped_sleep
from leoflowd.cli import local_clock
from leoflowd.cli.failures import ExitCode
from leoflowd.cli.local_clock import Clock, shown_ahead
from leoflowd.cli.local_human import Answers
from leoflowd.cli.local_waits import End, LocalWait
from leoflowd.contract.agent_messages import Outcome, OutcomeKind, ResumeCall
from leoflowd.contract.human import Question
from leoflowd.contract.wait_spec import ProbeSpec, Resume, WaitSpec, WaitTerms
from leoflowd.contract.waits import NewWait

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def waiting(kind: str, clock: Clock, arguments: dict[str, Any], timeout_s: float = 604_800, **terms: Any) -> LocalWait:
    now = clock.now()
    probe = ProbeSpec(kind=kind, arguments=arguments)
    spec = WaitSpec(probe=probe, terms=WaitTerms(timeout_s=timeout_s, **terms))
    deadline = now + timedelta(seconds=timeout_s)
    new = NewWait(id=uuid.uuid4(), dag_run_id=0, dag_id="d", spec=spec, key="", registered_at=now, deadline_at=deadline)
    return LocalWait(new, clock, lambda _question: None)


def ended(wait: LocalWait, clock: Clock) -> tuple[End, int]:
    """Its end, and how many looks that took."""
    for looks in range(1, 1000):
        if (end := wait.look()) is not None:
            return end, looks
        assert wait.next_at is not None
        clock.leap_to(wait.next_at)
    raise AssertionError("it never ended")


def test_a_moment_comes_as_soon_as_the_clock_leaps() -> None:
    clock = Clock()
    moment = clock.now() + timedelta(days=3)
    end, looks = ended(waiting("time", clock, {"moment": moment.isoformat()}), clock)
    assert isinstance(end, Outcome)
    assert (end.kind, looks) == (OutcomeKind.SUCCESS, 2)
    assert shown_ahead(clock.ahead + timedelta(seconds=30)).startswith("+3 d")


def test_a_moment_after_the_timeout_is_not_waited_for() -> None:
    clock = Clock()
    moment = clock.now() + timedelta(days=3)
    end, _ = ended(waiting("time", clock, {"moment": moment.isoformat()}, timeout_s=3600, soft_fail=True), clock)
    assert isinstance(end, Outcome)
    assert end.kind is OutcomeKind.SKIPPED
    assert clock.ahead < timedelta(hours=2)


def test_a_file_is_really_looked_for(tmp_path: Path) -> None:
    clock = Clock()
    wait = waiting("file", clock, {"path": str(tmp_path / "there")})
    assert wait.look() is None
    (tmp_path / "there").touch()
    end = wait.look()
    assert isinstance(end, Outcome)
    assert end.kind is OutcomeKind.SUCCESS


def test_what_never_comes_ends_at_its_timeout_after_few_looks(tmp_path: Path) -> None:
    clock = Clock()
    end, looks = ended(waiting("file", clock, {"path": str(tmp_path / "never")}), clock)
    assert isinstance(end, Outcome)
    assert (end.kind, "timed out" in end.because) == (OutcomeKind.FAILED_FOR_GOOD, True)
    assert local_clock.EACH_POKE < looks < 25
    assert shown_ahead(clock.ahead + timedelta(seconds=30)).startswith("+7 d")


def test_a_deferral_that_times_out_goes_on_with_airflows_word(tmp_path: Path) -> None:
    clock = Clock()
    wait = waiting("file", clock, {"path": str(tmp_path / "never")}, resume=Resume(next_method="go_on"))
    end, _ = ended(wait, clock)
    assert isinstance(end, ResumeCall)
    assert (end.next_method, end.error) == ("go_on", "Trigger timeout")


@pytest.mark.parametrize(
    ("kind", "arguments", "named"),
    [
        ("external_task", {}, "kind 'external_task'"),
        ("trigger", {"classpath": "bells.Bell"}, "trigger bells.Bell"),
    ],
)
def test_what_nobody_watches_here_fails_for_good_and_says_what_to_do(
    kind: str, arguments: dict[str, Any], named: str
) -> None:
    end = waiting(kind, Clock(), arguments).look()
    assert isinstance(end, Outcome)
    assert end.kind is OutcomeKind.FAILED_FOR_GOOD
    assert named in end.because
    assert "leoflow lite" in end.because


def test_real_time_does_not_leap() -> None:
    clock = Clock(is_real=True)
    clock.leap_to(clock.now() + timedelta(days=3))
    assert clock.ahead == timedelta()
    assert clock.after(60, 100) == timedelta(seconds=60)


def test_sensors_in_processes_poke_as_often_as_those_without() -> None:
    assert skipped_sleep.EACH_POKE == local_clock.EACH_POKE
    ours, theirs = 0.0, skipped_sleep.SkippedSleep()
    for pokes in range(1, 20):
        ours += Clock().after(60, pokes).total_seconds()
        theirs.sleep(60)
    assert theirs.slept_s == ours


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
