"""Staging folders of Lite: of dag runs that want one, made by the executor, removed here (ADR 67). Blocking."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from leoflowd.contract.staging import Staging
from leoflowd.core.staging import RunEnd, is_over

KEEP = timedelta(days=1)
"""After the end of the run, for those who clear its tasks."""


def dag_run_ids(folder: Path) -> set[int]:
    """Whose folders there are."""
    return {int(path.name.partition("-")[0]) for path in _each(folder)}


def prune_staging(folder: Path, runs: Mapping[int, RunEnd], now: datetime) -> None:
    """`runs` are those that there are, by id. A folder whose name is none of ours stays."""
    for path in _each(folder):
        run = runs.get(int(path.name.partition("-")[0]))
        is_its = run is not None and Staging(dag_run_id=run.id, dag_id=run.dag_id, run_id=run.run_id).name == path.name
        created_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        if is_over(run if is_its else None, created_at=created_at, ttl=KEEP, now=now):
            shutil.rmtree(path, ignore_errors=True)


def _each(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*-*") if path.name.partition("-")[0].isdecimal()]
