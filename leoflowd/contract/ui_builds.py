"""Builds of Airflow's UI that can be served: those whose every page was tried with our API (ADR 98)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

UI_VERSION = "3.2.2"
"""The build that is served unless another one is chosen: the API is that of its Airflow."""
BUILDS: Mapping[str, str] = {
    UI_VERSION: "877be429d59193b5e9aab1ae69f44066134bf483c633e9f7c59a9220ebfcc013",
    "3.3.2": "99258922bccec15be4700ff89f3c942b8acd93407e263c287ce863e671bb3c50",
}
"""Version of apache-airflow-core -> SHA-256 of its wheel."""
NOTE = "build"
"""File in the folder of a build that says which one it is; those unpacked by older releases have none."""


@cache
def build_in(ui_dir: Path | None) -> str:
    """The version of the build that is unpacked there."""
    note = None if ui_dir is None else ui_dir / NOTE
    return note.read_text() if note is not None and note.is_file() else UI_VERSION
