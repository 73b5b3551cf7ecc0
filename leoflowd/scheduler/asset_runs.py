"""The run that events of assets start: made when the DAG's condition is true of what waits for it.

Called by the clock in the transaction in which it looks at the DAG. The rows of the queue are locked, taken by the run
and deleted in that transaction, so that two who look, or one that is killed and looks again, make one run.
"""

from __future__ import annotations

from datetime import datetime

from leoflowd import telemetry
from leoflowd.core.asset_conditions import is_met
from leoflowd.scheduler.partition_runs import start_partition_runs
from leoflowd.store import asset_events, dag_runs
from leoflowd.store.dags import VersionRow
from leoflowd.store.database import Connection

log = telemetry.get_logger(__name__)


async def start_asset_runs(conn: Connection, version: VersionRow, now: datetime, *, at_most: int) -> int:
    """How many were made: of a DAG that is scheduled on partitions one for each, of another one for all that waits."""
    if version.spec.partitions is not None:
        return await start_partition_runs(conn, version, version.spec.partitions, now, at_most=at_most)
    return int(at_most > 0 and await start_asset_run(conn, version, now))


async def start_asset_run(conn: Connection, version: VersionRow, now: datetime) -> bool:
    """Was there enough for one? It has no logical date, and the moment of the newest event as `run_after`."""
    condition = version.spec.asset_condition
    if condition is None:
        return False
    queued = await asset_events.lock_queued(conn, version.dag_id)
    if not queued or not is_met(condition, {event.asset for event in queued}):
        return False
    newest = queued[-1]
    dag_run_id, run_id = await dag_runs.insert_asset_run(
        conn, version, because_of=newest.event_id, run_after=newest.timestamp, now=now
    )
    await asset_events.consume_events(
        conn,
        dag_id=version.dag_id,
        dag_run_id=dag_run_id,
        event_ids=[event.event_id for event in queued],
        until=newest.timestamp,
    )
    log.info("dag_run_created", dag_id=version.dag_id, run_id=run_id, asset_events=len(queued))
    return True
