"""Rows of callbacks: written with the end that calls for them, launched beside tasks, done once, whatever is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from leoflowd.agents.callbacks import CallbackReports
from leoflowd.config import CallbacksConfig
from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.dispatch import Dispatch
from leoflowd.core.callbacks import STARTS_MAX
from leoflowd.core.silence import Signs
from leoflowd.scheduler.callbacks import Callbacks
from leoflowd.scheduler.replicas import Others
from leoflowd.store import callbacks
from leoflowd.store.callbacks import CallbackTry
from tests.conftest import PATIENCE_S

from .conftest import World, dag, task, utc_now

NEVER_HEARD = Signs(silent_s=None, launched_s=None, listening_s=0.0)
SILENT = Signs(silent_s=999.0, launched_s=999.0, launches=1, listening_s=999.0)


class Launcher:
    """The component, with the test in the place of the executor."""

    def __init__(self, world: World, signs: Callable[[str], Signs], slots: int) -> None:
        self.world = world
        self._send, self.dispatches = trio.open_memory_channel[Dispatch](100)
        self.component = Callbacks(
            db=world.db,
            dispatches=self._send,
            config=CallbacksConfig(slots=slots, timeout_s=7.0),
            sweep_interval_s=0.05,
            silence_s=60.0,
            now=utc_now,
            signs=signs,
            others=Others(world.db, "me"),
            launcher="me",
        )

    async def taken(self) -> Dispatch:
        with trio.fail_after(PATIENCE_S):
            return await self.dispatches.receive()

    async def row(self, try_id: str) -> CallbackTry:
        async with self.world.db.api.connection() as conn:
            (row,) = await callbacks.list_callback_tries(conn, [try_id])
        return row

    async def end(self, dispatch: Dispatch, kind: OutcomeKind = OutcomeKind.SUCCESS) -> None:
        """As its agent reports it."""
        reports, now = CallbackReports(self.world.db, utc_now), utc_now()
        row = await self.row(dispatch.spec.try_id)
        outcome = Outcome(kind=kind, because="the test said so", start_date=now, end_date=now)
        await reports.try_ended(row, outcome, None)

    async def start(self, dispatch: Dispatch) -> None:
        row = await self.row(dispatch.spec.try_id)
        await CallbackReports(self.world.db, utc_now).try_started(row, at=utc_now(), hostname="host", pid=1)


@asynccontextmanager
async def launching(
    world: World, signs: Callable[[str], Signs] = lambda _: NEVER_HEARD, *, slots: int = 8
) -> AsyncIterator[Launcher]:
    launcher = Launcher(world, signs, slots)
    async with trio.open_nursery() as nursery:
        await nursery.start(launcher.component.run)
        yield launcher
        nursery.cancel_scope.cancel()


async def rows(world: World) -> list[tuple[Any, ...]]:
    async with world.db.api.connection() as conn:
        cursor = await conn.execute(
            b"SELECT coalesce(task_id, ''), call ->> 'event', (call ->> 'of_dag')::bool, state, starts FROM callback"
            b" ORDER BY id"
        )
        return list(await cursor.fetchall())


async def a_run_that_failed(world: World, *, tasks: int = 1, **fields: Any) -> int:
    spec = dag("d", *(task(f"t{n}", callbacks=("failure", "success")) for n in range(tasks)), **fields)
    run = await world.create(spec)
    for try_id in (await world.launched_ids(tasks)).values():
        await world.start(try_id)
        await world.end(try_id, OutcomeKind.FAILED)
    return run


async def test_an_end_and_its_callback_are_one_commit(world: World) -> None:
    async with world.leading():
        await a_run_that_failed(world, callbacks=("failure",))
        # `world.end` returned: the outcome is committed, and so is what it calls for.
        assert await rows(world) == [("t0", "failure", False, "queued", 0), ("t0", "failure", True, "queued", 0)]


async def test_without_callbacks_there_is_no_row(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", task("a")))
        await world.end((await world.launched_ids(1))["a"], OutcomeKind.FAILED)
        assert await rows(world) == []


async def test_a_callback_is_launched_with_the_facts_of_the_end(world: World) -> None:
    async with world.leading():
        await a_run_that_failed(world)
    async with launching(world) as launcher:  # nobody led when it came
        spec = (await launcher.taken()).spec
        assert (spec.kind, spec.task_id, spec.try_number, spec.max_tries) == ("callback", "t0", 1, 0)
        assert (spec.execution_timeout_s, spec.xcoms_complete, spec.do_xcom_push) == (7.0, False, False)
        assert spec.callback is not None
        assert (spec.callback.event, spec.callback.state, spec.callback.because) == (
            "failure",
            "failed",
            "the test said so",
        )


async def test_a_dag_may_give_its_callbacks_more_time(world: World) -> None:
    async with world.leading():
        await a_run_that_failed(world, callback_timeout_s=90.0)
    async with launching(world) as launcher:
        assert (await launcher.taken()).spec.execution_timeout_s == 90.0


async def test_a_callback_is_done_once(world: World) -> None:
    async with world.leading():
        run = await a_run_that_failed(world)
    async with launching(world) as launcher:
        one = await launcher.taken()
        await launcher.start(one)
        await launcher.end(one)
        row = await launcher.row(one.spec.try_id)
        late = Outcome(kind=OutcomeKind.FAILED, because="late", start_date=utc_now(), end_date=utc_now())
        await CallbackReports(world.db, utc_now).try_ended(row, late, None)
        assert await rows(world) == [("t0", "failure", False, "success", 1)]
    assert (await world.states(run), await world.run_state(run)) == ({"t0": "failed"}, "failed")


async def test_a_callback_that_fails_changes_no_task_and_is_not_repeated(world: World) -> None:
    async with world.leading():
        run = await a_run_that_failed(world)
    async with launching(world) as launcher:
        one = await launcher.taken()
        await launcher.start(one)
        await launcher.end(one, OutcomeKind.FAILED)
        launcher.component.came()
        await trio.testing.wait_all_tasks_blocked()
        assert launcher.dispatches.statistics().current_buffer_used == 0
    assert await rows(world) == [("t0", "failure", False, "failed", 1)]
    assert await world.states(run) == {"t0": "failed"}
    async with world.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT event, task_id FROM event_log")
        assert await cursor.fetchall() == [("callback failed", "t0")]


@pytest.mark.parametrize("way", [OutcomeKind.LOST, OutcomeKind.TERMINATED])
async def test_infrastructure_may_end_it_a_few_times(world: World, way: OutcomeKind) -> None:
    async with world.leading():
        await a_run_that_failed(world)
    seen = set()
    async with launching(world) as launcher:
        for _ in range(STARTS_MAX):
            one = await launcher.taken()
            seen.add(one.spec.try_id)
            await launcher.start(one)
            await launcher.end(one, way)
            launcher.component.came()
    assert len(seen) == STARTS_MAX, "each process has a fence of its own"
    assert await rows(world) == [("t0", "failure", False, "failed", STARTS_MAX)]


async def test_one_that_nobody_speaks_of_is_launched_anew(world: World) -> None:
    async with world.leading():
        await a_run_that_failed(world)
    silent: set[str] = set()
    async with launching(world, lambda try_id: SILENT if try_id in silent else NEVER_HEARD) as launcher:
        one = await launcher.taken()
        await launcher.start(one)
        silent.add(one.spec.try_id)
        again = await launcher.taken()
        assert again.spec.try_id != one.spec.try_id
        assert again.spec.callback == one.spec.callback
        async with world.db.api.connection() as conn:
            assert await callbacks.list_callback_tries(conn, [one.spec.try_id]) == (), "the old one may not write"


async def test_callbacks_have_slots_of_their_own(world: World) -> None:
    async with world.leading():
        await a_run_that_failed(world, tasks=3)
    async with launching(world, slots=2) as launcher:
        first, _second = await launcher.taken(), await launcher.taken()
        await launcher.start(first)
        await launcher.end(first)
        third = await launcher.taken()
        assert third.spec.try_id != first.spec.try_id
        assert [state for *_, state, _ in await rows(world)].count("success") == 1


async def test_callbacks_of_one_try_follow_each_other(world: World) -> None:
    """They write into one log."""
    async with world.leading():
        run = await a_run_that_failed(world)
        async with world.db.api.transaction() as conn:
            await conn.execute(
                b"INSERT INTO callback (try_id, dag_run_id, task_id, map_index, try_number, max_tries, call, queued_at)"
                b" SELECT gen_random_uuid(), dag_run_id, task_id, map_index, try_number, max_tries, call, queued_at"
                b" FROM callback WHERE dag_run_id = %(run)s",
                {"run": run},
            )
    async with launching(world) as launcher:
        one = await launcher.taken()
        launcher.component.came()
        await trio.testing.wait_all_tasks_blocked()
        assert launcher.dispatches.statistics().current_buffer_used == 0
        await launcher.end(one)
        assert (await launcher.taken()).spec.callback == one.spec.callback


async def test_one_that_ended_can_be_run_once_more(world: World) -> None:
    async with world.leading():
        await a_run_that_failed(world)
    async with launching(world) as launcher:
        one = await launcher.taken()
        async with world.db.api.transaction() as conn:
            (open_row,) = await callbacks.list_open(conn, at_most=5)
            assert not await callbacks.queue_ended(conn, open_row.id, because="more", now=utc_now()), "it runs"
        await launcher.end(one)
        async with world.db.api.transaction() as conn:
            assert await callbacks.queue_ended(conn, open_row.id, because="more", now=utc_now())
        assert (await launcher.taken()).spec.try_id != one.spec.try_id


async def test_a_deleted_run_takes_its_callbacks_along(world: World) -> None:
    async with world.leading():
        run = await a_run_that_failed(world)
    async with world.db.api.transaction() as conn:
        await conn.execute(b"DELETE FROM dag_run WHERE id = %(run)s", {"run": run})
    assert await rows(world) == []
