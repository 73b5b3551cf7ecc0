"""One file of the corpus: compiled as it is, or refused with a reason of which a kind is made."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from leoflowd.authoring.compiler import compile_opened
from leoflowd.authoring.discovery import discover
from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.project import Project
from tests.corpus.sources import Tree

LATER = re.compile(r"\b(assets?|datasets?|callbacks?|deadline|inlets|outlets|dbt)\b", re.IGNORECASE)
"""Constructs that an issue of their own brings; they are counted apart."""


class DagFile(msgspec.Struct, frozen=True):
    source: str
    project: Project

    @property
    def shown(self) -> str:
        return f"{self.source}/{self.project.path}"


class Result(msgspec.Struct, frozen=True):
    file: DagFile
    dags: int = 0
    error: str = ""
    """The message as an author reads it; empty when it compiles, or defines no DAG."""
    reason: str = ""
    """Its kind: equal for files that fail for the same cause."""

    @property
    def is_compiled(self) -> bool:
        return self.dags > 0

    @property
    def is_for_later(self) -> bool:
        return bool(LATER.search(self.reason))


def files_of(tree: Tree) -> Iterator[DagFile]:
    """What Lite finds in this folder."""
    yield from (DagFile(tree.name, project) for project in discover(tree.folder).projects)


def try_file(file: DagFile, python: str | None) -> Result:
    """Never raises: whatever happens is the result. `python` has what the file imports; None: this interpreter."""
    try:
        return Result(file, dags=len(compile_opened(file.project, python=python).specs))
    except DagCompileError as refusal:
        return Result(file, error=str(refusal), reason=_kind_of(refusal))
    except Exception as fault:  # what the corpus is there to find
        return Result(file, error=repr(fault), reason=f"a fault of ours: {type(fault).__name__}")


def _kind_of(refusal: DagCompileError) -> str:
    """The sentence without the names of this file, except those of modules and arguments, which are the reason."""
    what = re.sub(r"^(task|dag|task group|the function|the output of task) '[^']*':?", r"a \1", refusal.what)
    what = re.sub(r"=('[^']*'|\"[^\"]*\"|\[.*\]|\{.*\}|<.*>)", "", what)
    return f"{what}; {refusal.why}"[:200]
