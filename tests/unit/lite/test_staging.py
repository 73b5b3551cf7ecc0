"""Staging folders of Lite: removed when their run is long over, or is none."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from leoflowd.contract.staging import Staging
from leoflowd.core.staging import FRESH, RunEnd
from leoflowd.lite.staging import KEEP, dag_run_ids, prune_staging

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def folder_of(root: Path, number: int, age: timedelta = timedelta(days=9)) -> Path:
    folder = root / Staging(dag_run_id=number, dag_id="d", run_id=f"r{number}").name
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_text("x")
    moment = (NOW - age).timestamp()
    os.utime(folder, (moment, moment))
    return folder


def test_folders_of_runs_that_are_long_over_or_gone_are_removed(tmp_path: Path) -> None:
    over, young, runs_on, gone, fresh, anothers = (
        folder_of(tmp_path, number, timedelta(0) if number == 5 else timedelta(days=9)) for number in range(1, 7)
    )
    (tmp_path / "somebodys-own").mkdir()
    assert dag_run_ids(tmp_path) == {1, 2, 3, 4, 5, 6}
    runs = {
        1: RunEnd(1, "d", "r1", "success", NOW - KEEP),
        2: RunEnd(2, "d", "r2", "failed", NOW - KEEP + FRESH),
        3: RunEnd(3, "d", "r3", "running", None),
        6: RunEnd(6, "d", "another run of a newer database", "running", None),
    }
    prune_staging(tmp_path, runs, NOW)
    assert {path.name for path in tmp_path.iterdir()} == {young.name, runs_on.name, fresh.name, "somebodys-own"}
    assert not over.exists()
    assert not gone.exists()
    assert not anothers.exists()


def test_no_folder_at_all_is_nothing_to_do(tmp_path: Path) -> None:
    assert dag_run_ids(tmp_path / "none") == set()
    prune_staging(tmp_path / "none", {}, NOW)
