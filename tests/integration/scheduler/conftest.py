"""A real scheduler on a real Postgres, with the test in the place of the executor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import trio

from leoflowd.config import SchedulerConfig
from leoflowd.contract.agent_messages import Outcome, OutcomeKind, XComItem
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.contract.dispatch import Dispatch
from leoflowd.contract.states import DagRunType, TriggeredBy
from leoflowd.contract.waits import NewWait
from leoflowd.core.try_spec import TryFacts
from leoflowd.scheduler.draft import EXECUTOR, INLINE
from leoflowd.scheduler.effects import Offer
from leoflowd.scheduler.inbox import HostAttached, Inbox, RunChanged
from leoflowd.scheduler.loop import Scheduler
from leoflowd.scheduler.outbox import Outbox
from leoflowd.scheduler.tracing import Tracing
from leoflowd.store import dag_runs, dags, leadership, tries
from leoflowd.store.database import Database
from tests.conftest import PATIENCE_S


def utc_now() -> datetime:
    return datetime.now(UTC)


def dag(dag_id: str, *tasks: TaskSpec, **fields: Any) -> DagSpec:
    return DagSpec(dag_id=dag_id, tasks=tasks, **fields)


def task(task_id: str, *upstream: str, **fields: Any) -> TaskSpec:
    return TaskSpec(task_id=task_id, operator="PythonOperator", upstream_task_ids=upstream, **fields)


def attached(*known_try_ids: str, launcher: str = "") -> HostAttached:
    """The agent of this launcher comes, and knows these tries."""
    return HostAttached("host", frozenset(known_try_ids), launcher, utc_now())


class FakePool:
    """What the scheduler told the cheap-task pool."""

    def __init__(self) -> None:
        self.registered: list[NewWait] = []
        self.withdrawn: list[str] = []
        self.finished: set[str] = set()

    def register(self, waits: Sequence[NewWait]) -> None:
        self.registered += waits

    def withdraw(self, wait_ids: Sequence[str], dag_run_ids: Collection[int]) -> None:
        self.withdrawn += wait_ids

    def dag_finished(self, dag_ids: Collection[str]) -> None:
        self.finished |= set(dag_ids)


class World:
    """One leader, its inbox, and what the test may ask and do."""

    def __init__(self, db: Database, room: int = 1000) -> None:
        """`room`: batches of launches that fit into the executors' outbox, which the test empties."""
        self.db = db
        self.inbox = Inbox()
        self.ended: list[str] = []
        self.pool = FakePool()
        self.offers: dict[str, Offer] = {EXECUTOR: self._offer, INLINE: self._offer}
        self._offered, self.launches = trio.open_memory_channel[list[TryFacts]](room)
        self._scope = trio.CancelScope()
        self.scheduler: Scheduler | None = None
        self.tracing: Tracing | None = None

    @asynccontextmanager
    async def leading(self, holder: str = "test", launcher: str = "", **config: Any) -> AsyncIterator[Scheduler]:
        async with self.db.scheduler.connection() as conn:
            term = await leadership.begin_term(conn, holder=holder, now=utc_now())
        scheduler = Scheduler(
            db=self.db,
            receive=self.inbox.receive,
            offers=self.offers,
            config=SchedulerConfig(**config),
            term=term,
            now=utc_now,
            run_ended=self.ended.append,
            waits=self.pool,
            launcher=launcher,
            tracing=self.tracing,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(scheduler.run)
            yield scheduler
            nursery.cancel_scope.cancel()

    def _offer(self, tries: Sequence[TryFacts]) -> int:
        try:
            self._offered.send_nowait(list(tries))
        except trio.WouldBlock:
            return len(tries)
        return 0

    async def dispatched(self, count: int = 1) -> tuple[list[Dispatch], list[str]]:
        """The next `count` launches through an outbox: what went to an executor, and why the others did not."""
        done_in, done = trio.open_memory_channel[Any](count)
        outbox = Outbox(db=self.db, dispatches=done_in, refuse=lambda _id, why: done_in.send_nowait(why), now=utc_now)
        with trio.fail_after(PATIENCE_S):
            while outbox.statistics().waiting < count:
                outbox.offer(await self.launches.receive())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(outbox.run)
                results = [await done.receive() for _ in range(count)]
                nursery.cancel_scope.cancel()
        sent = [result for result in results if isinstance(result, Dispatch)]
        return sent, [result for result in results if isinstance(result, str)]

    async def register(self, spec: DagSpec) -> dags.VersionRow:
        async with self.db.api.transaction() as conn:
            await dags.register_dag(conn, spec, now=utc_now(), fileloc="x", relative_fileloc="x")
            return await dags.fetch_version(conn, spec.dag_id)

    async def create(
        self,
        spec: DagSpec,
        run_id: str = "r1",
        logical_date: datetime | None = None,
        *,
        run_after: datetime | None = None,
        is_announced: bool = True,
    ) -> int:
        version = await self.register(spec)
        async with self.db.api.transaction() as conn:
            dag_run_id = await dag_runs.insert_dag_run(
                conn,
                version=version,
                run_id=run_id,
                run_type=DagRunType.MANUAL,
                logical_date=logical_date,
                data_interval_start=logical_date,
                data_interval_end=logical_date,
                run_after=run_after or utc_now(),
                conf={},
                triggered_by=TriggeredBy.TEST,
                triggering_user_name=None,
                note=None,
                now=utc_now(),
            )
        if is_announced:
            await self.inbox.put(RunChanged(dag_run_id))
        return dag_run_id

    async def settled(self) -> None:
        """Everything that was sent before is decided, and so is what followed from it."""
        with trio.fail_after(PATIENCE_S):
            for _ in range(2):  # the answer comes with the commit, what follows from it before the next batch
                await self.inbox.waits_ended(())

    async def launched_ids(self, count: int) -> dict[str, str]:
        """task id -> try id of the next `count` launches."""
        found: dict[str, str] = {}
        with trio.fail_after(PATIENCE_S):
            while len(found) < count:
                found |= {one.task.task_id: one.try_id for one in await self.launches.receive()}
        return found

    async def launched_of(self, *dag_ids: str) -> dict[str, str]:
        """DAG id -> try id, when each of these DAGs has launched one task."""
        found: dict[str, str] = {}
        with trio.fail_after(PATIENCE_S):
            while found.keys() != set(dag_ids):
                found |= {one.run.dag_id: one.try_id for one in await self.launches.receive()}
        return found

    def none_launched(self) -> bool:
        try:
            self.launches.receive_nowait()
        except trio.WouldBlock:
            return True
        return False

    async def start(self, try_id: str) -> None:
        row = await self.row(try_id)
        await self.inbox.try_started(row, at=utc_now(), hostname="host", pid=1)

    async def end(self, try_id: str, kind: OutcomeKind = OutcomeKind.SUCCESS, **xcoms: str) -> None:
        row = await self.row(try_id)
        outcome = Outcome(
            kind=kind,
            because="the test said so",
            start_date=utc_now(),
            end_date=utc_now(),
            xcoms=tuple(XComItem(key=key, value=value) for key, value in xcoms.items()),
        )
        with trio.fail_after(PATIENCE_S):
            await self.inbox.try_ended(row, outcome, None)

    async def row(self, try_id: str) -> tries.TryRow:
        async with self.db.api.connection() as conn:
            row = await tries.fetch_try(conn, try_id)
        assert row is not None, "that try is gone"
        return row

    async def states(self, dag_run_id: int) -> dict[str, str | None]:
        async with self.db.api.connection() as conn:
            cursor = await conn.execute(
                b"SELECT task_id, state FROM task_instance WHERE dag_run_id = %(id)s", {"id": dag_run_id}
            )
            return dict(await cursor.fetchall())

    async def run_state(self, dag_run_id: int) -> str:
        async with self.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT state FROM dag_run WHERE id = %(id)s", {"id": dag_run_id})
            row = await cursor.fetchone()
        assert row is not None
        return str(row[0])

    async def until(self, met: Callable[[], Any]) -> None:
        """Wait for something that a hint or a timer will bring."""
        with trio.fail_after(PATIENCE_S):
            while not await met():  # noqa: ASYNC110  # what is waited for is in Postgres
                await trio.sleep(0.01)


@pytest.fixture
def world(database: Database) -> World:
    return World(database)
