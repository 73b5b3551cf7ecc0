"""One order of locks (ADR 22): leadership, dag, dag runs by id, task instances. Each test is a circle that once was."""

from __future__ import annotations

import contextlib
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
import pytest
import trio

from leoflowd.contract.errors import StoreUnavailable
from leoflowd.contract.states import TaskInstanceState
from leoflowd.contract.wait_spec import ProbeSpec, WaitSpec
from leoflowd.contract.waits import NewWait
from leoflowd.contract.xcoms import XCom
from leoflowd.core.run_view import InstanceFacts
from leoflowd.store import api_xcoms, dag_runs, dags, leadership, task_instances, tries, waits
from leoflowd.store.api_xcoms import XComKey
from leoflowd.store.database import Connection, Database, execute, fetch_value
from leoflowd.store.transitions import (
    Batch,
    EndedTry,
    InstanceWrite,
    RunWrite,
    StaleViews,
    write_batch,
)
from leoflowd.store.waits import WaitWrite
from leoflowd.store.xcoms import xcoms_of
from tests.integration.api.api_client import Client
from tests.integration.scheduler.conftest import World, dag, task

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
SOON_S = 30.0
SPEC = dag("d", task("a"), task("b", "a"), max_consecutive_failed_dag_runs=1, max_active_runs=100)


async def until_blocked(db: Database, count: int = 1) -> None:
    """So many sessions of this database wait for a lock."""
    async with db.pool.connection() as conn:
        while await _count_blocked(conn) < count:  # noqa: ASYNC110  # the locks are in Postgres
            await trio.sleep(0.01)


