"""The guarantees behind the hints: at every interval, look for runs nobody announced and tries nobody speaks of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import trio

from leoflowd.config import SchedulerConfig
from leoflowd.contract.states import TaskInstanceState
from leoflowd.core.silence import SilenceLimits, lost_because
from leoflowd.scheduler.draft import EXECUTOR
from leoflowd.scheduler.inbox import DagChanged, Inbox, RunChanged, Sweep, TryLost
from leoflowd.store import tries, waits, webhooks
from leoflowd.store.database import Database
from leoflowd.store.hints import Hint

HOUSEKEEPING = timedelta(hours=1)
DELIVERIES_KEPT = timedelta(days=7)
"""Longer than any sender repeats itself; a wait looks only at what came after it began."""


class Sweeper:
    """`last_heard(try_id)` is the agents service's memory, in Trio time."""

    def __init__(
        self,
        *,
        db: Database,
        inbox: Inbox,
        config: SchedulerConfig,
        now: Callable[[], datetime],
        last_heard: Callable[[str], float | None],
    ) -> None:
        self._db = db
        self._inbox = inbox
        self._config = config
        self._now = now
        self._last_heard = last_heard
        self._sweeps = self._lost = self._deleted = 0

    def statistics(self) -> dict[str, int]:
        return {"sweeps": self._sweeps, "lost_tries": self._lost, "deleted_rows": self._deleted}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        began = swept_rows = self._now()
        while True:
            await trio.sleep(self._config.sweep_interval_s)
            await self._inbox.put(Sweep())
            for lost in await self._silent_tries(began):
                self._lost += 1
                await self._inbox.put(lost)
            self._sweeps += 1
            if self._now() - swept_rows >= HOUSEKEEPING:
                swept_rows = self._now()
                await self._delete_old_rows(swept_rows)

    async def _delete_old_rows(self, now: datetime) -> None:
        """Rows that nobody looks at any more, and nobody had to remember to delete."""
        async with self._db.scheduler.connection() as conn:
            self._deleted += await waits.delete_dead_waits(conn)
            self._deleted += await webhooks.delete_old_deliveries(conn, now - DELIVERIES_KEPT)

    async def _silent_tries(self, began: datetime) -> list[TryLost]:
        """Tries that Postgres believes to run and nobody spoke of for too long, counted from our own start."""
        async with self._db.scheduler.connection() as conn:
            live = await tries.list_live_tries(conn, EXECUTOR)
        limits = SilenceLimits(lost_after_s=self._config.agent_silence_s)
        now, clock = self._now(), trio.current_time()
        lost = []
        for row in live:
            heard = self._last_heard(str(row.id))
            because = lost_because(
                launched_at=row.queued_at or began,
                last_heard_at=None if heard is None else now - timedelta(seconds=clock - heard),
                listening_since=began,
                now=now,
                limits=limits,
            )
            if row.state != TaskInstanceState.QUEUED and because is not None:
                lost.append(TryLost(row.dag_run_id, str(row.id), because))
        return lost


async def follow_hints(
    hints: trio.MemoryReceiveChannel[Hint], inbox: Inbox, look_at: Callable[[str | None], None]
) -> None:
    """Carry hints into the inbox and to the timetable clock. Hooks concern the pool alone."""
    async for hint in hints:
        match hint.kind:
            case "run" if hint.value.isdecimal():
                inbox.hint(RunChanged(int(hint.value)))
            case "dag":
                inbox.hint(DagChanged(hint.value))
                look_at(hint.value)
            case "pools":
                inbox.hint(Sweep())
            case "all":  # some may have been missed
                inbox.hint(Sweep())
                look_at(None)
            case _:
                pass
