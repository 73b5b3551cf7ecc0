"""A test run that has begun to build an API server leaves neither the build nor its process behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kube import clusters


def test_a_finished_build_is_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_does(f"touch {' '.join(clusters.BUILT)}; echo built", tmp_path, monkeypatch)
    build = clusters.begin_build(tmp_path / "told.txt")
    os.waitid(os.P_PID, build.pid, os.WEXITED | os.WNOWAIT)  # it is over, and nobody has asked how it ended
    assert clusters.is_built()
    clusters.end_build(build)
    assert build.returncode == 0
    assert (tmp_path / "told.txt").read_text() == "built\n"


def test_one_that_nobody_waited_for_ends_with_the_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_does("sleep 600", tmp_path, monkeypatch)
    build = clusters.begin_build(tmp_path / "told.txt")
    assert not clusters.is_built()
    clusters.end_build(build)
    assert build.returncode != 0


def build_does(what: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of the script: programs are looked for in `folder`, where the build begins."""
    script = folder / "build.sh"
    script.write_text(f"#!/bin/sh\ncd {folder}\ncase $1 in where) echo {folder} ;; build) {what} ;; esac\n")
    script.chmod(0o755)
    monkeypatch.setattr(clusters, "SCRIPT", script)
