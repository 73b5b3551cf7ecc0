"""Logs that cannot be written here now (a full disk, mostly): the agents keep them, and this keeps count.

A chunk that fails is left out with all that follow it on the same stream. After a while the stream is ended, so that
the agent comes again and sends its log from where our file ends. Nothing is lost, and nothing turns in a hot loop.
"""

from __future__ import annotations

import asyncio

import trio
from grpclib import GRPCError, Status

from leoflowd import telemetry

log = telemetry.get_logger(__name__)

AGAIN_S = 10.0
"""Between a failed write and the next attempt for the same try."""
PATIENCE_S = 60.0
"""How long an outcome waits for its log, which may lie on the disk that it filled: the end of its try frees it."""
FORGOTTEN_S = 180.0
"""Nobody came again with that log."""


class LogFaults:
    """`session` tells the streams of one try apart: a new one may try again."""

    def __init__(self) -> None:
        self._faults: dict[str, _Fault] = {}

    @property
    def count(self) -> int:
        return len(self._faults)

    def complaint(self) -> str | None:
        """Why logs are missing. Forgets those that nobody came again with."""
        gone = trio.current_time() - FORGOTTEN_S
        self._faults = {try_id: fault for try_id, fault in self._faults.items() if fault.last_at > gone}
        if not self._faults:
            return None
        reason = next(iter(self._faults.values())).reason
        return f"the logs of {len(self._faults)} task(s) cannot be written and are kept by their agents: {reason}"

    def begin(self, try_id: str, session: float, error: OSError) -> None:
        now = trio.current_time()
        if not self._faults:
            log.error("task_logs_cannot_be_written", try_id=try_id, error=str(error))
        known = self._faults.get(try_id)
        first_at = now if known is None else known.first_at
        self._faults[try_id] = _Fault(error.strerror or type(error).__name__, session, first_at, now)

    def end(self, try_id: str) -> None:
        """It was written after all."""
        if self._faults.pop(try_id, None) is not None and not self._faults:
            log.info("task_logs_can_be_written_again")

    def leaves_out(self, try_id: str, session: float) -> bool:
        """Is this chunk behind one that was not written? Raises `GRPCError` when it is time to begin again."""
        fault = self._faults.get(try_id)
        if fault is None or fault.session != session:
            return False
        if trio.current_time() - fault.last_at >= AGAIN_S:
            raise fault.status()
        return True

    async def before_outcome(self, try_id: str, session: float) -> str | None:  # asyncio
        """Why the end of the log is missing, None if it is not. Raises `GRPCError` while there is hope for it."""
        fault = self._faults.get(try_id)
        if fault is None or fault.session != session:
            self.end(try_id)
            return None
        if trio.current_time() - fault.first_at < PATIENCE_S:
            await asyncio.sleep(AGAIN_S)
            raise fault.status()
        del self._faults[try_id]
        log.warning("task_log_given_up", try_id=try_id, error=fault.reason)
        return fault.reason

    async def pause(self, try_id: str, session: float, error: OSError) -> GRPCError:  # asyncio
        """For a try that cannot even begin: what to raise, after a while."""
        self.begin(try_id, session, error)
        await asyncio.sleep(AGAIN_S)
        return self._faults[try_id].status() if try_id in self._faults else GRPCError(Status.RESOURCE_EXHAUSTED)


class _Fault:
    __slots__ = ("first_at", "last_at", "reason", "session")

    def __init__(self, reason: str, session: float, first_at: float, last_at: float) -> None:
        self.reason = reason
        self.session = session
        self.first_at = first_at
        self.last_at = last_at

    def status(self) -> GRPCError:
        return GRPCError(Status.RESOURCE_EXHAUSTED, f"the log cannot be written: {self.reason}; keep it and come again")
