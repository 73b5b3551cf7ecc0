"""Runs of partitions: by the clock, and by events of assets that come for one partition after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio

from leoflowd.contract.asset_spec import AllOf, AssetSpec
from leoflowd.contract.dag_spec import CronTimetable, DagSpec
from leoflowd.contract.partition_spec import AllowedKey, AssetPartitions, CronPartition, StartOf
from leoflowd.core.asset_events import NewEvent
from leoflowd.core.rights import ALL_DAGS
from leoflowd.scheduler import clock
from leoflowd.scheduler.asset_runs import start_asset_runs
from leoflowd.scheduler.clock import TimetableClock
from leoflowd.store import asset_events, dag_runs, dags, partition_runs
from leoflowd.store.asset_events import AssetEventWrite
from leoflowd.store.database import Database
from tests.conftest import PATIENCE_S
from tests.integration.scheduler.conftest import dag, task

A, B = AssetSpec(name="a", uri="u://a"), AssetSpec(name="b", uri="u://b")
BOTH = AllOf(of=(A, B))
HOUR = StartOf(unit="hour", input_format="%Y-%m-%dT%H:%M:%S", output_format="%Y-%m-%dT%H")
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class World:
    def __init__(self, db: Database) -> None:
        self.db = db
        self.now = START
        self.clock = TimetableClock(db=db, now=lambda: self.now)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.clock.run)
            yield
            nursery.cancel_scope.cancel()

    async def register(self, spec: DagSpec) -> None:
        async with self.db.api.transaction() as conn:
            await dags.register_dag(conn, spec, now=self.now, fileloc="x", relative_fileloc="x")
        self.clock.look_at(spec.dag_id)

    async def emit(self, asset: AssetSpec, key: str | None) -> set[str]:
        async with self.db.api.transaction() as conn:
            event = NewEvent(name=asset.name, uri=asset.uri, partition_key=key)
            waiting = await asset_events.insert_events(conn, [AssetEventWrite(event=event)], self.now)
            return {row[0] for row in await waiting.fetchall()}

    async def look(self, dag_id: str = "c", *, at_most: int = 100) -> int:
        """As the clock does."""
        async with self.db.scheduler.transaction() as conn:
            version = await dags.fetch_version(conn, dag_id)
            return await start_asset_runs(conn, version, self.now, at_most=at_most)

    async def rows(self, statement: bytes) -> list[tuple[Any, ...]]:
        async with self.db.api.connection() as conn:
            return await (await conn.execute(statement)).fetchall()

    async def until_runs(self, count: int) -> list[tuple[Any, ...]]:
        statement = (
            b"SELECT run_id, partition_key, partition_date, run_after, logical_date, data_interval_start FROM dag_run "
            b"ORDER BY run_after, id"
        )
        with trio.fail_after(PATIENCE_S):
            while len(found := await self.rows(statement)) < count:  # noqa: ASYNC110  # they are in Postgres
                await trio.sleep(0.005)
        return found


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def waiting(condition: Any = BOTH, **partitions: Any) -> DagSpec:
    given = AssetPartitions(**({"default": HOUR} | partitions))
    return dag("c", task("t"), asset_condition=condition, partitions=given, timetable_summary="Partitioned Asset")


# --- by the clock ------------------------------------------------------------------------------------------------


async def test_a_slot_has_a_partition_in_the_place_of_a_date(world: World) -> None:
    hourly = CronTimetable(expression="0 * * * *", partition=CronPartition(offset=-1, key_format="%Y/%m/%dT%H"))
    await world.register(dag("d", task("t"), timetable=hourly, start_date=START - timedelta(hours=1), catchup=True))
    async with world.running():
        first, second = await world.until_runs(2)
        assert first[0].startswith("scheduled__2026-03-01T11:00:00+00:00__2026-03-01T10__")
        assert first[1:] == ("2026/03/01T10", START - timedelta(hours=2), START - timedelta(hours=1), None, None)
        assert second[1:4] == ("2026/03/01T11", START - timedelta(hours=1), START)
        [dates] = await world.rows(b"SELECT next_logical_date, next_data_interval_start, next_run_after FROM dag")
        assert dates == (None, None, START + timedelta(hours=1))
        world.now += timedelta(hours=1)
        world.clock.look_at("d")
        assert len(await world.until_runs(3)) == 3
    assert len({row[0] for row in await world.until_runs(3)}) == 3


async def test_of_two_clocks_one_makes_the_run_of_a_slot(world: World) -> None:
    hourly = CronTimetable(expression="0 * * * *", partition=CronPartition())
    await world.register(dag("d", task("t"), timetable=hourly, start_date=START, catchup=True))
    async with world.running():
        await world.until_runs(1)
    async with world.db.api.transaction() as conn:
        version = await dags.fetch_version(conn, "d")
        slot = clock._next_slot(version.spec, None, world.now)
        assert slot is not None
        with pytest.raises(Exception, match="already exists"):
            async with conn.transaction():
                await clock._insert_run(conn, version, slot, world.now)


# --- by events ---------------------------------------------------------------------------------------------------


async def test_a_partition_has_a_run_when_all_of_it_has_come(world: World) -> None:
    await world.register(waiting())
    assert await world.emit(A, "2026-03-01T10:15:00") == {"c"}
    assert await world.emit(B, "2026-03-01T11:00:00") == {"c"}
    assert await world.look() == 0
    assert await world.rows(b"SELECT partition_key FROM partition_run ORDER BY id") == [
        ("2026-03-01T10",),
        ("2026-03-01T11",),
    ]
    assert await world.rows(b"SELECT 1 FROM asset_queue") == []
    await world.emit(B, "2026-03-01T10:59:59")
    await world.emit(B, "2026-03-01T10:00:00")
    assert await world.look() == 1
    assert await world.look() == 0
    [run] = await world.until_runs(1)
    assert run[0].startswith("asset_triggered__2026-03-01T12:00:00+00:00_")
    assert run[1:] == ("2026-03-01T10", None, START, None, None)
    taken = await world.rows(
        b"SELECT a.name, e.partition_key FROM asset_event_run t JOIN asset_event e ON e.id = t.event_id "
        b"JOIN asset a ON a.id = e.asset_id ORDER BY e.id"
    )
    assert taken == [("a", "2026-03-01T10:15:00"), ("b", "2026-03-01T10:59:59"), ("b", "2026-03-01T10:00:00")]
    await world.emit(A, "2026-03-01T10:30:00")  # begins the next run of this partition
    assert await world.look() == 0
    async with world.db.api.connection() as conn:
        assert await partition_runs.count_pending(conn, "c") == 2
        shown = await partition_runs.list_partition_runs(conn, dags=ALL_DAGS, dag_id="c", is_made=True)
    assert [(row["partition_key"], row["total_received"], row["state"]) for row in shown] == [
        ("2026-03-01T10", 2, "queued")
    ]


async def test_the_clock_makes_it(world: World) -> None:
    await world.register(waiting(A))
    async with world.running():
        for dag_id in await world.emit(A, "2026-03-01T10:15:00"):
            world.clock.look_at(dag_id)
        [run] = await world.until_runs(1)
    assert run[1] == "2026-03-01T10"


async def test_what_there_is_no_room_for_waits(world: World) -> None:
    await world.register(waiting(A))
    for hour in (10, 11, 12):
        await world.emit(A, f"2026-03-01T{hour}:00:00")
    assert await world.look(at_most=0) == 0
    assert await world.rows(b"SELECT count(*) FROM partition_run WHERE dag_run_id IS NULL") == [(3,)]
    assert await world.look(at_most=2) == 2
    assert await world.look(at_most=2) == 1
    assert [row[1] for row in await world.until_runs(3)] == [f"2026-03-01T{hour}" for hour in (10, 11, 12)]


async def test_each_asset_has_its_mapper(world: World) -> None:
    await world.register(waiting(by_name={"a": AllowedKey(keys=("2026-03-01T10",))}))
    await world.emit(A, "2026-03-01T10")
    await world.emit(B, "2026-03-01T10:20:00")
    assert await world.look() == 1


async def test_a_key_that_is_not_there_or_not_taken_is_said_in_the_audit_log(world: World) -> None:
    await world.register(waiting(A))
    await world.register(dag("plain", task("t"), asset_condition=A))
    assert await world.emit(A, None) == {"c", "plain"}
    assert await world.emit(A, "mars") == {"c"}
    assert await world.look() == 0
    entries = await world.rows(b"SELECT event, extra::text FROM event_log ORDER BY id")
    assert [event for event, _ in entries] == ["missing partition key", "failed to map partition_key"]
    assert "Dag 'c' gets no event of asset 'a'" in entries[0][1]
    assert "'mars' cannot be mapped" in entries[1][1]
    assert "does not match format" in entries[1][1]
    assert await world.rows(b"SELECT dag_id FROM asset_queue") == [("plain",)]


async def test_an_event_has_the_partition_of_the_run_that_made_it(world: World) -> None:
    await world.register(waiting(A))
    await world.register(dag("p", task("make", outlets=(A,))))
    async with world.db.api.transaction() as conn:
        run = await dag_runs.insert_dag_run(
            conn,
            version=await dags.fetch_version(conn, "p"),
            run_id="r",
            run_type=dag_runs.DagRunType.MANUAL,
            logical_date=None,
            data_interval_start=None,
            data_interval_end=None,
            run_after=START,
            conf={},
            triggered_by=dag_runs.TriggeredBy.UI,
            triggering_user_name=None,
            note=None,
            partition_key="2026-03-01T10:00:00",
            now=START,
        )
        event = NewEvent(name="a", uri="u://a")
        await asset_events.insert_events(conn, [AssetEventWrite(event=event, dag_run_id=run, task_id="make")], START)
    assert await world.look() == 1


async def test_a_paused_dag_gets_nothing(world: World) -> None:
    await world.register(waiting(A))
    async with world.db.api.transaction() as conn:
        await dags.set_paused(conn, "c", True, START)
    assert await world.emit(A, "2026-03-01T10:00:00") == set()
