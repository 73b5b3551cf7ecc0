"""One leader among the replicas, as a scope: losing the lock cancels everything that needed it.

A session advisory lock elects; a term in Postgres fences: every batch of the scheduler compares it, because a paused
process cannot know that it lost. A leader that the server does not hear is cut off, so that its lock is free for the
next one (`watching_limits`, ADR 22). In the middle of a pipeline the server cuts nobody off: who has the lock does it,
before its term, which waits for the last batch of the one before, and at each beat (ADR 68).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.config import SchedulerConfig, StoreConfig
from leoflowd.contract.errors import LeadershipLost
from leoflowd.store import leadership
from leoflowd.store.database import STORE, watching_limits
from leoflowd.store.trio_connection import TrioConnection, store_errors

log = telemetry.get_logger(__name__)


class LeaderStatistics(msgspec.Struct, frozen=True):
    leading: bool
    term: int
    terms_led: int


class Leadership:
    """`lead(term)` runs while this process is the leader; it is cancelled when the lock or the term is lost. `follow`
    runs while it only stands for it."""

    def __init__(
        self,
        *,
        conninfo: str,
        holder: str,
        config: SchedulerConfig,
        store: StoreConfig = STORE,
        now: Callable[[], datetime],
        follow: Callable[[], Awaitable[None]],
        lead: Callable[..., Awaitable[None]],
    ) -> None:
        self._conninfo = conninfo
        self._holder = holder
        self._config = config
        self._limits = watching_limits(store, speaks_every_s=max(config.leader_heartbeat_s, config.leader_retry_s))
        self._silent_s = 2 * store.silence_s
        self._now = now
        self._follow = follow
        self._lead = lead
        self._term = 0
        self._leading = False
        self._terms_led = 0

    def statistics(self) -> LeaderStatistics:
        return LeaderStatistics(self._leading, self._term, self._terms_led)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Wait for the lock, then lead until cancelled. Raises `StoreUnavailable` or `LeadershipLost`."""
        with store_errors("cannot stand for leader"):
            connection = await TrioConnection.open(self._conninfo, self._limits)
        try:
            task_status.started()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow)
                await self._wait_elected(connection)
                nursery.cancel_scope.cancel()
            await self._lead_while_beating(connection)
        finally:
            self._leading = False
            connection.pgconn.finish()

    async def _wait_elected(self, connection: TrioConnection) -> None:
        with store_errors("lost Postgres while standing for leader"):
            while not await leadership.try_lock(connection):  # noqa: ASYNC110  # the lock is in Postgres
                await trio.sleep(self._config.leader_retry_s)
            await self._end_silent(connection)
            self._term = await leadership.begin_term(connection, holder=self._holder, now=self._now())

    async def _lead_while_beating(self, connection: TrioConnection) -> None:
        log.info("leading", term=self._term, holder=self._holder)
        self._leading = True
        self._terms_led += 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._beat, connection)
            await self._lead(self._term)
            nursery.cancel_scope.cancel()

    async def _beat(self, connection: TrioConnection) -> None:
        while True:
            await trio.sleep(self._config.leader_heartbeat_s)
            with store_errors("the leader's connection broke"):
                still_leading = await leadership.beat(connection, term=self._term, now=self._now())
                await self._end_silent(connection)
            if not still_leading:
                raise LeadershipLost(f"term {self._term} is over")

    async def _end_silent(self, connection: TrioConnection) -> None:
        ended = await leadership.end_silent_pipelines(connection, silent_s=self._silent_s)
        if ended:
            log.warning("silent_sessions_ended", sessions=ended, because="their process stopped within a transaction")
