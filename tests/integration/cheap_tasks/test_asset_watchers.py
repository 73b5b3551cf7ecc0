"""Watchers of assets on a real Postgres: which triggers run, what becomes of their events and failures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio

from leoflowd.cheap_tasks.asset_watchers import PREFIX, RETRY_FIRST_S, RETRY_MAX_S, AssetWatchers
from leoflowd.contract.asset_spec import AssetSpec, WatcherSpec
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.contract.waits import TriggerCall
from leoflowd.core.rights import ALL_DAGS
from leoflowd.store import asset_watchers, dags
from leoflowd.store.database import Database
from leoflowd.store.hints import HintListener
from tests.conftest import PATIENCE_S

FILE = WatcherSpec(name="file", trigger="x.FileDeleteTrigger", arguments={"filepath": "/tmp/f"})
OTHER = WatcherSpec(name="other", trigger="x.FileDeleteTrigger", arguments={"filepath": "/tmp/g"})
START = datetime(2026, 1, 1, tzinfo=UTC)


def watched(name: str, *watchers: WatcherSpec) -> AssetSpec:
    return AssetSpec(name=name, uri=name, watchers=watchers)


def consumer(dag_id: str, asset: AssetSpec, **fields: Any) -> DagSpec:
    task = TaskSpec(task_id="t", operator="EmptyOperator", kind="empty")
    return DagSpec(dag_id=dag_id, tasks=(task,), asset_condition=asset, **fields)


class FakeHosts:
    """Which triggers run, and what was said to them."""

    def __init__(self) -> None:
        self.running: dict[str, TriggerCall] = {}
        self.starts = 0
        self.went_on: list[str] = []
        self.cancelled: list[str] = []

    def start(self, wait_id: str, call: TriggerCall) -> None:
        assert wait_id not in self.running, "started twice"
        self.running[wait_id] = call
        self.starts += 1

    def go_on(self, wait_id: str) -> None:
        self.went_on.append(wait_id)

    def cancel(self, wait_id: str) -> None:
        self.running.pop(wait_id, None)
        self.cancelled.append(wait_id)


class World:
    def __init__(self, db: Database) -> None:
        self.db = db
        self.hosts = FakeHosts()
        self.now = START
        self.watchers: AssetWatchers | None = None

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[AssetWatchers]:
        listener = HintListener(self.db.conninfo)
        self.hosts = FakeHosts()
        watchers = AssetWatchers(lane=self.db.pool, hosts=self.hosts, hints=listener, now=lambda: self.now)
        async with trio.open_nursery() as nursery:
            await nursery.start(watchers.run)
            await nursery.start(listener.run)
            yield watchers
            nursery.cancel_scope.cancel()

    async def register(self, spec: DagSpec) -> None:
        async with self.db.api.transaction() as conn:
            await dags.register_dag(conn, spec, now=self.now, fileloc="f", relative_fileloc="f")

    async def pause(self, dag_id: str, paused: bool) -> None:
        async with self.db.api.transaction() as conn:
            await dags.set_paused(conn, dag_id, paused, self.now)

    async def rows(self, statement: bytes) -> list[tuple[Any, ...]]:
        async with self.db.api.connection() as conn:
            return await (await conn.execute(statement)).fetchall()

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE_S):
            while not condition():  # noqa: ASYNC110  # it is told of hints by Postgres, and tells nobody
                await trio.sleep(0.005)

    async def until_running(self, count: int) -> list[str]:
        await self.until(lambda: len(self.hosts.running) == count)
        return list(self.hosts.running)

    async def until_recorded(self, statement: bytes) -> tuple[Any, ...]:
        with trio.fail_after(PATIENCE_S):
            while not (found := await self.rows(statement)):  # noqa: ASYNC110  # likewise
                await trio.sleep(0.005)
        return found[0]


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


async def test_one_trigger_runs_however_many_watch_by_it(world: World) -> None:
    await world.register(consumer("one", watched("a", FILE)))
    await world.register(consumer("two", watched("b", FILE, OTHER)))
    async with world.watching() as watchers:
        await world.until_running(2)
        assert watchers.statistics().running == 2
        running = dict(world.hosts.running)
    assert set(running) == {PREFIX + asset_watchers.trigger_key(one) for one in (FILE, OTHER)}
    call = running[PREFIX + asset_watchers.trigger_key(FILE)]
    assert (call.classpath, call.kwargs, call.repeats) == ("x.FileDeleteTrigger", {"filepath": "/tmp/f"}, True)
    assert call.dag_id == "one"


async def test_it_runs_only_while_a_dag_that_is_not_paused_waits_for_the_asset(world: World) -> None:
    task = TaskSpec(task_id="p", operator="EmptyOperator", kind="empty", outlets=(watched("a", FILE),))
    await world.register(DagSpec(dag_id="producer", tasks=(task,)))
    async with world.watching():
        await world.register(consumer("c", watched("a")))
        await world.until_running(1)
        await world.pause("c", True)
        await world.until_running(0)
        await world.pause("c", False)
        await world.until_running(1)
        await world.register(DagSpec(dag_id="producer", tasks=()))
        await world.until_running(0)
        await world.register(consumer("c", watched("a", OTHER)))
        await world.until_running(1)
        async with world.db.api.transaction() as conn:
            await dags.mark_stale(conn, ["c"], world.now)
        await world.until_running(0)


async def test_another_version_starts_it_again(world: World) -> None:
    await world.register(consumer("c", watched("a", FILE), bundle_digest="1" * 64))
    async with world.watching():
        [wait_id] = await world.until_running(1)
        await world.register(consumer("c", watched("a", FILE), bundle_digest="2" * 64))
        await world.until(lambda: world.hosts.starts == 2)
        assert world.hosts.cancelled == [wait_id]
        assert world.hosts.running[wait_id].bundle_digest == "2" * 64


async def test_its_event_is_one_of_each_asset_and_waits_for_the_dags(world: World) -> None:
    await world.register(consumer("one", watched("a", FILE)))
    await world.register(consumer("two", watched("b", FILE)))
    async with world.watching() as watchers:
        [wait_id] = await world.until_running(1)
        watchers.fired(wait_id, {"rows": 3})
        await world.until(lambda: world.hosts.went_on == [wait_id])
        assert wait_id in world.hosts.running
    extra = '{"from_trigger":true,"payload":{"rows":3}}'
    made = await world.rows(
        b"SELECT a.name, e.extra::text, e.source_dag_id FROM asset_event e JOIN asset a ON a.id = e.asset_id ORDER BY 1"
    )
    assert made == [("a", extra, None), ("b", extra, None)]
    assert await world.rows(b"SELECT dag_id FROM asset_queue ORDER BY 1") == [("one",), ("two",)]
    assert await world.rows(b"SELECT events, fired_at FROM asset_watcher") == [(1, START)] * 2


async def test_an_event_whose_commit_was_not_answered_is_said_again_and_made_once(world: World) -> None:
    await world.register(consumer("c", watched("a", FILE)))
    key = asset_watchers.trigger_key(FILE)

    async def say(at: datetime) -> int:
        async with world.db.pool.transaction() as conn:
            return await asset_watchers.insert_watched_event(conn, key, "x", at)

    assert [await say(START), await say(START)] == [1, 0]
    assert await say(START + timedelta(microseconds=1)) == 1
    assert await world.rows(b"SELECT count(*) FROM asset_event") == [(2,)]


async def test_it_starts_again_after_its_end_and_after_a_restart_of_the_daemon(world: World) -> None:
    await world.register(consumer("c", watched("a", FILE)))
    async with world.watching() as watchers:
        [wait_id] = await world.until_running(1)
        watchers.fired(wait_id, True)
        del world.hosts.running[wait_id]
        watchers.ended(wait_id)
        await world.until(lambda: watchers.statistics().running == 0)
        assert world.hosts.starts == 1  # not at once: it may fire for ever
        world.now += timedelta(seconds=1)
        await world.register(consumer("other", watched("b")))  # it looks
        await world.until_running(1)
    async with world.watching():
        await world.until_running(1)
    assert await world.rows(b"SELECT failures, error FROM asset_watcher") == [(0, None)]


async def test_the_end_of_a_term_ends_the_triggers_and_the_next_one_starts_them(world: World) -> None:
    await world.register(consumer("c", watched("a", FILE)))
    async with world.watching() as watchers:
        [wait_id] = await world.until_running(1)
    assert world.hosts.running == {}
    assert world.hosts.cancelled == [wait_id]
    watchers.fired(wait_id, True)  # it was on its way
    async with trio.open_nursery() as nursery:
        await nursery.start(watchers.run)
        await world.until_running(1)
        nursery.cancel_scope.cancel()
    assert await world.rows(b"SELECT 1 FROM asset_event") == []


async def test_one_that_keeps_failing_waits_longer_each_time_and_says_why(world: World) -> None:
    await world.register(consumer("c", watched("a", FILE)))
    async with world.watching() as watchers:
        for failures, wait_s in ((1, RETRY_FIRST_S), (2, 2 * RETRY_FIRST_S), (3, 4 * RETRY_FIRST_S)):
            [wait_id] = await world.until_running(1)
            del world.hosts.running[wait_id]
            if failures == 2:
                watchers.ended(wait_id)
            else:
                watchers.failed(wait_id, f"no queue {failures}")
            found = await world.until_recorded(
                b"SELECT error, retry_at FROM asset_watcher WHERE failures = " + str(failures).encode()
            )
            expected = "the trigger ended without an event" if failures == 2 else f"no queue {failures}"
            assert found == (expected, world.now + timedelta(seconds=wait_s))
            await world.register(consumer("other", watched(f"b{failures}")))  # it looks, and it is too early
            await world.until(lambda: watchers.statistics().running == 0)
            world.now += timedelta(seconds=wait_s)
            await world.register(consumer("other", watched(f"c{failures}")))
        [wait_id] = await world.until_running(1)
        watchers.fired(wait_id, None)
        await world.until(lambda: world.hosts.went_on == [wait_id])
        assert await world.rows(b"SELECT failures, error, retry_at FROM asset_watcher") == [(0, None, None)]


async def test_the_rest_of_one_that_fails_outlives_the_daemon_and_never_is_too_long(world: World) -> None:
    await world.register(consumer("c", watched("a", FILE)))
    async with world.db.api.transaction() as conn:
        key = asset_watchers.trigger_key(FILE)
        retry_at = START + timedelta(seconds=1)
        await asset_watchers.mark_failed(conn, key, failures=40, error="no queue", retry_at=retry_at)
    async with world.watching():
        await world.register(consumer("d", watched("d", OTHER)))
        await world.until_running(1)
        assert list(world.hosts.running) == [PREFIX + asset_watchers.trigger_key(OTHER)]
        world.now = retry_at
        await world.register(consumer("d", watched("e", OTHER)))
        await world.until_running(2)
    async with world.watching() as watchers:
        await world.until_running(2)
        watchers.failed(PREFIX + key, "again")
        [found] = [await world.until_recorded(b"SELECT retry_at FROM asset_watcher WHERE failures = 41")]
    assert found == (world.now + timedelta(seconds=RETRY_MAX_S),)


async def test_a_new_version_forgets_the_failures(world: World) -> None:
    await world.register(consumer("c", watched("a", FILE), bundle_digest="1" * 64))
    async with world.watching() as watchers:
        [wait_id] = await world.until_running(1)
        del world.hosts.running[wait_id]
        watchers.failed(wait_id, "a typo")
        await world.until_recorded(b"SELECT 1 FROM asset_watcher WHERE failures = 1")
        await world.register(consumer("c", watched("a", FILE), bundle_digest="2" * 64))
        await world.until_running(1)


async def test_an_event_that_cannot_be_stored_is_a_failure(world: World) -> None:
    await world.register(consumer("c", watched("a", FILE)))
    async with world.watching() as watchers:
        [wait_id] = await world.until_running(1)
        watchers.fired(wait_id, "x" * 70_000)
        [error] = await world.until_recorded(b"SELECT error FROM asset_watcher WHERE failures = 1")
        assert "cannot be stored" in error
        assert world.hosts.cancelled == [wait_id]
        assert world.hosts.went_on == []
    assert await world.rows(b"SELECT 1 FROM asset_event") == []


async def test_people_see_what_is_watched(world: World) -> None:
    await world.register(consumer("c", watched("a", FILE)))
    await world.pause("c", True)
    async with world.db.api.connection() as conn:
        [row] = await asset_watchers.list_watchers(conn, dags=ALL_DAGS)
    assert (row.asset_name, row.dag_id, row.name, row.trigger) == ("a", "c", "file", "x.FileDeleteTrigger")
    assert (row.is_active, row.is_awaited, row.events) == (True, False, 0)
