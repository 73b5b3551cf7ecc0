"""Real Postgres for the tests: one embedded server a session, one fresh database a test, cloned from a migrated one."""

from __future__ import annotations

import shutil
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio
from psycopg.conninfo import make_conninfo

from leoflowd.lite.postgres import DAEMON_ROLE, SUPERUSER, EmbeddedPostgres
from leoflowd.store.database import STORE, Database, lane_limits
from leoflowd.store.migrations import migrate
from leoflowd.store.trio_connection import TrioConnection

TEMPLATE = "leoflow_template"
LIMITS = lane_limits(STORE)


class _Server:
    """The server's life in a thread of its own, because a session fixture outlives every test's Trio run."""

    def __init__(self, folder: Path) -> None:
        self._ready = threading.Event()
        self._folder = folder
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="postgres")

    def start(self) -> str:
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error
        return self._conninfo

    def stop(self) -> None:
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join()

    def _main(self) -> None:
        try:
            trio.run(self._run)
        except BaseException as error:  # reported by start()
            self._error = error
        finally:
            self._ready.set()

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            server = EmbeddedPostgres(self._folder)
            self._conninfo = await nursery.start(server.run)
            await _make_template(server.paths.admin_conninfo(), self._conninfo)
            self._ready.set()


async def _make_template(admin_conninfo: str, conninfo: str) -> None:
    connection = await TrioConnection.open(admin_conninfo, LIMITS)
    await connection.execute(f"CREATE DATABASE {TEMPLATE} OWNER {DAEMON_ROLE}".encode())
    connection.pgconn.finish()
    connection = await TrioConnection.open(make_conninfo(conninfo, dbname=TEMPLATE), LIMITS)
    await migrate(connection)
    connection.pgconn.finish()


@pytest.fixture(scope="session")
def postgres_conninfo() -> Iterator[str]:
    """conninfo of the session's server (database `leoflow`, empty)."""
    folder = Path(tempfile.mkdtemp(prefix="leoflow-test-"))
    folder.chmod(0o755)
    server = _Server(folder)
    try:
        yield server.start()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def database(postgres_conninfo: str) -> AsyncIterator[Database]:
    """A migrated database of its own for one test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = await TrioConnection.open(make_conninfo(postgres_conninfo, dbname="postgres", user=SUPERUSER), LIMITS)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy OWNER {DAEMON_ROLE}".encode())
    database = Database(make_conninfo(postgres_conninfo, dbname=name))
    yield database
    database.close()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    admin.pgconn.finish()
