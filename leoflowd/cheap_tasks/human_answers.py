"""Ends the waits for people: when an answer is stored, and when a question's time has passed (ADR 41).

An answer is a row that the API wrote, in whatever daemon it was given; a hint says that there is one, a look now and
then is the guarantee. The deadline is no timeout of the pool's: who was first, a person or the clock, is decided by the
row of the question, so that an answer that was accepted is the one that counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import trio

from leoflowd import telemetry
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.store import hitl_details
from leoflowd.store.database import Lane
from leoflowd.store.hitl_details import Settled
from leoflowd.supervision import backoff_s

log = telemetry.get_logger(__name__)

LOOK_S = 30.0
"""While somebody is asked: how long an answer whose hint was lost stays unseen."""
CLOCK_S = 2.0
"""The wall clock may be set: so long at most is slept on what it showed before a deadline."""
SOON_S = 0.05
"""At least this long, when a deadline falls into the look itself."""


class QuestionTable(Protocol):
    """Both raise `StoreUnavailable`."""

    async def settle(self, now: datetime) -> Sequence[Settled]:
        """Close what is overdue; what is settled, answered or not, and still waited for."""

    async def next_deadline(self) -> datetime | None: ...


class StoredQuestions:
    """`QuestionTable`."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def settle(self, now: datetime) -> Sequence[Settled]:
        async with self._lane.transaction() as conn:
            await hitl_details.settle_overdue(conn, now)
        async with self._lane.connection() as conn:
            return await hitl_details.list_settled(conn)

    async def next_deadline(self) -> datetime | None:
        async with self._lane.connection() as conn:
            return await hitl_details.fetch_next_deadline(conn)


class HumanAnswers:
    """`ended` is called for every settled question, again and again until its wait is gone; `count`: how many wait."""

    def __init__(
        self,
        table: QuestionTable,
        *,
        ended: Callable[[Settled], None],
        count: Callable[[], int],
        now: Callable[[], datetime],
    ) -> None:
        self._table = table
        self._ended = ended
        self._count = count
        self._now = now
        self._wanted = trio.Event()

    def look(self) -> None:
        """There may be an answer, or a question whose deadline nobody knows yet."""
        self._wanted.set()

    async def run(self) -> None:
        attempt = 0
        while True:
            self._wanted = trio.Event()
            if self._count():
                try:
                    sleep_s = await self._look()
                    attempt = 0
                except StoreUnavailable as error:
                    attempt += 1
                    sleep_s = backoff_s(attempt)
                    log.warning("answers_not_read", attempt=attempt, error=str(error))
            else:
                sleep_s = math.inf
            with trio.move_on_after(sleep_s):
                await self._wanted.wait()

    async def _look(self) -> float:
        """Seconds until the next look."""
        for settled in await self._table.settle(self._now()):
            self._ended(settled)
        deadline = await self._table.next_deadline()
        if deadline is None:
            return LOOK_S
        left_s = (deadline - self._now()).total_seconds()
        return LOOK_S if left_s > LOOK_S else min(max(left_s, SOON_S), CLOCK_S)
