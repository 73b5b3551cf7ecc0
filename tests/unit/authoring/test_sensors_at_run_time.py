"""Sensors in a task's process: Airflow's loop around `poke`, and what a native sensor tells the daemon from there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from .conftest import StartProcess

SENSORS = """
from datetime import datetime, time, timedelta
from airflow.sdk import DAG, PokeReturnValue, task
from airflow.sdk.bases.sensor import BaseSensorOperator, poke_mode_only
from airflow.exceptions import AirflowFailException, AirflowSkipException
from airflow.providers.standard.sensors.bash import BashSensor
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.providers.standard.sensors.time import TimeSensor
from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor, WaitSensor
from airflow.providers.standard.sensors.weekday import DayOfWeekSensor
from leoflow.sensors import WebhookSensor

class Scripted(BaseSensorOperator):
    def __init__(self, answers, **kwargs):
        super().__init__(**{"poke_interval": 0, **kwargs})
        self.answers = list(answers)
    def poke(self, context):
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException): raise answer
        return answer

with DAG("d") as dag:
    %s
"""


def with_task(text: str) -> str:
    return SENSORS % text.replace("\n", "\n    ")


def exceptions() -> Any:
    import airflow.exceptions

    return airflow.exceptions


def test_a_sensor_pokes_until_it_is_true_and_gives_its_value(process: StartProcess) -> None:
    started = process(with_task("Scripted(task_id='w', answers=[False, PokeReturnValue(True, 'found'), 'not asked'])"))
    assert started.run("w") == "found"
    assert started.task("w").answers == ["not asked"]


def test_a_rescheduled_sensor_asks_for_its_next_process_after_the_interval(process: StartProcess) -> None:
    started = process(with_task("Scripted(task_id='w', answers=[False], mode='reschedule', poke_interval=60)"))
    before = datetime.now(UTC)
    with pytest.raises(exceptions().AirflowRescheduleException) as caught:
        started.run("w")
    assert before + timedelta(seconds=60) <= caught.value.reschedule_date <= datetime.now(UTC) + timedelta(seconds=60)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("", "AirflowSensorTimeout"),
        ("soft_fail=True", "AirflowSkipException"),
        ("never_fail=True", "AirflowSensorTimeout"),
        ("silent_fail=True", "AirflowSensorTimeout"),
    ],
)
def test_the_timeout_of_a_rescheduled_sensor_counts_from_its_first_process(
    process: StartProcess, arguments: str, error: str
) -> None:
    first = datetime.now(UTC) - timedelta(minutes=2)
    text = f"Scripted(task_id='w', answers=[False], mode='reschedule', timeout=60, {arguments})"
    started = process(with_task(text), first_started_at=first)
    with pytest.raises(getattr(exceptions(), error), match="timed out"):
        started.run("w")


@pytest.mark.parametrize(
    ("raised", "arguments", "error"),
    [
        ("ValueError('x')", "", "ValueError"),
        ("ValueError('x')", "soft_fail=True", "ValueError"),
        ("ValueError('x')", "never_fail=True", "AirflowSkipException"),
        ("AirflowFailException('x')", "", "AirflowFailException"),
        ("AirflowFailException('x')", "soft_fail=True", "AirflowSkipException"),
        ("AirflowFailException('x')", "never_fail=True", "AirflowSkipException"),
        ("AirflowFailException('x')", "silent_fail=True", "AirflowFailException"),
        ("AirflowSkipException('x')", "", "AirflowSkipException"),
    ],
)
def test_what_becomes_of_an_error_in_a_poke(process: StartProcess, raised: str, arguments: str, error: str) -> None:
    started = process(with_task(f"Scripted(task_id='w', answers=[{raised}, True], {arguments})"))
    with pytest.raises(BaseException) as caught:
        started.run("w")
    assert type(caught.value).__name__ == error


def test_silent_fail_goes_on_after_an_error(process: StartProcess) -> None:
    started = process(with_task("Scripted(task_id='w', answers=[ValueError('x'), True], silent_fail=True)"))
    assert started.run("w") is None
    assert started.task("w").answers == []


@pytest.mark.parametrize(("count", "least", "most"), [(1, 5, 10), (2, 10, 20), (3, 20, 40), (9, 100, 100)])
def test_exponential_backoff_doubles_up_to_max_wait(process: StartProcess, count: int, least: int, most: int) -> None:
    text = "Scripted(task_id='w', answers=[], poke_interval=10, exponential_backoff=True, max_wait=100)"
    op = process(with_task(text)).task("w")
    interval = op._get_next_poke_interval(0.0, lambda: 0.0, count)
    assert least <= interval <= most


def test_poke_mode_only_refuses_other_modes(process: StartProcess) -> None:
    text = "@poke_mode_only\nclass Only(Scripted): pass\nOnly(task_id='w', answers=[], mode='reschedule')"
    with pytest.raises(ValueError, match="Only 'poke'"):
        process(with_task(text))


def test_a_python_sensor_gets_the_context_and_its_arguments(process: StartProcess) -> None:
    text = "PythonSensor(task_id='w', python_callable=lambda x, ds: [x, ds] == [1, '2024-03-01'], op_kwargs={'x': 1})"
    assert process(with_task(text)).run("w") is None


def test_a_decorated_sensor_pushes_its_value(process: StartProcess) -> None:
    text = "@task.sensor\ndef w(n): return PokeReturnValue(True, n + 1)\nw(1)"
    assert process(with_task(text)).run("w") == 2


@pytest.mark.parametrize(
    ("command", "arguments", "answer"),
    [("exit 0", "", True), ("exit 7", "", False), ("exit 7", "retry_exit_code=7", False), ("echo $A", "env={}", True)],
)
def test_a_bash_sensor_is_met_by_exit_code_0(process: StartProcess, command: str, arguments: str, answer: bool) -> None:
    started = process(with_task(f"BashSensor(task_id='w', bash_command='{command}', {arguments})"))
    assert started.task("w").poke({}) is answer


def test_a_bash_sensor_with_a_retry_exit_code_fails_for_good_by_any_other(process: StartProcess) -> None:
    started = process(with_task("BashSensor(task_id='w', bash_command='exit 3', retry_exit_code=7)"))
    with pytest.raises(exceptions().AirflowFailException, match="return code 3"):
        started.run("w")


def test_a_file_sensor_sees_files_and_folders_that_hold_one(
    process: StartProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FS_DEFAULT", f'{{"conn_type": "fs", "extra": {{"path": "{tmp_path}"}}}}')
    sensor = process(with_task("FileSensor(task_id='w', filepath='in*')")).task("w")
    (tmp_path / "in").mkdir()
    assert sensor.poke({}) is False
    (tmp_path / "in" / "a.csv").touch()
    assert sensor.poke({}) is True


@pytest.mark.parametrize(
    ("sensor", "arguments"),
    [
        (
            "TimeDeltaSensor(task_id='w', delta=timedelta(hours=1))",
            {"moment": "2024-03-01T00:00:00+00:00", "plus_s": 3600.0},
        ),
        ("WaitSensor(task_id='w', time_to_wait=1)", {"moment": "2024-03-02T07:00:00+00:00", "plus_s": 60.0}),
        ("TimeSensor(task_id='w', target_time=time(9))", {"time": "09:00:00.000000", "timezone": "UTC"}),
        (
            "DayOfWeekSensor(task_id='w', week_day='monday', use_task_logical_date=True)",
            {"days": [1], "moment": "2024-03-01T00:00:00+00:00", "timezone": "UTC"},
        ),
    ],
)
def test_a_process_puts_values_where_the_compiler_left_templates(
    process: StartProcess, sensor: str, arguments: dict[str, Any]
) -> None:
    assert process(with_task(sensor)).task("w").leoflow_wait()["probe"]["arguments"] == arguments


@pytest.mark.parametrize(
    ("function", "dates"),
    [
        ("lambda date: date - timedelta(days=1)", ["2024-02-29T00:00:00+00:00"]),
        (
            "lambda date, ds: [date, datetime.fromisoformat(ds)]",
            ["2024-03-01T00:00:00+00:00", "2024-03-01T00:00:00"],
        ),
        ("lambda date, **context: context['context']['logical_date']", ["2024-03-01T00:00:00+00:00"]),
    ],
)
def test_execution_date_fn_is_called_in_the_process(process: StartProcess, function: str, dates: list[str]) -> None:
    text = f"ExternalTaskSensor(task_id='w', external_dag_id='o', execution_date_fn={function})"
    assert process(with_task(text)).task("w").leoflow_wait()["probe"]["arguments"]["logical_dates"] == dates


def test_a_webhook_counts_from_when_the_try_began(process: StartProcess) -> None:
    first = datetime(2024, 3, 2, 6, tzinfo=UTC)
    sensor = process(with_task("WebhookSensor(task_id='w', name='paid')"), first_started_at=first).task("w")
    assert sensor.leoflow_wait()["terms"]["predicate"] == {"since": "2024-03-02T06:00:00+00:00"}
