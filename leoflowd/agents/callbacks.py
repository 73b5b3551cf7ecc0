"""Where starts and ends of callbacks go: to their rows at once. They decide nothing, so that no leader is needed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from leoflowd import telemetry
from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.store import callbacks, event_log
from leoflowd.store.database import Connection, Database
from leoflowd.store.tries import TryRow

log = telemetry.get_logger(__name__)

AGAIN = frozenset({OutcomeKind.LOST, OutcomeKind.TERMINATED})
"""Infrastructure ended it. Everything else is an end, whatever the author's functions did."""


class CallbackReports:
    """`try_session.Reports` for rows that are `CallbackTry`s."""

    def __init__(self, db: Database, now: Callable[[], datetime]) -> None:
        self._db = db
        self._now = now
        self.failed = 0

    async def try_started(self, row: TryRow, *, at: datetime, hostname: str, pid: int | None) -> None:
        async with self._db.agents.connection() as conn:
            await callbacks.mark_started(conn, str(row.id), at=at, hostname=hostname)

    async def try_ended(self, row: TryRow, outcome: Outcome, rendered: dict[str, Any] | None) -> None:
        """Returns when it is committed, or was refused because another end came first."""
        try_id, now = str(row.id), self._now()
        is_success = outcome.kind is OutcomeKind.SUCCESS
        async with self._db.agents.transaction() as conn:
            if outcome.kind in AGAIN:
                current = await callbacks.fetch_row(conn, try_id)
                if current is not None:
                    await callbacks.mark_lost(conn, current, because=outcome.because, now=now)
                return
            is_first = await callbacks.mark_ended(
                conn,
                try_id,
                is_success=is_success,
                because=outcome.because,
                started_at=outcome.start_date,
                now=now,
            )
            if is_first and not is_success:
                await _note_failure(conn, row, outcome, now)
        if is_first and not is_success:
            self.failed += 1
            log.warning(
                "callback_failed", dag_id=row.dag_id, run_id=row.run_id, task_id=row.task_id, because=outcome.because
            )


async def _note_failure(conn: Connection, row: TryRow, outcome: Outcome, now: datetime) -> None:
    await event_log.insert_event(
        conn,
        now=now,
        event="callback failed",
        owner="leoflow",
        dag_id=row.dag_id,
        run_id=row.run_id,
        task_id=row.task_id or None,
        map_index=row.map_index,
        try_number=row.try_number,
        extra={"because": outcome.because},
    )
