"""What a type checker says of DAG files in an environment that has Leoflow and no Airflow (ADR 69)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RIGHT = """
from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.sdk import DAG, Asset, Label, Param, TaskGroup, chain, dag, task, task_group
from leoflow.sensors import WebhookSensor


@task(retries=3, retry_delay=timedelta(minutes=1))
def read(day: str) -> list[int]:
    return [3, 1, 2]


@task
def add_up(numbers: list[int]) -> int:
    return sum(numbers)


@task.branch(task_id="choose")
def choose() -> str:
    return "file"


@task_group(tooltip="both")
def both() -> None:
    choose() >> Label("yes") >> FileSensor(task_id="file", filepath="/tmp/x", poke_interval=30, deferrable=True)


with DAG("sums", schedule="@daily", start_date=datetime(2026, 1, 1), params={"x": Param(1, minimum=0)}) as made:
    total = add_up(read.override(retries=1)("{{ ds }}"))
    each = add_up.expand(numbers=[[1], [2]])
    echo = BashOperator(task_id="echo", bash_command="echo", outlets=[Asset("sums")], trigger_rule="all_done")
    with TaskGroup("inside", tooltip="more"):
        hook = WebhookSensor(task_id="hook", name="orders")
    chain(total, [each, echo], hook, FileSensor(task_id="there", filepath="x", fs_conn_id=choose()))
    both()
    ids: list[str] = made.task_ids
    name: str = echo.task_id


@dag(schedule=None, tags=["a"])
def other() -> None:
    add_up([1])


other()
"""

WRONG = {
    "BashOperator(task_id='a', bash_command='b', retires=3)": 'Unexpected keyword argument "retires"',
    "FileSensor(task_id='a', filepath='b', poke_intervall=3)": 'Unexpected keyword argument "poke_intervall"',
    "BashOperator(task_id='a')": 'Missing named argument "bash_command"',
    "task(retires=3)(print)": "retires",
    "task.bash(retires=3)": "retires",
    "dag(shedule=None)": "shedule",
    "DAG('a', shedule=None)": 'Unexpected keyword argument "shedule"',
    "DAG(7)": 'incompatible type "int"; expected "str"',
    "TaskGroup('a', tip='b')": 'Unexpected keyword argument "tip"',
    "DAG('a').task_idz": 'has no attribute "task_idz"',
}
IMPORTS = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.sensors.filesystem import FileSensor
from leoflow import DAG, TaskGroup, dag, task
from airflow.sdk import dga
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """File -> what mypy says of it. It finds the stubs where they are installed, as an editor does."""
    folder: Path = tmp_path_factory.mktemp("project")
    (folder / "right.py").write_text(RIGHT)
    (folder / "wrong.py").write_text("\n".join([*WRONG, IMPORTS]))
    found: dict[str, list[str]] = {"right.py": [], "wrong.py": []}
    for line in mypy(folder, "right.py", "wrong.py").splitlines():
        found.setdefault(line.partition(":")[0], []).append(line)
    return found


def mypy(folder: Path, *files: str) -> str:
    command = [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--no-error-summary", *files]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_a_dag_file_that_is_right_has_no_errors(said: dict[str, list[str]]) -> None:
    assert said["right.py"] == []


@pytest.mark.parametrize("line", list(WRONG))
def test_what_is_misspelled_is_an_error(said: dict[str, list[str]], line: str) -> None:
    number = list(WRONG).index(line) + 1
    assert any(one.startswith(f"wrong.py:{number}:") and WRONG[line] in one for one in said["wrong.py"])


def test_a_name_that_airflow_does_not_have_is_an_error(said: dict[str, list[str]]) -> None:
    assert any('"airflow.sdk" has no attribute "dga"' in one for one in said["wrong.py"])


def test_the_stubs_themselves_have_no_errors(tmp_path: Path) -> None:
    """As packages: by their files they would belong to the one that they lie in."""
    assert mypy(tmp_path, "-p", "airflow", "-p", "leoflow") == ""
