"""Connections in a real Postgres: nothing readable on disk, nothing that opens in another row, keys that change."""

from __future__ import annotations

import msgspec
import pytest

from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.errors import Conflict, NotFound
from leoflowd.store import connections
from leoflowd.store.connections import ConnectionBook, SealedConnection, open_connection
from leoflowd.store.database import Connection, Database
from leoflowd.store.secret_box import CannotOpen, CannotSeal, SecretBox
from tests.integration.api.api_client import START

PG = ConnectionFacts(
    connection_id="pg",
    conn_type="postgres",
    description="The warehouse",
    host="db.example",
    schema="dwh",
    login="ana",
    port=5432,
    password="hunter2-password",
    extra='{"token": "hunter2-extra"}',
)
KEYS = {"k1": b"1" * 32}
BOX = SecretBox(lambda: KEYS)


async def insert(database: Database, *many: ConnectionFacts, box: SecretBox = BOX) -> None:
    async with database.api.transaction() as conn:
        for facts in many:
            await connections.insert_connection(conn, box, facts, START)


async def fetch(conn: Connection, connection_id: str) -> SealedConnection:
    row = await connections.fetch_connection(conn, connection_id)
    assert row is not None
    return row


async def test_a_connection_comes_back_as_it_was(database: Database) -> None:
    await insert(database, PG)
    async with database.api.connection() as conn:
        assert open_connection(await fetch(conn, "pg"), BOX) == PG


async def test_a_backup_holds_no_secret(database: Database) -> None:
    await insert(database, PG)
    async with database.api.connection() as conn:
        cursor = await conn.execute(
            b"SELECT c::text, encode(password, 'escape'), encode(extra, 'escape') FROM connection c"
        )
        dumped = str(await cursor.fetchall())
    assert "db.example" in dumped
    assert "hunter2" not in dumped


async def test_the_repr_of_facts_hides_the_secrets() -> None:
    assert "hunter2" not in repr(PG)


async def test_a_secret_copied_to_another_row_does_not_open(database: Database) -> None:
    await insert(database, PG, msgspec.structs.replace(PG, connection_id="other"))
    async with database.api.connection() as conn:
        await conn.execute(
            b"UPDATE connection SET password = (SELECT password FROM connection WHERE connection_id = 'pg')"
            b" WHERE connection_id = 'other'"
        )
        with pytest.raises(CannotOpen, match="the password of connection 'other' cannot be read"):
            open_connection(await fetch(conn, "other"), BOX)


async def test_a_secret_copied_to_another_column_does_not_open(database: Database) -> None:
    await insert(database, PG)
    async with database.api.connection() as conn:
        await conn.execute(b"UPDATE connection SET extra = password")
        with pytest.raises(CannotOpen, match="the extra of connection 'pg'"):
            open_connection(await fetch(conn, "pg"), BOX)


async def test_a_connection_without_secrets_needs_no_key(database: Database) -> None:
    plain = ConnectionFacts(connection_id="fs", conn_type="fs")
    await insert(database, plain, box=SecretBox(dict))
    async with database.api.connection() as conn:
        row = await fetch(conn, "fs")
    assert (open_connection(row, SecretBox(dict)), row.key_id) == (plain, None)


async def test_without_a_key_secrets_are_refused(database: Database) -> None:
    with pytest.raises(CannotSeal):
        await insert(database, PG, box=SecretBox(dict))
    async with database.api.connection() as conn:
        assert await connections.list_connection_ids(conn) == ()


async def test_an_id_is_taken_once(database: Database) -> None:
    await insert(database, PG)
    with pytest.raises(Conflict, match="`pg` already exists"):
        await insert(database, PG)


async def test_what_is_not_there_is_neither_updated_nor_deleted(database: Database) -> None:
    async with database.api.connection() as conn:
        with pytest.raises(NotFound):
            await connections.update_connection(conn, BOX, PG, START)
        with pytest.raises(NotFound):
            await connections.delete_connection(conn, "pg")


async def test_an_update_seals_anew(database: Database) -> None:
    await insert(database, PG)
    async with database.api.connection() as conn:
        before = (await fetch(conn, "pg")).password
        await connections.update_connection(conn, BOX, PG, START)
        after = await fetch(conn, "pg")
    assert after.password != before
    assert open_connection(after, BOX) == PG


class TestRotation:
    RING = SecretBox(lambda: {"k2": b"2" * 32, **KEYS})

    async def test_all_rows_are_sealed_with_the_first_key(self, database: Database) -> None:
        others = [msgspec.structs.replace(PG, connection_id=f"c{i}") for i in range(3)]
        await insert(database, PG, *others, ConnectionFacts(connection_id="plain", conn_type="fs"))
        async with database.api.transaction() as conn:
            assert await connections.reseal_connections(conn, self.RING, START) == 4
        only_new = SecretBox(lambda: {"k2": b"2" * 32})
        async with database.api.connection() as conn:
            assert open_connection(await fetch(conn, "pg"), only_new) == PG
            assert open_connection(await fetch(conn, "c2"), only_new) == others[2]

    async def test_one_row_that_does_not_open_leaves_all_as_they_were(self, database: Database) -> None:
        await insert(database, PG)
        await insert(
            database, msgspec.structs.replace(PG, connection_id="z"), box=SecretBox(lambda: {"lost": b"x" * 32})
        )
        with pytest.raises(CannotOpen, match="'z'"):
            async with database.api.transaction() as conn:
                await connections.reseal_connections(conn, self.RING, START)
        async with database.api.connection() as conn:
            assert open_connection(await fetch(conn, "pg"), BOX) == PG


class TestBook:
    async def test_the_environment_comes_before_the_table(self, database: Database) -> None:
        await insert(database, PG)
        book = ConnectionBook(database.agents, BOX, {"AIRFLOW_CONN_PG": "postgres://eve@elsewhere/x"})
        found = await book.fetch("pg")
        assert found is not None
        assert found.host == "elsewhere"

    async def test_the_table_is_asked_next(self, database: Database) -> None:
        await insert(database, PG)
        assert await ConnectionBook(database.agents, BOX, {}).fetch("pg") == PG

    async def test_an_unknown_id_is_none(self, database: Database) -> None:
        assert await ConnectionBook(database.agents, BOX, {}).fetch("nope") is None

    async def test_what_does_not_open_is_an_error_not_a_gap(self, database: Database) -> None:
        await insert(database, PG)
        with pytest.raises(ValueError, match="key 'k1', which this server does not have"):
            await ConnectionBook(database.agents, SecretBox(dict), {}).fetch("pg")

    async def test_a_malformed_variable_is_named(self, database: Database) -> None:
        with pytest.raises(ValueError, match="AIRFLOW_CONN_PG"):
            await ConnectionBook(database.agents, BOX, {"AIRFLOW_CONN_PG": "no uri"}).fetch("pg")

    async def test_ids_are_those_of_both(self, database: Database) -> None:
        await insert(database, PG)
        book = ConnectionBook(database.agents, BOX, {"AIRFLOW_CONN_HTTP_DEFAULT": "http://x", "PATH": "/bin"})
        assert await book.ids() == {"pg", "http_default"}
