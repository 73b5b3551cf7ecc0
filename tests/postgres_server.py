"""The one embedded Postgres of a test run: a process of its own, started by whoever needs it first (ADR 0027).

`tests/integration/conftest.py` runs it with the test run's process id as argument. It prints its conninfo when the
database `leoflow_template`, migrated, is there to be cloned, and leaves nothing behind when that process is gone.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import psutil
import trio
from psycopg.conninfo import make_conninfo

from leoflowd.lite import postgres
from leoflowd.store.database import STORE, lane_limits
from leoflowd.store.migrations import migrate
from leoflowd.store.trio_connection import TrioConnection

TEMPLATE = "leoflow_template"
LIMITS = lane_limits(STORE)
SETTINGS = {
    # Nobody turns the machine off under a test; each test makes and drops a database, which is mostly fsync.
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "120",
}


def main(test_run: int) -> None:
    postgres.SETTINGS.update(SETTINGS)
    folder = Path(tempfile.mkdtemp(prefix="leoflow-test-"))
    folder.chmod(0o755)  # under root the server runs as another user
    try:
        trio.run(_serve, folder, test_run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _serve(folder: Path, test_run: int) -> None:
    async with trio.open_nursery() as nursery:
        server = postgres.EmbeddedPostgres(folder)
        conninfo = await nursery.start(server.run)
        await _make_template(server.paths.admin_conninfo(), conninfo)
        print(conninfo, flush=True)
        await trio.to_thread.run_sync(_wait_gone, test_run)
        nursery.cancel_scope.cancel()


async def _make_template(admin_conninfo: str, conninfo: str) -> None:
    connection = await TrioConnection.open(admin_conninfo, LIMITS)
    await connection.execute(f"CREATE DATABASE {TEMPLATE} OWNER {postgres.DAEMON_ROLE}".encode())
    # Some tests write rows of one table without those that they refer to.
    await connection.execute(f"GRANT SET ON PARAMETER session_replication_role TO {postgres.DAEMON_ROLE}".encode())
    connection.pgconn.finish()
    connection = await TrioConnection.open(make_conninfo(conninfo, dbname=TEMPLATE), LIMITS)
    await migrate(connection)
    connection.pgconn.finish()


def _wait_gone(pid: int) -> None:
    try:
        psutil.Process(pid).wait()
    except psutil.NoSuchProcess:
        return


if __name__ == "__main__":
    main(int(sys.argv[1]))
