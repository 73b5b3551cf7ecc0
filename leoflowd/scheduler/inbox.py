"""What this daemon is told: one bounded channel, drained by the scheduler while it leads, and else by `reports`.

A sender of an outcome waits until it is committed, as a decision or as a row of `report`: that is what lets the agent
forget it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import trio

from leoflowd.contract.agent_messages import Outcome
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.contract.waits import WaitEnd
from leoflowd.store.run_views import Quota
from leoflowd.store.tries import TryRow

CAPACITY = 4096
"""A few seconds of the highest task rate; agents wait when it is full and keep their outcomes on disk meanwhile."""


class Reply:
    """Set once the event is committed, or when it was not: the sender tells it again then."""

    def __init__(self) -> None:
        self._done = trio.Event()
        self._failed_because: str | None = None
        self._kept: frozenset[str] = frozenset()

    def commit(self, *, but: frozenset[str] = frozenset()) -> None:
        """Done; of several ends of waits all `but` these."""
        self._kept = but
        self._done.set()

    def fail(self, because: str = "the scheduler stopped before it could commit this") -> None:
        self._failed_because = because
        self._done.set()

    async def wait(self) -> frozenset[str]:
        """What is to be told again later. Raises `StoreUnavailable` when that is all of it."""
        await self._done.wait()
        if self._failed_because is not None:
            raise StoreUnavailable(f"{self._failed_because}; tell it again")
        return self._kept


class RunChanged(msgspec.Struct, frozen=True):
    """Rows of this dag run were changed by someone else: read it again."""

    dag_run_id: int


class ReadAgain(msgspec.Struct, frozen=True):
    """From the scheduler to itself: what this run waits for outside of it has changed."""

    dag_run_id: int


class StartRuns(msgspec.Struct, frozen=True):
    """From the scheduler to itself: there may be room for queued runs of this quota."""

    quota: Quota


class DagChanged(msgspec.Struct, frozen=True):
    """Registered, paused, unpaused or deleted."""

    dag_id: str


class Sweep(msgspec.Struct, frozen=True):
    """Look for whatever a lost hint left undone."""


class TryStarted(msgspec.Struct, frozen=True, tag=True):
    row: TryRow
    at: datetime
    hostname: str
    pid: int | None


class TryEnded(msgspec.Struct, frozen=True, tag=True):
    row: TryRow
    outcome: Outcome
    rendered: dict[str, Any] | None
    reply: Reply


class HostAttached(msgspec.Struct, frozen=True, tag=True):
    """An agent of this launcher has come, and knew these tries at that moment. Not `is_new`: it stayed while its
    daemon's term ended, and these are the tries that it, or its executor, was given until then."""

    hostname: str
    known_try_ids: frozenset[str]
    launcher: str
    at: datetime
    is_new: bool = True


class TryLost(msgspec.Struct, frozen=True):
    """Nobody will ever report this try."""

    dag_run_id: int
    try_id: str
    because: str


class WaitsEnded(msgspec.Struct, frozen=True, tag=True):
    ends: tuple[WaitEnd, ...]
    reply: Reply


Report = TryStarted | TryEnded | HostAttached | WaitsEnded
"""What nobody tells again by itself, or only much later. Everything else is a hint: a new leader reads all of it."""

Event = (
    RunChanged
    | ReadAgain
    | StartRuns
    | DagChanged
    | Sweep
    | TryStarted
    | TryEnded
    | HostAttached
    | TryLost
    | WaitsEnded
)


class Inbox:
    """The agents' `HostReports`, and the hints' way in."""

    def __init__(self) -> None:
        self._send, self.receive = trio.open_memory_channel[Event](CAPACITY)

    def statistics(self) -> dict[str, int]:
        s = self.receive.statistics()
        return {"waiting": s.current_buffer_used, "senders_blocked": s.tasks_waiting_send}

    async def put(self, event: Event) -> None:
        await self._send.send(event)

    def hint(self, event: Event) -> None:
        """Drop it when the channel is full: the sweep is the guarantee."""
        with contextlib.suppress(trio.WouldBlock):
            self._send.send_nowait(event)

    async def try_started(self, row: TryRow, *, at: datetime, hostname: str, pid: int | None) -> None:
        await self._send.send(TryStarted(row, at, hostname, pid))

    async def try_ended(self, row: TryRow, outcome: Outcome, rendered: dict[str, Any] | None) -> None:
        reply = Reply()
        await self._send.send(TryEnded(row, outcome, rendered, reply))
        await reply.wait()

    async def waits_ended(self, ends: Sequence[WaitEnd]) -> frozenset[str]:
        """`contract.waits.WaitEnds` for the pool."""
        reply = Reply()
        await self._send.send(WaitsEnded(tuple(ends), reply))
        return await reply.wait()

    async def host_attached(self, *, hostname: str, known_try_ids: frozenset[str], launcher: str, at: datetime) -> None:
        await self._send.send(HostAttached(hostname, known_try_ids, launcher, at))

    async def term_ended(self, *, hostname: str, known_try_ids: frozenset[str], launcher: str, at: datetime) -> None:
        await self._send.send(HostAttached(hostname, known_try_ids, launcher, at, is_new=False))
