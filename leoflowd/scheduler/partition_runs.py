"""Runs of a DAG that is scheduled on partitions: one for each partition of which events have come for all assets.

Called by the clock as `asset_runs` is, in the transaction in which it looks at the DAG: events go from the queue to the
runs that wait for them, and a run is made when the condition is true of what has come for its partition (ADR 57).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from leoflowd import telemetry
from leoflowd.contract.partition_spec import AssetPartitions
from leoflowd.core.asset_conditions import is_met
from leoflowd.core.partitions import mapper_for, target_key
from leoflowd.store import asset_events, dag_runs, partition_runs
from leoflowd.store.asset_events import QueuedEvent
from leoflowd.store.dags import VersionRow
from leoflowd.store.database import Connection
from leoflowd.store.event_log import insert_event
from leoflowd.store.partition_runs import PendingRun, Received

log = telemetry.get_logger(__name__)

NO_KEY, NOT_MAPPED = "missing partition key", "failed to map partition_key"
"""Airflow's names of these entries of the audit log."""


async def start_partition_runs(
    conn: Connection, version: VersionRow, partitions: AssetPartitions, now: datetime, *, at_most: int
) -> int:
    """How many were made. What there is no room for stays pending."""
    queued = await asset_events.lock_queued(conn, version.dag_id)
    if queued:
        await _receive(conn, version, partitions, queued, now)
    condition = version.spec.asset_condition
    if condition is None or at_most < 1:
        return 0
    pending = await partition_runs.lock_pending(conn, version.dag_id)
    ready = [one for one in pending if is_met(condition, one.come)][:at_most]
    for one in ready:
        await _make(conn, version, one, now)
    return len(ready)


async def _receive(
    conn: Connection, version: VersionRow, partitions: AssetPartitions, queued: Sequence[QueuedEvent], now: datetime
) -> None:
    found: list[Received] = []
    for event in queued:
        try:
            found.append(Received(event.event_id, _key_of(event, partitions)))
        except ValueError as refused:
            missing = event.partition_key is None
            log.warning("event_of_no_partition", dag_id=version.dag_id, event_id=event.event_id, because=str(refused))
            await insert_event(
                conn,
                now=now,
                event=NO_KEY if missing else NOT_MAPPED,
                owner=None,
                dag_id=event.source_dag_id,
                run_id=event.source_run_id,
                task_id=event.source_task_id,
                extra=f"Dag {version.dag_id!r} gets no event of asset {event.name!r} ({event.uri}): {refused}",
            )
    ids = [event.event_id for event in queued]
    await partition_runs.receive_events(conn, version.dag_id, found, event_ids=ids, now=now)


def _key_of(event: QueuedEvent, partitions: AssetPartitions) -> str:
    """Raises ValueError."""
    if event.partition_key is None:
        raise ValueError("it has no partition key, and the Dag is scheduled on partitions")
    try:
        return target_key(mapper_for(partitions, name=event.name, uri=event.uri), event.partition_key)
    except ValueError as error:
        raise ValueError(
            f"its partition key {event.partition_key!r} cannot be mapped; either the partition mapper of the Dag is "
            f"not what was meant, or it does not take this key: {error}"
        ) from error


async def _make(conn: Connection, version: VersionRow, one: PendingRun, now: datetime) -> None:
    dag_run_id, run_id = await dag_runs.insert_asset_run(
        conn, version, because_of=one.id, run_after=now, now=now, partition_key=one.partition_key
    )
    await partition_runs.take_events(conn, one.id, dag_run_id, now)
    log.info("dag_run_created", dag_id=version.dag_id, run_id=run_id, partition_key=one.partition_key)
