"""Takes away history that is too old or too much, a little at a time, on connections of its own: dag runs (ADR 93), and
the audit log (ADR 101). A component of the term. What a run leaves beside the database is `deleted_runs`'s to remove.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.config import RetentionConfig
from leoflowd.store import audit_seals, retention
from leoflowd.store.database import Database
from leoflowd.store.retention import Limits
from leoflowd.store.secret_box import KeysRefused, SecretBox

log = telemetry.get_logger(__name__)


class RetentionStatistics(msgspec.Struct, frozen=True):
    removed_runs: int
    removed_audit_rows: int


class Retention:
    """`secrets` has the keys that the audit log is sealed with."""

    def __init__(
        self, *, db: Database, config: RetentionConfig, secrets: SecretBox, now: Callable[[], datetime]
    ) -> None:
        self._db = db
        self._config = config
        self._secrets = secrets
        self._now = now
        self._removed = 0
        self._removed_audit_rows = 0
        self._because: str | None = None

    def statistics(self) -> RetentionStatistics:
        return RetentionStatistics(self._removed, self._removed_audit_rows)

    def complaint(self) -> str | None:
        return self._because

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            is_more = await self.look()
            await self.look_at_audit_log()
            if not is_more:
                await trio.sleep(self._config.interval_s)

    async def look(self) -> bool:
        """Remove some dag runs, a little at a time. Is there more to do at once?"""
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

    async def look_at_audit_log(self) -> None:
        """Remove all rows that are too old, a little at a time; none that may be evidence of a change."""
        if not self._config.audit_days:
            return
        before, count = self._now() - timedelta(days=self._config.audit_days), 0
        while removed := await self._remove_audit_rows(before):
            count += removed
            await trio.sleep(self._config.pause_s)
        if count:
            self._removed_audit_rows += count
            log.info("audit_rows_removed", rows=count, older_than=before.isoformat())

    async def _remove_audit_rows(self, before: datetime) -> int:
        try:
            (key_id, _), keys = self._secrets.audit_key(), self._secrets.audit_keys()
        except KeysRefused as error:
            self._because = f"old rows of the audit log stay: {error}"
            return 0
        async with self._db.history.transaction() as conn:
            removed = await audit_seals.remove_sealed(conn, keys, key_id=key_id, before=before, now=self._now())
            others = await audit_seals.remove_unsealed(conn, before)
        broken = removed.broken
        self._because = (
            None
            if broken is None
            else (
                f"old rows of the audit log stay from position {broken.position} on, since it is broken there: "
                f"{broken.because}; see `leoflow audit verify`"
            )
        )
        return removed.count + others


def limits_of(config: RetentionConfig, now: datetime) -> Limits:
    """0 in a setting: without that limit."""
    return Limits(before=now - timedelta(days=config.days) if config.days else None, keep=config.runs_per_dag or None)
