"""What the workspace watcher of Lite reads at its start: the facts that its scan is compared with.

It writes through `store.dags` as everyone does.
"""

from __future__ import annotations

import msgspec

from leoflowd.contract.errors import NotFound
from leoflowd.store.database import Connection, fetch_all, fetch_value, statements

_SQL = statements("workspace")


class RegisteredDag(msgspec.Struct, frozen=True):
    """An active DAG and the digest of its current artifact, which is empty for one that somebody deleted."""

    dag_id: str
    relative_fileloc: str
    digest: str


class ImportErrorRow(msgspec.Struct, frozen=True):
    filename: str
    stack_trace: str


async def list_registered(conn: Connection, bundle_name: str) -> tuple[RegisteredDag, ...]:
    """Active (not stale) DAGs of this bundle, by id."""
    return await fetch_all(conn, _SQL.list_registered, RegisteredDag, bundle_name=bundle_name)


async def list_deleted(conn: Connection, bundle_name: str) -> tuple[RegisteredDag, ...]:
    """DAGs of this bundle that somebody deleted and whose file was still there."""
    return await fetch_all(conn, _SQL.list_deleted, RegisteredDag, bundle_name=bundle_name)


async def list_import_errors(conn: Connection, bundle_name: str) -> tuple[ImportErrorRow, ...]:
    """Import errors of this bundle, by file."""
    return await fetch_all(conn, _SQL.list_import_errors, ImportErrorRow, bundle_name=bundle_name)


async def fetch_is_stale(conn: Connection, dag_id: str) -> bool:
    """Is the DAG's project gone? Raises `NotFound`."""
    stale: bool | None = await fetch_value(conn, _SQL.fetch_is_stale, dag_id=dag_id)
    if stale is None:
        raise NotFound(f"The Dag with ID: `{dag_id}` was not found")
    return stale
