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
