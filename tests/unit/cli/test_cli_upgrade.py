"""`leoflow upgrade`: ruff rewrites what it knows; the rest is listed with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from leoflowd.cli import upgrade as upgrade_module
from leoflowd.cli.failures import ExitCode

OLD = """from airflow import DAG
from airflow.operators.bash_operator import BashOperator
from airflow.operators.subdag import SubDagOperator

with DAG("d", schedule_interval="@daily"):
    BashOperator(task_id="a", bash_command="true")
    SubDagOperator(task_id="b")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dag.py"
    path.write_text(OLD)
    return path


def test_it_rewrites_and_lists_what_remains(leoflow, file: Path) -> None:
    document = leoflow("-o", "json", "upgrade", str(file.parent)).document
    text = file.read_text()
    assert 'schedule="@daily"' in text
    assert "airflow.operators.bash_operator" not in text
    assert document["rewritten"] >= 2
    assert [(Path(one["path"]), "subdag" in one["what"]) for one in document["remaining"]] == [(file, True)]


def test_diff_changes_nothing(leoflow, file: Path) -> None:
    result = leoflow("upgrade", str(file), "--diff")
    assert '+with DAG("d", schedule="@daily"):' in result.out
    assert file.read_text() == OLD


def test_settings_of_the_project_do_not_count(leoflow, file: Path) -> None:
    (file.parent / "ruff.toml").write_text('lint.ignore = ["AIR3"]\n')
    assert leoflow("-o", "json", "upgrade", str(file.parent)).document["rewritten"] >= 2


def test_a_file_that_is_no_python_says_so(leoflow, file: Path) -> None:
    file.write_text("def (:\n")
    result = leoflow("upgrade", str(file))
    assert file.read_text() == "def (:\n"
    assert "dag.py" in result.out + result.err


def test_without_ruff_it_says_how_to_get_it(leoflow, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade_module.sys, "executable", "/nowhere/python")
    monkeypatch.setattr(upgrade_module.shutil, "which", lambda name: None)
    result = leoflow("upgrade", str(file))
    assert result.code == ExitCode.USAGE
    assert "leoflow[upgrade]" in result.err


def test_the_import_of_a_name_that_was_rewritten_goes_with_it(leoflow, tmp_path: Path) -> None:
    """`validate` warned of it still, after `upgrade` had said that nothing is left."""
    source = (
        "from airflow.sdk import DAG\nfrom airflow.operators.dummy import DummyOperator\n"
        "with DAG('d'):\n    DummyOperator(task_id='a')\n"
    )
    (tmp_path / "dag.py").write_text(source)
    (tmp_path / "effects.py").write_text("import registers_something\n" + source)
    assert leoflow("upgrade", str(tmp_path)).code == 0
    assert "DummyOperator" not in (tmp_path / "dag.py").read_text()
    assert "import registers_something\n" in (tmp_path / "effects.py").read_text(), "it was unused before"
    (tmp_path / "effects.py").unlink()
    assert "has moved" not in leoflow("validate", str(tmp_path)).err


def test_what_remains_is_named_as_the_caller_can_open_it(leoflow, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    (one,) = leoflow("-o", "json", "upgrade").document["remaining"]
    assert one["path"] == "dag.py"


def test_a_diff_as_json_is_one_document(leoflow, file: Path) -> None:
    assert (
        '+with DAG("d", schedule="@daily"):' in leoflow("-o", "json", "upgrade", str(file), "--diff").document["diff"]
    )
