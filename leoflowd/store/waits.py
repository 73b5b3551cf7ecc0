"""Rows of `wait`: written with the scheduler's moves (see `store.transitions`), read by the pool and by dispatch."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from leoflowd.contract.agent_messages import ResumeCall
from leoflowd.contract.wait_spec import WaitTerms
from leoflowd.contract.waits import NewWait, ResumeWith
from leoflowd.core.pool_shards import SHARD_BITS, SHARDS
from leoflowd.store.database import Connection, execute, fetch_all, fetch_value, long_statement, statements

_SQL = statements("waits")

InstanceKey = tuple[int, str, int]
"""(dag_run_id, task_id, map_index)"""


class WaitWrite(msgspec.Struct, frozen=True):
    """A wait and the task instance that waits."""

    key: InstanceKey
    wait: NewWait


class FiredWait(msgspec.Struct, frozen=True):
    """A deferral that ended; `id` is the wait's."""

    id: str
    resume: ResumeWith


class ArmRow(msgspec.Struct, frozen=True):
    """A current wait as the pool arms it; `probe` and `terms` are JSON text, equal texts being equal. Moments are
    seconds since the epoch: there may be a million of these."""

    id: UUID
    dag_run_id: int
    dag_id: str
    kind: str
    key: str
    probe: str
    terms: str
    registered_at: float
    deadline_at: float
    """Infinity for never."""


def row_of(wait: NewWait) -> ArmRow:
    """As the table would give it."""
    return ArmRow(
        id=wait.id,
        dag_run_id=wait.dag_run_id,
        dag_id=wait.dag_id,
        kind=wait.spec.probe.kind,
        key=wait.key,
        probe=_json(wait.spec.probe),
        terms=_json(wait.spec.terms),
        registered_at=wait.registered_at.timestamp(),
        deadline_at=math.inf if wait.deadline_at is None else wait.deadline_at.timestamp(),
    )


async def upsert_waits(conn: Connection, writes: Sequence[WaitWrite]) -> None:
    """In the transaction that moves the instances; sends nothing if there are none."""
    waits = [write.wait for write in writes]
    await conn.execute(
        _SQL.upsert_waits,
        {
            **instance_keys([write.key for write in writes]),
            "ids": [w.id for w in waits],
            "dag_ids": [w.dag_id for w in waits],
            "kinds": [w.spec.probe.kind for w in waits],
            "keys": [w.key for w in waits],
            "probes": [_json(w.spec.probe) for w in waits],
            "terms": [_json(w.spec.terms) for w in waits],
            "registered": [w.registered_at for w in waits],
            "deadlines": [w.deadline_at for w in waits],
        },
    )


async def fire_waits(conn: Connection, fired: Sequence[FiredWait], now: datetime) -> None:
    events = [_json(one.resume) for one in fired]
    await conn.execute(_SQL.fire_waits, {"ids": [one.id for one in fired], "events": events, "now": now})


async def delete_waits(conn: Connection, keys: Collection[InstanceKey]) -> None:
    await conn.execute(_SQL.delete_waits, instance_keys(keys))


class ArmPage(msgspec.Struct, frozen=True):
    """Current waits of DAGs that are not paused, in order of their instances."""

    rows: tuple[ArmRow, ...]
    next_after: InstanceKey | None
    """Where the next page begins; None = this was the last one."""


class IdPage(msgspec.Struct, frozen=True):
    """The same, ids only."""

    ids: tuple[UUID, ...]
    next_after: InstanceKey | None


FIRST_PAGE: InstanceKey = (0, "", -1)


async def list_waits_to_arm(
    conn: Connection, shards: Collection[int], *, after: InstanceKey = FIRST_PAGE, limit: int
) -> ArmPage:
    """The first `limit` rows of these shards (`core.pool_shards`) behind `after`, of which dead ones are left out."""
    cursor = await conn.execute(_SQL.list_waits_to_arm, _page(shards, after, limit))
    rows = await cursor.fetchall()
    last = rows[-1] if len(rows) == limit else None
    return ArmPage(
        tuple(ArmRow(*row[:9]) for row in rows if row[9]), None if last is None else (last[1], last[10], last[11])
    )


async def list_waits_of_dag(conn: Connection, dag_id: str) -> tuple[ArmRow, ...]:
    """The same for one DAG; none while it is paused."""
    return await fetch_all(conn, _SQL.list_waits_of_dag, ArmRow, dag_id=dag_id)


