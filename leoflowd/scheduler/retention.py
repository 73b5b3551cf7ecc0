"""Takes away history that is too old or too much, a little at a time, on connections of its own (ADR 93). A component
of the term. What a run leaves beside the database is `deleted_runs`'s to remove.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.config import RetentionConfig
from leoflowd.store import retention
from leoflowd.store.database import Database
from leoflowd.store.retention import Limits

log = telemetry.get_logger(__name__)


class RetentionStatistics(msgspec.Struct, frozen=True):
    removed_runs: int


class Retention:
    def __init__(self, *, db: Database, config: RetentionConfig, now: Callable[[], datetime]) -> None:
        self._db = db
        self._config = config
        self._now = now
        self._removed = 0

    def statistics(self) -> RetentionStatistics:
        return RetentionStatistics(self._removed)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            if not await self.look():
                await trio.sleep(self._config.interval_s)

    async def look(self) -> bool:
        """Remove some, a little at a time. Is there more to do at once?"""
        limits, count = limits_of(self._config, self._now()), 0
        if not limits.is_set:
            return False
        async with self._db.history.connection() as conn:
            found = await retention.list_removable(conn, limits)
        for batch in retention.batches_of(found):
            async with self._db.history.connection() as conn:
                count += await retention.remove_runs(conn, batch)
            await trio.sleep(self._config.pause_s)
        if count:
            self._removed += count
            log.info("history_removed", dag_runs=count)
        return count > 0


def limits_of(config: RetentionConfig, now: datetime) -> Limits:
    """0 in a setting: without that limit."""
    return Limits(before=now - timedelta(days=config.days) if config.days else None, keep=config.runs_per_dag or None)
