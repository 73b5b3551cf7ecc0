"""Takes away history that is too old or too much, a little at a time, on connections of its own (ADR 93). A component
of the term.

A run's rows go first, in one transaction that writes down its name; then its log files and the values that are kept
beside the database. Whoever is killed in between finds the names when he starts again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import trio

from leoflowd import telemetry
from leoflowd.config import RetentionConfig
from leoflowd.contract.logs import LogStore
from leoflowd.store import retention
from leoflowd.store.database import Database
from leoflowd.store.retention import Limits

log = telemetry.get_logger(__name__)


class Retention:
    def __init__(self, *, db: Database, logs: LogStore, config: RetentionConfig, now: Callable[[], datetime]) -> None:
        self._db = db
        self._logs = logs
        self._config = config
        self._now = now
        self._removed = 0
        self._because: str | None = None

    def statistics(self) -> dict[str, int]:
        return {"removed_runs": self._removed}

    def complaint(self) -> str | None:
        return self._because

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            if not await self.look():
                await trio.sleep(self._config.interval_s)

    async def look(self) -> bool:
        """Remove some, a little at a time. Is there more to do at once?"""
        limits, count = limits_of(self._config, self._now()), 0
        if limits.is_set:
            async with self._db.history.connection() as conn:
                found = await retention.list_removable(conn, limits)
            for batch in retention.batches_of(found):
                async with self._db.history.connection() as conn:
                    count += await retention.remove_runs(conn, batch, self._now())
                await self._remove_what_is_beside()
                await trio.sleep(self._config.pause_s)
        if count:
            self._removed += count
            log.info("history_removed", dag_runs=count)
        await self._remove_what_is_beside()
        return count > 0

    async def _remove_what_is_beside(self) -> None:
        """Log files and values of removed runs, also of those that a person removed."""
        while True:
            async with self._db.history.connection() as conn:
                removed = await retention.list_removed(conn)
            if not removed:
                self._because = None
                return
            for run in removed:
                values = await self._db.values.delete_run(run.dag_run_id)
                logs = await self._logs.delete_run(run.dag_id, run.run_id, dag_run_id=run.dag_run_id)
                if not (values and logs):
                    self._because = "logs or values of removed dag runs wait for their store, which does not answer"
                    return
                async with self._db.history.connection() as conn:
                    await retention.forget_removed(conn, run.dag_run_id)


def limits_of(config: RetentionConfig, now: datetime) -> Limits:
    """0 in a setting: without that limit."""
    return Limits(before=now - timedelta(days=config.days) if config.days else None, keep=config.runs_per_dag or None)
