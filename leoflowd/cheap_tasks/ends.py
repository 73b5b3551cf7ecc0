"""Ends of waits on their way to the scheduler: in batches, a few of them at a time, again until somebody commits.

A batch has all that is known of its dag runs: of a hundred thousand waits that end at once each run is decided on once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import trio

from leoflowd import telemetry
from leoflowd.cheap_tasks.records import WaitRecord, WaitState
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.contract.waits import WaitEnd, WaitEnds
from leoflowd.supervision import backoff_s

log = telemetry.get_logger(__name__)

BATCH_MAX = 500
KEPT_FOR_S = 5.0
"""Until the end of a wait whose dag run was set aside is reported again."""
IN_FLIGHT_MAX = 4
"""Batches at the scheduler: while one is committed the next one is planned; more would only wait in its inbox."""


class EndReporter:
    """`committed(record)` is called once for each wait whose end is stored, or refused because it is stale."""

    def __init__(self, ends: WaitEnds, committed: Callable[[WaitRecord], None]) -> None:
        self._ends = ends
        self._committed = committed
        self._queues: dict[int, list[tuple[WaitRecord, WaitEnd]]] = {}
        """By dag run; who has waited longest comes first."""
        self._filled = trio.Event()
        self._seats = trio.CapacityLimiter(IN_FLIGHT_MAX)

    def __len__(self) -> int:
        """Waiting to be sent."""
        return sum(map(len, self._queues.values()))

    def put(self, record: WaitRecord, end: WaitEnd) -> None:
        self._queues.setdefault(record.run, []).append((record, end))
        self._filled.set()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await self._filled.wait()
                self._filled = trio.Event()
                while self._queues:
                    await self._seats.acquire_on_behalf_of(seat := object())
                    nursery.start_soon(self._report, self._next_batch(), seat)

    def _next_batch(self) -> list[tuple[WaitRecord, WaitEnd]]:
        batch: list[tuple[WaitRecord, WaitEnd]] = []
        while self._queues and len(batch) < BATCH_MAX:
            run, ends = next(iter(self._queues.items()))
            room = BATCH_MAX - len(batch)
            batch += ends[:room]
            if len(ends) > room:
                self._queues[run] = ends[room:]  # first still
            else:
                del self._queues[run]
        return batch

    async def _report(self, batch: list[tuple[WaitRecord, WaitEnd]], seat: object) -> None:
        attempt = 0
        kept: Collection[str] = ()
        while True:
            # Whoever was withdrawn meanwhile is gone; its id may belong to the same try's next wait by now.
            batch = [(record, end) for record, end in batch if record.state is WaitState.ENDING]
            if not batch:
                break
            attempt += 1
            try:
                kept = await self._ends.waits_ended([end for _, end in batch])
                break
            except StoreUnavailable as error:
                log.warning("wait_ends_not_committed", waits=len(batch), attempt=attempt, error=str(error))
                await trio.sleep(backoff_s(attempt))
        for record, end in batch:
            if end.id not in kept:
                self._committed(record)
        self._seats.release_on_behalf_of(seat)
        if kept:
            # Their dag run was set aside: they wait for a person without holding up anyone else's.
            await trio.sleep(KEPT_FOR_S)
            for record, end in batch:
                if end.id in kept:
                    self.put(record, end)
