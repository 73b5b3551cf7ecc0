"""The store's connections and migrations on a real Postgres."""

from __future__ import annotations

from pathlib import Path

import msgspec
import psycopg
import pytest
import trio
import trio.testing

from leoflowd.contract.errors import StoreUnavailable, TooManyRequests
from leoflowd.store import database as database_module
from leoflowd.store import migrations
from leoflowd.store.database import Database, fetch_all, fetch_one, fetch_value
from leoflowd.store.migrations import MigrationRefused, migrate, migrations_folder, read_migrations


async def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.api.transaction() as conn:
            await conn.execute(b"UPDATE pool SET slots = 1")
            raise ZeroDivisionError
    async with database.api.connection() as conn:
        assert await fetch_value(conn, b"SELECT slots FROM pool") == 128


async def test_a_lane_gives_out_no_more_connections_than_it_has(database: Database) -> None:
    lane = Database(database.conninfo, api=2).api
    inside = 0
    most = 0

    async def use() -> None:
        nonlocal inside, most
        async with lane.connection() as conn:
            inside += 1
            most = max(most, inside)
            await conn.execute(b"SELECT pg_sleep(0.01)")
            inside -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(use)
    assert most == 2
    assert lane.statistics().opened_total == 2
    lane.close()


async def test_who_asks_for_much_leaves_half_of_the_lane_to_the_others(database: Database) -> None:
    lane = Database(database.conninfo, api=4).api
    greedy, done = 0, trio.Event()

    async def use() -> None:
        nonlocal greedy
        async with lane.share_of("ana").connection():
            greedy += 1
            await done.wait()

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(use)
        while greedy < 2:
            await trio.testing.wait_all_tasks_blocked()
        async with lane.share_of("bob").connection(), lane.connection():
            assert (greedy, lane.statistics().in_use) == (2, 4)
        done.set()
    assert greedy == 5
    lane.close()


async def test_who_waits_too_long_for_his_own_requests_is_told_so(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "ACQUIRE_TIMEOUT_S", 0.01)
    lane = Database(database.conninfo, api=2).api
    async with lane.share_of("ana").transaction():
        with pytest.raises(TooManyRequests, match="1 requests of yours"):
            async with lane.share_of("ana").connection():
                pass
    async with lane.share_of("ana").connection():
        pass
    lane.close()


async def test_a_cancelled_query_costs_its_connection_and_nothing_else(database: Database) -> None:
    with trio.move_on_after(0.05):
        async with database.api.connection() as conn:
            await conn.execute(b"SELECT pg_sleep(30)")
    async with database.api.connection() as conn:
        assert await fetch_value(conn, b"SELECT 1") == 1
    assert database.api.statistics().open == 1


async def test_a_task_cancelled_while_it_is_given_a_connection_loses_none(database: Database) -> None:
    """Seen under load: the connection was nobody's, still open, and the lane counted it for ever."""
    async with database.api.connection():
        pass
    async with trio.open_nursery() as nursery:

        async def cancel() -> None:
            nursery.cancel_scope.cancel()

        nursery.start_soon(cancel)  # runs when this task waits for the first time, which is inside the lane
        async with database.api.connection():
            await trio.sleep_forever()
    async with database.api.connection():
        assert database.api.statistics().opened_total == 1


async def test_a_killed_backend_is_store_unavailable_and_the_next_try_works(database: Database) -> None:
    with pytest.raises(StoreUnavailable):
        async with database.api.connection() as conn, database.agents.connection() as killer:
            await killer.execute(b"SELECT pg_terminate_backend(%(pid)s)", {"pid": conn.info.backend_pid})
            await conn.execute(b"SELECT 1")
    async with database.api.connection() as conn:
        assert await fetch_value(conn, b"SELECT 2") == 2


async def test_large_statements_and_answers_pass_in_pipelines(database: Database) -> None:
    text = "x" * 3_000_000
    async with database.api.pipelined_transaction() as conn:
        first = await conn.execute(b"SELECT length(%(t)s::text)", {"t": text})
        second = await conn.execute(b"SELECT repeat('y', 2000000)")
        assert await first.fetchone() == (3_000_000,)
        row = await second.fetchone()
    assert row is not None
    assert len(row[0]) == 2_000_000


