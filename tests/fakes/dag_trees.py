"""Folders of DAG files made of text, as Airflow's users have them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

DAG = """\
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

with DAG("{}"):
    EmptyOperator(task_id="a")
"""


def plant(folder: Path, files: Mapping[str, str]) -> Path:
    """Write `files`, by their paths in `folder`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content))
    return folder


def dag(dag_id: str, before: str = "") -> str:
    """The text of a DAG file with one task."""
    return before + DAG.format(dag_id)
