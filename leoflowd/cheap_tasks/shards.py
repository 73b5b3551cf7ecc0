"""This daemon's share of the waits: which shards it watches, as the lock table of Postgres has it (ADR 62).

A component beside the pool. Its session holds a lock for this daemon and one for each of its shards; whoever dies
loses them with the session, and the others find them free at their next look. Watching a wait twice, or late, is
harmless: ends are fenced by the id of the wait.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.config import StoreConfig
from leoflowd.core.pool_shards import MEMBERS_FROM, SHARDS, plan_shift
from leoflowd.store import pool_shards
from leoflowd.store.database import STORE, watching_limits
from leoflowd.store.trio_connection import TrioConnection, store_errors

log = telemetry.get_logger(__name__)

LOOK_S = 0.5
SETTLE_S = 2.0
"""After Postgres was away nobody claims for so long: the others come back for their own."""
_LAST_MEMBER = 2**31 - 1


class Share(Protocol):
    """The pool: what it is told to watch, and to watch no more."""

    def take(self, shards: frozenset[int]) -> None:
        """From now on these too."""

    async def arm(self, shards: frozenset[int]) -> None:
        """Returns when every wait of these shards is watched, or they were given up."""

    async def give_up(self, shards: frozenset[int]) -> None:
        """Returns when none of theirs is watched."""


class ShardStatistics(msgspec.Struct, frozen=True):
    shards: int
    daemons: int
    """That share the waits, this one included."""
    moves: int


class Shards:
    def __init__(
        self,
        *,
        conninfo: str,
        share: Share,
        store: StoreConfig = STORE,
        member: Callable[[], int] = lambda: random.randint(MEMBERS_FROM, _LAST_MEMBER),  # noqa: S311  no secret
    ) -> None:
        self._conninfo = conninfo
        self._share = share
        self._limits = watching_limits(store, speaks_every_s=LOOK_S)
        self._new_member = member
        self._held: frozenset[int] = frozenset()
        self._members = 1
        self._moves = 0
        self._new: frozenset[int] = frozenset()
        """Held, and not armed yet."""
        self._claimed = trio.Event()
        self._is_first = True
        """No look of this session yet."""

    @property
    def is_alone(self) -> bool:
        """No other daemon has, or may have, a share."""
        return self._members == 1 and len(self._held) == SHARDS

    def statistics(self) -> ShardStatistics:
        return ShardStatistics(len(self._held), self._members, self._moves)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Started with its first share watched. Raises `StoreUnavailable`; what it watches, it goes on watching."""
        with store_errors("cannot share the waits out"):
            connection = await TrioConnection.open(self._conninfo, self._limits)
        try:
            member = await self._join(connection)
            if self._members > 1:
                await trio.sleep(SETTLE_S)
            self._is_first = True
            async with trio.open_nursery() as nursery:
                armed = trio.Event()
                nursery.start_soon(self._arm_all, armed)
                nursery.start_soon(self._look_again_and_again, connection, member)
                await armed.wait()
                task_status.started()
        finally:
            connection.pgconn.finish()

    async def _look_again_and_again(self, connection: TrioConnection, member: int) -> None:
        while True:
            await self._look(connection, member)
            await trio.sleep(LOOK_S)

    async def _join(self, connection: TrioConnection) -> int:
        with store_errors("cannot join those who share the waits"):
            while True:
                member = self._new_member()
                if await pool_shards.take_locks(connection, [member]):
                    return member

    async def _look(self, connection: TrioConnection, member: int) -> None:
        with store_errors("lost Postgres while sharing the waits"):
            locks = await pool_shards.list_locks(connection)
            shards = {lock.number: lock.is_own for lock in locks if lock.number < MEMBERS_FROM}
            members = {lock.number for lock in locks if lock.number >= MEMBERS_FROM}
            own = frozenset(number for number, is_own in shards.items() if is_own)
            shift = plan_shift(member, members, own, shards)
            claimed = await pool_shards.take_locks(connection, shift.claim) if shift.claim else frozenset()
        self._members = len(members)
        await self._change((own | claimed) - shift.give_up)
        if shift.give_up:
            with store_errors("lost Postgres while giving waits up"):
                await pool_shards.free_locks(connection, shift.give_up)

    async def _change(self, wanted: frozenset[int]) -> None:
        """Given up first in memory, then in Postgres; claimed the other way round."""
        lost, new = self._held - wanted, wanted - self._held
        if not lost and not new and not self._is_first:
            return
        self._is_first = False
        self._moves += 1
        log.info("waits_shared_out", shards=len(wanted), claimed=len(new), given_up=len(lost), daemons=self._members)
        if lost:
            await self._share.give_up(lost)
        self._held = wanted
        self._share.take(new)
        self._new |= new
        self._claimed.set()

    async def _arm_all(self, armed: trio.Event) -> None:
        """Beside the looks: a million waits take longer to read than the server waits for a word of ours."""
        while True:
            await self._claimed.wait()
            self._claimed = trio.Event()
            new, self._new = self._new, frozenset()
            if new:
                await self._share.arm(new)
            armed.set()
