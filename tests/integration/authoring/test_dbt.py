"""A dbt project from its files to task states: real dbt with DuckDB, in an environment as Lite builds it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from leoflowd.cli.main import main
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.lite.environments import EnvironmentFailed, Environments
from tests.conftest import REPOSITORY, missing
from tests.unit.authoring.conftest import MakeProject

DEPENDENCIES = ("dbt-core>=1.10,<1.11", "dbt-duckdb>=1.9,<1.12")
FILES = {
    "dbt_project.yml": "name: shop\nversion: '1.0'\nprofile: shop\n",
    "seeds/raw.csv": "id,amount\n1,10\n2,20\n",
    "models/orders.sql": "select id, amount from {{ ref('raw') }}",
    "models/total.sql": "select sum(amount) as total, '{{ var('day') }}' as day from {{ ref('orders') }}",
    "models/after.sql": "select total from {{ ref('total') }}",
    "models/schema.yml": """
        models:
          - name: total
            columns: [{name: total, data_tests: [{accepted_values: {arguments: {values: [31]}}}]}]
    """,
}
YAML = f"""
    dag_id: shop
    dependencies: {json.dumps(DEPENDENCIES)}
    dbt:
      connection: warehouse
      adapter: duckdb
      select: [raw+]
      vars: {{day: "{{{{ ds }}}}"}}
"""


@pytest.fixture(scope="session")
def dbt_python() -> Path:
    """Its interpreter. The first time, its packages come from the index that the installer is configured for."""
    try:
        return Environments(REPOSITORY / ".cache" / "dbt-environment").ensure(
            EnvironmentSpec(dependencies=DEPENDENCIES)
        )
    except EnvironmentFailed as error:
        missing(f"an environment with dbt: {str(error)[-500:]}")


def test_models_and_tests_of_a_project_are_tasks_that_dbt_runs(
    project: MakeProject,
    dbt_python: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = project(yaml=YAML, files=FILES)
    database = tmp_path / "warehouse.duckdb"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "duckdb", "host": str(database)}))
    command = ["-o", "json", "test", str(folder), "--python", str(dbt_python), "--parallel", "1"]
    assert main(command) == 1
    document = json.loads(capfd.readouterr().out)
    states = {one["task_id"]: one["state"] for one in document["task_instances"]}
    assert states == {
        "raw": "success",
        "orders": "success",
        "total": "success",
        "total.test": "failed",
        "after": "upstream_failed",
    }
    (failed,) = (one["because"] for one in document["task_instances"] if one["task_id"] == "total.test")
    assert "accepted_values_total_total__31" in failed
    assert "Got 1 result" in failed
    query = "select total, length(day) from total"
    read = f"import duckdb; print(duckdb.connect({str(database)!r}).sql({query!r}).fetchall())"
    shown = subprocess.run([str(dbt_python), "-c", read], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[(30, 10)]"


GROUP = """
    from airflow.sdk import DAG, task
    from leoflow.dbt import dbt_group

    with DAG("shop"):
        @task
        def begin(): pass

        @task
        def end(): pass

        models = dbt_group("models", project_dir="warehouse", connection="warehouse", adapter="duckdb", tests="none")
        begin() >> models >> end()
"""
PYTHON_MODEL = """
def model(dbt, session):
    return dbt.ref("one").project("answer * 2 as answer")
"""
PACKAGE = {
    "warehouse/dbt_project.yml": FILES["dbt_project.yml"],
    "warehouse/packages.yml": "packages:\n  - local: ../shared\n",
    "warehouse/models/one.sql": "select {{ shared.answer() }} as answer",
    "warehouse/models/doubled.py": PYTHON_MODEL,
    "warehouse/models/two.sql": "select answer from {{ ref('doubled') }}",
    "shared/dbt_project.yml": "name: shared\nversion: '1.0'\n",
    "shared/macros/answer.sql": "{% macro answer() %}42{% endmacro %}",
}


def test_a_group_of_a_dag_runs_models_whose_packages_dbt_deps_installs(
    project: MakeProject,
    dbt_python: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = project(GROUP, files=PACKAGE)
    database = tmp_path / "warehouse.duckdb"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "duckdb", "host": str(database)}))
    command = ["-o", "json", "test", str(folder), "--python", str(dbt_python), "--parallel", "1"]
    done = main(command)
    shown = capfd.readouterr()
    instances = json.loads(shown.out)["task_instances"]
    assert done == 0, [one["because"] for one in instances]
    states = {one["task_id"]: one["state"] for one in instances}
    assert states == dict.fromkeys(("begin", "models.one", "models.doubled", "models.two", "end"), "success")
    read = f"import duckdb; print(duckdb.connect({str(database)!r}).sql('select answer from two').fetchall())"
    found = subprocess.run([str(dbt_python), "-c", read], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[(84,)]"
    assert not (folder / "warehouse" / "dbt_packages").exists()
