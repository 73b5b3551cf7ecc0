"""A version registered as a canary, and a canary made current. Called by the API; ADR 81."""

from __future__ import annotations

from datetime import datetime

from leoflowd.contract.dag_spec import DagSpec
from leoflowd.contract.errors import Conflict, NotFound
from leoflowd.core.canary import CanaryTerms
from leoflowd.store import canaries
from leoflowd.store.dags import (
    Registered,
    VersionRow,
    fetch_version_by_id,
    insert_version,
    off_loop,
    prepare,
    size_of,
)
from leoflowd.store.database import Connection
from leoflowd.store.rollback import roll_back


async def register_canary(
    conn: Connection, spec: DagSpec, terms: CanaryTerms, *, by: str, now: datetime, signed_by: str | None = None
) -> Registered | None:
    """This artifact gets its share of the new runs; what is current stays, with its schedule.

    None: the DAG has nothing that it could be compared with, or this is what it has. Raises `Invalid` for what cannot
    be stored or scheduled, `Conflict` for what only a version that is current can bring.
    """
    prepared = await off_loop(lambda: prepare(spec), size=size_of(spec))
    current_id = await canaries.lock_current(conn, spec.dag_id)
    if current_id is None:
        return None
    current = await fetch_version_by_id(conn, current_id)
    if current.digest == prepared.digest:
        return None
    _refuse_new_outlets(current.spec, spec)
    registered = await insert_version(conn, spec, prepared, now, signed_by)
    await canaries.start(conn, spec.dag_id, registered.version_id, terms, by=by, now=now)
    return registered


async def promote(conn: Connection, dag_id: str, now: datetime, *, by: str) -> tuple[VersionRow, int]:
    """(the canary's version, which is current now; the number of the one that was). Raises `NotFound`, `Conflict`."""
    canary = await canaries.lock_for_person(conn, dag_id, now)
    if canary is None:
        versions = await canaries.list_versions(conn, dag_id)
        if not versions:
            raise NotFound(f"The Dag with ID: `{dag_id}` was not found")
        raise Conflict(
            f"Dag `{dag_id}` has no canary, or it failed too often: `leoflow versions {dag_id}` says what became of "
            "it, and `leoflow rollback` makes any version current"
        )
    version = await fetch_version_by_id(conn, canary.dag_version_id)
    return await roll_back(conn, dag_id, version.version_number, now, by=by)


def _refuse_new_outlets(old: DagSpec, new: DagSpec) -> None:
    """Who makes which asset is known of current versions alone: events of others would be lost. Raises `Conflict`."""
    known = {repr(outlet) for task in old.tasks for outlet in task.outlets}
    for task in new.tasks:
        for outlet in task.outlets:
            if repr(outlet) not in known:
                raise Conflict(
                    f"task {task.task_id!r} of Dag `{new.dag_id}` has an outlet that the current version has not "
                    f"({outlet}); nobody would hear of it from a canary: deploy this version without --canary"
                )
