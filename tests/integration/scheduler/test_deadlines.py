"""Rows of deadlines: written with the run, gone with its success, missed once, and then a callback (ADR 58)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import trio

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.callback_spec import CallbackCall
from leoflowd.contract.deadline_spec import DeadlineSpec
from leoflowd.contract.states import DagRunState
from leoflowd.core.try_spec import CALLBACK_KIND
from leoflowd.scheduler.deadlines import Deadlines
from leoflowd.store import callbacks, dag_runs, deadlines
from tests.conftest import PATIENCE_S

from .conftest import World, dag, task, utc_now

SOON, FAR = DeadlineSpec(reference="queued_at", interval_s=0.0), DeadlineSpec(reference="queued_at", interval_s=9e5)


@asynccontextmanager
async def timing(world: World, sweep_interval_s: float = 1000.0) -> AsyncIterator[tuple[Deadlines, trio.Event]]:
    called = trio.Event()
    component = Deadlines(db=world.db, sweep_interval_s=sweep_interval_s, now=utc_now, call_back=called.set)
    async with trio.open_nursery() as nursery:
        await nursery.start(component.run)
        yield component, called
        nursery.cancel_scope.cancel()


async def rows(world: World) -> list[tuple[Any, ...]]:
    async with world.db.api.connection() as conn:
        cursor = await conn.execute(
            b"SELECT position, missed, deadline_time FROM deadline ORDER BY dag_run_id, position"
        )
        return list(await cursor.fetchall())


async def calls(world: World) -> list[CallbackCall]:
    async with world.db.api.connection() as conn:
        return [one.facts().call for one in await callbacks.list_open(conn, at_most=100)]


async def miss(world: World) -> int:
    async with world.db.scheduler.transaction() as conn:
        return await deadlines.miss_due(conn, utc_now())


async def test_what_was_due_before_anybody_led_is_missed_at_once(world: World) -> None:
    run = await world.create(dag("d", task("a"), deadlines=(FAR, SOON)))
    async with timing(world) as (component, called):
        with trio.fail_after(PATIENCE_S):
            await called.wait()
        assert component.statistics() == {"missed": 1}
    assert [(position, missed) for position, missed, _ in await rows(world)] == [(0, False), (1, True)]
    (call,) = await calls(world)
    assert (call.event, call.of_dag, call.state) == ("deadline", True, "queued")
    assert call.deadline is not None
    assert call.deadline.position == 1
    async with world.db.api.connection() as conn:
        (row,) = await callbacks.list_open(conn, at_most=1)
        found = await callbacks.load_dispatch(conn, row, timeout_s=5.0)
    assert found is not None
    assert (found.spec.kind, found.spec.dag_run.run_id, row.dag_run_id) == (CALLBACK_KIND, "r1", run)


async def test_the_timer_is_set_to_the_next_one_and_not_to_the_sweep(world: World) -> None:
    await world.create(dag("d", task("a"), deadlines=(DeadlineSpec(reference="queued_at", interval_s=0.3), FAR)))
    async with timing(world) as (_, called):
        with trio.fail_after(PATIENCE_S):
            await called.wait()
    assert [missed for _, missed, _ in await rows(world)] == [True, False]


async def test_a_run_that_comes_later_rings(world: World) -> None:
    async with timing(world) as (component, called):
        await world.create(dag("d", task("a"), deadlines=(SOON,)))
        component.came()
        with trio.fail_after(PATIENCE_S):
            await called.wait()


async def test_a_deadline_is_missed_once_whoever_looks(world: World) -> None:
    await world.create(dag("d", task("a"), deadlines=(SOON, SOON)))
    found: list[int] = []

    async def look() -> None:
        found.append(await miss(world))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(look)
    assert sum(found) == 2
    assert [call.deadline.position for call in await calls(world) if call.deadline] == [0, 1]


async def test_a_success_in_time_takes_its_deadlines_away(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a"), deadlines=(FAR, SOON)))
        await world.end((await world.launched_ids(1))["a"])
        await world.settled()
        assert await world.run_state(run) == "success"
    assert [position for position, _, _ in await rows(world)] == [1], "it was late for the other"


async def test_a_failure_keeps_them(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a"), deadlines=(FAR,)))
        await world.end((await world.launched_ids(1))["a"], OutcomeKind.FAILED)
        await world.settled()
        assert await world.run_state(run) == "failed"
    assert len(await rows(world)) == 1


async def test_a_person_who_says_success_ends_them_too(world: World) -> None:
    run = await world.create(dag("d", task("a"), deadlines=(FAR,)))
    async with world.db.api.transaction() as conn:
        await dag_runs.mark_dag_run(conn, run, DagRunState.SUCCESS, now=utc_now(), because="said")
    assert await rows(world) == []


async def test_a_run_that_is_deleted_takes_its_deadlines_and_their_callbacks(world: World) -> None:
    run = await world.create(dag("d", task("a"), deadlines=(SOON, FAR)))
    assert await miss(world) == 1
    async with world.db.api.transaction() as conn:
        await dag_runs.delete_dag_run(conn, run)
    assert (await rows(world), await calls(world)) == ([], [])


async def test_a_run_that_is_queued_again_gets_its_time_anew(world: World) -> None:
    fixed = DeadlineSpec(reference="logical_date", interval_s=9e5)
    logical_date = utc_now()
    async with world.leading():
        run = await world.create(dag("d", task("a"), deadlines=(FAR, fixed)), logical_date=logical_date)
        await world.end((await world.launched_ids(1))["a"], OutcomeKind.FAILED)
        await world.settled()
    before = await rows(world)
    async with world.db.api.transaction() as conn:
        await dag_runs.mark_dag_run(conn, run, DagRunState.QUEUED, now=utc_now() + timedelta(hours=1), because="again")
    after = await rows(world)
    moved = [new[2] - old[2] for old, new in zip(before, after, strict=True)]
    assert moved[0] > timedelta(minutes=59)
    assert moved[1] == timedelta(0)


async def test_an_average_looks_at_ended_runs_of_this_dag(world: World) -> None:
    average = DeadlineSpec(reference="average_runtime", interval_s=0.0, max_runs=1, min_runs=1)
    spec = dag("d", task("a"), deadlines=(average,))
    run = await world.create(spec, logical_date=utc_now())
    assert await rows(world) == [], "none has ended"
    async with world.db.api.transaction() as conn:
        await conn.execute(
            b"UPDATE dag_run SET state = 'success', start_date = %(now)s, end_date = %(now)s + interval '1 hour'"
            b" WHERE id = %(id)s",
            {"now": utc_now(), "id": run},
        )
    began: datetime = utc_now()
    await world.create(spec, "r2")
    ((_, _, deadline_time),) = await rows(world)
    assert timedelta(hours=1) <= deadline_time - began < timedelta(hours=1, seconds=PATIENCE_S)
