"""Operators that give their process back: `defer`, the way back, and the triggers they name."""

from __future__ import annotations

from typing import Any

import pytest

from leoflowd.contract.wait_spec import Deferral, TriggerSpec

from .conftest import Compile, StartProcess

DAG = """
from datetime import datetime, timedelta, timezone
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator
from airflow.triggers.base import BaseTrigger, StartTriggerArgs, TriggerEvent
from airflow.providers.standard.triggers.external_task import DagStateTrigger, WorkflowTrigger
from airflow.providers.standard.triggers.file import FileTrigger
from airflow.providers.standard.triggers.temporal import DateTimeTrigger, TimeDeltaTrigger
from airflow.providers.http.triggers.http import HttpSensorTrigger, HttpTrigger
from airflow.utils.state import DagRunState
MOMENT = datetime(2024, 1, 1, tzinfo=timezone.utc)

class Mine(BaseTrigger):
    def __init__(self, n): super().__init__(); self.n = n
    def serialize(self): return "dag.Mine", {"n": self.n}
    async def run(self): yield TriggerEvent(self.n)

class Waiting(BaseOperator):
    def execute(self, context):
        self.defer(trigger=Mine(3), method_name="go_on", kwargs={"a": 1}, timeout=timedelta(seconds=9))
    def go_on(self, context, event=None, a=0): return [event, a]

class Direct(Waiting):
    start_from_trigger = True
    start_trigger_args = StartTriggerArgs("dag.Mine", "go_on", {"n": 4}, {"a": 2}, timedelta(seconds=8))

class OnlyTrigger(BaseOperator):
    start_from_trigger = True
    start_trigger_args = Direct.start_trigger_args

class Sensor(BaseSensorOperator):
    def execute(self, context): self.defer(trigger=Mine(1), method_name="go_on")
    def go_on(self, context, event): return event

with DAG("d") as dag:
    Waiting(task_id="waiting")
    Direct(task_id="direct")
    OnlyTrigger(task_id="only")
    Sensor(task_id="plain")
    Sensor(task_id="soft", soft_fail=True)
    Sensor(task_id="never", never_fail=True)
"""


def exceptions() -> Any:
    import airflow.exceptions

    return airflow.exceptions


@pytest.mark.parametrize(
    ("task_id", "n", "a", "timeout_s"), [("waiting", 3, 1, 9), ("direct", 4, 2, 8), ("only", 4, 2, 8)]
)
def test_a_task_that_defers_names_its_trigger_and_its_way_back(
    process: StartProcess, task_id: str, n: int, a: int, timeout_s: int
) -> None:
    started = process(DAG)
    with pytest.raises(exceptions().TaskDeferred) as caught:
        started.run(task_id)
    deferred = caught.value
    assert deferred.trigger.serialize() == ("dag.Mine", {"n": n})
    assert (deferred.method_name, deferred.kwargs, deferred.timeout.total_seconds()) == ("go_on", {"a": a}, timeout_s)


def test_tasks_that_defer_by_their_own_code_run_in_a_process(compiled: Compile) -> None:
    kinds = {task.task_id: task.kind for task in compiled(DAG).tasks}
    assert (kinds["waiting"], kinds["direct"], kinds["plain"]) == ("python", "python", "sensor")


def test_a_deferral_is_not_caught_by_except_exception(process: StartProcess) -> None:
    process(DAG)
    assert not issubclass(exceptions().TaskDeferred, Exception)


def test_the_way_back_calls_the_named_method_with_the_event(process: StartProcess) -> None:
    started = process(DAG)
    assert started.task("waiting").resume_execution("go_on", {"event": "e", "a": 5}, {}) == ["e", 5]


