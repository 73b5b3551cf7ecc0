"""Makes the runs of backfills, some at a time, and says when one is over. Leader only; ADR 49.

It decides nothing that is not in the row of the moment: `store.backfills.make_some` decides a moment and makes its run
in one transaction. The runs then start like all others, within the limit of their backfill (`views.active_count`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.store import backfills
from leoflowd.store.backfills import OpenBackfill
from leoflowd.store.database import Database
from leoflowd.supervision import contain

log = telemetry.get_logger(__name__)

LOOK_AGAIN_S = 30.0
"""A hint that was lost, or a look that failed, costs no more than this."""


class BackfillStatistics(msgspec.Struct, frozen=True):
    open: int
    decided: int
    completed: int
    failed: int


class BackfillMaker:
    def __init__(self, *, db: Database, now: Callable[[], datetime]) -> None:
        self._db = db
        self._now = now
        self._wake = trio.Event()
        self._open: frozenset[str] = frozenset()
        """DAGs with a backfill that is not over, as of the last look."""
        self._decided = 0
        self._completed = 0
        self._failed = 0

    def statistics(self) -> BackfillStatistics:
        return BackfillStatistics(len(self._open), self._decided, self._completed, self._failed)

    def look(self) -> None:
        """A backfill may have been asked for, paused, or cancelled."""
        self._wake.set()

    def run_ended(self, dag_id: str) -> None:
        """It may have been the last one of a backfill."""
        if dag_id in self._open:
            self._wake.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            self._wake = trio.Event()
            await self._look()
            with trio.move_on_after(LOOK_AGAIN_S):
                await self._wake.wait()

    async def _look(self) -> None:
        async with self._db.scheduler.transaction() as conn:
            self._completed += await backfills.complete_finished(conn, self._now())
            found = await backfills.list_open(conn)
        self._open = frozenset(one.dag_id for one in found)
        for one in found:
            if not one.is_paused:
                await self._make_contained(one)

    async def _make_contained(self, one: OpenBackfill) -> None:
        """What is wrong with one backfill holds up no other."""

        async def record(failure: Exception) -> None:
            if isinstance(failure, StoreUnavailable):
                raise failure  # of all, not of this one
            self._failed += 1
            log.error("backfill_failed", exc_info=failure, backfill_id=one.id, dag_id=one.dag_id)
            await trio.lowlevel.checkpoint()

        async with contain(record):
            await self._make(one)

    async def _make(self, one: OpenBackfill) -> None:
        while True:
            async with self._db.scheduler.transaction() as conn:
                decided = await backfills.make_some(conn, one.id, self._now())
            self._decided += decided
            if decided:
                log.info("backfill_runs_made", backfill_id=one.id, dag_id=one.dag_id, decided=decided)
            if decided < backfills.MADE_AT_ONCE:
                return
