"""The image of a DAG, as text for a builder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from leoflowd.authoring.errors import EnvironmentFailed
from leoflowd.authoring.image import DagImage, dockerfile, write_image

BASE = "registry.example/leoflow-base@sha256:" + "0" * 64


def test_a_dag_that_asks_for_nothing_is_its_code_on_the_base() -> None:
    assert dockerfile(DagImage(base=BASE)).splitlines() == [
        f"FROM {BASE}",
        "USER 0:0",
        "COPY code/ /opt/leoflow/dags/",
        "RUN /opt/leoflow/bytecode.sh /opt/leoflow/env/bin/python /opt/leoflow/dags || true",
        "USER 50000:50000",
    ]


def test_requirements_go_by_a_file_which_no_shell_reads(tmp_path: Path) -> None:
    write_image(tmp_path, DagImage(base=BASE, requirements=("pandas>=2", "numpy<3"), constraints="six==1\n"))
    text = (tmp_path / "Dockerfile").read_text()
    assert "pandas" not in text
    assert "/opt/leoflow/env/bin/python -m pip install" in text
    assert text.index("pip install") < text.index("COPY code/"), "code changes more often than packages"
    assert (tmp_path / "requirements.txt").read_text() == "pandas>=2\nnumpy<3\n"
    assert (tmp_path / "constraints.txt").read_text() == "six==1\n"


def test_packages_of_the_system_are_installed_before_those_of_python() -> None:
    text = dockerfile(DagImage(base=BASE, requirements=("pyodbc",), system_packages=("unixodbc", "libpq5=15.1-1")))
    assert "apt-get install -y -q --no-install-recommends unixodbc libpq5=15.1-1 && " in text
    assert text.index("apt-get") < text.index("pip install")


@pytest.mark.parametrize(
    "wrong",
    [
        DagImage(base="base\nRUN id"),
        DagImage(base=BASE, system_packages=("curl; id",)),
        DagImage(base=BASE, system_packages=("-o=x",)),
        DagImage(base=BASE, requirements=("six\n--index-url http://elsewhere",)),
        DagImage(base=BASE, requirements=("--index-url=http://elsewhere",)),
    ],
)
def test_what_is_no_name_makes_no_recipe(tmp_path: Path, wrong: DagImage) -> None:
    with pytest.raises(EnvironmentFailed):
        write_image(tmp_path, wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("wanted", "code"), [(f"3.{sys.version_info.minor}", 0), ("3.9", 1)])
def test_a_base_with_another_python_fails_the_build(wanted: str, code: int) -> None:
    [line] = [
        one for one in dockerfile(DagImage(base=BASE, python_version=wanted)).splitlines() if "version_info" in one
    ]
    _, *arguments = json.loads(line.removeprefix("RUN "))
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, "python_version is 3.9" in done.stderr) == (code, bool(code))
