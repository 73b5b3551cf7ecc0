"""A backfill on a real Postgres: its runs are made once, start in its order and within its limit, and end it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.dag_spec import CronTimetable, DagSpec
from leoflowd.contract.errors import Conflict, Invalid, NotFound
from leoflowd.contract.partition_spec import CronPartition
from leoflowd.contract.states import DagRunState
from leoflowd.core.backfills import Asked, Reprocess
from leoflowd.scheduler.backfills import BackfillMaker
from leoflowd.scheduler.inbox import DagChanged, RunChanged, Sweep
from leoflowd.store import backfills, dag_runs, dags
from leoflowd.store.backfills import MADE_AT_ONCE, NewBackfill
from leoflowd.store.database import fetch_value
from tests.conftest import PATIENCE_S
from tests.integration.scheduler.conftest import World, dag, task, utc_now

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
HOURLY = CronTimetable(expression="0 * * * *", data_interval=True)
SPEC = dag("d", task("a"), timetable=HOURLY, max_active_runs=1)


def hours(count: int, **fields: Any) -> Asked:
    return Asked(from_date=FIRST, to_date=FIRST + timedelta(hours=count - 1), **fields)


async def ask(world: World, asked: Asked, *, spec: DagSpec = SPEC, **fields: Any) -> int:
    await world.register(spec)
    new = NewBackfill(
        dag_id=spec.dag_id,
        asked=asked,
        max_active_runs=fields.pop("max_active_runs", 2),
        run_on_latest_version=fields.pop("run_on_latest_version", True),
        user="ann",
    )
    async with world.db.api.transaction() as conn:
        return await backfills.insert_backfill(conn, new, utc_now())


async def make(world: World, backfill_id: int) -> int:
    async with world.db.scheduler.transaction() as conn:
        return await backfills.make_some(conn, backfill_id, utc_now())


async def rows(world: World, what: bytes) -> list[Any]:
    async with world.db.api.connection() as conn:
        cursor = await conn.execute(what)
        return await cursor.fetchall()


async def run_ids(world: World) -> list[int]:
    return [row[0] for row in await rows(world, b"SELECT id FROM dag_run ORDER BY logical_date")]


async def announce(world: World) -> None:
    """As the hints would: in the order in which the runs were made."""
    for (dag_run_id,) in await rows(world, b"SELECT id FROM dag_run ORDER BY id"):
        await world.inbox.put(RunChanged(dag_run_id))
    await world.settled()


async def running(world: World) -> list[int]:
    """Hours of its running runs."""
    found = await rows(
        world, b"SELECT logical_date FROM dag_run WHERE state = 'running' AND backfill_id > 0 ORDER BY 1"
    )
    return [int((row[0] - FIRST) / timedelta(hours=1)) for row in found]


@asynccontextmanager
async def making(world: World) -> AsyncIterator[BackfillMaker]:
    maker = BackfillMaker(db=world.db, now=utc_now)
    async with trio.open_nursery() as nursery:
        await nursery.start(maker.run)
        yield maker
        nursery.cancel_scope.cancel()


# --- made ----------------------------------------------------------------------------------------------------------


async def test_its_runs_are_made_in_portions_and_each_once(world: World) -> None:
    backfill_id = await ask(world, hours(MADE_AT_ONCE + 3, conf={"n": 1}))
    assert [await make(world, backfill_id) for _ in range(3)] == [MADE_AT_ONCE, 3, 0]
    found = await rows(
        world,
        b"SELECT run_id, run_type, triggered_by, triggering_user_name, state, conf, backfill_id, backfill_ordinal,"
        b" (SELECT count(*) FROM task_instance t WHERE t.dag_run_id = r.id) FROM dag_run r ORDER BY logical_date",
    )
    assert len(found) == MADE_AT_ONCE + 3
    first = (
        "backfill__2026-01-01T01:00:00+00:00",
        "backfill",
        "backfill",
        "ann",
        "queued",
        {"n": 1},
        backfill_id,
        1,
        1,
    )
    assert found[0] == first


HALVES = dag(
    "halves",
    task("a"),
    timetable=CronTimetable(
        expression="0 */12 * * *", data_interval=False, partition=CronPartition(key_format="%Y/%m/%d")
    ),
)
"""Two runs a day, of one partition."""


async def test_a_partition_gets_one_run_and_its_reprocessing_another(world: World) -> None:
    """As Airflow: a run of a partition is not cleared, it is made once more."""
    backfill_id = await ask(world, hours(37), spec=HALVES)
    assert await make(world, backfill_id) == 4
    made = b"SELECT run_id, partition_key, partition_date, logical_date, run_type, backfill_id FROM dag_run ORDER BY id"
    first, second = await rows(world, made)
    assert first[0].startswith("backfill__2026-01-01T00:00:00+00:00__2026-01-01__")
    assert first[1:] == ("2026/01/01", FIRST, None, "backfill", backfill_id)
    assert (second[1], second[2]) == ("2026/01/02", FIRST + timedelta(hours=24))
    assert await reasons(world, backfill_id) == [None, "in flight", None, "in flight"]
    await all_over(world)
    second_id = await ask(world, hours(13), spec=HALVES)
    assert await make(world, second_id) == 2
    assert await reasons(world, second_id) == ["already exists", "already exists"]
    await all_over(world)
    third_id = await ask(world, hours(13, reprocess=Reprocess.FAILED), spec=HALVES)
    assert await make(world, third_id) == 2
    assert await reasons(world, third_id) == [None, "in flight"]
    [again] = (await rows(world, made))[2:]
    assert again[1:] == ("2026/01/01", FIRST, None, "backfill", third_id)
    assert again[0] != first[0]


async def reasons(world: World, backfill_id: int) -> list[str | None]:
    """Why its moments got no run, in its order."""
    async with world.db.api.connection() as conn:
        cursor = await conn.execute(
            b"SELECT exception_reason FROM backfill_dag_run WHERE backfill_id = %(id)s ORDER BY sort_ordinal",
            {"id": backfill_id},
        )
        return [row[0] for row in await cursor.fetchall()]


async def all_over(world: World) -> None:
    """Its runs failed, and the backfill has ended."""
    async with world.db.api.transaction() as conn:
        await conn.execute(b"UPDATE dag_run SET state = 'failed', end_date = %(now)s", {"now": utc_now()})
        await backfills.complete_finished(conn, utc_now())


async def test_a_kill_between_decision_and_run_is_none(world: World) -> None:
    """The moment and its run are one transaction: what is not committed is made again, once."""
    backfill_id = await ask(world, hours(2))
    with pytest.raises(RuntimeError):
        async with world.db.scheduler.transaction() as conn:
            assert await backfills.make_some(conn, backfill_id, utc_now()) == 2
            raise RuntimeError("killed")
    assert await run_ids(world) == []
    assert await make(world, backfill_id) == 2
    assert len(await run_ids(world)) == 2


async def test_two_daemons_that_make_them_at_once_make_each_once(world: World) -> None:
    backfill_id = await ask(world, hours(2 * MADE_AT_ONCE))
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(make, world, backfill_id)
    assert len(await run_ids(world)) == 2 * MADE_AT_ONCE
    assert await rows(world, b"SELECT count(*) FROM backfill_dag_run WHERE exception_reason IS NOT NULL") == [(0,)]


@pytest.mark.parametrize(
    ("reprocess", "reasons"),
    [
        (Reprocess.NONE, ["already exists", "already exists", "in flight", None]),
        (Reprocess.FAILED, ["already exists", None, "in flight", None]),
        (Reprocess.COMPLETED, [None, None, "in flight", None]),
    ],
)
async def test_what_exists_is_left_alone_or_runs_again(
    world: World, reprocess: Reprocess, reasons: list[str | None]
) -> None:
    ended = [DagRunState.SUCCESS, DagRunState.FAILED, None]
    for hour, state in enumerate(ended):
        at = FIRST + timedelta(hours=hour)
        dag_run_id = await world.create(SPEC, f"r{hour}", at, is_announced=False)
        if state is not None:
            async with world.db.api.transaction() as conn:
                await dag_runs.mark_dag_run(conn, dag_run_id, state, now=utc_now(), because="test")
    backfill_id = await ask(world, hours(4, reprocess=reprocess))
    assert await make(world, backfill_id) == 4
    found = await rows(
        world, b"SELECT exception_reason, dag_run_id IS NULL FROM backfill_dag_run ORDER BY sort_ordinal"
    )
    assert found == [(reason, reason is not None) for reason in reasons]
    states = await rows(world, b"SELECT run_id, state, run_type FROM dag_run ORDER BY logical_date")
    again = [("queued", "backfill") if reason is None else None for reason in reasons]
    for (run_id, *now_is), expected, was in zip(states[:3], again, ended, strict=False):
        assert tuple(now_is) == (expected or (was or "queued", "manual")), run_id


@pytest.mark.parametrize("latest", [True, False])
async def test_a_run_that_runs_again_does_so_on_the_latest_version_if_asked(world: World, latest: bool) -> None:
    old = await world.register(SPEC)
    dag_run_id = await world.create(SPEC, "r", FIRST, is_announced=False)
    async with world.db.api.transaction() as conn:
        await dag_runs.mark_dag_run(conn, dag_run_id, DagRunState.FAILED, now=utc_now(), because="test")
    changed = dag("d", task("a"), task("new"), timetable=HOURLY)
    backfill_id = await ask(world, hours(1, reprocess=Reprocess.FAILED), spec=changed, run_on_latest_version=latest)
    await make(world, backfill_id)
    async with world.db.api.connection() as conn:
        now_is = (await dag_runs.fetch_dag_run(conn, "d", "r")).dag_version_id
        assert (now_is == old.id) is not latest
    assert set(await world.states(dag_run_id)) == ({"a", "new"} if latest else {"a"})


async def test_a_moment_whose_run_id_is_taken_is_skipped_and_the_others_are_made(world: World) -> None:
    await world.create(SPEC, "backfill__2026-01-01T01:00:00+00:00", is_announced=False)
    await make(world, await ask(world, hours(2)))
    found = await rows(world, b"SELECT exception_reason FROM backfill_dag_run ORDER BY sort_ordinal")
    assert found == [("in flight",), (None,)]


async def test_a_dag_has_one_backfill_at_a_time(world: World) -> None:
    backfill_id = await ask(world, hours(1))
    with pytest.raises(Conflict, match="already a running backfill for dag d"):
        await ask(world, hours(1))
    async with world.db.api.transaction() as conn:
        await backfills.cancel(conn, backfill_id, now=utc_now(), because="test")
    await ask(world, hours(1))


async def test_a_range_without_runs_is_refused(world: World) -> None:
    with pytest.raises(Invalid, match="No runs to create for Dag d"):
        await ask(world, Asked(from_date=FIRST + timedelta(minutes=1), to_date=FIRST + timedelta(minutes=2)))


async def test_the_timetable_goes_on_after_what_a_backfill_made(world: World) -> None:
    """Also when all scheduled runs became runs of a backfill: they are not made again one by one."""
    backfill_id = await ask(world, hours(3))
    await make(world, backfill_id)
    async with world.db.api.connection() as conn:
        (row,) = await dags.list_next_runs(conn, dag_ids=["d"])
    assert (row.last_logical_date, row.active_runs) == (FIRST + timedelta(hours=2), 0)


# --- started -------------------------------------------------------------------------------------------------------


async def test_its_own_limit_counts_and_not_that_of_the_dag(world: World) -> None:
    """The DAG allows one run at a time; a live one has its place beside the backfill."""
    await ask(world, hours(4))
    async with world.leading():
        await make(world, (await rows(world, b"SELECT id FROM backfill"))[0][0])
        live = await world.create(SPEC, "live")
        await announce(world)
        assert await running(world) == [0, 1]
        assert await world.run_state(live) == "running"
        launched = await _launched(world, 3)
        await world.end(launched[FIRST])
        await world.settled()
        assert await running(world) == [1, 2]


async def _launched(world: World, count: int) -> dict[datetime | None, str]:
    """Logical date -> try id."""
    found: dict[datetime | None, str] = {}
    with trio.fail_after(PATIENCE_S):
        while len(found) < count:
            found |= {one.run.logical_date: one.try_id for one in await world.launches.receive()}
    return found


async def test_reversed_the_newest_starts_first(world: World) -> None:
    backfill_id = await ask(world, hours(4, reverse=True))
    async with world.leading():
        await make(world, backfill_id)
        await announce(world)
        assert await running(world) == [2, 3]


async def test_a_leader_that_comes_later_keeps_the_order_and_the_limit(world: World) -> None:
    backfill_id = await ask(world, hours(5, reverse=True))
    await make(world, backfill_id)
    async with world.leading():
        await world.settled()
        assert await running(world) == [3, 4]
        await _launched(world, 2)
    async with world.leading():
        await world.settled()
        assert await running(world) == [3, 4]


async def test_live_tasks_get_the_slots_first(world: World) -> None:
    """Of one slot: the live task asked later, and has a lower priority."""
    await world.register(SPEC)
    async with world.db.api.transaction() as conn:
        await conn.execute(b"UPDATE pool SET slots = 0")
    heavy = dag("d", task("a", priority_weight=9), timetable=HOURLY)
    backfill_id = await ask(world, hours(2), spec=heavy)
    async with world.leading():
        await make(world, backfill_id)
        await announce(world)
        await world.create(dag("live", task("b")))
        await world.settled()
        async with world.db.api.transaction() as conn:
            await conn.execute(b"UPDATE pool SET slots = 1")
        await world.inbox.put(Sweep())
        await world.settled()
        assert set(await world.launched_of("live")) == {"live"}
        assert world.none_launched()


# --- by hand -------------------------------------------------------------------------------------------------------


async def test_paused_it_makes_and_starts_nothing_and_what_runs_goes_on(world: World) -> None:
    backfill_id = await ask(world, hours(MADE_AT_ONCE + 5))
    async with world.leading():
        await make(world, backfill_id)
        await announce(world)
        launched = await _launched(world, 2)
        await set_paused(world, backfill_id, True)
        assert await make(world, backfill_id) == 0
        await world.end(launched[FIRST])
        await world.settled()
        assert await running(world) == [1]
        await set_paused(world, backfill_id, False)
        assert await running(world) == [1, 2]
        assert await make(world, backfill_id) == 5


async def set_paused(world: World, backfill_id: int, paused: bool) -> None:
    async with world.db.api.transaction() as conn:
        assert await backfills.set_paused(conn, backfill_id, paused, utc_now()) == "d"
    await world.inbox.put(DagChanged("d"))
    await world.settled()


async def test_cancelled_its_queued_runs_fail_and_what_runs_goes_on(world: World) -> None:
    backfill_id = await ask(world, hours(MADE_AT_ONCE + 5))
    async with world.leading():
        await make(world, backfill_id)
        await announce(world)
        launched = await _launched(world, 2)
        async with world.db.api.transaction() as conn:
            await backfills.cancel(conn, backfill_id, now=utc_now(), because="cancelled by ann")
        assert await make(world, backfill_id) == 0
        await announce(world)
        await world.end(launched[FIRST])
        await world.settled()
        states = await rows(world, b"SELECT state, count(*), min(because) FROM dag_run GROUP BY state ORDER BY state")
        assert [row[:2] for row in states] == [("failed", MADE_AT_ONCE - 2), ("running", 1), ("success", 1)]
        assert states[0][2] == "cancelled by ann"
        async with world.db.api.transaction() as conn:
            with pytest.raises(Conflict, match="already completed"):
                await backfills.set_paused(conn, backfill_id, True, utc_now())


async def test_a_run_of_a_cancelled_backfill_can_be_cleared_and_runs(world: World) -> None:
    """In Airflow it would wait for ever: cancelling leaves the backfill paused."""
    backfill_id = await ask(world, hours(1))
    await make(world, backfill_id)
    async with world.db.api.transaction() as conn:
        await backfills.cancel(conn, backfill_id, now=utc_now(), because="test")
        run = await dag_runs.lock_dag_run(conn, "d", "backfill__2026-01-01T01:00:00+00:00")
        await dag_runs.mark_dag_run(conn, run.id, DagRunState.QUEUED, now=utc_now(), because="again")
    async with world.leading():
        await world.settled()
        assert await running(world) == [0]


async def test_one_that_does_not_exist_is_not_found(world: World) -> None:
    async with world.db.api.transaction() as conn:
        with pytest.raises(NotFound, match="backfill with id 7"):
            await backfills.set_paused(conn, 7, True, utc_now())


async def test_it_goes_with_its_dag(world: World) -> None:
    backfill_id = await ask(world, hours(2))
    await make(world, backfill_id)
    async with world.db.api.transaction() as conn:
        await dags.delete_dag(conn, "d")
    assert await make(world, backfill_id) == 0
    assert await rows(world, b"SELECT id FROM backfill") == []


async def test_a_run_that_is_deleted_is_not_made_again(world: World) -> None:
    backfill_id = await ask(world, hours(2))
    await make(world, backfill_id)
    async with world.db.api.transaction() as conn:
        await dag_runs.delete_dag_run(conn, (await run_ids(world))[0])
    assert await make(world, backfill_id) == 0
    assert len(await run_ids(world)) == 1


# --- the maker -----------------------------------------------------------------------------------------------------


async def test_the_maker_makes_what_is_asked_for_and_ends_it_with_its_last_run(world: World) -> None:
    async with making(world) as maker, world.leading():
        backfill_id = await ask(world, hours(3), max_active_runs=3)
        maker.look()
        await world.until(lambda: _count(world, b"SELECT count(*) = 3 FROM dag_run"))
        await announce(world)
        launched = await _launched(world, 3)
        for at, kind in zip(launched, (OutcomeKind.SUCCESS, OutcomeKind.FAILED, OutcomeKind.SUCCESS), strict=True):
            assert not await _count(world, b"SELECT completed_at IS NOT NULL FROM backfill")
            await world.end(launched[at], kind)
            maker.run_ended("d")
        await world.until(lambda: _count(world, b"SELECT completed_at IS NOT NULL FROM backfill"))
        assert maker.statistics().decided == 3
        assert await make(world, backfill_id) == 0


async def test_one_that_cannot_be_made_holds_up_no_other(world: World) -> None:
    broken = await ask(world, hours(1), spec=dag("broken", task("a"), timetable=HOURLY))
    async with world.db.api.transaction() as conn:
        await conn.execute(b"UPDATE dag_version SET spec = '{}' WHERE dag_id = 'broken'")
    dags._versions.clear()
    await ask(world, hours(2))
    async with making(world) as maker:
        maker.look()
        await world.until(lambda: _count(world, b"SELECT count(*) = 2 FROM dag_run"))
        assert maker.statistics().failed >= 1
    assert await rows(world, b"SELECT completed_at FROM backfill ORDER BY id LIMIT 1") == [(None,)], broken


async def _count(world: World, what: bytes) -> bool:
    async with world.db.api.connection() as conn:
        return bool(await fetch_value(conn, what))
