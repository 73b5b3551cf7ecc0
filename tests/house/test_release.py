"""A release is the same bytes, whoever builds it and where."""

from __future__ import annotations

import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGES = {"leoflowd", "leoflow_agent", "leoflow_sensors", "airflow-stubs", "leoflow-stubs"}


def _built(folder: Path, umask: int) -> Path:
    """What `make release` makes of this commit in a clone at `folder`."""
    subprocess.run(["git", "clone", "-q", str(REPOSITORY), str(folder)], check=True, umask=umask)
    (folder / ".venv").symlink_to(REPOSITORY / ".venv")
    env = {**os.environ, "PARTS": "wheel chart"}
    subprocess.run(["sh", "locks/release.sh"], cwd=folder, check=True, umask=umask, env=env, capture_output=True)
    return folder / "dist"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built(tmp_path_factory.mktemp("one") / "clone", 0o022)


def test_two_builds_of_a_commit_are_equal(dist: Path, tmp_path: Path) -> None:
    other = _built(tmp_path / "elsewhere", 0o077)
    assert (dist / "SHA256SUMS").read_text() == (other / "SHA256SUMS").read_text()
    assert len((dist / "SHA256SUMS").read_text().splitlines()) == 3


def test_the_wheel_holds_what_a_daemon_reads(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for part in (
        "leoflowd/_data/migrations/0001_initial.sql",
        "leoflowd/_data/ui_static/",
        "leoflow_agent/__main__.py",
    ):
        assert any(name.startswith(part) for name in names), part
    assert not [name for name in names if name.startswith(("tests/", "loadtests/")) or "__pycache__" in name]


def test_installing_the_wheel_runs_nothing_then_or_later(dist: Path) -> None:
    """No `.pth` line that every start would run, no files outside of the packages, no scripts but two commands."""
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        commands = archive.read(next(name for name in archive.namelist() if name.endswith("entry_points.txt"))).decode()
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    assert commands.split() == [
        *("[console_scripts]", "leoflow", "=", "leoflowd.cli.main:main"),
        *("leoflowd", "=", "leoflowd.__main__:main"),
    ]


def test_the_chart_is_whole(dist: Path) -> None:
    (chart,) = dist.glob("*.tgz")
    with tarfile.open(chart) as archive:
        members = archive.getmembers()
    assert {"leoflow/Chart.yaml", "leoflow/values.schema.json"} <= {member.name for member in members}
    assert {(member.uid, member.gid) for member in members} == {(0, 0)}
