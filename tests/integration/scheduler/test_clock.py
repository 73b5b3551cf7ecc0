"""The timetable clock on a real Postgres, with a clock that the test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import trio

from leoflowd.contract.dag_spec import CronTimetable, CustomTimetable, DagSpec, OnceTimetable
from leoflowd.contract.states import DagRunType, TriggeredBy
from leoflowd.scheduler import clock
from leoflowd.scheduler.clock import TimetableClock
from leoflowd.store import dag_runs, dags
from leoflowd.store.database import Database, fetch_value
from tests.conftest import PATIENCE_S
from tests.integration.scheduler.conftest import dag, task

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOURLY = CronTimetable(expression="0 * * * *")


class Clock:
    def __init__(self, db: Database) -> None:
        self.db = db
        self.now = NOON
        self.ticks = False
        """Does each look at the clock find it a millisecond later?"""
        self.clock = TimetableClock(db=db, now=self.read)

    def read(self) -> datetime:
        if self.ticks:
            self.now += timedelta(milliseconds=1)
        return self.now

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.clock.run)
            yield
            nursery.cancel_scope.cancel()

    async def register(self, spec: DagSpec, *, is_announced: bool = True) -> None:
        async with self.db.api.transaction() as conn:
            await dags.register_dag(conn, spec, now=self.now, fileloc="x", relative_fileloc="x")
        if is_announced:
            self.clock.look_at(spec.dag_id)

    async def runs(self) -> list[tuple[str, datetime]]:
        async with self.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT dag_id, logical_date FROM dag_run ORDER BY dag_id, logical_date")
            return [(row[0], row[1]) for row in await cursor.fetchall()]

    async def until_runs(self, count: int) -> list[tuple[str, datetime]]:
        with trio.fail_after(PATIENCE_S):
            while len(runs := await self.runs()) < count:  # noqa: ASYNC110  # what is waited for is in Postgres
                await trio.sleep(0.01)
        return runs

    async def next_run_after(self, dag_id: str) -> datetime | None:
        async with self.db.api.connection() as conn:
            shown: datetime | None = await fetch_value(
                conn, b"SELECT next_run_after FROM dag WHERE dag_id = %(dag_id)s", dag_id=dag_id
            )
        return shown

    async def settled(self) -> None:
        """Everything that was due has been looked at."""
        looks = self.clock.statistics().looks
        self.clock.look_at(None)
        with trio.fail_after(PATIENCE_S):
            while self.clock.statistics().looks < looks + 2:  # one may have been under way
                self.clock.look_at(None)
                await trio.sleep(0.001)


async def test_a_due_slot_becomes_a_run_and_the_next_one_is_shown(database: Database) -> None:
    world = Clock(database)
    async with world.running():
        await world.register(dag("d", task("a"), timetable=HOURLY, start_date=NOON - timedelta(days=1)))
        assert await world.until_runs(1) == [("d", NOON)]
        await world.settled()
        assert await world.next_run_after("d") == NOON + timedelta(hours=1)
        world.now = NOON + timedelta(hours=1)
        world.clock.look_at("d")
        assert (await world.until_runs(2))[-1] == ("d", NOON + timedelta(hours=1))


async def test_catchup_creates_what_was_missed_up_to_max_active_runs(database: Database) -> None:
    world = Clock(database)
    spec = dag("d", task("a"), timetable=HOURLY, start_date=NOON - timedelta(hours=9), catchup=True, max_active_runs=3)
    async with world.running():
        await world.register(spec)
        await world.until_runs(3)
        await world.settled()
        assert [at for _, at in await world.runs()] == [NOON - timedelta(hours=hours) for hours in (9, 8, 7)]
        async with database.api.connection() as conn:
            await conn.execute(b"UPDATE dag_run SET state = 'success', end_date = now()")
        world.clock.look_at("d")
        assert len(await world.until_runs(6)) == 6


async def test_a_paused_dag_gets_no_runs(database: Database) -> None:
    world = Clock(database)
    spec = dag("d", task("a"), timetable=HOURLY, start_date=NOON - timedelta(days=1), is_paused_upon_creation=True)
    async with world.running():
        await world.register(spec)
        await world.settled()
        assert await world.runs() == []


async def test_once_is_once(database: Database) -> None:
    world = Clock(database)
    async with world.running():
        await world.register(dag("d", task("a"), timetable=OnceTimetable(), start_date=NOON - timedelta(days=1)))
        await world.until_runs(1)
        world.now = NOON + timedelta(days=400)
        await world.settled()
        assert len(await world.runs()) == 1
        assert await world.next_run_after("d") is None


async def test_one_dag_that_cannot_be_scheduled_holds_up_no_other(database: Database) -> None:
    world = Clock(database)
    async with world.running():
        await world.register(dag("a_broken", task("a"), timetable=HOURLY, start_date=NOON - timedelta(days=1)))
        await world.until_runs(1)
        async with database.api.connection() as conn:
            await conn.execute(b"UPDATE dag_version SET spec = '{}'")
        dags._versions.clear()
        world.clock.look_at("a_broken")
        await world.register(dag("b", task("a"), timetable=HOURLY, start_date=NOON - timedelta(days=1)))
        assert ("b", NOON) in await world.until_runs(2)
        assert world.clock.statistics().failed >= 1


async def test_a_run_made_by_hand_for_the_same_date_takes_the_slot(database: Database) -> None:
    world = Clock(database)
    spec = dag("d", task("a"), timetable=HOURLY, start_date=NOON - timedelta(days=1), is_paused_upon_creation=True)
    async with world.running():
        await world.register(spec)
        async with database.api.transaction() as conn:
            version = await dags.fetch_version(conn, "d")

            await dag_runs.insert_dag_run(
                conn,
                version=version,
                run_id="mine",
                run_type=DagRunType.MANUAL,
                logical_date=NOON,
                data_interval_start=NOON,
                data_interval_end=NOON,
                run_after=NOON,
                conf={},
                triggered_by=TriggeredBy.TEST,
                triggering_user_name=None,
                note=None,
                now=NOON,
            )
            await dags.set_paused(conn, "d", False, NOON)
        world.clock.look_at("d")
        await world.settled()
        assert len(await world.runs()) == 1
        assert await world.next_run_after("d") == NOON + timedelta(hours=1)


async def test_a_look_that_failed_is_repeated(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "LOOK_AGAIN_S", 0.01)
    failures = iter([ValueError("cannot read the version"), None])
    fetch = dags.fetch_version_by_id

    async def once_broken(*args: Any) -> dags.VersionRow:
        if failure := next(failures, None):
            raise failure
        return await fetch(*args)

    monkeypatch.setattr(dags, "fetch_version_by_id", once_broken)
    world = Clock(database)
    world.ticks = True
    async with world.running():
        await world.register(dag("d", task("a"), timetable=HOURLY, start_date=NOON - timedelta(days=1)))
        assert await world.until_runs(1) == [("d", NOON)]
        assert world.clock.statistics().failed == 1


async def test_a_dag_that_nobody_announced_is_found(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "LOOK_AGAIN_S", 0.01)
    world = Clock(database)
    world.ticks = True
    async with world.running():
        await world.settled()
        spec = dag("d", task("a"), timetable=HOURLY, start_date=NOON - timedelta(days=1))
        await world.register(spec, is_announced=False)
        assert await world.until_runs(1) == [("d", NOON)]


async def test_room_that_nobody_announced_is_found(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "LOOK_AGAIN_S", 0.01)
    world = Clock(database)
    world.ticks = True
    spec = dag("d", task("a"), timetable=HOURLY, start_date=NOON - timedelta(hours=3), catchup=True, max_active_runs=1)
    async with world.running():
        await world.register(spec)
        await world.until_runs(1)
        async with database.api.connection() as conn:
            await conn.execute(b"UPDATE dag_run SET state = 'success', end_date = now()")
        assert len(await world.until_runs(2)) == 2


async def test_a_long_catchup_is_created_in_portions(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "CREATED_AT_ONCE", 2)
    world = Clock(database)
    spec = dag("d", task("a"), timetable=HOURLY, start_date=NOON - timedelta(hours=6), catchup=True, max_active_runs=0)
    async with world.running():
        await world.register(spec)
        assert len(await world.until_runs(7)) == 7
    assert world.clock.statistics().looks >= 4


async def test_a_custom_timetable_runs_as_it_said_when_it_was_compiled_and_on_as_it_says_later(
    database: Database,
) -> None:
    def asked(*hours: int) -> CustomTimetable:
        starts = [NOON + timedelta(hours=hour) for hour in hours]
        return CustomTimetable(
            name="m.C",
            slots=tuple((at, at + timedelta(minutes=30), at + timedelta(minutes=30)) for at in starts),
            valid_until=starts[-1] + timedelta(minutes=30),
        )

    world = Clock(database)
    spec = dag("d", task("a"), timetable=asked(-3, -1), start_date=NOON - timedelta(days=9), catchup=True)
    async with world.running():
        await world.register(spec)
        assert await world.until_runs(2) == [("d", NOON - timedelta(hours=3)), ("d", NOON - timedelta(hours=1))]
        await world.settled()
        assert await world.next_run_after("d") is None
        await world.register(msgspec.structs.replace(spec, timetable=asked(-1, 0, 2)))
        await world.settled()
        assert await world.next_run_after("d") == NOON + timedelta(minutes=30)


async def release(database: Database) -> None:
    async with database.api.connection() as conn:
        await conn.execute(b"UPDATE dag_run SET state = 'success', end_date = now()")


async def measured(world: Clock) -> tuple[int, float]:
    await world.settled()
    delays = world.clock.statistics().delays
    return delays.up_to["+Inf"], delays.sum_s


async def test_how_late_runs_are_made_is_measured(database: Database) -> None:
    world = Clock(database)
    async with world.running():
        await world.register(dag("d", task("a"), timetable=HOURLY, start_date=NOON - timedelta(days=1)))
        await world.until_runs(1)
        assert await measured(world) == (0, 0.0)  # it was due before the DAG was there
        world.now = NOON + timedelta(hours=1, seconds=7)
        assert await measured(world) == (1, 7.0)


async def test_what_nobody_made_in_an_outage_is_late(database: Database) -> None:
    """Another daemon's clock, which remembers nothing."""
    before, after = Clock(database), Clock(database)
    spec = dag("d", task("a"), timetable=HOURLY, start_date=NOON, catchup=True, max_active_runs=0)
    async with before.running():
        await before.register(spec)
        await before.until_runs(1)
        await before.settled()
    after.now = NOON + timedelta(hours=2, minutes=1)
    async with after.running():
        await after.until_runs(3)
        assert await measured(after) == (2, 3600.0 + 2 * 60.0)


