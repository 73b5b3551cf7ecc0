"""The pool on the real table: what it arms and drops, and a cadence that is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import trio

from leoflowd.cheap_tasks.arming import PAGE
from leoflowd.cheap_tasks.pool import CheapTaskPool
from leoflowd.cheap_tasks.wait_table import StoredWaits
from leoflowd.core.pool_shards import ALL_SHARDS, SHARDS, shard_of
from leoflowd.store.database import Database
from leoflowd.store.hints import HintListener, send_hint
from leoflowd.store.waits import list_current_ids_page, list_waits_to_arm
from tests.conftest import PATIENCE_S
from tests.fakes.pool_world import PoolWorld

AT_MOST_S = PATIENCE_S


async def seed(database: Database, count: int, *, dag_id: str = "d") -> None:
    """`count` task instances of run 1 that wait for a moment far away, with their waits. No dag run is needed."""
    async with database.api.transaction() as conn:
        await conn.execute(b"SET LOCAL session_replication_role = replica")  # the other tables are of no interest here
        await conn.execute(
            b"INSERT INTO dag (dag_id, dag_display_name, created_at) VALUES (%(dag_id)s, %(dag_id)s, now())",
            {"dag_id": dag_id},
        )
        await conn.execute(
            b"""
            INSERT INTO task_instance (dag_run_id, task_id, map_index, id, dag_version_id, state,
                                       operator, operator_name, task_display_name, updated_at)
            SELECT 1, 'sensor', i, gen_random_uuid(), gen_random_uuid(), 'deferred', 'x', 'x', 'x', now()
            FROM generate_series(0, %(count)s - 1) AS i
            """,
            {"count": count},
        )
        await conn.execute(
            b"""
            INSERT INTO wait (dag_run_id, task_id, map_index, id, dag_id, kind, key, probe, terms, registered_at)
            SELECT 1, 'sensor', map_index, id, %(dag_id)s, 'time', id::text,
                   '{"kind": "time", "arguments": {"moment": "2999-01-01T00:00:00Z"}}', '{"poke_interval_s": 60}', now()
            FROM task_instance
            """,
            {"dag_id": dag_id},
        )


@asynccontextmanager
async def pool_on(database: Database) -> AsyncIterator[CheapTaskPool]:
    """With a listener for hints; its world is of no interest."""
    world = PoolWorld(sweep_interval_s=3600)
    world.table = StoredWaits(database.api)  # type: ignore[assignment]  # the real one
    listener = HintListener(database.conninfo)
    made = world.make_pool(listener.subscribe())
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        await nursery.start(listener.run)
        yield made
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(AT_MOST_S):
        while not condition():  # noqa: ASYNC110  # what the pool hears of other processes, it does not tell
            await trio.sleep(0.005)


async def test_everything_that_waits_is_armed_over_several_pages(database: Database) -> None:
    await seed(database, PAGE + 5)
    async with pool_on(database) as pool:
        assert pool.statistics().waits == {"time": PAGE + 5}


async def test_a_share_of_the_shards_is_a_share_of_the_rows(database: Database) -> None:
    await seed(database, 300)
    shares = [frozenset(range(first, SHARDS, 3)) for first in range(3)]
    async with database.api.connection() as conn:
        for share in (*shares, ALL_SHARDS, frozenset[int]()):
            armed = await list_waits_to_arm(conn, share, limit=1000)
            swept = await list_current_ids_page(conn, share, limit=1000)
            everything = await conn.execute(b"SELECT id FROM wait ORDER BY map_index")
            wanted = [one for (one,) in await everything.fetchall() if shard_of(one.int) in share]
            assert [row.id for row in armed.rows] == list(swept.ids) == wanted


async def test_pausing_and_unpausing_is_heard(database: Database) -> None:
    await seed(database, 3)
    async with pool_on(database) as pool:
        for is_paused, expected in ((True, {}), (False, {"time": 3})):
            async with database.api.transaction() as conn:
                await conn.execute(b"UPDATE dag SET is_paused = %(is_paused)s", {"is_paused": is_paused})
                await send_hint(conn, "dag", "d")
            await until(lambda expected=expected: pool.statistics().waits == expected)  # type: ignore[misc]


async def test_a_cleared_try_is_dropped(database: Database) -> None:
    await seed(database, 3)
    async with pool_on(database) as pool:
        async with database.api.transaction() as conn:
            await conn.execute(b"UPDATE task_instance SET id = gen_random_uuid(), state = NULL WHERE map_index = 1")
            await send_hint(conn, "run", 1)
        await until(lambda: pool.statistics().waits == {"time": 2})


async def test_a_new_poke_interval_is_in_the_row(database: Database) -> None:
    await seed(database, 1)
    async with pool_on(database) as pool:
        async with database.api.connection() as conn:
            cursor = await conn.execute(b"SELECT id FROM wait")
            wait_id: UUID = (await cursor.fetchall())[0][0]
        assert await pool.set_poke_interval(str(wait_id), 7.5)
        async with database.api.connection() as conn:
            cursor = await conn.execute(b"SELECT terms->>'poke_interval_s' FROM wait")
            assert await cursor.fetchall() == [("7.5",)]
