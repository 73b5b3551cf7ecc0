"""Events of assets: committed with the success that makes them, and the runs that they start."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from leoflowd.contract.agent_messages import AssetEventsAsk, Outcome, OutcomeKind
from leoflowd.contract.asset_spec import AliasSpec, AllOf, AnyOf, AssetAt, AssetNamed, AssetRecord, AssetSpec
from leoflowd.contract.dag_spec import CronTimetable, DagSpec
from leoflowd.contract.errors import Invalid
from leoflowd.contract.states import DagRunState
from leoflowd.core.asset_events import NewEvent
from leoflowd.scheduler.asset_runs import start_asset_run
from leoflowd.scheduler.clock import TimetableClock
from leoflowd.scheduler.inbox import RunChanged
from leoflowd.store import asset_events, assets, dag_runs, dags
from leoflowd.store.asset_events import AssetEventWrite
from leoflowd.store.database import Database
from tests.conftest import PATIENCE_S
from tests.integration.scheduler.conftest import World, dag, task, utc_now

A = AssetSpec(name="a", uri="s3://bucket/a")
B = AssetSpec(name="b", uri="s3://bucket/b")
ALIAS = AliasSpec(name="alias")


class AssetWorld(World):
    """With the clock, which looks where the scheduler tells it to."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.clock = TimetableClock(db=database, now=utc_now)
        self.ended = _Told(self.clock)  # type: ignore[assignment]  # only its `append` is used

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.clock.run)
            async with self.leading():
                yield
            nursery.cancel_scope.cancel()

    async def looked(self) -> None:
        """The clock has looked at everything that it was told of until now."""
        await self.settled()
        looks = self.clock.statistics().looks
        with trio.fail_after(PATIENCE_S):
            while self.clock.statistics().looks < looks + 2:  # one may have been under way
                self.clock.look_at(None)
                await trio.sleep(0.001)

    async def rows(self, statement: bytes, **parameters: Any) -> list[Any]:
        async with self.db.api.connection() as conn:
            cursor = await conn.execute(statement, parameters)
            return await cursor.fetchall()

    async def events(self) -> list[Any]:
        return await self.rows(
            b"SELECT a.name, e.extra::text, e.source_task_id, e.source_map_index FROM asset_event e "
            b"JOIN asset a ON a.id = e.asset_id ORDER BY e.id"
        )

    async def consumed(self, dag_id: str) -> list[list[str]]:
        """Names of the assets whose events each asset-triggered run of the DAG has taken, oldest run first."""
        rows = await self.rows(
            b"SELECT ARRAY(SELECT a.name FROM asset_event_run t JOIN asset_event e ON e.id = t.event_id "
            b"JOIN asset a ON a.id = e.asset_id WHERE t.dag_run_id = r.id ORDER BY e.id) "
            b"FROM dag_run r WHERE r.dag_id = %(dag_id)s AND r.run_type = 'asset_triggered' ORDER BY r.id",
            dag_id=dag_id,
        )
        return [row[0] for row in rows]

    async def queue(self) -> list[tuple[str, str]]:
        rows = await self.rows(
            b"SELECT q.dag_id, a.name FROM asset_queue q JOIN asset a ON a.id = q.asset_id ORDER BY 1, 2"
        )
        return [tuple(row) for row in rows]

    async def emit(self, *assets: AssetSpec) -> None:
        """As a person does; the clock hears nothing of it."""
        async with self.db.api.transaction() as conn:
            writes = [AssetEventWrite(event=NewEvent(name=one.name, uri=one.uri)) for one in assets]
            await asset_events.insert_events(conn, writes, utc_now())

    async def succeed(self, try_id: str, records: Iterable[AssetRecord] = ()) -> None:
        outcome = Outcome(
            kind=OutcomeKind.SUCCESS,
            because="the test said so",
            start_date=utc_now(),
            end_date=utc_now(),
            assets=tuple(records),
        )
        with trio.fail_after(PATIENCE_S):
            await self.inbox.try_ended(await self.row(try_id), outcome, None)


