"""A cheap-task pool with everything around it in memory: a world to probe, a table, a scheduler that commits ends.

The wall clock is Trio's clock plus an offset that a test may step, so that one jump of the virtual clock moves both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import trio

from leoflow_sensors import time as time_kinds
from leoflow_sensors.kinds import KindSpec, Observation, ProbeContext, SensorKind, Verdict, Watcher
from leoflowd.cheap_tasks.pool import CheapTaskPool
from leoflowd.config import PoolConfig
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.contract.human import Answer
from leoflowd.contract.wait_spec import ProbeSpec, WaitSpec, WaitTerms
from leoflowd.contract.waits import NewWait, TriggerCall, WaitEnd, coalescing_key
from leoflowd.core.pool_shards import shard_of
from leoflowd.store.hints import Hint
from leoflowd.store.hitl_details import Settled
from leoflowd.store.waits import ArmPage, ArmRow, IdPage, InstanceKey, row_of

START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


class Spec(KindSpec, frozen=True, kw_only=True):
    """`name` is what the world is asked for."""

    name: str
    target: str | None = None
    shape: str | None = None
    dag: str | None = None
    hook: str | None = None


class Predicate(KindSpec, frozen=True, kw_only=True):
    equals: Any = True


class World:
    """What probes find. `answers[name]` is a value to observe, an exception to raise, or a function that gives one."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.probes: list[tuple[float, tuple[str, ...]]] = []
        """(Trio's time, names asked for in one trip)"""
        self.hold: trio.Event | None = None
        """While set and not happened, probes do not return."""
        self.at_once = 0
        self.at_once_max = 0

    def times(self, name: str) -> list[float]:
        return [at for at, names in self.probes if name in names]

    async def poke(self, spec: Spec, _context: ProbeContext) -> Observation:
        await self._begin((spec.name,))
        answer = self._answer(spec)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def poke_many(self, specs: Sequence[Spec], _context: ProbeContext) -> Sequence[Observation | Exception]:
        await self._begin(tuple(spec.name for spec in specs))
        return [self._answer(spec) for spec in specs]

    async def _begin(self, names: tuple[str, ...]) -> None:
        self.probes.append((trio.current_time(), names))
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            if self.hold is not None:
                await self.hold.wait()
            else:
                await trio.lowlevel.checkpoint()
        finally:
            self.at_once -= 1

    def _answer(self, spec: Spec) -> Observation | Exception:
        answer = self.answers.get(spec.name, False)
        if callable(answer):
            answer = answer()
        return answer if isinstance(answer, Exception) else Observation(value=answer, summary=f"saw {answer}")

    def kinds(self) -> dict[str, SensorKind[Any, Any]]:
        def probed(name: str, **more: Any) -> SensorKind[Any, Any]:
            return SensorKind(
                name=name,
                spec=Spec,
                predicate=Predicate,
                describe=lambda spec: f"{name} {spec.name}",
                poke=self.poke,
                judge=judge,
                **more,
            )

        found = [
            probed("probe"),
            probed("targeted", target=lambda spec, _connection: spec.target or "somewhere"),
            probed("batched", poke_many=self.poke_many, batch_key=lambda spec: spec.shape),
            probed("watched", watch=watch),
            probed("private", is_safe_to_share=False),
            *time_kinds.KINDS,
        ]
        return {kind.name: kind for kind in found}


def judge(predicate: Predicate, observation: Observation) -> Verdict:
    if isinstance(observation.value, Verdict):
        return observation.value
    if observation.value == "break the judge":
        raise KeyError("judge")
    return Verdict(met=observation.value == predicate.equals, event={"seen": observation.value}, xcom=None)


def watch(spec: Spec, watcher: Watcher, wake: Callable[[], None]) -> Callable[[], None]:
    return watcher.hook(spec.hook, wake) if spec.hook else watcher.dag(spec.dag or "", wake)


