"""Tries that could not be launched, on their way to the scheduler. Whoever refuses one goes on at once.

The outboxes, the executor and the agent service refuse; only this component waits for the scheduler's commit. What
cannot be told now is told again: an agent that took a launch once is not given it twice, so nobody else would say it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.contract.values import shown
from leoflowd.supervision import backoff_s, contain

log = telemetry.get_logger(__name__)

CAPACITY = 4096
TOLD_AT_ONCE = 16
ATTEMPTS = 20
"""With pauses of up to 5 s: as long as Postgres may be away; then the try's own deadline ends it."""


class Refusal(msgspec.Struct, frozen=True):
    try_id: str
    kind: OutcomeKind
    """FAILED: the try failed, a retry may help. LOST: the cluster's or the daemon's fault, it costs no retry."""
    because: str


class RefusalsStatistics(msgspec.Struct, frozen=True):
    waiting: int
    told: int
    dropped: int


class Refusals:
    """`tell` reports one try's end and returns when that is committed; it may raise anything."""

    def __init__(self, tell: Callable[[Refusal], Awaitable[None]]) -> None:
        self._tell = tell
        self._open: set[str] = set()
        self._send, self._receive = trio.open_memory_channel[Refusal](CAPACITY)
        self._told = self._dropped = 0

    def statistics(self) -> RefusalsStatistics:
        return RefusalsStatistics(waiting=len(self._open), told=self._told, dropped=self._dropped)

    def refuse(self, try_id: str, kind: OutcomeKind, because: str) -> None:
        """Never waits; the same try twice is one refusal."""
        if try_id in self._open:
            return
        try:
            self._send.send_nowait(Refusal(try_id, kind, shown(because)))
        except trio.WouldBlock:
            self._dropped += 1
        else:
            self._open.add(try_id)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(TOLD_AT_ONCE):
                nursery.start_soon(self._work)
            task_status.started()

    async def _work(self) -> None:
        async for refusal in self._receive:
            log.warning("launch_refused", try_id=refusal.try_id, outcome=refusal.kind, because=refusal.because)

            async def record(failure: Exception, try_id: str = refusal.try_id) -> None:
                self._dropped += 1
                log.warning("refusal_not_told", try_id=try_id, error=str(failure))
                await trio.lowlevel.checkpoint()

            try:
                async with contain(record):
                    await self._patiently_tell(refusal)
                    self._told += 1
            finally:
                self._open.discard(refusal.try_id)

    async def _patiently_tell(self, refusal: Refusal) -> None:
        for attempt in range(1, ATTEMPTS):
            try:
                return await self._tell(refusal)
            except StoreUnavailable:
                await trio.sleep(backoff_s(attempt))
        return await self._tell(refusal)
