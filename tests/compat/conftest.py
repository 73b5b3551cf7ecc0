"""Airflow's own example DAGs, taken from the published wheel at test time and never committed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from loadtests.lite_process import Api, Lite

EXAMPLES = {
    "tutorial.py": ("tutorial",),
    "tutorial_taskflow_api.py": ("tutorial_taskflow_api",),
    "tutorial_dag.py": ("tutorial_dag",),
    "standard/example_bash_operator.py": ("example_bash_operator",),
    "example_xcom.py": ("example_xcom",),
    "example_xcomargs.py": ("example_xcom_args", "example_xcom_args_with_operators"),
    "example_task_group.py": ("example_task_group",),
    "example_simplest_dag.py": ("example_simplest_dag",),
    "example_trigger_target_dag.py": ("example_trigger_target_dag",),
    "example_display_name.py": ("example_display_name",),
    "example_complex.py": ("example_complex",),
    "example_dynamic_task_mapping.py": (
        "example_dynamic_task_mapping",
        "example_task_mapping_second_order",
        "example_task_group_mapping",
    ),
    "example_dynamic_task_mapping_with_no_taskflow_operators.py": (
        "example_dynamic_task_mapping_with_no_taskflow_operators",
    ),
    "example_branch_labels.py": ("example_branch_labels",),
    "example_nested_branch_dag.py": ("example_nested_branch_dag",),
    "example_latest_only_with_trigger.py": ("latest_only_with_trigger",),
    "example_setup_teardown.py": ("example_setup_teardown",),
    "example_setup_teardown_taskflow.py": ("example_setup_teardown_taskflow",),
    "example_skip_dag.py": ("example_skip_dag",),
    "standard/example_branch_datetime_operator.py": (
        "example_branch_datetime_operator",
        "example_branch_datetime_operator_2",
        "example_branch_datetime_operator_3",
    ),
    "standard/example_branch_day_of_week_operator.py": ("example_weekday_branch_operator",),
    "standard/example_short_circuit_operator.py": ("example_short_circuit_operator",),
    "standard/example_short_circuit_decorator.py": ("example_short_circuit_decorator",),
    "standard/example_latest_only.py": ("latest_only",),
    "standard/example_trigger_controller_dag.py": ("example_trigger_controller_dag",),
}
"""File in the wheel's example folder -> the DAGs it defines."""


@pytest.fixture(scope="session")
def airflow_examples(airflow_wheel: Path, lite: Lite, api: Api) -> Api:
    """The shared Lite with the example files in its workspace, byte for byte as published."""
    with zipfile.ZipFile(airflow_wheel) as wheel:
        for name in EXAMPLES:
            folder = lite.workspace / Path(name).stem
            folder.mkdir()
            (folder / "dag.py").write_bytes(wheel.read(f"airflow/example_dags/{name}"))
    dag_ids = [dag_id for defined in EXAMPLES.values() for dag_id in defined]
    api.wait_for_dags(*dag_ids)
    api.unpause(*dag_ids)
    return api