class Pair(msgspec.Struct, frozen=True):
    a: int
    b: int = 7


@pytest.mark.parametrize(
    ("columns", "row"),
    [("1 AS a, 2 AS b", Pair(1, 2)), ("2 AS b, 1 AS a", Pair(1, 2)), ("1 AS a", Pair(1))],
)
async def test_columns_are_fields_by_their_names(database: Database, columns: str, row: Pair) -> None:
    async with database.api.connection() as conn:
        statement = f"SELECT {columns} FROM generate_series(1, 2)".encode()
        assert await fetch_all(conn, statement, Pair) == (row, row)
        assert await fetch_one(conn, statement, Pair) == row
        assert await fetch_one(conn, b"SELECT 1 AS a, 2 AS b WHERE false", Pair) is None
        with pytest.raises(TypeError):
            await fetch_all(conn, b"SELECT 1 AS a, 2 AS c", Pair)


async def test_migrating_again_applies_nothing(database: Database) -> None:
    async with database.api.connection() as conn:
        assert await migrate(conn) == 0


async def test_a_changed_migration_is_refused_by_name(database: Database, tmp_path: Path) -> None:
    for migration in read_migrations(migrations_folder()):
        (tmp_path / f"{migration.name}.sql").write_bytes(migration.sql + b"\n-- touched")
    async with database.api.connection() as conn:
        with pytest.raises(MigrationRefused, match="0001_initial was applied with other content"):
            await migrate(conn, folder=tmp_path)


async def test_a_schema_to_which_a_newer_release_has_added_is_worked_with(database: Database) -> None:
    async with database.api.connection() as conn:
        await conn.execute(b"INSERT INTO schema_migration VALUES (9998, '9998_future', 'x', now())")
        assert await migrate(conn) == 0


@pytest.mark.parametrize(("needed", "is_refused"), [(0, False), (1, True)], ids=["that we know", "that we do not know"])
async def test_a_schema_from_which_a_newer_release_took_something_away(
    database: Database, needed: int, is_refused: bool
) -> None:
    known = read_migrations(migrations_folder())[-1].number
    name = f"9999_contract_{known + needed:04}_future"
    async with database.api.connection() as conn:
        await conn.execute(f"INSERT INTO schema_migration VALUES (9999, '{name}', 'x', now())".encode())
        if is_refused:
            with pytest.raises(MigrationRefused, match=f"{name}, which took away what this release still uses"):
                await migrate(conn)
        else:
            assert await migrate(conn) == 0


async def test_an_old_postgres_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "POSTGRES_MIN", 99)
    async with database.api.connection() as conn:
        with pytest.raises(MigrationRefused, match=r"is PostgreSQL \d+, and Leoflow needs 99 or newer"):
            await migrate(conn)


def test_migration_numbers_have_no_gaps(tmp_path: Path) -> None:
    (tmp_path / "0002_second.sql").write_text("SELECT 1")
    with pytest.raises(MigrationRefused, match="without gaps"):
        read_migrations(tmp_path)


async def test_the_schema_refuses_a_running_task_without_start(database: Database) -> None:
    async with database.api.connection() as conn:
        with pytest.raises(psycopg.errors.CheckViolation):
            await conn.execute(b"INSERT INTO dag (dag_id, dag_display_name, created_at) VALUES ('d', 'd', now());")
            await conn.execute(
                b"WITH v AS (INSERT INTO dag_version (id, dag_id, version_number, digest, spec, created_at)"
                b" VALUES (gen_random_uuid(), 'd', 1, 'x', '{}', now()) RETURNING id),"
                b" r AS (INSERT INTO dag_run (dag_id, run_id, dag_version_id, run_type, state, run_after, updated_at)"
                b" SELECT 'd', 'r', id, 'manual', 'running', now(), now() FROM v RETURNING id)"
                b" INSERT INTO task_instance (dag_run_id, task_id, id, dag_version_id, state, try_number, operator,"
                b" operator_name, task_display_name, updated_at)"
                b" SELECT r.id, 't', gen_random_uuid(), v.id, 'running', 1, 'x', 'x', 't', now() FROM r, v"
            )
