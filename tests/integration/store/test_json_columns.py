"""JSON from outside is kept as it came, and the release before this one still works on the same tables."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from leoflowd.contract.wait_spec import ProbeSpec, Resume, WaitSpec, WaitTerms
from leoflowd.contract.waits import NewWait, ResumeWith, coalescing_key
from leoflowd.lite.postgres import DAEMON_ROLE, SUPERUSER
from leoflowd.store import api_task_instances, waits
from leoflowd.store.database import STORE, Database, lane_limits
from leoflowd.store.migrations import migrate, read_migrations
from leoflowd.store.trio_connection import TrioConnection
from tests.integration.scheduler.conftest import World, dag, task

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ODD = {"nul\0": "a\0b", "big": 2**70, "float": 1e20, "text": r"\u0000"}

LIMITS = lane_limits(STORE)


async def waiting(database: Database) -> tuple[World, str, int]:
    """A task instance that waits for a trigger with odd arguments."""
    world = World(database)
    run = await world.create(dag("d", task("a")))
    async with database.api.transaction() as conn:
        cursor = await conn.execute(b"UPDATE task_instance SET state = 'deferred', start_date = now() RETURNING id", {})
        [[try_id]] = await cursor.fetchall()
        spec = WaitSpec(
            probe=ProbeSpec(kind="trigger", arguments={"classpath": "bells.Bell", "kwargs": ODD}),
            terms=WaitTerms(resume=Resume(next_method="go_on", next_kwargs=ODD)),
        )
        wait = NewWait(
            id=try_id,
            dag_run_id=run,
            dag_id="d",
            spec=spec,
            key=coalescing_key(spec.probe, str(try_id)),
            registered_at=NOW,
            deadline_at=None,
        )
        await waits.upsert_waits(conn, [waits.WaitWrite((run, "a", -1), wait)])
    return world, str(try_id), run


async def test_arguments_and_event_of_a_deferral_are_given_back_as_they_came(database: Database) -> None:
    _, try_id, run = await waiting(database)
    async with database.api.transaction() as conn:
        assert await waits.set_poke_interval(conn, try_id, 7.5)
        await waits.fire_waits(conn, [waits.FiredWait(try_id, ResumeWith(event=ODD))], NOW)
        [call] = (await waits.list_resumes(conn, [(run, "a", -1)])).values()
    assert call.next_kwargs is not None
    assert call.event is not None
    for text in (call.next_kwargs, call.event):
        found = msgspec.json.decode(text)
        assert found == ODD
        assert type(found["float"]) is float


async def test_a_new_poke_interval_changes_nothing_else(database: Database) -> None:
    _, try_id, _ = await waiting(database)
    async with database.api.transaction() as conn:
        [before] = await waits.list_waits_by_ids(conn, [UUID(try_id)])
        assert await waits.set_poke_interval(conn, try_id, 7.5)
        [after] = await waits.list_waits_by_ids(conn, [UUID(try_id)])
        assert not await waits.set_poke_interval(conn, str(uuid4()), 1)
    terms = msgspec.json.decode(before.terms, type=WaitTerms)
    assert msgspec.json.decode(after.terms, type=WaitTerms) == msgspec.structs.replace(terms, poke_interval_s=7.5)


async def test_a_trigger_with_odd_arguments_is_shown(database: Database) -> None:
    await waiting(database)
    async with database.api.connection() as conn:
        row = await api_task_instances.fetch_task_instance(conn, "d", "r1", "a", -1)
    assert row["trigger"]["classpath"] == "bells.Bell"
    assert msgspec.json.decode(row["trigger"]["kwargs"]) == ODD


async def test_what_was_stored_before_is_still_there(postgres_conninfo: str, tmp_path: Path) -> None:
    """Migration 3 on a database with rows."""
    admin = await TrioConnection.open(make_conninfo(postgres_conninfo, dbname="postgres", user=SUPERUSER), LIMITS)
    await admin.execute(f"CREATE DATABASE before_json OWNER {DAEMON_ROLE}".encode())
    connection = await TrioConnection.open(make_conninfo(postgres_conninfo, dbname="before_json"), LIMITS)
    for migration in read_migrations(Path(__file__).parents[3] / "migrations"):
        if migration.name <= "0003_json_from_outside":
            (tmp_path / f"{migration.name}.sql").write_bytes(migration.sql)
    last = tmp_path / "0003_json_from_outside.sql"
    text = last.read_text()
    last.unlink()
    await migrate(connection, folder=tmp_path)
    await connection.execute(
        b"INSERT INTO webhook_delivery (name, delivery_id, received_at, body, signature)"
        b" VALUES ('n', '1', now(), %(b)s, '')",
        {"b": Jsonb({"b": [1, "x"]})},
    )
    last.write_text(text)
    await migrate(connection, folder=tmp_path)
    cursor = await connection.execute(b"SELECT body FROM webhook_delivery")
    assert await cursor.fetchall() == [({"b": [1, "x"]},)]
    connection.pgconn.finish()
    await admin.execute(b"DROP DATABASE before_json WITH (FORCE)")
    admin.pgconn.finish()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE xcom SET value = '1'::jsonb",
        "INSERT INTO xcom (dag_run_id, task_id, map_index, key, value, created_at)"
        " SELECT dag_run_id, task_id, map_index, 'k', '{}'::text::jsonb, now() FROM task_instance"
        " ON CONFLICT (dag_run_id, task_id, map_index, key) DO UPDATE SET value = excluded.value",
        "UPDATE dag_run SET conf = '{}'::jsonb",
        "UPDATE wait SET event = '{}'::text::jsonb, probe = '{}'::jsonb, terms = '{}'::jsonb",
        "UPDATE wait SET terms = jsonb_set(terms, '{poke_interval_s}', to_jsonb(1.5::float8))",
        "UPDATE webhook_delivery SET body = '{}'::jsonb",
        "UPDATE task_instance t SET rendered_fields = coalesce(u.rendered, t.rendered_fields)"
        " FROM unnest('{null}'::jsonb[]) AS u(rendered)",
        "SELECT jsonb_build_object('k', coalesce(w.probe->'arguments'->'kwargs', '{}'),"
        " 'c', w.probe->'arguments'->>'c') FROM wait w",
        "SELECT 1 FROM dag_run r WHERE position('a' IN lower(r.conf::text)) > 0",
    ],
)
async def test_the_release_before_this_one_writes_and_reads_the_same_tables(database: Database, statement: str) -> None:
    """Its statements, as they stood in its queries: two neighbouring releases run on one schema."""
    world = World(database)
    await world.create(dag("d", task("a")))
    async with database.api.connection() as conn:
        await conn.execute(statement.encode())