class Table:
    """Rows as Postgres would give them; `is_away` makes it fail."""

    def __init__(self) -> None:
        self.rows: dict[UUID, ArmRow] = {}
        self.paused: set[str] = set()
        self.is_away = False
        self.reads: list[str] = []
        self.during: Callable[[], None] | None = None
        """Called once, after the next read has its rows and before it returns them."""

    def add(self, *waits: NewWait) -> None:
        for wait in waits:
            self.rows[wait.id] = row_of(wait)

    async def list_to_arm(self, shards: Collection[int], *, after: InstanceKey, limit: int) -> ArmPage:
        rows = dict(self.rows)
        page = await self.list_current_ids_page(shards, after=after, limit=limit)
        return ArmPage(tuple(rows[one] for one in page.ids), page.next_after)

    async def list_of_dag(self, dag_id: str) -> Sequence[ArmRow]:
        await self._read(f"dag {dag_id}")
        return self._done([row for row in self._current() if row.dag_id == dag_id])

    async def list_of_run(self, dag_run_id: int) -> Sequence[ArmRow]:
        await self._read(f"run {dag_run_id}")
        return self._done([row for row in self._current() if row.dag_run_id == dag_run_id])

    async def list_by_ids(self, ids: Sequence[UUID]) -> Sequence[ArmRow]:
        await self._read(f"{len(ids)} rows")
        return self._done([self.rows[one] for one in ids if one in self.rows])

    async def list_current_ids(self, ids: Sequence[UUID]) -> frozenset[UUID]:
        await self._read(f"{len(ids)} ids")
        return self._done(frozenset(row.id for row in self._current()) & frozenset(ids))

    async def list_current_ids_page(self, shards: Collection[int], *, after: InstanceKey, limit: int) -> IdPage:
        """Dead rows take up a page too, as in Postgres. Each id is a task's."""
        await self._read("page")
        keys = {
            (row.dag_run_id, row.id.hex, -1): row.id for row in self.rows.values() if shard_of(row.id.int) in shards
        }
        page = sorted(key for key in keys if key > after)[:limit]
        current = {row.id for row in self._current()}
        ids = tuple(keys[key] for key in page if keys[key] in current)
        return self._done(IdPage(ids, page[-1] if len(page) == limit else None))

    async def set_poke_interval(self, wait_id: str, seconds: float) -> bool:
        await self._read(f"interval {wait_id} {seconds:g}")
        return UUID(wait_id) in self.rows

    def _current(self) -> list[ArmRow]:
        return [row for row in self.rows.values() if row.dag_id not in self.paused]

    async def _read(self, what: str) -> None:
        self.reads.append(what)
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise StoreUnavailable("the table is away")

    def _done(self, found: Any) -> Any:
        during, self.during = self.during, None
        if during is not None:
            during()
        return found


class Ends:
    """The scheduler's inbox: commits what it is told and removes the rows."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.ended: list[WaitEnd] = []
        self.batches: list[int] = []
        self.at: dict[str, float] = {}
        self.is_away = False
        self.attempts = 0
        self.at_once = 0
        self.at_once_max = 0
        self.hold: trio.Event | None = None

    async def waits_ended(self, ends: Sequence[WaitEnd]) -> frozenset[str]:
        self.attempts += 1
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            await trio.lowlevel.checkpoint()
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.at_once -= 1
        if self.is_away:
            raise StoreUnavailable("nobody commits")
        self.batches.append(len(ends))
        for end in ends:
            self.ended.append(end)
            self.at[end.id] = trio.current_time()
            self._table.rows.pop(UUID(end.id), None)
        return frozenset()

    def of(self, wait: NewWait) -> WaitEnd | None:
        return next((end for end in self.ended if end.id == str(wait.id)), None)

    def ids(self) -> set[str]:
        return {end.id for end in self.ended}


class Connections:
    def __init__(self) -> None:
        self.known: dict[str, ConnectionFacts | Exception] = {}
        self.asked: list[str] = []

    async def fetch(self, connection_id: str) -> ConnectionFacts | None:
        self.asked.append(connection_id)
        await trio.lowlevel.checkpoint()
        found = self.known.get(connection_id)
        if isinstance(found, Exception):
            raise found
        return found


class TriggerHosts:
    def __init__(self) -> None:
        self.running: dict[str, TriggerCall] = {}

    def start(self, wait_id: str, call: TriggerCall) -> None:
        self.running[wait_id] = call

    def cancel(self, wait_id: str) -> None:
        self.running.pop(wait_id, None)

    def explain(self, wait_id: str) -> str:
        return f"{self.running[wait_id].classpath} runs"


class Questions:
    """What people are asked: ids of waits. `answers` come in, `deadlines` pass; who is first is decided here."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | None] = {}
        """None: closed."""
        self.deadlines: dict[str, tuple[datetime, Answer | None]] = {}
        """When, and the answer that is taken then."""
        self.looks: list[float] = []
        self.is_away = False

    async def settle(self, now: datetime) -> Sequence[Settled]:
        self.looks.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise StoreUnavailable("the table is away")
        for wait_id, (at, answer) in tuple(self.deadlines.items()):
            if at <= now:
                self.answers.setdefault(wait_id, answer)
                del self.deadlines[wait_id]
        return [Settled(wait_id, answer) for wait_id, answer in self.answers.items()]

    async def next_deadline(self) -> datetime | None:
        await trio.lowlevel.checkpoint()
        return min((at for wait_id, (at, _) in self.deadlines.items() if wait_id not in self.answers), default=None)