async def _count_blocked(conn: Connection) -> int:
    found: int = await fetch_value(
        conn,
        b"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    return found


async def delete_dag(db: Database) -> None:
    async with db.agents.transaction() as conn:
        await dags.delete_dag(conn, "d")


async def is_locked(db: Database, dag_run_id: int) -> bool:
    try:
        async with db.pool.transaction() as conn:
            await conn.execute(b"SELECT FROM dag_run WHERE id = %(id)s FOR UPDATE NOWAIT", {"id": dag_run_id})
    except StoreUnavailable as error:
        return isinstance(error.__cause__, psycopg.errors.LockNotAvailable)
    return False


async def test_a_dag_is_deleted_while_a_try_is_archived(world: World) -> None:
    """The archived try checks its version at the commit; the deletion had the version, and waited for the run."""
    dag_run_id = await world.create(SPEC)
    with trio.fail_after(SOON_S):
        async with trio.open_nursery() as nursery, world.db.scheduler.transaction() as conn:
            await dag_runs.lock_dag_run(conn, "d", "r1")
            nursery.start_soon(delete_dag, world.db)
            await until_blocked(world.db)
            await execute(
                conn,
                b"UPDATE task_instance SET state = 'failed', try_number = 1, start_date = %(now)s, end_date = %(now)s",
                now=NOW,
            )
            await task_instances.clear_instances(
                conn, dag_run_id, [("a", -1)], now=NOW, because="x", reset_dag_run=True
            )


async def test_a_dag_is_deleted_while_its_failing_run_may_pause_it(world: World) -> None:
    """The batch had the run and wanted the DAG; the deletion had the DAG and wanted the run."""
    dag_run_id = await world.create(SPEC)
    async with world.db.api.connection() as conn:
        term = await leadership.begin_term(conn, holder="test", now=NOW)
        revision = await fetch_value(conn, b"SELECT revision FROM dag_run")
    failed = RunWrite(
        dag_run_id=dag_run_id, revision=revision, state="failed", start_date=NOW, end_date=NOW, because="x"
    )

    async def write() -> None:
        async with world.db.scheduler.pipelined_transaction() as conn:
            await write_batch(conn, Batch(runs=(failed,), instances=()), term=term, now=NOW)

    with trio.fail_after(SOON_S):
        async with trio.open_nursery() as nursery, world.db.api.transaction() as conn:
            await dag_runs.lock_dag_run(conn, "d", "r1")
            nursery.start_soon(write)
            await until_blocked(world.db)
            nursery.start_soon(delete_dag, world.db)
            await until_blocked(world.db, 2)


async def test_runs_are_locked_by_id_whatever_order_they_are_named_in(world: World) -> None:
    older, newer = [await world.create(SPEC, run_id) for run_id in ("older", "newer")]

    async def lock_both() -> None:
        async with world.db.api.transaction() as conn:
            locked = await dag_runs.lock_dag_runs(conn, "d", ["newer", "older"])
            assert [run.id for run in locked] == [older, newer]

    with trio.fail_after(SOON_S):
        async with trio.open_nursery() as nursery, world.db.scheduler.transaction() as conn:
            await dag_runs.lock_dag_run(conn, "d", "older")
            nursery.start_soon(lock_both)
            await until_blocked(world.db)
            assert not await is_locked(world.db, newer)


async def test_a_clear_of_runs_whose_dates_go_backwards_locks_them_by_id(world: World, admin: Client) -> None:
    """Over the API, which names them by date."""
    first = await world.create(SPEC, "first", datetime(2026, 2, 2, tzinfo=UTC))
    second = await world.create(SPEC, "second", datetime(2026, 1, 1, tzinfo=UTC))
    body = {"dry_run": False, "only_failed": False, "dag_run_id": "first", "include_past": True}
    with trio.fail_after(SOON_S):
        async with trio.open_nursery() as nursery, world.db.scheduler.transaction() as conn:
            await dag_runs.lock_dag_run(conn, "d", "first")
            nursery.start_soon(admin.send, "POST", "/api/v2/dags/d/clearTaskInstances", body)
            await until_blocked(world.db)
            assert not await is_locked(world.db, second)
    assert first < second


async def test_a_mark_of_runs_whose_dates_go_backwards_locks_them_by_id(world: World, admin: Client) -> None:
    await world.create(SPEC, "first", datetime(2026, 2, 2, tzinfo=UTC))
    second = await world.create(SPEC, "second", datetime(2026, 1, 1, tzinfo=UTC))
    with trio.fail_after(SOON_S):
        async with trio.open_nursery() as nursery, world.db.scheduler.transaction() as conn:
            await dag_runs.lock_dag_run(conn, "d", "first")
            nursery.start_soon(
                admin.send,
                "PATCH",
                "/api/v2/dags/d/dagRuns/second/taskInstances/a",
                {"new_state": "success", "include_future": True},
            )
            await until_blocked(world.db)
            assert not await is_locked(world.db, second)


async def test_an_agents_xcom_does_not_wait_for_who_holds_its_run(world: World) -> None:
    """It stood before the row that the holder wrote next, and waited for the holder."""
    dag_run_id = await world.create(SPEC)
    async with world.db.api.connection() as conn:
        await execute(
            conn, b"UPDATE task_instance SET state = 'running', try_number = 1, start_date = %(now)s", now=NOW
        )
        try_id = await fetch_value(conn, b"SELECT id FROM task_instance WHERE task_id = 'a'")
    with trio.fail_after(SOON_S):
        async with world.db.api.transaction() as conn:
            await dag_runs.lock_dag_run(conn, "d", "r1")
            async with world.db.agents.connection() as agent:
                assert await xcoms_of(agent).put(str(try_id), "k", "1", NOW)
            key = XComKey(dag_id="d", run_id="r1", task_id="a", map_index=-1, key="k")
            await api_xcoms.update_xcom(conn, dag_run_id, key, 2, NOW)


async def test_the_hourly_cleaning_passes_by_waits_that_are_being_written(world: World) -> None:
    dag_run_id = await world.create(SPEC)
    async with world.db.api.connection() as conn:
        for task_id in ("a", "b"):  # of tries that are over: dead
            await execute(
                conn,
                b"INSERT INTO wait (dag_run_id, task_id, id, dag_id, kind, key, probe, terms, registered_at)"
                b" VALUES (%(run)s, %(task)s, gen_random_uuid(), 'd', 'file', 'k', '{}', '{}', %(now)s)",
                run=dag_run_id,
                task=task_id,
                now=NOW,
            )
    with trio.fail_after(SOON_S):
        async with world.db.api.transaction() as conn:
            await conn.execute(b"SELECT FROM wait WHERE task_id = 'a' FOR UPDATE")
            async with world.db.scheduler.connection() as cleaning:
                assert await waits.delete_dead_waits(cleaning) == 1


async def test_a_heartbeat_waits_for_no_batch_and_a_new_term_does(world: World) -> None:
    """A batch may wait long for a run that somebody clears: the leader lives meanwhile."""
    async with world.db.api.connection() as conn:
        term = await leadership.begin_term(conn, holder="first", now=NOW)

    async def next_term() -> None:
        async with world.db.agents.connection() as conn:
            assert await leadership.begin_term(conn, holder="second", now=NOW) == term + 1
        ended.append("term")

    ended: list[str] = []
    with trio.fail_after(SOON_S):
        async with trio.open_nursery() as nursery, world.db.scheduler.transaction() as batch:
            await write_batch(batch, Batch(runs=(), instances=()), term=term, now=NOW)
            async with world.db.api.connection() as conn:
                assert await leadership.beat(conn, term=term, now=NOW)
            nursery.start_soon(next_term)
            await until_blocked(world.db)
            ended.append("batch")
    assert ended == ["batch", "term"]


async def test_a_run_that_is_deleted_while_a_batch_is_on_its_way_is_stale_and_no_violation(world: World) -> None:
    """A violation of the XCom's or wait's foreign key would end the scheduler."""
    dag_run_id = await world.create(SPEC)
    batch = await a_batch(world.db, state="running")
    async with world.db.api.transaction() as conn:
        term = await leadership.begin_term(conn, holder="test", now=NOW)
        await dag_runs.delete_dag_run(conn, dag_run_id)
    with pytest.raises(StaleViews) as stale:
        async with world.db.scheduler.pipelined_transaction() as conn:
            await write_batch(conn, batch, term=term, now=NOW)
    assert stale.value.dag_run_ids == {dag_run_id}


# --- all at once --------------------------------------------------------------------------------------------------

ROUNDS = 15


async def test_clear_mark_and_delete_beside_the_scheduler_never_end_in_a_deadlock(
    world: World, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler's batches, over all runs and over one; agents that push; people who change what it is to write."""
    deadlocks = watched_deadlocks(monkeypatch)
    run_ids = [f"r{number}" for number in range(6)]
    for number, run_id in enumerate(run_ids):
        await world.create(SPEC, run_id, datetime(2026, 1, 20 - number, tzinfo=UTC))

    async def people(method: str, path: str, body: dict[str, Any] | None) -> None:
        for turn in range(ROUNDS):
            answer = await admin.call(method, path.format(run=run_ids[turn % len(run_ids)]), json=body)
            assert answer.status_code < 500, (path, await answer.get_data())

    async def delete_and_create() -> None:
        for turn in range(ROUNDS):
            await admin.call("DELETE", "/api/v2/dags/d/dagRuns/extra")
            await world.create(SPEC, "extra", datetime(2026, 3, 1 + turn, tzinfo=UTC))

    async def batches() -> None:
        async with world.db.scheduler.connection() as conn:
            term = await leadership.begin_term(conn, holder="test", now=NOW)
        for turn in range(10_000):
            batch = await a_batch(
                world.db, state="failed" if turn % 4 > 1 else "running", only=turn if turn % 2 else None
            )
            with contextlib.suppress(StaleViews):
                async with world.db.scheduler.pipelined_transaction() as conn:
                    await write_batch(conn, batch, term=term, now=NOW)
                written.append(turn)
            async with world.db.scheduler.connection() as conn:
                await waits.delete_dead_waits(conn)

    async def agents() -> None:
        while True:
            async with world.db.agents.connection() as conn:
                cursor = await conn.execute(b"SELECT id FROM task_instance")
                for (try_id,) in await cursor.fetchall():
                    await xcoms_of(conn).put(str(try_id), "return_value", "1", NOW)
                    await tries.put_rendered_fields(conn, str(try_id), {"a": 1}, NOW)

    written: list[int] = []
    with trio.fail_after(120):
        async with trio.open_nursery() as others:
            others.start_soon(batches)
            others.start_soon(agents)
            async with trio.open_nursery() as group:
                one = {"dry_run": False, "only_failed": False, "dag_run_id": "r3"}
                everything = one | {"include_past": True, "include_future": True}
                mark = {"new_state": "failed", "include_future": True, "include_downstream": True}
                group.start_soon(people, "POST", "/api/v2/dags/d/clearTaskInstances", everything)
                group.start_soon(people, "POST", "/api/v2/dags/d/clearTaskInstances", one)
                group.start_soon(people, "PATCH", "/api/v2/dags/d/dagRuns/{run}/taskInstances/a", mark)
                group.start_soon(people, "PATCH", "/api/v2/dags/d/dagRuns/{run}", {"state": "failed"})
                group.start_soon(delete_and_create)
            await delete_dag(world.db)
            others.cancel_scope.cancel()
    assert written, "no batch ever fitted"
    assert deadlocks == []


async def a_batch(db: Database, *, state: str, only: int | None = None) -> Batch:
    """Every instance of every run (or of one) begins a new try and pushes something; every run moves."""
    async with db.scheduler.connection() as conn:
        runs = await (await conn.execute(b"SELECT id, revision FROM dag_run ORDER BY id")).fetchall()
        runs = runs if only is None or not runs else [runs[only % len(runs)]]
        rows = await (
            await conn.execute(
                b"SELECT dag_run_id, task_id, id::text, state, try_number FROM task_instance"
                b" WHERE dag_run_id = ANY (%(runs)s)",
                {"runs": [run for run, _ in runs]},
            )
        ).fetchall()
    before = {
        (run, task_id): InstanceFacts(
            id=try_id, node=0, state=TaskInstanceState(stored or "none"), try_number=number, due_at=NOW, start_date=NOW
        )
        for run, task_id, try_id, stored, number in rows
    }
    ended = NOW if state == "failed" else None
    return Batch(
        runs=tuple(
            RunWrite(dag_run_id=run, revision=revision, state=state, start_date=NOW, end_date=ended, because=None)
            for run, revision in runs
        ),
        instances=tuple(
            InstanceWrite(
                dag_run_id=run,
                task_id=task_id,
                before=facts,
                after=msgspec.structs.replace(facts, id=str(uuid.uuid4()), try_number=facts.try_number + 1),
            )
            for (run, task_id), facts in before.items()
        ),
        ended_tries=tuple(EndedTry(facts=facts) for facts in before.values()),
        waits=tuple(WaitWrite((run, task_id, -1), _a_wait(run, task_id)) for run, task_id in before),
        xcoms=tuple(
            XCom(dag_run_id=run, task_id=task_id, map_index=-1, key="return_value", value="2")
            for run, task_id in before
        ),
    )


def _a_wait(dag_run_id: int, task_id: str) -> NewWait:
    return NewWait(
        id=uuid.uuid4(),
        dag_id="d",
        dag_run_id=dag_run_id,
        key="k",
        spec=WaitSpec(probe=ProbeSpec(kind="file")),
        registered_at=NOW,
        deadline_at=None,
    )


def watched_deadlocks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Postgres ended as a deadlock, wherever it was caught."""
    found: list[str] = []
    original = psycopg.errors.DeadlockDetected.__init__

    def noted(self: psycopg.errors.DeadlockDetected, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        found.append(str(self))

    monkeypatch.setattr(psycopg.errors.DeadlockDetected, "__init__", noted)
    return found