@pytest.mark.parametrize(
    ("task_id", "failure", "error"),
    [
        ("waiting", "Trigger timeout", "TaskDeferralTimeout"),
        ("waiting", "Trigger failure", "TaskDeferralError"),
        ("plain", "Trigger timeout", "AirflowSensorTimeout"),
        ("plain", "Trigger failure", "TaskDeferralError"),
        ("soft", "Trigger timeout", "AirflowSkipException"),
        ("soft", "Trigger failure", "AirflowSkipException"),
        ("never", "Trigger timeout", "AirflowSkipException"),
    ],
)
def test_a_wait_that_failed_raises_as_in_airflow(process: StartProcess, task_id: str, failure: str, error: str) -> None:
    started = process(DAG)
    with pytest.raises(exceptions().AirflowException) as caught:
        started.task(task_id).resume_execution("__fail__", {"error": failure, "traceback": ["line"]}, {})
    assert type(caught.value).__name__ == error


@pytest.mark.parametrize(
    ("trigger", "path", "kwargs"),
    [
        ("DateTimeTrigger(MOMENT)", "standard.triggers.temporal.DateTimeTrigger", {"end_from_trigger": False}),
        (
            "FileTrigger('x', recursive=True, poke_interval=2)",
            "standard.triggers.file.FileTrigger",
            {"filepath": "x", "recursive": True, "poke_interval": 2},
        ),
        (
            "WorkflowTrigger('o', run_ids=['r'], allowed_states=['success'])",
            "standard.triggers.external_task.WorkflowTrigger",
            {"external_dag_id": "o", "run_ids": ["r"], "allowed_states": ["success"], "logical_dates": None},
        ),
        (
            "DagStateTrigger('o', [DagRunState.SUCCESS], ['r'], poll_interval=3)",
            "standard.triggers.external_task.DagStateTrigger",
            {"dag_id": "o", "states": ["success"], "run_ids": ["r"], "poll_interval": 3, "execution_dates": None},
        ),
        (
            "HttpTrigger('c', endpoint='x')",
            "http.triggers.http.HttpTrigger",
            {"http_conn_id": "c", "endpoint": "x", "method": "POST", "auth_type": None},
        ),
        (
            "HttpSensorTrigger('x', poke_interval=2)",
            "http.triggers.http.HttpSensorTrigger",
            {"endpoint": "x", "method": "GET", "poke_interval": 2, "http_conn_id": "http_default"},
        ),
    ],
)
def test_a_standard_trigger_says_its_class_and_arguments_as_airflow_s_does(
    process: StartProcess, trigger: str, path: str, kwargs: dict[str, Any]
) -> None:
    (dag,) = process(DAG + f"    dag.made = {trigger}\n").dags.values()
    classpath, found = dag.made.serialize()
    assert classpath == f"airflow.providers.{path}"
    assert found | kwargs == found


def test_a_time_delta_trigger_is_a_moment(process: StartProcess) -> None:
    (dag,) = process(DAG + "    dag.made = TimeDeltaTrigger(timedelta(days=9999))\n").dags.values()
    classpath, found = dag.made.serialize()
    assert classpath.endswith(".DateTimeTrigger")
    assert found["moment"].year > 2050


@pytest.mark.parametrize("trigger", ["DateTimeTrigger()", "DateTimeTrigger(MOMENT.replace(tzinfo=None))"])
def test_a_moment_must_be_given_and_have_a_zone(process: StartProcess, trigger: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        process(DAG + f"    {trigger}\n")


def test_a_task_that_starts_from_its_trigger_says_so_in_the_artifact(compiled: Compile) -> None:
    spec = compiled(DAG)
    tasks = {task.task_id: task for task in spec.tasks}
    assert tasks["direct"].deferral == Deferral(
        trigger=TriggerSpec(classpath="dag.Mine", kwargs={"n": 4}),
        next_method="go_on",
        next_kwargs={"a": 2},
        timeout_s=8.0,
    )
    assert tasks["direct"].kind == "python", "how it goes on afterwards"
    assert tasks["waiting"].deferral is None


def test_arguments_that_are_no_plain_json_leave_the_start_to_a_process(compiled: Compile) -> None:
    spec = compiled(DAG.replace('{"n": 4}', '{"n": timedelta(1)}'))
    assert {task.deferral for task in spec.tasks} == {None}
