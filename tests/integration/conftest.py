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

from leoflowd.lite.postgres import EmbeddedPostgres
from leoflowd.store.database import Database
from leoflowd.store.migrations import migrate
from leoflowd.store.trio_connection import TrioConnection

TEMPLATE = "leoflow_template"


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
            self._conninfo = await nursery.start(EmbeddedPostgres(self._folder).run)
            await _make_template(self._conninfo)
            self._ready.set()


async def _make_template(conninfo: str) -> None:
    connection = await TrioConnection.open(conninfo)
    await connection.execute(f"CREATE DATABASE {TEMPLATE}".encode())
    connection.pgconn.finish()
    connection = await TrioConnection.open(conninfo.replace("dbname=leoflow", f"dbname={TEMPLATE}"))
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
    admin = await TrioConnection.open(postgres_conninfo)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy".encode())
    database = Database(postgres_conninfo.replace("dbname=leoflow", f"dbname={name}"))
    yield database
    database.close()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    admin.pgconn.finish()