async def test_what_was_held_in_an_earlier_term_is_forgotten_in_the_next(database: Database) -> None:
    world = Clock(database)
    async with world.running():
        await world.register(dag("d", task("a"), timetable=HOURLY, start_date=NOON, catchup=True, max_active_runs=1))
        await world.until_runs(1)
        world.now = NOON + timedelta(hours=1)
        await world.settled()
    await release(database)
    world.now += timedelta(seconds=9)
    async with world.running():
        await world.until_runs(2)
        assert await measured(world) == (1, 9.0)


async def test_what_a_limit_or_a_pause_held_back_is_not_late(database: Database) -> None:
    world = Clock(database)
    limited = dag("d", task("a"), timetable=HOURLY, start_date=NOON, catchup=True, max_active_runs=1)
    async with world.running():
        await world.register(limited)
        await world.until_runs(1)
        for hours in (1, 2):
            world.now = NOON + timedelta(hours=hours)
            await world.settled()
        await release(database)
        world.clock.look_at("d")
        await world.until_runs(2)
        await release(database)
        async with database.api.connection() as conn:
            await conn.execute(b"UPDATE dag SET is_paused = true")
        await world.settled()
        world.now = NOON + timedelta(hours=3)
        async with database.api.connection() as conn:
            await conn.execute(b"UPDATE dag SET is_paused = false")
        world.clock.look_at("d")
        await world.until_runs(3)
        await release(database)
        assert await measured(world) == (0, 0.0)


async def test_the_years_before_a_new_dags_first_day_are_not_late(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "CREATED_AT_ONCE", 2)
    world = Clock(database)
    spec = dag("d", task("a"), timetable=HOURLY, start_date=NOON - timedelta(hours=5), catchup=True, max_active_runs=0)
    async with world.running():
        await world.register(spec)
        await world.until_runs(6)
        assert await measured(world) == (0, 0.0)
        world.now = NOON + timedelta(hours=1, seconds=1)
        assert await measured(world) == (1, 1.0)
