"""Airflow 3.2.2's example DAGs run unmodified in Lite, with the states and XComs that Airflow gives.

The expected values are worked out from the DAG files and Airflow's documented rules (bash pushes its last line, exit
code 99 skips, `task_instance_key_str` is dag id, task id and `ds_nodash`).
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from loadtests.lite_process import Api

LOGICAL_DATE = "2026-01-05T00:00:00Z"


class Run:
    """One finished run of an example."""

    def __init__(
        self, api: Api, dag_id: str, *, conf: dict[str, Any] | None = None, logical_date: str | None = LOGICAL_DATE
    ) -> None:
        self.api, self.dag_id = api, dag_id
        self.run_id = api.trigger(dag_id, conf=conf, logical_date=logical_date)
        self.state = api.wait_for_run(dag_id, self.run_id)["state"]
        self.states = api.states(dag_id, self.run_id)

    def xcoms(self) -> dict[str, dict[str, Any]]:
        return self.api.xcoms(self.dag_id, self.run_id)

    def returned(self, task_id: str) -> list[Any]:
        """By the instances of a mapped task."""
        found = self.xcoms()
        return [found[name]["return_value"] for name in sorted(found) if name.startswith(f"{task_id}[")]

    def log(self, task_id: str) -> str:
        return self.api.log(self.dag_id, self.run_id, task_id)

    def assert_success_of(self, *task_ids: str) -> None:
        assert (self.state, self.states) == ("success", dict.fromkeys(task_ids, "success"))


def test_tutorial(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "tutorial")
    run.assert_success_of("print_date", "sleep", "templated")
    xcoms = run.xcoms()
    assert "20" in xcoms["print_date"]["return_value"]
    assert xcoms["sleep"] == {"return_value": ""}, "bash pushes its last line, empty when there was none"
    assert xcoms["templated"] == {"return_value": "2026-01-12"}, "macros.ds_add(ds, 7), the last line of the loop"
    assert run.log("templated").count("2026-01-05") >= 5


def test_tutorial_taskflow_api(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "tutorial_taskflow_api")
    run.assert_success_of("extract", "transform", "load")
    assert run.xcoms() == {
        "extract": {"return_value": {"1001": 301.27, "1002": 433.21, "1003": 502.22}},
        "transform": {"return_value": {"total_order_value": 1236.7}, "total_order_value": 1236.7},
    }
    assert "Total order value is: 1236.70" in run.log("load")


def test_tutorial_dag(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "tutorial_dag")
    run.assert_success_of("extract", "transform", "load")
    assert run.xcoms() == {
        "extract": {"order_data": '{"1001": 301.27, "1002": 433.21, "1003": 502.22}'},
        "transform": {"total_order_value": '{"total_order_value": 1236.7}'},
    }
    assert "{'total_order_value': 1236.7}" in run.log("load")


def test_example_bash_operator_skips_on_exit_code_99(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "example_bash_operator")
    assert run.state == "success"
    assert run.states == {
        "runme_0": "success",
        "runme_1": "success",
        "runme_2": "success",
        "run_after_loop": "success",
        "also_run_this": "success",
        "this_will_skip": "skipped",
        "run_this_last": "skipped",
    }
    assert run.xcoms() == {
        "runme_0": {"return_value": "example_bash_operator__runme_0__20260105"},
        "runme_1": {"return_value": "example_bash_operator__runme_1__20260105"},
        "runme_2": {"return_value": "example_bash_operator__runme_2__20260105"},
        "run_after_loop": {"return_value": "https://airflow.apache.org/"},
        "also_run_this": {"return_value": "ti_key=example_bash_operator__also_run_this__20260105"},
    }


def test_example_xcom(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "example_xcom")
    run.assert_success_of("push", "push_by_returning", "puller", "bash_push", "bash_pull", "pull_value_from_bash_push")
    assert run.xcoms() == {
        "push": {"value from pusher 1": [1, 2, 3]},
        "push_by_returning": {"return_value": {"a": "b"}},
        "bash_push": {"manually_pushed_value": "manually_pushed_value", "return_value": "value_by_return"},
    }
    assert "The xcom pushed manually is 'manually_pushed_value'" in run.log("bash_pull")
    assert "push via return value is value_by_return" in run.log("pull_value_from_bash_push")


def test_example_xcom_args(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "example_xcom_args")
    run.assert_success_of("generate_value", "print_value")
    assert run.xcoms() == {"generate_value": {"return_value": "Bring me a shrubbery!"}}
    expected = "The knights of Ni say: Bring me a shrubbery! (at 2026-01-05T00:00:00+00:00)"
    assert expected in run.log("print_value")


def test_example_xcom_args_with_operators(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "example_xcom_args_with_operators")
    run.assert_success_of("c", "print_value", "print_value__1", "d")
    assert run.xcoms() == {"c": {"return_value": "c"}, "d": {"return_value": "c"}}
    assert "second!" in run.log("print_value__1")
    order = [
        run.api.task_instances(run.dag_id, run.run_id)[task] for task in ("c", "print_value", "print_value__1", "d")
    ]
    assert all(before["end_date"] <= after["start_date"] for before, after in itertools.pairwise(order))


def test_example_task_group(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "example_task_group")
    run.assert_success_of(
        "start",
        "section_1.task_1",
        "section_1.task_2",
        "section_1.task_3",
        "section_2.task_1",
        "section_2.inner_section_2.task_2",
        "section_2.inner_section_2.task_3",
        "section_2.inner_section_2.task_4",
        "end",
    )
    assert run.xcoms() == {
        "section_1.task_2": {"return_value": "1"},
        "section_2.inner_section_2.task_2": {"return_value": "1"},
    }


def test_example_simplest_dag(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "example_simplest_dag")
    run.assert_success_of("my_task")
    assert run.xcoms() == {}


def test_example_trigger_target_dag_gets_the_conf_of_its_run(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "example_trigger_target_dag", conf={"message": "Hello World"})
    run.assert_success_of("run_this", "bash_task")
    assert run.xcoms() == {"bash_task": {"return_value": "Here is the message: Hello World"}}
    assert "Remotely received value of Hello World for key=message" in run.log("run_this")


def test_example_display_name(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "example_display_name")
    run.assert_success_of("sample_task_1", "sample_task_2")
    assert (
        airflow_examples.call("GET", "/dags/example_display_name")["dag_display_name"] == "Sample DAG with Display Name"
    )
    shown = {
        task_id: instance["task_display_name"]
        for task_id, instance in airflow_examples.task_instances(run.dag_id, run.run_id).items()
    }
    assert shown == {"sample_task_1": "Sample Task 1", "sample_task_2": "Sample Task 2"}


def test_example_complex(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "example_complex")
    assert run.state == "success"
    assert len(run.states) == 37
    assert set(run.states.values()) == {"success"}
    # each task echoes its own id, with one slip in the published file
    expected = {task_id: {"return_value": task_id} for task_id in run.states}
    expected["create_tag_template_field_result2"] = {"return_value": "create_tag_template_field_result"}
    assert run.xcoms() == expected


def test_example_dynamic_task_mapping(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "example_dynamic_task_mapping")
    run.assert_success_of("add_one[0]", "add_one[1]", "add_one[2]", "sum_it")
    assert run.returned("add_one") == [2, 3, 4]
    assert "Total was 9" in run.log("sum_it")


def test_example_task_mapping_second_order(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "example_task_mapping_second_order")
    assert run.state == "success"
    assert run.returned("times_2") == [2, 4, 6]
    assert run.returned("add_10") == [12, 14, 16]


def test_example_task_group_mapping(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "example_task_group_mapping")
    assert run.state == "success"
    assert run.returned("op.mul_2") == [4, 6, 8]


def test_example_dynamic_task_mapping_with_no_taskflow_operators(airflow_examples: Api) -> None:
    run = Run(airflow_examples, "example_dynamic_task_mapping_with_no_taskflow_operators")
    assert run.state == "success"
    assert run.returned("add_one") == [2, 3, 4]
    assert "Total was 9" in run.log("sum_it")


@pytest.mark.parametrize("dag_id", ["tutorial_taskflow_api", "example_complex"])
def test_a_run_without_a_logical_date_succeeds(airflow_examples: Api, dag_id: str) -> None:
    """`POST dagRuns` with `logical_date: null`, as the trigger button of the UI sends it."""
    run_id = airflow_examples.trigger(dag_id)
    assert airflow_examples.wait_for_run(dag_id, run_id)["state"] == "success"
