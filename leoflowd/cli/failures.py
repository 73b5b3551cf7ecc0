"""How a command ends: the exit codes of `leoflow` and the one error that carries them.

Every command raises `CommandFailed`; `main` alone prints it (text, or JSON with `-o json`) and exits. Scripts rely on
the numbers: a code is never reused, and new ones are added at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

from leoflowd.contract.errors import LeoflowError


class ExitCode(IntEnum):
    OK = 0
    RUN_FAILED = 1
    """The command worked; the dag run or task it waited for failed."""
    INVALID = 2
    """The DAG does not compile, or the server found the request invalid."""
    USAGE = 3
    """Unknown command, missing argument, flags that contradict each other."""
    NOT_FOUND = 4
    NOT_ALLOWED = 5
    """Not logged in, or no right to this."""
    UNREACHABLE = 6
    """No server answered."""
    CONFLICT = 7
    """The request contradicts the present state: the run id exists, the file exists."""
    TIMED_OUT = 8
    """`--timeout` passed; what was waited for goes on."""
    NOT_READY = 9
    """This machine lacks something: doctor found a fault, a set-up step failed, a port is taken."""
    UNEXPECTED = 10
    """A fault of ours or of the server: an answer we cannot read, a bug."""
    INTERRUPTED = 130
    """Ctrl-C."""


EXIT_CODE_HELP = """\b
Exit codes:
  0  success                     6  server unreachable
  1  the run or task failed      7  conflict with what exists
  2  DAG or request invalid      8  --timeout passed
  3  wrong usage                 9  this machine lacks something
  4  not found                  10  unexpected fault
  5  not logged in, not allowed
"""


class CommandFailed(LeoflowError):
    """The command ends here. `facts` go into the JSON form of the error as they are."""

    def __init__(self, code: ExitCode, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.code = code
        self.facts = facts

    def document(self) -> dict[str, Any]:
        """The error as one JSON document."""
        return {
            "error": {
                "kind": self.code.name.lower(),
                "exit_code": int(self.code),
                "message": str(self),
                **self.facts,
            }
        }


def did_you_mean(asked: str, known: Iterable[str]) -> str:
    """` (did you mean 'list'?)`, or nothing when nothing is near."""
    from difflib import get_close_matches

    near = get_close_matches(asked, list(known), n=2, cutoff=0.6)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
