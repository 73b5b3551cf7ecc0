"""Runs of partitions: what waits for which events, for the scheduler and for the UI (ADR 57)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from leoflowd.contract.errors import NotFound
from leoflowd.core.asset_conditions import ComeAsset
from leoflowd.core.rights import Dags
from leoflowd.store.api_lists import Json, list_rows
from leoflowd.store.database import Connection, fetch_all, fetch_value, statements

_SQL = statements("partition_runs")

LISTED_MAX = 1_000
"""In one answer to the UI, which asks for all; the newest."""


class Received(msgspec.Struct, frozen=True):
    """An event, and the partition of the DAG that it is for."""

    event_id: int
    key: str


class PendingRun(msgspec.Struct, frozen=True):
    id: int
    partition_key: str
    assets: str
    """JSON text of `ComeAsset`s."""

    @property
    def come(self) -> tuple[ComeAsset, ...]:
        return msgspec.json.decode(self.assets, type=tuple[ComeAsset, ...])


async def receive_events(
    conn: Connection, dag_id: str, received: Sequence[Received], *, event_ids: Sequence[int], now: datetime
) -> None:
    """From the queue to the runs that wait for them; `event_ids` leave the queue, also those that are for none."""
    if received:
        events = msgspec.json.encode(received).decode()
        await conn.execute(_SQL.receive_events, {"dag_id": dag_id, "events": events, "now": now})
    await conn.execute(_SQL.delete_queued, {"dag_id": dag_id, "event_ids": list(event_ids)})


async def lock_pending(conn: Connection, dag_id: str) -> tuple[PendingRun, ...]:
    """Oldest first, locked until the transaction ends."""
    return await fetch_all(conn, _SQL.list_pending, PendingRun, dag_id=dag_id)


async def take_events(conn: Connection, partition_run_id: int, dag_run_id: int, now: datetime) -> None:
    await conn.execute(_SQL.take_events, {"id": partition_run_id, "dag_run_id": dag_run_id, "now": now})


async def list_partition_runs(conn: Connection, *, dags: Dags, dag_id: str | None, is_made: bool | None) -> list[Json]:
    """PartitionedDagRunResponse rows, with the `asset_expression` of the DAG."""
    return await list_rows(
        conn, _SQL.list_runs, visible=dags.parameter(), dag_id=dag_id, is_made=is_made, limit=LISTED_MAX
    )


async def fetch_pending_run(conn: Connection, dag_id: str, partition_key: str) -> Json:
    """One PartitionedDagRunDetailResponse. Raises `NotFound`."""
    rows = await list_rows(conn, _SQL.fetch_pending, dag_id=dag_id, partition_key=partition_key)
    if not rows:
        raise NotFound(f"No PartitionedDagRun for dag={dag_id} partition={partition_key}")
    [row] = rows
    received = sum(asset["received"] for asset in row["assets"])
    return {**row, "total_required": len(row["assets"]), "total_received": received}


async def count_pending(conn: Connection, dag_id: str) -> int:
    count: int = await fetch_value(conn, _SQL.count_pending, dag_id=dag_id)
    return count


async def waits_for_partitions(conn: Connection, dag_id: str) -> bool:
    """Is the DAG scheduled on partitions of assets?"""
    return bool(await fetch_value(conn, _SQL.waits_for_partitions, dag_id=dag_id))
