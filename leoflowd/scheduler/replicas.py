"""The daemons on one database: this one says that it lives and what it hears, a leader remembers when it heard others.

No clock is compared: a beat that has grown was sent since the last look.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.core.silence import Signs
from leoflowd.store import replicas
from leoflowd.store.database import Database
from leoflowd.supervision import contain

log = telemetry.get_logger(__name__)

BEAT_S = 5.0
GONE_AFTER = timedelta(days=1)
"""A daemon that was not heard for so long has left; its row goes."""


class Heart:
    """A component of every daemon. `heard` lists the tries that its agents spoke of a moment ago; `agents` counts
    those that are attached."""

    def __init__(
        self,
        *,
        db: Database,
        replica: str,
        name: str,
        heard: Callable[[], list[str]],
        agents: Callable[[], int],
        now: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._replica = replica
        self._name = name
        self._heard = heard
        self._agents = agents
        self._now = now
        self._beats = 0

    def statistics(self) -> dict[str, int]:
        return {"beats": self._beats}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """A beat that cannot be written is missed; the next one may come through."""
        task_status.started()
        while True:
            async with contain(_note):
                await self._beat()
            await trio.sleep(BEAT_S)

    async def _beat(self) -> None:
        now = self._now()
        async with self._db.agents.transaction() as conn:
            await replicas.beat(
                conn, replica=self._replica, name=self._name, tries=self._heard(), agents=self._agents(), now=now
            )
            await replicas.delete_gone(conn, now - GONE_AFTER)
        self._beats += 1


class Others:
    """What a leader knows of the other daemons, since its term began. `launcher`: of the tries that it launches itself;
    pods are launched by whoever leads, under one name."""

    def __init__(self, db: Database, replica: str, *, launcher: str | None = None) -> None:
        self._db = db
        self._replica = replica
        self._launcher = replica if launcher is None else launcher
        self._beats: dict[str, int] = {}
        self._heard_at: dict[str, float] = {}
        self._since = trio.current_time()

    def statistics(self) -> dict[str, int]:
        return {"replicas": len(self._beats), "tries": len(self._heard_at)}

    async def look(self) -> None:
        async with self._db.scheduler.connection() as conn:
            rows = await replicas.list_others(conn, self._replica)
        now = trio.current_time()
        for row in rows:
            if self._beats.get(row.id) != row.beat:
                self._heard_at.update((str(try_id), now) for try_id in row.tries)
        self._beats = {row.id: row.beat for row in rows}

    def forget_all_but(self, try_ids: set[str]) -> None:
        self._heard_at = {try_id: at for try_id, at in self._heard_at.items() if try_id in try_ids}

    def signs(self, try_id: str, local: Signs, *, launcher: str) -> Signs:
        """With what the others heard. A try that another daemon launched may be heard there first: time to tell that
        begins with this term."""
        now = trio.current_time()
        heard_at = self._heard_at.get(try_id)
        silent = [s for s in (local.silent_s, None if heard_at is None else now - heard_at) if s is not None]
        is_elsewhere = launcher not in ("", self._launcher)
        return msgspec.structs.replace(
            local,
            silent_s=min(silent, default=None),
            listening_s=min(local.listening_s, now - self._since) if is_elsewhere else local.listening_s,
            is_elsewhere=is_elsewhere,
        )


async def _note(failure: Exception) -> None:
    if not isinstance(failure, StoreUnavailable):
        log.error("replica_beat_failed", exc_info=failure)
    await trio.lowlevel.checkpoint()
