"""Keeping memory and table in step: all waits of a share, what hints name, and a sweep over ids as the guarantee.

The pool is told of new and withdrawn waits directly; this is for what it could not be told: a restart, a person who
cleared or paused, another daemon. A wait that came or went while a page was read is left as memory has it, because
that is newer than the page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar
from uuid import UUID

import trio

from leoflowd import telemetry
from leoflowd.cheap_tasks.records import Parked, WaitRecord
from leoflowd.cheap_tasks.wait_table import WaitTable
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.core.pool_shards import shard_of
from leoflowd.store.hints import Hint
from leoflowd.store.waits import FIRST_PAGE, ArmPage, ArmRow, InstanceKey
from leoflowd.supervision import backoff_s

log = telemetry.get_logger(__name__)

PAGE = 10_000
SLICE = 500
"""Rows taken or looked at without letting others run."""
HINTS_TOGETHER_S = 0.2
"""Registering a thousand DAGs is a thousand hints, and one look."""
SWEEP_SHARE = 0.05
"""Of the time, at most: a sweep over a million rows takes seconds, and then waits longer for the next."""

T = TypeVar("T")


class Arming:
    """`take` parks a row unless it is parked; `drop` forgets a wait without an end; `hook_arrived` hears of hooks,
    `answered` that somebody answered, `finished` which DAG something finished in, `asked` what somebody asked another
    daemon to do with a wait, or that its terms have changed."""

    def __init__(
        self,
        *,
        table: WaitTable,
        hints: trio.MemoryReceiveChannel[Hint],
        parked: Parked,
        take: Callable[[ArmRow], None],
        drop: Callable[[WaitRecord], None],
        hook_arrived: Callable[[str], None],
        answered: Callable[[], None],
        finished: Callable[[str], None],
        asked: Callable[[str, str], None],
        held: set[int],
        sweep_interval_s: float,
    ) -> None:
        self._table = table
        self._hints = hints
        self._parked = parked
        self._take = take
        self._drop = drop
        self._hook_arrived = hook_arrived
        self._answered = answered
        self._finished = finished
        self._asked = asked
        self._held = held
        """Shards that are watched here."""
        self._reading = trio.Lock()
        self._sweep_interval_s = sweep_interval_s
        self._runs: set[int] = set()
        self._begun: set[int] = set()
        self._dags: set[str] = set()
        self._sweep_wanted = False
        self._wanted = trio.Event()
        self._left: set[int] | None = None
        """Waits that left memory since the page that is being looked at was asked for."""

    def note_left(self, number: int) -> None:
        if self._left is not None:
            self._left.add(number)

    # --- a share ----------------------------------------------------------------------------------------------------

    async def arm(self, shards: Collection[int]) -> int:
        """Everything in these shards that is waited for now, and how many that are. Waits for as long as Postgres does
        not answer."""
        armed = 0
        async with self._one_look():
            send, pages = trio.open_memory_channel[ArmPage](0)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_pages, shards, send)
                async for page in pages:  # while one is taken, the next one is read
                    await self._take_missing(page.rows)
                    armed += len(page.rows)
        return armed

    async def _read_pages(self, shards: Collection[int], send: trio.MemorySendChannel[ArmPage]) -> None:
        async with send:
            after: InstanceKey | None = FIRST_PAGE
            while after is not None:
                page = await self._read(partial(self._table.list_to_arm, shards, after=after, limit=PAGE))
                await send.send(page)
                after = page.next_after

    async def release(self, shards: Collection[int]) -> None:
        """Another daemon watches them from now on: forgotten, without an end."""
        for place, record in enumerate(tuple(self._parked.records.values())):
            if place % PAGE == 0:
                await trio.lowlevel.checkpoint()
            if shard_of(record.number) in shards and not record.is_dead:
                self._drop(record)

    @asynccontextmanager
    async def _one_look(self) -> AsyncIterator[None]:
        """One at a time reads the table: what leaves memory meanwhile is noted once."""
        async with self._reading:
            self._left = set()
            try:
                yield
            finally:
                self._left = None

    # --- afterwards -------------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Until the hints end."""
        async for hint in self._hints:
            match hint.kind:
                case "hook":
                    self._hook_arrived(hint.value)
                case "human":
                    self._answered()
                case "run":
                    if int(hint.value) in self._parked.runs:
                        self._runs.add(int(hint.value))
                        self._wanted.set()
                case "waits":  # of one dag run, or any
                    if hint.value:
                        self._begun.add(int(hint.value))
                    self._sweep_wanted |= not hint.value
                    self._wanted.set()
                case "finished":
                    self._finished(hint.value)
                case "probe" | "fire" | "fail" | "terms":
                    self._asked(hint.kind, hint.value)
                case "dag":
                    self._dags.add(hint.value)
                    self._wanted.set()
                case "all":
                    self._answered()
                    self._sweep_wanted = True
                    self._wanted.set()
                case _:
                    pass  # not about waits: `pools`

    async def reconcile(self) -> None:
        next_sweep = trio.current_time() + self._sweep_interval_s
        while True:
            with trio.move_on_at(next_sweep):
                await self._wanted.wait()
                await trio.sleep(HINTS_TOGETHER_S)
            self._wanted = trio.Event()
            runs, begun, dags = self._runs, self._begun, self._dags
            self._runs, self._begun, self._dags = set(), set(), set()
            await self._look_at_runs(runs - begun)
            for dag_run_id in sorted(begun):
                await self._look_at_begun(dag_run_id)
            for dag_id in sorted(dags):
                await self._look_at_dag(dag_id)
            if self._sweep_wanted or trio.current_time() >= next_sweep:
                self._sweep_wanted = False
                began = trio.current_time()
                await self._sweep()
                took_s = trio.current_time() - began
                next_sweep = began + max(self._sweep_interval_s, took_s / SWEEP_SHARE)

    async def _look_at_runs(self, runs: Iterable[int]) -> None:
        """Their rows changed: those that are not waited for any more go."""
        held = [record for run in runs for record in self._parked.runs.of(run)]
        for start in range(0, len(held), PAGE):
            asked = held[start : start + PAGE]
            ids = [UUID(int=record.number) for record in asked]
            current = {one.int for one in await self._read(partial(self._table.list_current_ids, ids))}
            self._drop_all(record for record in asked if record.number not in current)

    async def _look_at_dag(self, dag_id: str) -> None:
        """It was paused, unpaused, registered or deleted."""
        held = await self._held_of(dag_id) if self._parked.by_dag[dag_id] else []
        await self._compare(held, partial(self._table.list_of_dag, dag_id))

    async def _look_at_begun(self, dag_run_id: int) -> None:
        """The scheduler of another daemon has begun waits of this run, or ended some."""
        await self._compare(self._parked.runs.of(dag_run_id), partial(self._table.list_of_run, dag_run_id))

    async def _compare(self, held: Collection[WaitRecord], read: Callable[[], Awaitable[Sequence[ArmRow]]]) -> None:
        async with self._one_look():
            rows = await self._read(read)
            current = {row.id.int for row in rows}
            self._drop_all(record for record in held if record.number not in current)
            await self._take_missing(rows)

    async def _held_of(self, dag_id: str) -> list[WaitRecord]:
        """Looks at all waits, because an index would cost each of them; pausing is rare."""
        held: list[WaitRecord] = []
        for place, record in enumerate(tuple(self._parked.records.values())):
            if place % PAGE == 0:
                await trio.lowlevel.checkpoint()
            if record.dag == dag_id:
                held.append(record)
        return held

    async def _sweep(self) -> None:
        """Every current id once: those unknown here are armed, those that no page had are dropped."""
        self._parked.sweep += 1
        after: InstanceKey | None = FIRST_PAGE
        while after is not None and self._held:
            async with self._one_look():
                held = frozenset(self._held)
                page = await self._read(partial(self._table.list_current_ids_page, held, after=after, limit=PAGE))
                await self._mark(page.ids)
            after = page.next_after
        for place, record in enumerate(tuple(self._parked.records.values())):
            if place % PAGE == 0:
                await trio.lowlevel.checkpoint()
            if record.sweep != self._parked.sweep and not record.is_dead:
                self._drop(record)

    async def _mark(self, page: Sequence[UUID]) -> None:
        missing: list[UUID] = []
        for place, wait_id in enumerate(page):
            if place % SLICE == 0:
                await trio.lowlevel.checkpoint()
            record = self._parked.records.get(wait_id.int)
            if record is not None:
                record.sweep = self._parked.sweep
            elif self._left is None or wait_id.int not in self._left:
                missing.append(wait_id)
        if missing:
            await self._take_missing(await self._read(partial(self._table.list_by_ids, missing)))

    async def _take_missing(self, rows: Sequence[ArmRow]) -> None:
        for place, row in enumerate(rows):
            if place % SLICE == 0:
                await trio.lowlevel.checkpoint()
            if (self._left is None or row.id.int not in self._left) and shard_of(row.id.int) in self._held:
                self._take(row)

    def _drop_all(self, records: Iterable[WaitRecord]) -> None:
        for record in records:
            if not record.is_dead:
                self._drop(record)

    async def _read(self, read: Callable[[], Awaitable[T]]) -> T:
        """Again until Postgres answers."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await read()
            except StoreUnavailable as error:
                log.warning("waits_not_read", attempt=attempt, error=str(error))
                await trio.sleep(backoff_s(attempt))
