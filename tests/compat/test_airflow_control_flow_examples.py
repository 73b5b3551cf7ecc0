"""Airflow 3.2.2's examples of branches, short circuits, setups and teardowns run unmodified in Lite.

The expected states and XComs are worked out from the DAG files and Airflow's documented rules.
"""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leoflowd.authoring.compiler import compile_project
from loadtests.lite_process import Api
from tests.compat.test_airflow_examples import Run


def states(success: str, skipped: str = "") -> dict[str, str]:
    return dict.fromkeys(success.split(), "success") | dict.fromkeys(skipped.split(), "skipped")


SHORT_CIRCUIT = states(
    "true_1 true_2 task_1 task_2 task_3 task_5 task_7 short_circuit", "false_1 false_2 task_4 task_6"
)


@pytest.mark.parametrize(
    ("dag_id", "expected"),
    [
        (
            "example_branch_labels",
            states("ingest analyze check_integrity describe_integrity email_error save report"),
        ),
        (
            "example_nested_branch_dag",
            states("branch_1 true_1 join_1", "false_1 branch_2 true_2 false_2 join_2 false_3"),
        ),
        ("latest_only_with_trigger", states("latest_only task1 task2 task3 task4")),
        ("latest_only", states("latest_only task1")),
        ("example_branch_datetime_operator", states("datetime_branch date_outside_range", "date_in_range")),
        ("example_branch_datetime_operator_3", states("datetime_branch date_outside_range", "date_in_range")),
        ("example_short_circuit_operator", SHORT_CIRCUIT | states("condition_is_True condition_is_False")),
        ("example_short_circuit_decorator", SHORT_CIRCUIT | states("condition_is_true condition_is_false")),
        (
            "example_skip_dag",
            states(
                "always_true_1 always_true_2 one_success final_2", "skip_operator_1 all_success final_1 skip_operator_2"
            ),
        ),
        (
            "example_setup_teardown",
            states(
                "root_setup normal root_teardown section_1.taskgroup_setup section_1.normal"
                " section_1.taskgroup_teardown"
            ),
        ),
        (
            "example_setup_teardown_taskflow",
            states(
                "my_first_task my_second_task my_third_task outer_setup outer_work outer_teardown"
                " section_1.inner_setup section_1.inner_work section_1.inner_teardown"
            ),
        ),
    ],
)
def test_an_example_ends_as_in_airflow(airflow_examples: Api, dag_id: str, expected: dict[str, str]) -> None:
    run = Run(airflow_examples, dag_id)
    assert (run.state, run.states) == ("success", expected)


def test_the_choices_are_xcoms_as_in_airflow(airflow_examples: Api) -> None:
    """A task that skips something pushes its choice, and no return value."""
    assert Run(airflow_examples, "example_nested_branch_dag", logical_date=None).xcoms() == {
        "branch_1": {"skipmixin_key": {"followed": ["true_1"]}}
    }
    assert Run(airflow_examples, "example_short_circuit_operator", logical_date=None).xcoms() == {
        "condition_is_True": {"return_value": True},
        "condition_is_False": {"skipmixin_key": {"skipped": ["false_1", "false_2"]}},
        "short_circuit": {"skipmixin_key": {"skipped": ["task_4"]}},
    }


def test_a_branch_by_the_day_of_the_week_goes_by_today(airflow_examples: Api) -> None:
    before = _on(datetime.now(UTC).isoweekday())
    run = Run(airflow_examples, "example_weekday_branch_operator")
    assert run.states in (before, _on(datetime.now(UTC).isoweekday())), "it may have become midnight"


def _on(day: int) -> dict[str, str]:
    if day == 1:
        return states("make_choice branch_true", "branch_false make_weekend_choice branch_weekend branch_mid_week")
    way, other = ("branch_weekend", "branch_mid_week") if day >= 6 else ("branch_mid_week", "branch_weekend")
    return states(f"make_choice branch_false make_weekend_choice {way}", f"branch_true {other}")


def test_a_branch_at_a_time_of_the_day_goes_one_of_two_ways(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "example_branch_datetime_operator_2")
    ways = [("date_in_range", "date_outside_range"), ("date_outside_range", "date_in_range")]
    assert run.states in [states(f"datetime_branch {way}", other) for way, other in ways]


def test_a_controller_starts_a_run_of_its_target(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "example_trigger_controller_dag")
    assert run.states == states("test_trigger_dagrun")
    started = run.xcoms()["test_trigger_dagrun"]["trigger_run_id"]
    assert airflow_examples.wait_for_run("example_trigger_target_dag", started)["state"] == "success"
    assert airflow_examples.xcoms("example_trigger_target_dag", started) == {
        "bash_task": {"return_value": "Here is the message: Hello World"}
    }


@pytest.mark.parametrize(
    "name",
    [
        "example_branch_operator.py",
        "example_branch_operator_decorator.py",
        "example_python_operator.py",
        "example_python_decorator.py",
    ],
)
def test_an_example_with_virtual_environments_compiles(airflow_wheel: Path, tmp_path: Path, name: str) -> None:
    """Running them downloads packages: `tests/unit/authoring/test_virtualenv.py` has environments without."""
    with zipfile.ZipFile(airflow_wheel) as wheel:
        (tmp_path / "dag.py").write_bytes(wheel.read(f"airflow/example_dags/standard/{name}"))
    (spec,) = compile_project(tmp_path)
    assert {task.kind for task in spec.tasks} <= {"python", "empty"}
    deciders = {task.task_id for task in spec.tasks if task.decides}
    assert all(task_id.startswith("branching") for task_id in deciders)
    assert len(deciders) == (3 if "branch" in name else 0)
