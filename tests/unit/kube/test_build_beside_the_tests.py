"""A test run that has begun to build an API server leaves neither the build nor its process behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.kube import clusters


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the programs would be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = clusters.build_folder()
    folder.mkdir(parents=True)
    return folder


def test_a_finished_build_is_collected(tmp_path: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = " ".join(str(built / name) for name in clusters.BUILT)
    monkeypatch.setattr(clusters, "SCRIPT", script(tmp_path, f"touch {programs}; echo built"))
    build = clusters.begin_build(tmp_path / "told.txt")
    while not clusters.is_built():
        time.sleep(0.01)
    clusters.end_build(build)
    assert build.returncode == 0
    assert (tmp_path / "told.txt").read_text() == "built\n"


def test_one_that_nobody_waited_for_ends_with_the_tests(
    tmp_path: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "SCRIPT", script(tmp_path, "sleep 600"))
    build = clusters.begin_build(tmp_path / "told.txt")
    clusters.end_build(build)
    assert build.returncode != 0


def script(folder: Path, does: str) -> Path:
    path = folder / "build.sh"
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return path
