"""The guarantees behind the hints: at every interval, look for runs nobody announced and tries nobody speaks of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import trio

from leoflowd.config import SchedulerConfig
from leoflowd.contract.states import TaskInstanceState
from leoflowd.core.silence import Signs, SilenceLimits, lost_because
from leoflowd.scheduler.draft import EXECUTOR
from leoflowd.scheduler.inbox import DagChanged, Inbox, RunChanged, Sweep, TryLost
from leoflowd.scheduler.replicas import Others
from leoflowd.store import canaries, tries, waits, webhooks
from leoflowd.store.database import Database
from leoflowd.store.hints import Hint

HOUSEKEEPING = timedelta(hours=1)
DELIVERIES_KEPT = timedelta(days=7)
"""Longer than any sender repeats itself; a wait looks only at what came after it began."""


class Sweeper:
    """`signs(try_id)` is the memory of this daemon's agents service, `others` what other daemons hear."""

    def __init__(
        self,
        *,
        db: Database,
        inbox: Inbox,
        config: SchedulerConfig,
        now: Callable[[], datetime],
        signs: Callable[[str], Signs],
        others: Others,
    ) -> None:
        self._db = db
        self._inbox = inbox
        self._config = config
        self._now = now
        self._signs = signs
        self._others = others
        self._sweeps = self._lost = self._deleted = 0

    def statistics(self) -> dict[str, int]:
        return {"sweeps": self._sweeps, "lost_tries": self._lost, "deleted_rows": self._deleted}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        swept_rows = self._now()
        while True:
            await trio.sleep(self._config.sweep_interval_s)
            await self._inbox.put(Sweep())
            for lost in await self._silent_tries():
                self._lost += 1
                await self._inbox.put(lost)
            await self._judge_canaries()
            self._sweeps += 1
            if self._now() - swept_rows >= HOUSEKEEPING:
                swept_rows = self._now()
                await self._delete_old_rows(swept_rows)

    async def _delete_old_rows(self, now: datetime) -> None:
        """Rows that nobody looks at any more, and nobody had to remember to delete."""
        async with self._db.scheduler.connection() as conn:
            self._deleted += await waits.delete_dead_waits(conn)
            self._deleted += await webhooks.delete_old_deliveries(conn, now - DELIVERIES_KEPT)

    async def _judge_canaries(self) -> None:
        """Those that get no new run now have an end too."""
        async with self._db.scheduler.connection() as conn:
            for dag_id in await canaries.list_live(conn):
                async with conn.transaction():
                    await canaries.settle(conn, dag_id, self._now())

    async def _silent_tries(self) -> list[TryLost]:
        """Tries that Postgres believes to live and nobody spoke of for too long."""
        async with self._db.scheduler.connection() as conn:
            live = await tries.list_live_tries(conn, EXECUTOR)
        await self._others.look()
        self._others.forget_all_but({str(row.id) for row in live})
        limits = SilenceLimits.of_agents(self._config.agent_silence_s)
        lost = []
        for row in live:
            is_queued = row.state == TaskInstanceState.QUEUED
            try_id = str(row.id)
            signs = self._others.signs(try_id, self._signs(try_id), launcher=row.launcher)
            because = lost_because(signs, limits, is_queued=is_queued)
            if because is not None:
                lost.append(TryLost(row.dag_run_id, try_id, because))
        return lost


async def follow_hints(
    hints: trio.MemoryReceiveChannel[Hint],
    inbox: Inbox,
    look_at: Callable[[str | None], None],
    reports_came: Callable[[], None],
    callbacks_came: Callable[[], None],
    deadlines_came: Callable[[], None],
) -> None:
    """Carry hints into the inbox, to the timetable clock and to the reader of reports. Hooks concern the pool alone."""
    async for hint in hints:
        match hint.kind:
            case "run" if hint.value.isdecimal():
                inbox.hint(RunChanged(int(hint.value)))
            case "dag":
                inbox.hint(DagChanged(hint.value))
                look_at(hint.value)
            case "pools":
                inbox.hint(Sweep())
            case "reports":
                reports_came()
            case "callbacks":
                callbacks_came()
            case "deadlines":
                deadlines_came()
            case "all":  # some may have been missed
                inbox.hint(Sweep())
                look_at(None)
                reports_came()
                callbacks_came()
                deadlines_came()
            case _:
                pass