class _Told:
    def __init__(self, clock: TimetableClock) -> None:
        self.append = clock.look_at


@pytest.fixture
def world(database: Database) -> AssetWorld:
    return AssetWorld(database)


def record(asset: AssetSpec, *, alias: str | None = None, **fields: Any) -> AssetRecord:
    return AssetRecord(name=asset.name, uri=asset.uri, alias=alias, **fields)


def waiting(dag_id: str, condition: Any, **fields: Any) -> DagSpec:
    return dag(dag_id, task("t"), asset_condition=condition, **fields)


async def test_a_success_makes_events_and_starts_the_run_that_waits(world: AssetWorld) -> None:
    await world.register(waiting("consumer", A))
    async with world.working():
        run = await world.create(dag("producer", task("p", outlets=(A, B))))
        [try_id] = (await world.launched_ids(1)).values()
        assert await world.events() == []
        await world.succeed(try_id, [record(A, extra='{"rows": 3}')])
        await world.looked()
        assert await world.events() == [("a", '{"rows": 3}', "p", -1), ("b", "{}", "p", -1)]
        assert await world.consumed("consumer") == [["a"]]
        assert await world.queue() == []
        [[run_id, logical_date, run_after, triggered_by, stamp]] = await world.rows(
            b"SELECT r.run_id, r.logical_date, r.run_after, r.triggered_by, e.timestamp FROM dag_run r, asset_event e "
            b"WHERE r.dag_id = 'consumer' AND e.extra::text <> '{}'"
        )
        assert (logical_date, run_after, triggered_by) == (None, stamp, "asset")
        assert run_id.startswith(f"asset_triggered__{stamp.isoformat()}_")
        [[source]] = await world.rows(b"SELECT DISTINCT source_dag_id || '/' || source_run_id FROM asset_event")
        assert source == "producer/r1"
        assert await world.run_state(run) == "success"
        [[started]] = await world.rows(b"SELECT id FROM dag_run WHERE dag_id = 'consumer'")
        async with world.db.agents.connection() as conn:
            [told] = await asset_events.list_triggering_events(conn, started)
        assert (told.name, told.uri, told.extra, told.source_task_id) == (A.name, A.uri, '{"rows": 3}', "p")


async def test_a_failure_makes_none(world: AssetWorld) -> None:
    await world.register(waiting("consumer", A))
    async with world.working():
        await world.create(dag("producer", task("p", outlets=(A,))))
        [try_id] = (await world.launched_ids(1)).values()
        await world.end(try_id, OutcomeKind.FAILED)
        await world.looked()
    assert await world.events() == []


async def test_an_empty_task_with_outlets_makes_events_too(world: AssetWorld) -> None:
    await world.register(waiting("consumer", A))
    async with world.working():
        await world.create(dag("producer", task("p", kind="empty", outlets=(A,))))
        await world.looked()
        assert await world.consumed("consumer") == [["a"]]


async def test_a_success_by_hand_makes_none(world: AssetWorld) -> None:
    await world.register(waiting("consumer", A))
    async with world.working():
        run = await world.create(dag("producer", task("p", outlets=(A,))))
        await world.launched_ids(1)
        async with world.db.api.transaction() as conn:
            await dag_runs.mark_dag_run(conn, run, DagRunState.SUCCESS, now=utc_now(), because="by hand")
        await world.looked()
    assert await world.events() == []


async def test_what_is_no_outlet_makes_no_event(world: AssetWorld) -> None:
    async with world.working():
        await world.create(dag("producer", task("p", outlets=(A,))))
        await world.register(waiting("names_b", B))
        [try_id] = (await world.launched_ids(1)).values()
        await world.succeed(try_id, [record(B), record(B, alias="alias")])
        await world.settled()
    assert await world.events() == [("a", "{}", "p", -1)]


