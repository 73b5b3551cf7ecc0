"""The staging volume of a dag run: a folder that all its tasks share, if leoflow.yaml asks for one (ADR 67)."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

VARIABLE = "LEOFLOW_STAGING_DIR"
"""Names the folder to a task."""
IN_POD = "/staging"


class Staging(msgspec.Struct, frozen=True, kw_only=True):
    """Whose it is, and what leoflow.yaml says of it; empty = as whoever runs Leoflow has it."""

    dag_run_id: int
    dag_id: str
    run_id: str
    size: str = ""
    storage_class: str = ""

    @property
    def name(self) -> str:
        """The same for every try of the run, and for no other run: ids begin anew with a new database."""
        return f"{self.dag_run_id}-{hashlib.sha256(msgspec.json.encode([self.dag_id, self.run_id])).hexdigest()[:10]}"


def staging_of(wanted: dict[str, Any], *, dag_run_id: int, dag_id: str, run_id: str) -> Staging | None:
    """`wanted` is `DagSpec.staging`."""
    if not wanted.get("enabled"):
        return None
    return Staging(
        dag_run_id=dag_run_id,
        dag_id=dag_id,
        run_id=run_id,
        size=str(wanted.get("size", "")),
        storage_class=str(wanted.get("storage_class", "")),
    )
