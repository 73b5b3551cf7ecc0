"""A stranger's folder: one list of what its files read while they are loaded and nobody has given."""

from __future__ import annotations

from pathlib import Path

import pytest

from leoflowd.authoring.compiler import compile_project
from leoflowd.authoring.errors import DagCompileError
from leoflowd.contract.loading import EMPTY, Loadable
from tests.fakes.dag_trees import dag, plant

VARIABLES = """\
from airflow.sdk import Variable
A = Variable.get("a")
C = Variable.get("c", deserialize_json=True)
D = Variable.get("d", default="x")
def f():
    Variable.get("only_a_task")
import common
"""
FOLDER = {
    "dags/etl.py": dag("etl", VARIABLES),
    "dags/common.py": 'from airflow.models import Variable\nB = Variable.get("b")\n',
}
SETTINGS = 'import os\nHOST = os.environ["OUR_HOST"]\nPORT = os.environ["OUR_PORT"]\nos.environ["GIVEN"] = "x"\n'


def faults(folder: Path, loadable: Loadable = EMPTY) -> list[str]:
    with pytest.raises(DagCompileError) as caught:
        compile_project(folder, loadable=loadable)
    return [str(one) for one in caught.value.all]


def test_all_variables_that_are_missing_are_listed_at_once(tmp_path: Path) -> None:
    first, rest = faults(plant(tmp_path, FOLDER))
    assert first.startswith("dags/etl.py:2: Variable.get('a') finds no variable; ")
    assert "3 variables are read without a default: a, b, c; none of them is set; " in rest
    assert "`leoflow variables import FILE.env`" in rest


def test_those_that_are_given_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_B", "1")
    (only,) = faults(plant(tmp_path, FOLDER), Loadable(variables={"a": "1"}))
    assert only.startswith("dags/etl.py:3: Variable.get('c') finds no variable; ")


def test_environment_variables_are_named_with_the_way_to_give_them(tmp_path: Path) -> None:
    first, rest = faults(plant(tmp_path, {"dags/etl.py": dag("etl", SETTINGS)}))
    assert first.startswith("dags/etl.py:2: the environment variable 'OUR_HOST' is read; it is not set")
    assert "`OUR_HOST=... leoflow lite`" in first
    assert "2 environment variables are read without a default: OUR_HOST, OUR_PORT" in rest


def test_a_key_error_of_the_file_is_no_question_of_the_environment(tmp_path: Path) -> None:
    (only,) = faults(plant(tmp_path, {"dags/etl.py": dag("etl", "{}['HOME']\n")}))
    assert only.startswith("dags/etl.py:1: loading it raised KeyError: 'HOME'")
