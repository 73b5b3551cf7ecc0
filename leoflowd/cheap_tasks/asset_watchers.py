"""Watchers of assets: their triggers run in trigger hosts for as long as they are wanted, and each event becomes one of
the asset (ADR 56).

Runs in the daemon that leads, on the trigger hosts that every daemon has. What is wanted stands in `asset_watcher`, so
that a kill loses only time; a hint about a DAG makes it look, and the clock too. `trigger_hosts` tells it what its
triggers say, in order, and a trigger is not asked for its next event before the last one is committed.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeVar, assert_never

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.contract.waits import TriggerCall
from leoflowd.store import asset_watchers
from leoflowd.store.asset_watchers import Watched
from leoflowd.store.database import Lane
from leoflowd.store.hints import Hint
from leoflowd.supervision import backoff_s, contain

log = telemetry.get_logger(__name__)

LOOK_AGAIN_S = 30.0
"""What a lost hint costs."""
RESTART_GAP_S = 1.0
"""A trigger that ended after an event is started again no sooner: as long as Airflow's triggerer takes for a round."""
RETRY_FIRST_S, RETRY_MAX_S = 2.0, 300.0
"""A trigger that failed waits so long, doubling with each failure in a row."""
ERROR_MAX = 2_000
"""Characters that are stored."""
PREFIX = "watcher-"
"""Of the wait ids of watchers' triggers; a task's are UUIDs."""
T = TypeVar("T")


class Hosts(Protocol):
    """`cheap_tasks.trigger_hosts`."""

    def start(self, wait_id: str, call: TriggerCall) -> None: ...

    def go_on(self, wait_id: str) -> None: ...

    def cancel(self, wait_id: str) -> None: ...


class Hints(Protocol):
    """`store.hints.HintListener`."""

    def subscribe(self) -> trio.MemoryReceiveChannel[Hint]: ...


class WatchersStatistics(msgspec.Struct, frozen=True):
    running: int
    events: int
    failures: int


class _Fired(msgspec.Struct, frozen=True):
    key: str
    payload: Any


class _Ended(msgspec.Struct, frozen=True):
    key: str


class _Failed(msgspec.Struct, frozen=True):
    key: str
    error: str


_Said = _Fired | _Ended | _Failed


class _Running(msgspec.Struct, eq=False):
    call: str
    since: datetime
    failures: int
    """Of its starts before this one, in a row."""
    has_fired: bool = False


class _Resting(msgspec.Struct, frozen=True):
    """As its row has it; a look that is under way may have read that before."""

    call: str
    until: datetime
    failures: int


