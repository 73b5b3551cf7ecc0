"""One file of the corpus: compiled as it is, or refused with a reason of which a kind is made."""

from __future__ import annotations

import re

import msgspec

from leoflowd.authoring.compiler import compile_project
from leoflowd.authoring.errors import DagCompileError
from tests.corpus.sources import DagFile

LATER = re.compile(r"\b(assets?|datasets?|callbacks?|deadline|inlets|outlets|dbt)\b", re.IGNORECASE)
"""Constructs that an issue of their own brings; they are counted apart."""


class Result(msgspec.Struct, frozen=True):
    file: DagFile
    dags: int = 0
    error: str = ""
    """The message as an author reads it; empty when it compiles."""
    reason: str = ""
    """Its kind: equal for files that fail for the same cause."""
    is_fault_of_ours: bool = False
    """Something other than a refusal with a line and a remedy."""

    @property
    def is_compiled(self) -> bool:
        return not self.error

    @property
    def is_for_later(self) -> bool:
        return bool(LATER.search(self.reason))


def try_file(file: DagFile) -> Result:
    """Never raises: whatever happens is the result."""
    try:
        return Result(file, dags=len(compile_project(file.path)))
    except DagCompileError as refusal:
        return Result(file, error=str(refusal), reason=_kind_of(refusal))
    except Exception as fault:  # what the corpus is there to find
        return Result(file, error=repr(fault), reason=type(fault).__name__, is_fault_of_ours=True)


def _kind_of(refusal: DagCompileError) -> str:
    """The sentence without the names of this file, except those of modules and arguments, which are the reason."""
    what = re.sub(r"^(task|dag|task group|the function|the output of task) '[^']*':?", r"a \1", refusal.what)
    what = re.sub(r"=('[^']*'|\"[^\"]*\"|\[.*\]|\{.*\}|<.*>)", "", what)
    return f"{what}; {refusal.why}"[:200]
