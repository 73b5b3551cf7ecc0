"""`leoflow test` without a pool: moments are not waited for, and nothing else is guessed."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from leoflowd.cli.local_waits import end_of
from leoflowd.contract.agent_messages import Outcome, OutcomeKind, ResumeCall
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