async def test_all_waits_for_each_and_takes_what_came_twice(world: AssetWorld) -> None:
    await world.register(waiting("consumer", AllOf(of=(A, B))))
    async with world.working():
        await world.emit(A)
        await world.emit(A)
        await world.looked()
        assert await world.consumed("consumer") == []
        await world.emit(B)
        await world.looked()
        assert await world.consumed("consumer") == [["a", "a", "b"]]
        await world.emit(B)
        await world.looked()
        assert await world.queue() == [("consumer", "b")]
    assert await world.consumed("consumer") == [["a", "a", "b"]]


async def test_what_an_alias_stands_for_starts_the_dags_of_the_alias(world: AssetWorld) -> None:
    dynamic = AssetSpec(name="dynamic", uri="s3://bucket/dynamic")
    await world.register(waiting("by_alias", ALIAS))
    await world.register(waiting("by_uri", AssetAt(uri=dynamic.uri)))
    async with world.working():
        await world.create(dag("producer", task("p", outlets=(ALIAS,))))
        [try_id] = (await world.launched_ids(1)).values()
        said = record(dynamic, alias="alias", asset_extra='{"made": "by a task"}', extra='{"n": 1}')
        await world.succeed(try_id, [said])
        await world.looked()
        assert await world.events() == [("dynamic", '{"n": 1}', "p", -1)]
        assert await world.consumed("by_alias") == [["dynamic"]]
        # it is of the uri, but nobody defines it: not active, so that the reference finds nothing
        assert await world.consumed("by_uri") == []
        assert await world.rows(b"SELECT extra::text, is_active FROM asset WHERE name = 'dynamic'") == [
            ('{"made": "by a task"}', False)
        ]
        # what came by itself counts for the alias from now on, once the asset stands behind it
        await world.emit(dynamic)
        await world.looked()
        assert await world.consumed("by_alias") == [["dynamic"]]


@pytest.mark.parametrize("reference", [AssetNamed(name="a"), AssetAt(uri="s3://bucket/a")])
async def test_a_reference_is_the_active_asset(world: AssetWorld, reference: Any) -> None:
    await world.register(waiting("consumer", AnyOf(of=(B, reference))))
    async with world.working():
        await world.create(dag("producer", task("p", outlets=(reference,)), task("q", outlets=(A,), kind="empty")))
        [try_id] = (await world.launched_ids(1)).values()
        await world.looked()
        await world.succeed(try_id, [record(A, extra='{"by": "reference"}')])
        await world.looked()
        assert sorted(await world.events()) == [("a", '{"by": "reference"}', "p", -1), ("a", "{}", "q", -1)]
        assert await world.consumed("consumer") == [["a"], ["a"]]


async def test_a_paused_dag_gets_no_events_and_takes_those_that_it_missed_later(world: AssetWorld) -> None:
    await world.register(waiting("consumer", A, is_paused_upon_creation=True))
    async with world.working():
        await world.emit(A)
        assert await world.queue() == []
        async with world.db.api.transaction() as conn:
            await dags.set_paused(conn, "consumer", False, utc_now())
        await world.looked()
        assert await world.consumed("consumer") == []
        await world.emit(A)
        await world.looked()
    assert await world.consumed("consumer") == [["a", "a"]]


async def test_it_waits_for_room_and_the_events_gather(world: AssetWorld) -> None:
    await world.register(waiting("consumer", A, max_active_runs=1))
    async with world.working():
        await world.emit(A)
        await world.looked()
        await world.emit(A)
        await world.emit(A)
        await world.looked()
        assert await world.consumed("consumer") == [["a"]]
        runs = await world.rows(b"SELECT id FROM dag_run WHERE dag_id = 'consumer'")
        await world.inbox.put(RunChanged(runs[0][0]))
        [try_id] = (await world.launched_ids(1)).values()
        await world.succeed(try_id)
        await world.looked()
    assert await world.consumed("consumer") == [["a"], ["a", "a"]]


async def test_events_beside_a_timetable_start_runs_of_their_own(world: AssetWorld) -> None:
    await world.register(waiting("both", A, timetable=CronTimetable(expression="0 0 1 1 *")))
    async with world.working():
        await world.emit(A)
        await world.looked()
    assert await world.consumed("both") == [["a"]]


