"""What `leoflow lite reset-password`, `forget` and `rotate-key` do to an installation, running or not.

They write to Postgres directly: whoever may read the data folder owns the installation, no login is asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import psycopg
import trio

from leoflowd.config import KEY_FILE, SecretsConfig
from leoflowd.contract.errors import Conflict, NotFound
from leoflowd.contract.passwords import generate_password
from leoflowd.lite.passwords import ADMIN
from leoflowd.lite.postgres import EmbeddedPostgres, is_left_over, paths_for
from leoflowd.store import api_users, connections, dags, variables, workspace
from leoflowd.store.database import STORE, Database, lane_limits, migration_limits
from leoflowd.store.migrations import migrate
from leoflowd.store.secret_box import add_key, box_of
from leoflowd.store.trio_connection import TrioConnection


async def reset_password(data_dir: Path, postgres: str | None, password: str | None, now: datetime) -> str:
    """Give the admin this password or a new one, end all its sessions; returns the password.

    He is an administrator again, if somebody had disabled him or taken the role: nobody is locked out of what he owns.
    """
    chosen = password or generate_password()
    async with _database(data_dir, postgres) as db, db.api.transaction() as conn:
        if not await api_users.ensure_admin(conn, ADMIN, chosen, now):
            await api_users.reset_password(conn, ADMIN, chosen, now)
            await api_users.mark_admin(conn, ADMIN)
    return chosen


async def forget_dag(data_dir: Path, postgres: str | None, dag_id: str) -> None:
    """Delete a DAG whose project is gone. Raises `NotFound`, and `Conflict` while its project is there."""
    async with _database(data_dir, postgres) as db, db.api.transaction() as conn:
        if not await workspace.fetch_is_stale(conn, dag_id):
            raise Conflict(
                f"DAG {dag_id!r} still has its project in the workspace; remove the project first, or delete only "
                f"its history with `leoflow dags delete {dag_id}`"
            )
        await dags.delete_dag(conn, dag_id)


async def rotate_key(data_dir: Path, postgres: str | None, now: datetime) -> tuple[str, int, int]:
    """Make a new key and encrypt all stored secrets with it; (its id, how many connections, how many variables).

    The key is on disk before anything is sealed with it. A running daemon reads it from there by itself.
    """
    config = SecretsConfig(key_file=data_dir / KEY_FILE)
    async with _database(data_dir, postgres) as db, db.api.transaction() as conn:
        box = box_of(config)
        key_id = add_key(data_dir / KEY_FILE)
        return (
            key_id,
            await connections.reseal_connections(conn, box, now),
            await variables.reseal_variables(conn, box, now),
        )


@contextlib.asynccontextmanager
async def _database(data_dir: Path, postgres: str | None) -> AsyncIterator[Database]:
    """The installation's database: a running server is used and left running, a stopped one started for us."""
    if postgres is not None:
        with contextlib.closing(Database(postgres)) as db:
            yield db
        return
    paths = paths_for(data_dir)
    if not (paths.data / "PG_VERSION").exists() or is_left_over(data_dir, paths):
        raise NotFound(
            f"there is no Lite installation in {data_dir}; name another with --data-dir, or start `leoflow lite`"
        )
    if await _is_running(paths.conninfo):
        with contextlib.closing(Database(paths.conninfo)) as db:
            yield db
        return
    async with trio.open_nursery() as nursery:
        conninfo = await nursery.start(EmbeddedPostgres(data_dir).run)
        connection = await TrioConnection.open(conninfo, migration_limits(STORE))
        await migrate(connection)
        connection.pgconn.finish()
        with contextlib.closing(Database(conninfo)) as db:
            yield db
        nursery.cancel_scope.cancel()


async def _is_running(conninfo: str) -> bool:
    try:
        connection = await TrioConnection.open(conninfo, lane_limits(STORE))
    except psycopg.OperationalError:
        return False
    connection.pgconn.finish()
    return True
