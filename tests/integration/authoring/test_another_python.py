"""A file that Leoflow's own Python cannot read is compiled and run by a newer one of this machine (ADR 111)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from leoflowd.authoring.pythons import find_python, find_uv
from leoflowd.cli.main import main
from tests.conftest import REPOSITORY

NEW = """\
from airflow.sdk import dag, task

WORDS = {"said": "by"}


@dag(schedule=None)
def new():
    @task
    def say():
        import sys

        print(f"{WORDS["said"]} 3.{sys.version_info.minor}")

    say()


new()
"""


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python reads it")
@pytest.mark.skipif(find_python("3.12", find_uv()) is None, reason="missing on this machine: Python 3.12")
def test_a_file_for_a_newer_python_runs_on_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "new.py").write_text(NEW)
    data_dir = str(REPOSITORY / ".cache" / "another-python")
    assert main(["test", str(tmp_path / "dags" / "new.py"), "--data-dir", data_dir]) == 0
    assert "by 3.12" in capfd.readouterr().out
    assert main(["validate", str(tmp_path / "dags"), "--data-dir", data_dir]) == 0
    assert "Python 3.12, since 3.11 cannot read" in "".join(capfd.readouterr())
