"""One watched database for each worker, and Trio's clock at `RATE`."""

from __future__ import annotations

import gc
import uuid
from collections.abc import Iterator

import psycopg
import pytest
import trio
import trio.testing
from argon2 import PasswordHasher
from psycopg.conninfo import make_conninfo
from quart_trio.testing.connections import TestHTTPConnection

from leoflowd.lite.postgres import DAEMON_ROLE, SUPERUSER
from leoflowd.store import api_users
from leoflowd.store.api_users import ensure_admin
from leoflowd.store.database import Database
from loadtests.history_log import install
from tests import postgres_server
from tests.crashes.world import RATE, START
from tests.integration.api.api_client import PASSWORD
from tests.integration.conftest import cheap_passwords, no_connection_stays_open, postgres_conninfo  # noqa: F401


@pytest.fixture(autouse=True)
def killed_loops_are_collected() -> Iterator[None]:
    """What a killed daemon leaves open is found here, where it is expected, and not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def cancelled_requests_leave_their_nursery(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quart-Trio's test client sends a disconnect before it closes its nursery, and a cancelled one gets no further."""
    disconnect = TestHTTPConnection.disconnect

    async def shielded(connection: TestHTTPConnection) -> None:
        with trio.CancelScope(shield=True):
            await disconnect(connection)

    monkeypatch.setattr(TestHTTPConnection, "disconnect", shielded)


@pytest.fixture
def fast_clock() -> trio.abc.Clock:
    """Real time, only faster: what waits for a socket waits as ever, what sleeps wakes up sooner."""
    return trio.testing.MockClock(rate=RATE)


@pytest.fixture(scope="session")
def watched_conninfo(postgres_conninfo: str) -> Iterator[str]:  # noqa: F811
    """A migrated database whose history is written; emptied before each journey."""
    name = f"crashes_{uuid.uuid4().hex[:12]}"
    admin = make_conninfo(postgres_conninfo, dbname="postgres", user=SUPERUSER)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {postgres_server.TEMPLATE} OWNER {DAEMON_ROLE}".encode())
    conninfo = make_conninfo(postgres_conninfo, dbname=name)
    install(conninfo)
    hasher, api_users._HASHER = api_users._HASHER, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    try:
        trio.run(_add_admin, conninfo)
    finally:
        api_users._HASHER = hasher
    yield conninfo
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


async def _add_admin(conninfo: str) -> None:
    database = Database(conninfo)
    async with database.api.transaction() as conn:
        await ensure_admin(conn, "admin", PASSWORD, START)
    database.close()
