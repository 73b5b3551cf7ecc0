"""Airflow's published example DAGs with sensors compile, unmodified, to waits and tasks of the right kinds."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from leoflowd.authoring.compiler import compile_project

EXAMPLES: dict[str, dict[str, str]] = {
    "standard/example_sensors.py": {
        "wait_some_seconds": "wait",
        "wait_some_seconds_async": "wait",
        "fire_immediately": "wait, prepared in a process",
        "fire_immediately_async": "wait, prepared in a process",
        "timeout_after_second_date_in_the_future": "wait, prepared in a process",
        "timeout_after_second_date_in_the_future_async": "wait, prepared in a process",
        "Sensor_succeeds": "sensor",
        "Sensor_fails_after_3_seconds": "sensor",
        "remove_file": "bash",
        "wait_for_file": "wait",
        "wait_for_file_async": "wait",
        "create_file_after_3_seconds": "bash",
        "success_sensor_python": "sensor",
        "failure_timeout_sensor_python": "sensor",
        "week_day_sensor_failing_on_timeout": "wait",
        "print_date_in_bash": "bash",
    },
    "standard/example_sensor_decorator.py": {"wait_for_upstream": "sensor", "dummy_operator": "python"},
    "standard/example_external_task_parent_deferrable.py": {
        "start": "empty",
        "parent_task_sensor": "wait",
        "trigger_child_task": "python",
        "end": "empty",
    },
    "standard/example_external_task_child_deferrable.py": {"child_task": "bash"},
    "standard/example_trigger_controller_dag.py": {"test_trigger_dagrun": "python"},
    "example_time_delta_sensor_async.py": {"wait": "wait", "finish": "empty"},
}
"""File in the wheel's example folder -> how each task runs."""


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_compiles(airflow_wheel: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(airflow_wheel) as wheel:
        (tmp_path / "dag.py").write_bytes(wheel.read(f"airflow/example_dags/{name}"))
    (spec,) = compile_project(tmp_path)
    in_process = ", prepared in a process"
    kinds = {task.task_id: task.kind + (in_process if task.prepare == "process" else "") for task in spec.tasks}
    assert kinds == EXAMPLES[name]
