"""Deletes what deleted dag runs leave beside the database: logs, large results, values in Redis. ADR 96.

A component of the term, and the only place that does it. Whatever deletes a run leaves a row; it goes when nothing of
the run is left, so that a kill, or a store that is away, costs time and nothing else. Everything is done twice, the
second time for what an agent that had not heard of the deletion wrote meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.contract.logs import LogNotStored, LogStore
from leoflowd.contract.xcoms import ValuesUnavailable
from leoflowd.store import deleted_runs
from leoflowd.store.database import Database
from leoflowd.store.deleted_runs import DeletedRun
from leoflowd.supervision import contain

log = telemetry.get_logger(__name__)

AT_ONCE = 4
"""Runs whose things are deleted side by side: a DAG of thousands must not take the store from those who work."""
BATCH = 64
STRAGGLERS = timedelta(minutes=10)
"""Longer than an agent keeps a log that could not be written."""
WORTH_A_WORD = 4
"""Failures in a row of one run."""
AGAIN_FIRST_S = 5.0
AGAIN_MAX_S = 600.0
"""After a failure: nobody waits for it."""


class DeletedRunsStatistics(msgspec.Struct, frozen=True):
    cleaned: int
    failures: int


class DeletedRuns:
    def __init__(self, *, db: Database, logs: LogStore, sweep_interval_s: float, now: Callable[[], datetime]) -> None:
        self._db = db
        self._logs = logs
        self._interval_s = sweep_interval_s
        self._now = now
        self._cleaned = self._failures = 0
        self._because: str | None = None

    def statistics(self) -> DeletedRunsStatistics:
        return DeletedRunsStatistics(self._cleaned, self._failures)

    def complaint(self) -> str | None:
        return self._because and f"logs or results of deleted dag runs are still there: {self._because}"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            if not await self.look():
                await trio.sleep(self._interval_s)

    async def look(self) -> bool:
        """At those that are due; are there more?"""
        async with self._db.scheduler.connection() as conn:
            due = await deleted_runs.list_due(conn, self._now(), limit=BATCH)
            self._because = await deleted_runs.fetch_last_failure(conn, attempts=WORTH_A_WORD)
        limit = trio.CapacityLimiter(AT_ONCE)
        async with trio.open_nursery() as nursery:
            for run in due:
                nursery.start_soon(self._take, run, limit)
        return len(due) == BATCH

    async def _take(self, run: DeletedRun, limit: trio.CapacityLimiter) -> None:
        async def record(failure: Exception) -> None:
            if isinstance(failure, StoreUnavailable) and not isinstance(failure, ValuesUnavailable):
                raise failure  # of all runs, not of this one
            await self._note(run, failure)

        async with limit, contain(record):
            await self._logs.delete_run(run.dag_id, run.run_id, dag_run_id=run.dag_run_id)
            await self._db.values.delete_run(run.dag_run_id, run.places)
            async with self._db.scheduler.connection() as conn:
                if run.is_clean:
                    await deleted_runs.delete_deleted_run(conn, run.dag_run_id)
                else:
                    await deleted_runs.mark_clean(conn, run.dag_run_id, self._now() + STRAGGLERS)
            self._cleaned += not run.is_clean

    async def _note(self, run: DeletedRun, failure: Exception) -> None:
        self._failures += 1
        again_at = self._now() + timedelta(seconds=again_in_s(run.attempts))
        if not isinstance(failure, LogNotStored | ValuesUnavailable):
            log.error("deleted_run_not_cleaned", exc_info=failure, dag_id=run.dag_id, run_id=run.run_id)
        elif run.attempts == 0:
            log.warning("deleted_run_cleaned_later", dag_id=run.dag_id, run_id=run.run_id, because=str(failure))
        async with self._db.scheduler.connection() as conn:
            await deleted_runs.mark_failed(conn, run.dag_run_id, str(failure) or type(failure).__name__, again_at)


def again_in_s(attempts: int) -> float:
    return min(AGAIN_MAX_S, AGAIN_FIRST_S * 2.0 ** min(attempts, 10))
