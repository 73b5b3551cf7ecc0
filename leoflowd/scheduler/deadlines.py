"""Declares deadlines of dag runs as missed when they are, and no sooner (ADR 58).

A component of the term. It sleeps until the next row is due; `came` says that a sooner one may be there, a look at
every sweep is the guarantee. What is called then is a row of `callback`, written in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import trio

from leoflowd import telemetry
from leoflowd.scheduler.bell import Bell
from leoflowd.store import deadlines
from leoflowd.store.database import Database

log = telemetry.get_logger(__name__)


class Deadlines:
    """`call_back` tells the launcher of callbacks that there are some."""

    def __init__(
        self, *, db: Database, sweep_interval_s: float, now: Callable[[], datetime], call_back: Callable[[], None]
    ) -> None:
        self._db = db
        self._sweep_interval_s = sweep_interval_s
        self._now = now
        self._call_back = call_back
        self._bell = Bell()
        self._missed = 0

    def statistics(self) -> dict[str, int]:
        return {"missed": self._missed}

    def came(self) -> None:
        self._bell.ring()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await self._bell.answer(self._look, every_s=self._sweep_interval_s)

    async def _look(self) -> float | None:
        """Seconds until the next one is due; None when there is none."""
        async with self._db.scheduler.transaction() as conn:
            missed = await deadlines.miss_due(conn, self._now())
            due_at = await deadlines.fetch_next(conn)
        if missed:
            self._missed += missed
            log.info("deadlines_missed", count=missed)
            self._call_back()
        return None if due_at is None else max(0.0, (due_at - self._now()).total_seconds())
