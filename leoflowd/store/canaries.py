"""Canaries: which version a new run gets, and when a canary is over. `core.canary` decides; ADR 81.

A canary is judged whenever a run is about to be given to it, in the transaction that makes the run, and in each sweep
of the leader: so no run follows a failure rate that was committed, and one that nobody triggers ends too.
Lock order (ADR 22): dag, then canary.
"""

from __future__ import annotations

import uuid
from datetime import datetime

import msgspec

from leoflowd import telemetry
from leoflowd.core.canary import CanaryTerms, Tally, gets_canary, why_roll_back
from leoflowd.store.api_lists import Json, list_rows
from leoflowd.store.database import Connection, execute, fetch_one, fetch_value, statements
from leoflowd.store.event_log import insert_event

_SQL = statements("canaries")
log = telemetry.get_logger(__name__)

VERSIONS_MAX = 100
"""Shown of one DAG, newest first."""


class Canary(msgspec.Struct, frozen=True):
    id: int
    dag_id: str
    dag_version_id: uuid.UUID
    share: int
    rollback_above: int
    judged_after: int
    started_by: str
    started_at: datetime

    @property
    def terms(self) -> CanaryTerms:
        return CanaryTerms(share=self.share, rollback_above=self.rollback_above, after=self.judged_after)


async def canary_of_run(conn: Connection, dag_id: str, run_id: str, now: datetime) -> Canary | None:
    """The one that this new run is of; it stays so until the transaction ends."""
    if await fetch_value(conn, _SQL.fetch_has_canary, dag_id=dag_id) is None:
        return None
    await conn.execute(_SQL.share_dag, {"dag_id": dag_id})
    canary = await settle(conn, dag_id, now)
    return canary if canary is not None and gets_canary(dag_id, run_id, canary.share) else None


async def give_run(conn: Connection, canary: Canary, dag_run_id: int) -> None:
    await execute(conn, _SQL.insert_canary_run, canary_id=canary.id, dag_run_id=dag_run_id)


async def settle(conn: Connection, dag_id: str, now: datetime) -> Canary | None:
    """The DAG's canary, locked; None when there is none, or it has to be rolled back, which is then done."""
    canary = await fetch_one(conn, _SQL.lock_canary, Canary, dag_id=dag_id)
    if canary is None:
        return None
    tally = await fetch_one(conn, _SQL.fetch_tally, Tally, canary_id=canary.id)
    assert tally is not None, "count(*) always has a row"
    because = why_roll_back(canary.terms, tally)
    if because is None:
        return canary
    await end(conn, dag_id, because=because, now=now)
    facts = {"because": because, **msgspec.structs.asdict(tally)}
    await insert_event(conn, now=now, event="rollback_canary", owner=None, dag_id=dag_id, extra=facts)
    log.warning("canary_rolled_back", dag_id=dag_id, because=because)
    return None


async def lock_for_person(conn: Connection, dag_id: str, now: datetime) -> Canary | None:
    """As `settle`, behind the lock of the dag, which whoever makes another version current needs next."""
    await conn.execute(_SQL.lock_dag, {"dag_id": dag_id})
    return await settle(conn, dag_id, now)


async def lock_current(conn: Connection, dag_id: str) -> uuid.UUID | None:
    """The version that is current, and stays so; None: there is none that could be compared with."""
    found: uuid.UUID | None = await fetch_value(conn, _SQL.fetch_current, dag_id=dag_id)
    return found


async def list_live(conn: Connection) -> tuple[str, ...]:
    """The DAGs that have one."""
    cursor = await conn.execute(_SQL.list_live)
    return tuple(row[0] for row in await cursor.fetchall())


async def start(
    conn: Connection, dag_id: str, version_id: uuid.UUID, terms: CanaryTerms, *, by: str, now: datetime
) -> None:
    """In the place of one that there is. The caller holds the lock of the dag row."""
    await execute(
        conn, _SQL.mark_ended, dag_id=dag_id, outcome="replaced", because=f"{by} deployed another canary", now=now
    )
    values = msgspec.structs.asdict(terms)
    await execute(conn, _SQL.insert_canary, dag_id=dag_id, version_id=version_id, by=by, now=now, **values)


async def end(conn: Connection, dag_id: str, *, because: str, now: datetime) -> bool:
    """New runs are of the current version alone; was there one?"""
    return bool(await execute(conn, _SQL.mark_ended, dag_id=dag_id, outcome="rolled_back", because=because, now=now))


async def overtake(conn: Connection, dag_id: str, version_id: uuid.UUID, now: datetime) -> None:
    """This version becomes current: a canary that is this one was promoted, another one is replaced."""
    await execute(conn, _SQL.mark_overtaken, dag_id=dag_id, version_id=version_id, now=now)


async def list_versions(conn: Connection, dag_id: str) -> list[Json]:
    """Newest first, each with the last canary that it was: see the statement for the keys."""
    return await list_rows(conn, _SQL.list_versions, dag_id=dag_id, limit=VERSIONS_MAX)