async def list_waits_of_run(conn: Connection, dag_run_id: int) -> tuple[ArmRow, ...]:
    """The same for one dag run."""
    return await fetch_all(conn, _SQL.list_waits_of_run, ArmRow, dag_run_id=dag_run_id)


async def list_waits_by_ids(conn: Connection, ids: Sequence[UUID]) -> tuple[ArmRow, ...]:
    return await fetch_all(conn, _SQL.list_waits_by_ids, ArmRow, ids=list(ids))


async def list_current_ids(conn: Connection, ids: Sequence[UUID]) -> frozenset[UUID]:
    """Those of `ids` that are still waited for, in DAGs that are not paused."""
    cursor = await conn.execute(_SQL.list_current_ids, {"ids": list(ids)})
    return frozenset(row[0] for row in await cursor.fetchall())


async def list_current_ids_page(
    conn: Connection, shards: Collection[int], *, after: InstanceKey = FIRST_PAGE, limit: int
) -> IdPage:
    cursor = await conn.execute(_SQL.list_current_ids_page, _page(shards, after, limit))
    rows = await cursor.fetchall()
    return IdPage(tuple(row[0] for row in rows if row[1]), rows[-1][2:] if len(rows) == limit else None)


def _page(shards: Collection[int], after: InstanceKey, limit: int) -> dict[str, object]:
    run, task_id, map_index = after
    wanted = None if len(shards) == SHARDS else sorted(shards)
    key = {"run": run, "task_id": task_id, "map_index": map_index}
    return {**key, "shards": wanted, "shift": 8 - SHARD_BITS, "limit": limit}


async def delete_dead_waits(conn: Connection) -> int:
    """Rows of tries that are over (ADR 13): cleared, marked, or ended while somebody else led."""
    async with long_statement(conn):
        return await execute(conn, _SQL.delete_dead_waits)


async def set_poke_interval(conn: Connection, wait_id: str, seconds: float) -> bool:
    """False: it is no longer waited for. `conn` is in a transaction."""
    text: str | None = await fetch_value(conn, _SQL.lock_terms, id=wait_id)
    if text is None:
        return False
    terms = msgspec.structs.replace(msgspec.json.decode(text, type=WaitTerms), poke_interval_s=seconds)
    return bool(await execute(conn, _SQL.update_terms, id=wait_id, terms=_json(terms)))


class _ResumeRow(msgspec.Struct, frozen=True):
    dag_run_id: int
    task_id: str
    map_index: int
    terms: str
    event: str


async def list_resumes(conn: Connection, keys: Sequence[InstanceKey]) -> dict[InstanceKey, ResumeCall]:
    """What the next processes of these instances are told; an instance that simply starts is absent."""
    rows = await fetch_all(conn, _SQL.list_resumes, _ResumeRow, **instance_keys(keys))
    return {(row.dag_run_id, row.task_id, row.map_index): call for row in rows if (call := _call(row)) is not None}


def _call(row: _ResumeRow) -> ResumeCall | None:
    resume = msgspec.json.decode(row.terms, type=_StoredTerms).resume
    if resume is None:
        return None
    told = msgspec.json.decode(row.event, type=_StoredResume)
    return ResumeCall(
        next_method=resume.next_method,
        next_kwargs=_text(resume.next_kwargs),
        event=_text(told.event),
        error=told.error,
        traceback=told.traceback,
    )


class _StoredResumption(msgspec.Struct, frozen=True):
    """`wait_spec.Resume`, arguments unopened: they are the task's."""

    next_method: str
    next_kwargs: msgspec.Raw = msgspec.Raw(b"null")


class _StoredTerms(msgspec.Struct, frozen=True):
    resume: _StoredResumption | None = None


class _StoredResume(msgspec.Struct, frozen=True):
    """`ResumeWith`, its event unopened."""

    event: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    traceback: tuple[str, ...] = ()


def _text(raw: msgspec.Raw) -> str | None:
    text = bytes(raw).decode()
    return None if text == "null" else text


def instance_keys(keys: Collection[InstanceKey]) -> dict[str, object]:
    """As the parameters of a statement: `runs`, `task_ids`, `map_indexes`."""
    return {
        "runs": [run for run, _, _ in keys],
        "task_ids": [task_id for _, task_id, _ in keys],
        "map_indexes": [map_index for _, _, map_index in keys],
    }


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
