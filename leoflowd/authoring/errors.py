"""The errors of this package: a project that cannot be compiled, with its place and the remedy, and its environment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from leoflowd.contract.errors import LeoflowError
from leoflowd.contract.loading import Read, ReadKind
from leoflowd.contract.values import shown


class EnvironmentFailed(LeoflowError):
    """An environment cannot be built; the message names the requirement and shows the end of the tool's output."""


PATH_MAX = 500
"""Characters of a path in a message; those of a name that is not UTF-8 count six for each byte."""


class DagCompileError(LeoflowError):
    """`str(error)` is `path:line: what; why; what to do`. `path` is relative to the project where it can be.

    Texts of a file, which may hold anything, become texts that every terminal, log and column takes. `others` are
    faults that were found beside this one; `module` is not installed; the provider `connector` would help;
    `needs_more` than the shim, perhaps: the file itself was stopped by it.
    """

    def __init__(
        self,
        path: str,
        line: int,
        what: str,
        why: str,
        remedy: str,
        *,
        module: str = "",
        connector: str = "",
        needs_more: bool = False,
    ) -> None:
        path, what, why, remedy = shown(path, PATH_MAX), shown(what), shown(why), shown(remedy)
        super().__init__(f"{path}:{line}: {what}; {why}; {remedy}")
        self.path = path
        self.line = line
        self.what = what
        self.why = why
        self.remedy = remedy
        self.module = module
        self.connector = connector
        self.needs_more = needs_more
        self.others: tuple[DagCompileError, ...] = ()
        self.asked: tuple[tuple[ReadKind, str], ...] = ()
        """What the file had asked for until then, by kind and key."""
        self.reads: tuple[Read, ...] = ()
        """The same with what it was given: once that is another, the file is worth another try."""

    def with_others(self, others: Iterable[DagCompileError]) -> Self:
        self.others = tuple(others)
        return self

    @property
    def all(self) -> tuple[DagCompileError, ...]:
        return (self, *self.others)
