"""`contract.logs.LogStore` in memory; `tests/conformance/logs` holds it to what the disk does."""

from __future__ import annotations

import errno

import trio

from leoflowd.contract.logs import LogLeg, LogNotStored, TryLog


class MemoryLogs:
    def __init__(self) -> None:
        self.contents: dict[TryLog, bytes] = {}
        self.is_full = False
        self._legs: dict[TryLog, tuple[str, int]] = {}

    async def begin(self, log: TryLog, try_id: str, *, goes_on: bool) -> LogLeg:
        await trio.lowlevel.checkpoint()
        size = len(self.contents.get(log, b""))
        known, begins_at = self._legs.get(log, ("", 0))
        if known != try_id:
            begins_at = size if goes_on else 0
        if begins_at:
            self._legs[log] = (try_id, begins_at)
        return LogLeg(begins_at, size - begins_at)

    async def append(self, log: TryLog, offset: int, content: bytes) -> int:
        await trio.lowlevel.checkpoint()
        return self._append(log, offset, content)

    async def flush(self, log: TryLog) -> None:
        await trio.lowlevel.checkpoint()

    def write_line(self, log: TryLog, line: bytes) -> None:
        if not self.is_full:
            self._append(log, len(self.contents.get(log, b"")), line)

    async def size(self, log: TryLog) -> int:
        await trio.lowlevel.checkpoint()
        return len(self.contents.get(log, b""))

    async def read(self, log: TryLog, offset: int, max_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.contents.get(log, b"")[offset : offset + max_bytes]

    async def delete_run(self, dag_id: str, run_id: str, *, dag_run_id: int) -> None:
        await trio.lowlevel.checkpoint()
        deleted = (dag_id, run_id, dag_run_id)
        self.contents = {
            log: content
            for log, content in self.contents.items()
            if (log.dag_id, log.run_id, log.dag_run_id) != deleted
        }

    async def where(self, log: TryLog) -> str:
        await trio.lowlevel.checkpoint()
        return repr(log)

    def _append(self, log: TryLog, offset: int, content: bytes) -> int:
        if self.is_full:
            raise LogNotStored(errno.ENOSPC, "the memory is full")
        known = self.contents.get(log, b"")
        if offset > len(known):
            raise ValueError(f"log chunk at {offset} leaves a gap after {len(known)}")
        self.contents[log] = known + content[len(known) - offset :]
        return len(self.contents[log])
