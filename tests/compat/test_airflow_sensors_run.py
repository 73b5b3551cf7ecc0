"""Airflow 3.2.2's sensor examples run unmodified in Lite and end as they end in Airflow.

One difference is meant: Airflow ignores `timeout` of a deferrable TimeSensor, so that its own
`timeout_after_second_date_in_the_future_async` would wait for an hour; here it is skipped after its second.
"""

from __future__ import annotations

import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from loadtests.lite_process import Api, Lite, wait_until

EXAMPLES = {
    "standard/example_sensors.py": "example_sensors",
    "standard/example_sensor_decorator.py": "example_sensor_decorator",
    "standard/example_external_task_child_deferrable.py": "child_dag",
    "standard/example_external_task_parent_deferrable.py": "example_external_task",
    "example_time_delta_sensor_async.py": "example_time_delta_sensor_async",
}


@pytest.fixture(scope="module")
def examples(airflow_wheel: Path, lite: Lite, api: Api) -> Api:
    """The child first: both of the pair are `@once`, and a parent without its child fails, as in Airflow."""
    with zipfile.ZipFile(airflow_wheel) as wheel:
        for name, dag_id in EXAMPLES.items():
            folder = lite.workspace / Path(name).stem
            folder.mkdir()
            (folder / "dag.py").write_bytes(wheel.read(f"airflow/example_dags/{name}"))
            api.wait_for_dags(dag_id)
    return api


def test_example_sensors(examples: Api) -> None:
    run_id = examples.trigger("example_sensors")
    run = examples.wait_for_run("example_sensors", run_id, within_s=180)
    states = examples.states("example_sensors", run_id)
    began, ended = (datetime.fromisoformat(run[field]) for field in ("start_date", "end_date"))
    mondays = {began.isoweekday() == 1, ended.isoweekday() == 1}
    # The file adds an hour to the time of day at which it is loaded; past midnight that time is over already.
    in_an_hour = "timeout_after_second_date_in_the_future"
    ends = {_in_an_hour(began - timedelta(minutes=5)), _in_an_hour(began)}
    assert states.pop(f"{in_an_hour}_async") == states[in_an_hour]
    assert states.pop(in_an_hour) in ends
    assert states.pop("week_day_sensor_failing_on_timeout") in {"success" if is_it else "skipped" for is_it in mondays}
    assert states == {
        "wait_some_seconds": "success",
        "wait_some_seconds_async": "success",
        "fire_immediately": "success",
        "fire_immediately_async": "success",
        "Sensor_succeeds": "success",
        "Sensor_fails_after_3_seconds": "skipped",
        "remove_file": "success",
        "wait_for_file": "success",
        "wait_for_file_async": "success",
        "create_file_after_3_seconds": "success",
        "success_sensor_python": "success",
        "failure_timeout_sensor_python": "skipped",
        "print_date_in_bash": "success",
    }
    assert run["state"] == "success"


def _in_an_hour(loaded: datetime) -> str:
    return "skipped" if (loaded + timedelta(hours=1)).date() == loaded.date() else "success"


def test_example_sensor_decorator_pushes_what_the_poke_returned(examples: Api) -> None:
    run_id = examples.trigger("example_sensor_decorator")
    assert examples.wait_for_run("example_sensor_decorator", run_id)["state"] == "success"
    assert examples.xcoms("example_sensor_decorator", run_id) == {"wait_for_upstream": {"return_value": "xcom_value"}}


def test_example_time_delta_sensor_async_waits_its_thirty_seconds(examples: Api) -> None:
    run_id = examples.trigger("example_time_delta_sensor_async")
    run = examples.wait_for_run("example_time_delta_sensor_async", run_id)
    instances = examples.task_instances("example_time_delta_sensor_async", run_id)
    assert {name: one["state"] for name, one in instances.items()} == {"wait": "success", "finish": "success"}
    waited = datetime.fromisoformat(instances["wait"]["end_date"]) - datetime.fromisoformat(run["run_after"])
    assert 30 <= waited.total_seconds() < 60


def test_a_parent_triggers_its_child_and_waits_for_its_task(examples: Api) -> None:
    """Both are `@once` for the same logical date: the parent clears the child's own run and waits for it."""
    (run_id,) = _run_ids(examples, "example_external_task")
    assert examples.wait_for_run("example_external_task", run_id)["state"] == "success"
    assert set(examples.states("example_external_task", run_id).values()) == {"success"}
    parent = examples.run("example_external_task", run_id)
    children = examples.call("GET", "/dags/child_dag/dagRuns", params={"limit": 10})["dag_runs"]
    assert parent["logical_date"] in {child["logical_date"] for child in children}
    assert {child["state"] for child in children} == {"success"}


def _run_ids(api: Api, dag_id: str) -> list[str]:
    def listed() -> list[str]:
        return [run["dag_run_id"] for run in api.call("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]]

    return wait_until(listed, within_s=30, what=f"a run of {dag_id}")