async def test_two_leaders_that_look_at_once_make_one_run(world: AssetWorld) -> None:
    version = await world.register(waiting("consumer", A))
    await world.emit(A)
    made: list[bool] = []

    async def look() -> None:
        async with world.db.scheduler.transaction() as conn:
            made.append(await start_asset_run(conn, version, utc_now()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        nursery.start_soon(look)
    assert sorted(made) == [False, True]
    assert await world.consumed("consumer") == [["a"]]


async def test_an_event_of_a_partition_starts_no_run(world: AssetWorld) -> None:
    await world.register(waiting("consumer", A))
    async with world.db.api.transaction() as conn:
        event = NewEvent(name=A.name, uri=A.uri, partition_key="2026-01-01")
        await asset_events.insert_events(conn, [AssetEventWrite(event=event)], utc_now())
    assert await world.queue() == []
    assert await world.rows(b"SELECT partition_key FROM asset_event") == [("2026-01-01",)]


async def test_an_asset_that_nobody_names_any_more_is_inactive_and_keeps_its_events(world: AssetWorld) -> None:
    await world.register(waiting("consumer", A))
    await world.emit(A)
    await world.register(waiting("consumer", B))
    states = await world.rows(b"SELECT name, is_active FROM asset ORDER BY name")
    assert states == [("a", False), ("b", True)]
    assert len(await world.events()) == 1
    async with world.db.api.transaction() as conn:
        await dags.mark_stale(conn, ["consumer"], utc_now())
    assert await world.rows(b"SELECT name FROM asset WHERE is_active") == []
    assert await world.queue() == []


async def test_of_two_assets_with_one_uri_the_older_is_active(world: AssetWorld) -> None:
    twin = AssetSpec(name="twin", uri=A.uri)
    await world.register(waiting("first", A))
    await world.register(waiting("second", twin))
    assert await world.rows(b"SELECT name FROM asset WHERE is_active") == [("a",)]
    async with world.db.api.transaction() as conn:
        await dags.delete_dag(conn, "first")
    assert await world.rows(b"SELECT name FROM asset WHERE is_active") == [("twin",)]


async def test_a_name_or_a_uri_means_the_active_asset_of_it(world: AssetWorld) -> None:
    twin = AssetSpec(name="twin", uri=A.uri, extra={"n": 1})
    await world.register(waiting("first", A))
    await world.register(waiting("second", twin))

    async def name_of(**reference: str | None) -> str | None:
        async with world.db.agents.connection() as conn:
            found = await assets.fetch_active(conn, **{"name": None, "uri": None, **reference})
        return found and found.name

    assert [await name_of(name="a"), await name_of(uri=A.uri), await name_of(name="twin")] == ["a", "a", None]
    assert [await name_of(), await name_of(name="a", uri=A.uri)] == [None, None], "that is no reference"


async def test_a_task_is_told_of_events_in_bounds(world: AssetWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.register(waiting("consumer", A))
    for _ in range(3):
        await world.emit(A)
    await world.emit(B)

    async def ask(**fields: Any) -> list[int]:
        async with world.db.agents.connection() as conn:
            found = await asset_events.list_asked_events(conn, AssetEventsAsk(request_id=1, **fields))
        return [event.id for event in found]

    first, second, third = await ask(name="a")
    [moments] = [[e[0] for e in await world.rows(b"SELECT timestamp FROM asset_event ORDER BY id")]]
    assert await ask(uri=A.uri, ascending=False, limit=2) == [third, second]
    assert await ask(name="a", uri=A.uri, after=moments[1]) == [second, third]
    assert await ask(name="a", before=moments[1]) == [first, second]
    assert await ask(name="b") == []  # nobody defines it
    assert await ask(alias="nobody") == []
    monkeypatch.setattr(asset_events, "ANSWER_MAX", 2)
    assert len(await ask(name="a", limit=2)) == 2
    with pytest.raises(Invalid, match="ask for fewer"):
        await ask(name="a")
