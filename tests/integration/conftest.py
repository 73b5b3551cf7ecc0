"""Real Postgres for the tests: one embedded server a run, one fresh database a test, cloned from a migrated one."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from argon2 import PasswordHasher
from psycopg.conninfo import make_conninfo

from leoflowd.lite.postgres import DAEMON_ROLE, SUPERUSER
from leoflowd.store import api_users
from leoflowd.store.database import STORE, Database, lane_limits
from leoflowd.store.trio_connection import TrioConnection
from tests import postgres_server
from tests.conftest import IS_WORKER, one_at_a_time

LIMITS = lane_limits(STORE)


@pytest.fixture(scope="session")
def postgres_conninfo(of_this_run: Path) -> str:
    """conninfo of the run's server (database `leoflow`, empty). The first worker that asks starts it for all."""
    note = of_this_run / "postgres-conninfo"
    with one_at_a_time(note):
        if not note.exists():
            note.write_text(_start_server())
    return note.read_text()


def _start_server() -> str:
    """It outlives the worker that starts it: it ends with the test run, the parent of all workers."""
    test_run = os.getppid() if IS_WORKER else os.getpid()
    reading, writing = os.pipe()
    command = [sys.executable, postgres_server.__file__, str(test_run)]
    os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)], setsid=True)
    os.close(writing)
    with os.fdopen(reading) as answer:
        conninfo = answer.readline().strip()
    assert conninfo, "the Postgres of the tests did not start; its error is above"
    return conninfo


@pytest.fixture(autouse=True)
def no_connection_stays_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever leaves one open fails; the warning itself would come with some later test, that of another."""
    made: list[TrioConnection] = []
    construct = TrioConnection.__init__

    def note(connection: TrioConnection, *args: Any, **kwargs: Any) -> None:
        construct(connection, *args, **kwargs)
        made.append(connection)

    monkeypatch.setattr(TrioConnection, "__init__", note)
    yield
    left_open = [connection for connection in made if not connection.closed]
    for connection in left_open:
        connection.pgconn.finish()
    assert left_open == []


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash costs a core 50 ms and 64 MiB on purpose; every test with a user pays for two."""
    monkeypatch.setattr(api_users, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
async def database(postgres_conninfo: str) -> AsyncIterator[Database]:
    async with fresh_database(postgres_conninfo) as database:
        yield database


@asynccontextmanager
async def fresh_database(postgres_conninfo: str) -> AsyncIterator[Database]:
    """A migrated database of its own for one test, whose owner is no superuser, as the daemon's."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = make_conninfo(postgres_conninfo, dbname="postgres", user=SUPERUSER)
    clone = f"TEMPLATE {postgres_server.TEMPLATE} STRATEGY file_copy OWNER {DAEMON_ROLE}"
    await _execute(admin, f"CREATE DATABASE {name} {clone}")
    database = Database(make_conninfo(postgres_conninfo, dbname=name))
    try:
        yield database
    finally:
        database.close()
        with trio.CancelScope(shield=True):
            await _execute(admin, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(conninfo: str, statement: str) -> None:
    connection = await TrioConnection.open(conninfo, LIMITS)
    try:
        await connection.execute(statement.encode())
    finally:
        connection.pgconn.finish()
