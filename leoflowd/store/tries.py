"""What agents read and write of one try. Every write names the try id: an old one matches no row (the fence)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from leoflowd.contract.agent_messages import CountsAsk, InstanceFacts, PreviousInstanceAsk, StatesAsk
from leoflowd.contract.logs import TryLog
from leoflowd.contract.values import shown_json
from leoflowd.store.database import Connection, execute, fetch_all, fetch_one, fetch_value, statements

_SQL = statements("tries")


class TryRow(msgspec.Struct, frozen=True):
    """Where a try belongs, and whether it may still write."""

    id: uuid.UUID
    dag_run_id: int
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    state: str | None
    goes_on: bool | None = False
    """It has begun once before (rescheduled, deferred), and this process of it has not started yet."""

    @property
    def log(self) -> TryLog:
        return TryLog(
            dag_id=self.dag_id,
            run_id=self.run_id,
            dag_run_id=self.dag_run_id,
            task_id=self.task_id,
            map_index=self.map_index,
            try_number=self.try_number,
        )

    @property
    def live(self) -> bool:
        return self.state in ("queued", "running", "restarting")


async def fetch_try(conn: Connection, try_id: str) -> TryRow | None:
    """None: the try was replaced (cleared, retried) or its run deleted."""
    return await fetch_one(conn, _SQL.fetch_try, TryRow, try_id=try_id)


async def list_tries(conn: Connection, try_ids: Sequence[str]) -> tuple[TryRow, ...]:
    return await fetch_all(conn, _SQL.list_tries, TryRow, try_ids=list(try_ids))


class LiveTry(msgspec.Struct, frozen=True):
    id: uuid.UUID
    dag_run_id: int
    task_id: str
    map_index: int
    state: str
    queued_at: datetime | None
    launcher: str
    """The replica whose executor was given it."""


async def list_live_tries(conn: Connection, executor: str) -> tuple[LiveTry, ...]:
    """All that this executor should be holding (partial index task_instance_live)."""
    return await fetch_all(conn, _SQL.list_live_tries, LiveTry, executor=executor)


class RunningCall(msgspec.Struct, frozen=True):
    """A try that was making an inline HTTP call; `method` is the artifact's."""

    row: TryRow
    method: str
    start_date: datetime


class _CallRow(TryRow, frozen=True, kw_only=True):
    start_date: datetime
    method: str


async def list_running_calls(conn: Connection, executor: str) -> tuple[RunningCall, ...]:
    """Calls that this executor was making (partial index task_instance_live)."""
    rows = await fetch_all(conn, _SQL.list_running_calls, _CallRow, executor=executor)
    return tuple(RunningCall(row, row.method, row.start_date) for row in rows)


async def put_rendered_fields(conn: Connection, try_id: str, fields: dict[str, Any], now: datetime) -> bool:
    return bool(await execute(conn, _SQL.put_rendered_fields, try_id=try_id, fields=shown_json(fields), now=now))


async def put_rendered_map_index(conn: Connection, try_id: str, name: str, now: datetime) -> bool:
    return bool(await execute(conn, _SQL.put_rendered_map_index, try_id=try_id, name=name, now=now))


async def count_instances(conn: Connection, ask: CountsAsk, task_ids: Sequence[str]) -> int:
    """Task instances of these tasks; an empty filter is no filter. State `null` is none yet, as in Airflow's API."""
    count: int = await fetch_value(conn, _SQL.count_instances, task_ids=list(task_ids), **_count_filters(ask))
    return count


async def count_runs(conn: Connection, ask: CountsAsk) -> int:
    """Dag runs, filtered likewise."""
    count: int = await fetch_value(conn, _SQL.count_runs, **_count_filters(ask))
    return count


def _count_filters(ask: CountsAsk) -> dict[str, Any]:
    return {**_run_filters(ask), "states": list(ask.states) or None}


def _run_filters(ask: CountsAsk | StatesAsk) -> dict[str, Any]:
    return {
        "dag_id": ask.dag_id,
        "logical_dates": list(ask.logical_dates) or None,
        "run_ids": list(ask.run_ids) or None,
    }


class InstanceState(msgspec.Struct, frozen=True):
    run_id: str
    task_id: str
    map_index: int
    state: str | None


async def list_instance_states(
    conn: Connection, ask: StatesAsk, task_ids: Sequence[str], *, limit: int
) -> tuple[InstanceState, ...]:
    """By run, task and map index; an empty filter is no filter."""
    filters = {**_run_filters(ask), "task_ids": list(task_ids) or None, "map_index": ask.map_index, "limit": limit}
    return await fetch_all(conn, _SQL.list_instance_states, InstanceState, **filters)


async def fetch_previous_instance(conn: Connection, asker: TryRow, ask: PreviousInstanceAsk) -> InstanceFacts | None:
    """Never one of the dag run that asks: without a logical date it is before nothing."""
    return await fetch_one(
        conn,
        _SQL.fetch_previous_instance,
        InstanceFacts,
        dag_id=ask.dag_id,
        task_id=ask.task_id,
        map_index=ask.map_index,
        before=ask.logical_date,
        own_run=asker.dag_run_id,
        state=ask.state,
    )