class NoClient:
    def close(self) -> None:
        """There is nothing to close."""


class NoFacts:
    async def count_states(self, questions: Sequence[Any]) -> Sequence[Any]:
        raise AssertionError("nobody asks for other dag runs here")


async def no_deliveries(_name: str) -> Sequence[Any]:
    return ()


class PoolWorld:
    """`pool()` makes one on this world's clock; several may follow each other, as after restarts."""

    def __init__(self, **config: Any) -> None:
        self.config = PoolConfig(**config)
        self.world = World()
        self.kinds = self.world.kinds()
        self.table = Table()
        self.ends = Ends(self.table)
        self.connections = Connections()
        self.hosts = TriggerHosts()
        self.questions = Questions()
        self.clock_offset = timedelta()
        self._count = 0

    def now(self) -> datetime:
        return START + timedelta(seconds=trio.current_time()) + self.clock_offset

    def make_pool(self, hints: trio.MemoryReceiveChannel[Hint] | None = None) -> CheapTaskPool:
        """`hints`: from elsewhere; else `self.hint` sends them."""
        if hints is None:
            self.hint, hints = trio.open_memory_channel[Hint](100)
        return CheapTaskPool(
            table=self.table,
            questions=self.questions,
            ends=self.ends,
            hints=hints,
            kinds=self.kinds,
            connections=self.connections,
            dag_facts=NoFacts(),
            deliveries=no_deliveries,
            trigger_hosts=self.hosts,
            make_client=NoClient,
            config=self.config,
            now=self.now,
            jitter=lambda: 0.5,
        )

    @asynccontextmanager
    async def pool(self) -> AsyncIterator[CheapTaskPool]:
        made = self.make_pool()
        async with trio.open_nursery() as nursery:
            await nursery.start(made.run)
            yield made
            nursery.cancel_scope.cancel()

    def wait(
        self,
        name: str = "x",
        kind: str = "probe",
        *,
        dag_id: str = "d",
        run: int = 1,
        connection_id: str | None = None,
        spec: dict[str, Any] | None = None,
        wait_id: UUID | None = None,
        **terms: Any,
    ) -> NewWait:
        """A wait registered now. Of a probed kind unless told otherwise; deadline from its timeout."""
        self._count += 1
        wait_id = wait_id or UUID(int=(self._count << 64) + 1)
        arguments = {"name": name, **(spec or {})} if kind not in ("time", "trigger", "human") else spec or {}
        probe = ProbeSpec(kind=kind, arguments=arguments, connection_id=connection_id)
        built = WaitTerms(**terms)
        now = self.now()
        return NewWait(
            id=wait_id,
            dag_run_id=run,
            dag_id=dag_id,
            spec=WaitSpec(probe=probe, terms=built),
            key=coalescing_key(probe, str(wait_id)),
            registered_at=now,
            deadline_at=None if built.timeout_s is None else now + timedelta(seconds=built.timeout_s),
        )

    def timer(self, in_s: float, **more: Any) -> NewWait:
        moment = (self.now() + timedelta(seconds=in_s)).isoformat()
        return self.wait(kind="time", spec={"moment": moment}, **more)

    def register(self, pool: CheapTaskPool, *waits: NewWait) -> None:
        """As the scheduler does: committed first."""
        self.table.add(*waits)
        pool.register(waits)

    def withdraw(self, pool: CheapTaskPool, *waits: NewWait) -> None:
        """As the scheduler does when somebody marks or clears: first the rows, then the word to the pool."""
        for wait in waits:
            del self.table.rows[wait.id]
        pool.withdraw([str(wait.id) for wait in waits])
