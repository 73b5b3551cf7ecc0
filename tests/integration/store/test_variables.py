"""Variables in a real Postgres: nothing readable on disk, nothing that opens in another row, keys that change."""

from __future__ import annotations

import pytest

from leoflowd.contract.errors import Conflict, NotFound
from leoflowd.contract.loading import NOT_TOLD
from leoflowd.contract.variable import VariableFacts
from leoflowd.store import connections, variables
from leoflowd.store.database import Connection, Database
from leoflowd.store.loadable import fetch_loadable
from leoflowd.store.secret_box import CannotOpen, CannotSeal, SecretBox
from leoflowd.store.variables import SealedVariable, VariableBook, open_variable
from tests.integration.api.api_client import START
from tests.integration.store.test_connections import PG

REGION = VariableFacts(key="region", value="eu-central", description="where")
BOX = SecretBox(lambda: {"k1": b"1" * 32})


async def insert(database: Database, *many: VariableFacts, box: SecretBox = BOX) -> None:
    async with database.api.transaction() as conn:
        for facts in many:
            await variables.insert_variable(conn, box, facts, START)


async def fetch(conn: Connection, key: str) -> SealedVariable:
    row = await variables.fetch_variable(conn, key)
    assert row is not None
    return row


async def test_a_variable_comes_back_as_it_was(database: Database) -> None:
    await insert(database, REGION)
    async with database.api.connection() as conn:
        assert open_variable(await fetch(conn, "region"), BOX) == REGION


async def test_a_backup_holds_no_value(database: Database) -> None:
    await insert(database, REGION)
    async with database.api.connection() as conn:
        cursor = await conn.execute(b"SELECT v::text, encode(value, 'escape') FROM variable v")
        dumped = str(await cursor.fetchall())
    assert "region" in dumped
    assert "eu-central" not in dumped


def test_the_repr_of_facts_hides_the_value() -> None:
    assert "eu-central" not in repr(REGION)


async def test_a_value_copied_to_another_row_does_not_open(database: Database) -> None:
    await insert(database, REGION, VariableFacts(key="other", value="x"))
    async with database.api.connection() as conn:
        await conn.execute(
            b"UPDATE variable SET value = (SELECT value FROM variable WHERE key = 'region') WHERE key = 'other'"
        )
        with pytest.raises(CannotOpen, match="the value of variable 'other' cannot be read"):
            open_variable(await fetch(conn, "other"), BOX)


async def test_without_a_key_nothing_is_stored(database: Database) -> None:
    with pytest.raises(CannotSeal):
        await insert(database, REGION, box=SecretBox(dict))


async def test_a_taken_key_is_a_conflict_and_a_missing_one_is_not_found(database: Database) -> None:
    await insert(database, REGION)
    with pytest.raises(Conflict, match="key: `region` already exists"):
        await insert(database, REGION)
    async with database.api.transaction() as conn:
        with pytest.raises(NotFound, match="key: `nope` was not found"):
            await variables.delete_variable(conn, "nope")


async def test_a_new_key_seals_all_of_them_anew(database: Database) -> None:
    await insert(database, REGION, VariableFacts(key="other", value="x"))
    ring = SecretBox(lambda: {"k2": b"2" * 32, "k1": b"1" * 32})
    async with database.api.transaction() as conn:
        assert await variables.reseal_variables(conn, ring, START) == 2
        only_new = SecretBox(lambda: {"k2": b"2" * 32})
        assert open_variable(await fetch(conn, "region"), only_new) == REGION


class TestBook:
    async def test_the_environment_comes_first(self, database: Database) -> None:
        await insert(database, REGION)
        assert await VariableBook(database.agents, BOX, {"AIRFLOW_VAR_REGION": "us"}).fetch("region") == "us"

    async def test_then_what_is_stored(self, database: Database) -> None:
        await insert(database, REGION)
        book = VariableBook(database.agents, BOX, {"AIRFLOW_VAR_OTHER": "us"})
        assert [await book.fetch(key) for key in ("region", "nope")] == ["eu-central", None]

    async def test_a_write_without_a_description_keeps_the_one_that_is_stored(self, database: Database) -> None:
        await insert(database, REGION)
        book = VariableBook(database.agents, BOX, {})
        async with database.agents.transaction() as conn:
            await book.write(conn, VariableFacts(key="region", value="us"), START)
            await book.write(conn, VariableFacts(key="new", value="1", description="d"), START)
        async with database.api.connection() as conn:
            found = [open_variable(await fetch(conn, key), BOX) for key in ("region", "new")]
        assert found == [
            VariableFacts(key="region", value="us", description="where"),
            VariableFacts(key="new", value="1", description="d"),
        ]

    async def test_deleting_what_is_not_there_is_no_error(self, database: Database) -> None:
        await insert(database, REGION)
        book = VariableBook(database.agents, BOX, {})
        async with database.agents.transaction() as conn:
            await book.delete(conn, "nope")
            await book.delete(conn, "region")
        assert await book.fetch("region") is None


async def test_files_that_are_loaded_may_read_all_but_secrets(database: Database) -> None:
    await insert(
        database,
        REGION,
        VariableFacts(key="api_token", value="hunter2"),
        VariableFacts(key="settings", value='{"rows": 1, "auth": {"client_secret": "hunter2"}}'),
    )
    async with database.api.transaction() as conn:
        await connections.insert_connection(conn, BOX, PG, START)
        await conn.execute(
            b"INSERT INTO variable SELECT 'broken', value, 'k9', NULL, created_at, updated_at FROM variable"
            b" WHERE key = 'region'"
        )
    known = await fetch_loadable(database, BOX)
    assert known.variables == {
        "region": "eu-central",
        "settings": '{"rows": 1, "auth": {"client_secret": "***"}}',
    }
    assert set(known.secret_variables) == {"api_token", "broken"}
    assert known.connections["pg"] == {
        "conn_type": "postgres",
        "description": "The warehouse",
        "host": "db.example",
        "schema": "dwh",
        "login": "ana",
        "port": 5432,
        NOT_TOLD: ["password", "extra"],
    }
    assert "hunter2" not in repr(known)
