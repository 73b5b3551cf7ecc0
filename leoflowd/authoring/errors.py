"""The one error of this package: a project that cannot be compiled, with its place and the remedy."""

from __future__ import annotations

from leoflowd.contract.errors import LeoflowError


class DagCompileError(LeoflowError):
    """`str(error)` is `path:line: what; why; what to do`. `path` is relative to the project where it can be."""

    def __init__(self, path: str, line: int, what: str, why: str, remedy: str) -> None:
        super().__init__(f"{path}:{line}: {what}; {why}; {remedy}")
        self.path = path
        self.line = line
        self.what = what
        self.why = why
        self.remedy = remedy
