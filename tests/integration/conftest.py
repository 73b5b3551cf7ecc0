"""Real Postgres for the tests: one embedded server a run, and for each test a migrated database without a past."""

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
    """A migrated database for one test, whose owner is no superuser, as the daemon's."""
    name = _EMPTIED.pop() if _EMPTIED else await _cloned(postgres_conninfo)
    database = Database(make_conninfo(postgres_conninfo, dbname=name))
    try:
        yield database
    finally:
        database.close()
        with trio.CancelScope(shield=True):
            if await _emptied(postgres_conninfo, name):
                _EMPTIED.append(name)
            else:
                await _as_superuser(postgres_conninfo, "postgres", f"DROP DATABASE {name} WITH (FORCE)")


_EMPTIED: list[str] = []
"""Databases of this worker that no test uses now. What they hold of past tests is dead rows."""


async def _cloned(postgres_conninfo: str) -> str:
    name = f"test_{uuid.uuid4().hex[:12]}"
    clone = f"CREATE DATABASE {name} {postgres_server.CLONED} OWNER {DAEMON_ROLE}"
    await _as_superuser(postgres_conninfo, "postgres", clone)
    return name


async def _emptied(postgres_conninfo: str, name: str) -> bool:
    """Who is still connected is shut out, as a test's daemon that was not ended."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ended = f"SELECT bool_and(pg_terminate_backend(pid, 10000)) {others} AND backend_type = 'client backend'"
    await _as_superuser(postgres_conninfo, name, ended)
    return bool(await _as_superuser(postgres_conninfo, name, "SELECT pristine.again()"))


async def _as_superuser(postgres_conninfo: str, name: str, statement: str) -> Any:
    """The first field of the first row, if there are rows."""
    connection = await TrioConnection.open(make_conninfo(postgres_conninfo, dbname=name, user=SUPERUSER), LIMITS)
    try:
        cursor = await connection.execute(statement.encode())
        return (await cursor.fetchone())[0] if cursor.description else None  # type: ignore[index]
    finally:
        connection.pgconn.finish()
