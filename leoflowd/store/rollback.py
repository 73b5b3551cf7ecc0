"""An older version made current by a person, until the DAG's file gives something else. For `api.own.versions`."""

from __future__ import annotations

from datetime import datetime

import msgspec

from leoflowd.contract.errors import Conflict, NotFound
from leoflowd.store import canaries
from leoflowd.store.dags import (
    VersionRow,
    Whereabouts,
    fetch_version,
    fetch_version_by_id,
    make_current,
    off_loop,
    prepare,
    size_of,
)
from leoflowd.store.database import Connection, fetch_one, statements

_SQL = statements("rollback")


class _Current(msgspec.Struct, frozen=True):
    is_stale: bool
    rolled_back_from: str | None
    digest: str
    version_number: int
    fileloc: str
    relative_fileloc: str
    bundle_name: str
    parse_duration_s: float | None


async def roll_back(
    conn: Connection, dag_id: str, version_number: int, now: datetime, *, by: str
) -> tuple[VersionRow, int]:
    """Make this version current: (the version, the number of the one that was). Runs that exist keep theirs.

    The version that is current already is the only one again when the DAG has a canary, which ends.

    The digest that the file gave stays noted, so that whoever compiles it again unchanged leaves the decision alone; it
    is forgotten when the version of the file itself is made current. Raises `NotFound`, `Conflict`, `Invalid`.
    """
    current = await fetch_one(conn, _SQL.lock_dag, _Current, dag_id=dag_id)
    if current is None or current.is_stale:
        raise NotFound(f"The Dag with ID: `{dag_id}` was not found")
    if current.version_number == version_number:
        canary = await canaries.settle(conn, dag_id, now)
        if canary is not None:
            await canaries.end(conn, dag_id, because=f"rolled back by {by}", now=now)
            was = await fetch_version_by_id(conn, canary.dag_version_id)
            return await fetch_version(conn, dag_id), was.version_number
        raise Conflict(f"Version {version_number} of Dag `{dag_id}` is the current one already")
    version = await fetch_version(conn, dag_id, version_number)
    spec = msgspec.structs.replace(version.spec, source=version.source)
    prepared = await off_loop(lambda: prepare(spec), size=size_of(spec))
    where = Whereabouts(current.fileloc, current.relative_fileloc, current.bundle_name, current.parse_duration_s)
    await make_current(conn, version.id, spec, prepared, where, now)
    of_file = current.rolled_back_from or current.digest
    if of_file != version.digest:
        await conn.execute(_SQL.keep_from, {"dag_id": dag_id, "digest": of_file})
    return version, current.version_number