class AssetWatchers:
    """`run` once for each term. `fired`, `ended` and `failed` are what trigger hosts call, with the wait id; they never
    wait, and what is said of a trigger that nobody wants any more is dropped."""

    def __init__(self, *, lane: Lane, hosts: Hosts, hints: Hints, now: Callable[[], datetime]) -> None:
        self._lane = lane
        self._hosts = hosts
        self._hints = hints
        self._now = now
        self._running: dict[str, _Running] = {}
        self._resting: dict[str, _Resting] = {}
        self._wanted = trio.Event()
        self._events = self._failures = 0

    def statistics(self) -> WatchersStatistics:
        return WatchersStatistics(len(self._running), self._events, self._failures)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        # At most one event of each trigger that runs, and its end: bounded by the watchers.
        self._says, said = trio.open_memory_channel[_Said](math.inf)
        self._resting.clear()
        try:
            async with self._hints.subscribe() as hints, trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, hints)
                nursery.start_soon(self._take, said)
                task_status.started()
                while True:
                    self._wanted = trio.Event()
                    next_look_at = await self._patiently(self._look)
                    with trio.move_on_after(max(0.0, (next_look_at - self._now()).total_seconds())):
                        await self._wanted.wait()
        finally:
            for key in self._running:
                self._hosts.cancel(PREFIX + key)
            self._running.clear()

    # --- what trigger hosts say ----------------------------------------------------------------------------------

    def fired(self, wait_id: str, payload: Any) -> None:
        self._say(_Fired(wait_id.removeprefix(PREFIX), payload))

    def ended(self, wait_id: str) -> None:
        self._say(_Ended(wait_id.removeprefix(PREFIX)))

    def failed(self, wait_id: str, error: str) -> None:
        self._say(_Failed(wait_id.removeprefix(PREFIX), error))

    def _say(self, said: _Said) -> None:
        if said.key in self._running:
            self._says.send_nowait(said)

    # --- what is wanted ------------------------------------------------------------------------------------------

    async def _listen(self, hints: trio.MemoryReceiveChannel[Hint]) -> None:
        async for hint in hints:
            if hint.kind in ("dag", "all"):
                self._wanted.set()

    async def _look(self) -> datetime:
        """Starts and ends triggers; when to look again."""
        async with self._lane.connection() as conn:
            wanted = {one.key: one for one in await asset_watchers.list_watched(conn)}
        for key, running in list(self._running.items()):
            if key not in wanted or wanted[key].call != running.call:
                log.info("watcher_ended", key=key)
                self._hosts.cancel(PREFIX + key)
                del self._running[key]
        self._resting = {
            key: one for key, one in self._resting.items() if key in wanted and wanted[key].call == one.call
        }
        now = self._now()
        next_look_at = now + timedelta(seconds=LOOK_AGAIN_S)
        for one in wanted.values():
            if one.key not in self._running:
                resting = self._resting.get(one.key)
                due_at = max(one.retry_at or now, now if resting is None else resting.until)
                if due_at <= now:
                    self._start(one, one.failures if resting is None else resting.failures, now)
                else:
                    next_look_at = min(next_look_at, due_at)
        return next_look_at

    def _start(self, one: Watched, failures: int, now: datetime) -> None:
        self._running[one.key] = _Running(one.call, now, failures)
        call = msgspec.json.decode(one.call, type=TriggerCall)
        log.info("watcher_started", key=one.key, trigger=call.classpath, dag_id=call.dag_id)
        self._hosts.start(PREFIX + one.key, call)

    # --- what comes of it ----------------------------------------------------------------------------------------

    async def _take(self, everything: trio.MemoryReceiveChannel[_Said]) -> None:
        async for said in everything:
            running = self._running.get(said.key)
            if running is None:
                continue  # ended meanwhile, because nobody wants it any more
            match said:
                case _Fired():
                    await self._store(said, running)
                case _Ended() if running.has_fired:
                    self._rest(said.key, running, self._now() + timedelta(seconds=RESTART_GAP_S), failures=0)
                case _Ended():
                    await self._fail(said.key, running, "the trigger ended without an event")
                case _Failed():
                    await self._fail(said.key, running, said.error)
                case _:
                    assert_never(said)

    async def _store(self, fired: _Fired, running: _Running) -> None:
        refused = ""

        async def record(failure: Exception) -> None:
            nonlocal refused
            refused = f"its event cannot be stored: {failure}"
            await trio.lowlevel.checkpoint()

        async with contain(record):
            await self._patiently(partial(self._commit, fired, self._now()))
        if refused:
            self._hosts.cancel(PREFIX + fired.key)
            await self._fail(fired.key, running, refused)
        else:
            self._events += 1
            running.has_fired, running.failures = True, 0
            self._hosts.go_on(PREFIX + fired.key)

    async def _commit(self, fired: _Fired, at: datetime) -> None:
        """`at` stays the same when it is tried again: what was committed, and not answered, is known by it."""
        async with self._lane.transaction() as conn:
            made = await asset_watchers.insert_watched_event(conn, fired.key, fired.payload, at)
        log.info("watcher_fired", key=fired.key, events=made)

    async def _fail(self, key: str, running: _Running, error: str) -> None:
        now = self._now()
        ran_long = (now - running.since).total_seconds() > RETRY_MAX_S
        failures = 1 if ran_long else running.failures + 1
        retry_at = now + timedelta(seconds=min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** min(failures - 1, 16)))
        self._failures += 1
        log.warning("watcher_failed", key=key, error=error, failures=failures, retry_at=str(retry_at))
        shown = error.replace("\0", "")[:ERROR_MAX]
        await self._patiently(partial(self._record, key, failures, shown, retry_at))
        self._rest(key, running, retry_at, failures)

    async def _record(self, key: str, failures: int, error: str, retry_at: datetime) -> None:
        async with self._lane.transaction() as conn:
            await asset_watchers.mark_failed(conn, key, failures=failures, error=error, retry_at=retry_at)

    def _rest(self, key: str, running: _Running, until: datetime, failures: int) -> None:
        if self._running.get(key) is running:
            del self._running[key]
            self._resting[key] = _Resting(running.call, until, failures)
            self._wanted.set()

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Again until Postgres answers."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await work()
            except StoreUnavailable as error:
                log.warning("watchers_wait_for_postgres", attempt=attempt, error=str(error))
                await trio.sleep(backoff_s(attempt))
