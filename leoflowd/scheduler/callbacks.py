"""Launches callbacks, as many at a time as there are slots, and finds those whose processes were lost (ADR 48).

A component of the term. What is to be done stands in `callback`, so that a kill loses only time: `came` is the hint,
a look at every sweep the guarantee. It never touches a task: starts and ends are written by the agents' service.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import trio

from leoflowd import telemetry
from leoflowd.config import CallbacksConfig
from leoflowd.contract.dispatch import Dispatch, launch_fault
from leoflowd.core.silence import Signs, SilenceLimits, lost_because
from leoflowd.scheduler.bell import Bell
from leoflowd.scheduler.replicas import Others
from leoflowd.store import callbacks
from leoflowd.store.callbacks import CallbackRow
from leoflowd.store.database import Database
from leoflowd.store.run_views import BrokenRun

log = telemetry.get_logger(__name__)

LOOKED_AT = 256
"""Open rows that are in memory together; those with an executor come first, and are no more than the slots."""
LAUNCH_AGAIN = timedelta(seconds=5)
"""As tries: its launch may have been lost with a leader, an agent or a full queue."""


class Callbacks:
    """`signs(try_id)` is the memory of this daemon's agents service, `others` what other daemons hear."""

    def __init__(
        self,
        *,
        db: Database,
        dispatches: trio.MemorySendChannel[Dispatch],
        config: CallbacksConfig,
        sweep_interval_s: float,
        silence_s: float,
        now: Callable[[], datetime],
        signs: Callable[[str], Signs],
        others: Others,
        launcher: str,
    ) -> None:
        self._db = db
        self._dispatches = dispatches
        self._config = config
        self._sweep_interval_s = sweep_interval_s
        self._limits = SilenceLimits.of_agents(silence_s)
        self._now = now
        self._signs = signs
        self._others = others
        self._launcher = launcher
        self._bell = Bell()
        self._launched = self._lost = self._refused = self._waiting = 0

    def statistics(self) -> dict[str, int]:
        return {"launched": self._launched, "lost": self._lost, "refused": self._refused, "waiting": self._waiting}

    def came(self) -> None:
        self._bell.ring()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await self._bell.answer(self._look, every_s=self._sweep_interval_s)

    async def _look(self) -> None:
        async with self._db.scheduler.connection() as conn:
            rows = await callbacks.list_open(conn, at_most=LOOKED_AT)
        self._waiting = len(rows)
        if not rows:
            return
        given = [row for row in rows if row.launcher]
        await self._end_lost(given)
        await self._launch([*self._unstarted(given), *self._next([row for row in rows if not row.launcher], given)])

    async def _end_lost(self, given: Sequence[CallbackRow]) -> None:
        if not given:
            return
        await self._others.look()
        self._others.forget_all_but({str(row.try_id) for row in given})
        for row in given:
            try_id = str(row.try_id)
            signs = self._others.signs(try_id, self._signs(try_id), launcher=row.launcher)
            because = lost_because(signs, self._limits, is_queued=row.state == "queued")
            if because is not None:
                await self._lose(row, because)

    async def _lose(self, row: CallbackRow, because: str) -> None:
        self._lost += 1
        log.warning("callback_lost", callback_id=row.id, because=because)
        async with self._db.scheduler.transaction() as conn:
            await callbacks.mark_lost(conn, row, because=because, now=self._now())

    def _unstarted(self, given: Sequence[CallbackRow]) -> list[CallbackRow]:
        """Given to our executor a while ago, and no word of it since."""
        return [
            row
            for row in given
            if row.state == "queued"
            and row.launcher == self._launcher
            and row.launched_at is not None
            and self._now() - row.launched_at > LAUNCH_AGAIN
        ]

    def _next(self, waiting: Sequence[CallbackRow], given: Sequence[CallbackRow]) -> list[CallbackRow]:
        """The oldest, for the slots that are free; of one try one at a time, since they share its log."""
        busy = {row.place for row in given}
        chosen: list[CallbackRow] = []
        for row in waiting:
            if len(given) + len(chosen) >= self._config.slots:
                break
            if row.place not in busy:
                busy.add(row.place)
                chosen.append(row)
        return chosen

    async def _launch(self, rows: Sequence[CallbackRow]) -> None:
        if not rows:
            return
        async with self._db.scheduler.transaction() as conn:
            try_ids = [str(row.try_id) for row in rows]
            ours = await callbacks.mark_launched(conn, try_ids, launcher=self._launcher, now=self._now())
        for row in rows:
            if str(row.try_id) in ours:
                await self._dispatch(row)

    async def _dispatch(self, row: CallbackRow) -> None:
        """After the commit: launching it twice starts it once."""
        try:
            async with self._db.scheduler.connection() as conn:
                found = await callbacks.load_dispatch(conn, row, timeout_s=self._config.timeout_s)
        except BrokenRun as broken:
            await self._refuse(row, str(broken))
            return
        if found is None:
            return  # its run was deleted, and its row with it
        fault = launch_fault(found.spec)
        if fault is not None:
            await self._refuse(row, fault)
            return
        await self._dispatches.send(found)
        self._launched += 1

    async def _refuse(self, row: CallbackRow, because: str) -> None:
        self._refused += 1
        async with self._db.scheduler.transaction() as conn:
            now = self._now()
            await callbacks.mark_ended(
                conn, str(row.try_id), is_success=False, because=because, started_at=now, now=now
            )
