"""`leoflow lite rotate-key` on a real database, beside a daemon that goes on with its own box."""

from __future__ import annotations

from pathlib import Path

from leoflowd.config import KEY_FILE, SecretsConfig
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.variable import VariableFacts
from leoflowd.lite.maintenance import rotate_key
from leoflowd.store import connections, variables
from leoflowd.store.connections import ConnectionBook
from leoflowd.store.database import Database
from leoflowd.store.secret_box import box_of
from leoflowd.store.variables import VariableBook
from tests.integration.api.api_client import START


async def test_a_running_daemon_goes_on_with_the_new_key(database: Database, tmp_path: Path) -> None:
    running = box_of(SecretsConfig(key_file=tmp_path / KEY_FILE))
    book = ConnectionBook(database.agents, running, {})
    first, second = (ConnectionFacts(connection_id=name, conn_type="http", password=f"{name}-pw") for name in "ab")
    limits = VariableFacts(key="limits", value="v-value")
    async with database.api.transaction() as conn:
        await connections.insert_connection(conn, running, first, START)
        await variables.insert_variable(conn, running, limits, START)

    key_id, *counts = await rotate_key(tmp_path, database.conninfo, START)

    assert counts == [1, 1]
    assert await book.fetch("a") == first
    assert await VariableBook(database.agents, running, {}).fetch("limits") == "v-value"
    async with database.api.transaction() as conn:
        await connections.insert_connection(conn, running, second, START)
        cursor = await conn.execute(b"SELECT key_id FROM connection UNION SELECT key_id FROM variable")
        assert await cursor.fetchall() == [(key_id,)]
