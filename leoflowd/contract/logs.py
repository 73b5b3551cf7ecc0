"""Task logs as a port: what agents, pool and API need of the place where they are kept (ADR 33).

A log is bytes in the order in which one try wrote them: NDJSON lines, ready for the UI. `store.log_files` keeps them
on a disk, `objects.logs` in an object store (ADR 61). Whoever implements it runs the tests of
`tests/conformance/logs/`.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
from typing_extensions import override

from leoflowd.contract.errors import LeoflowError


class TryLog(msgspec.Struct, frozen=True, kw_only=True):
    """Which log. The number keeps a run that was deleted and made again under the same run_id apart from its past."""

    dag_id: str
    run_id: str
    dag_run_id: int
    task_id: str
    map_index: int
    try_number: int


class LogLeg(msgspec.Struct, frozen=True):
    """The part of a log that one process of the try writes: a try that was deferred or rescheduled has several."""

    begins_at: int
    """Bytes, in the whole log."""
    stored: int
    """Bytes of this part so far."""


class LogNotStored(OSError, LeoflowError):
    """There is no room (ENOSPC, EDQUOT), or the place does not work; what was stored is not lost, and the rest can be
    sent again.

    `errno` is the system's, `strerror` and the text the sentence for people.
    """

    @override
    def __str__(self) -> str:
        return self.strerror or super().__str__()


class LogStore(Protocol):
    async def begin(self, log: TryLog, try_id: str, *, goes_on: bool) -> LogLeg:
        """Where this process of the try writes. `goes_on`: it is a new process of a try that has begun before, so that
        its part begins behind what is there. Asked again for the same try id the answer is the same part.

        Raises `LogNotStored`.
        """

    async def append(self, log: TryLog, offset: int, content: bytes) -> int:
        """Take `content` for where it belongs in the whole log; what is there already is skipped. Returns the new size.

        Writers of one log take turns, in the order in which they asked; writers of others are not held up. It can be
        read at once, and outlives this process after `flush`. Raises `LogNotStored`, after which the same call may be
        made again, and `ValueError` for a gap, which a correct agent never leaves: it starts at the size that it was
        told.
        """

    async def flush(self, log: TryLog) -> None:
        """Returns when all that was taken outlives this process. Raises `LogNotStored`: what was not stored is
        forgotten here, and whoever sent it begins again."""

    def write_line(self, log: TryLog, line: bytes) -> None:
        """One of our own lines behind what is there, at once: for the few that triggers and inline tasks write.

        One that cannot be written is dropped, since the work that it tells of goes on.
        """

    async def size(self, log: TryLog) -> int:
        """Bytes that can be read, 0 for none."""

    async def read(self, log: TryLog, offset: int, max_bytes: int) -> bytes:
        """From `offset` on; less than `max_bytes` only at the end, and empty beyond it or without a log."""

    async def delete_run(self, dag_id: str, run_id: str, *, dag_run_id: int) -> bool:
        """All logs of the run; False: the place does not answer, ask again. A straggler may still write afterwards;
        nothing raises when there are none."""

    async def where(self, log: TryLog) -> str:
        """For people: what it is called where it is kept."""
