"""The daemons on this database as Airflow lists its jobs. Called by `api.public.monitor`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from leoflowd.store.api_lists import Column, Json, Listing, list_page
from leoflowd.store.database import Connection

ALIVE_WITHIN = timedelta(seconds=30)
"""A daemon beats every 5 s."""

LISTING = Listing(
    file="api_jobs",
    key=("id",),
    sortable={
        "id": Column("('x' || substr(md5(r.id), 1, 8))::bit(32)::bigint", "int8"),
        "latest_heartbeat": Column("r.heard_at", "timestamptz"),
        "state": Column("r.state", "text"),
        "hostname": Column("r.name", "text"),
        "job_type": Column("'SchedulerJob'::text", "text"),
        "start_date": Column("r.started_at", "timestamptz", nullable=True),
        "end_date": Column("CASE WHEN r.state = 'failed' THEN r.heard_at END", "timestamptz", nullable=True),
        # what no daemon has
        **dict.fromkeys(("dag_id", "executor_class", "unixname"), Column("NULL::text", "text", nullable=True)),
    },
)


async def list_jobs(
    conn: Connection, filters: dict[str, Any], *, now: datetime, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(JobResponse rows, total). Raises `Invalid` for an unknown order."""
    known = filters | {"alive_since": now - ALIVE_WITHIN}
    return await list_page(conn, LISTING, known, order_by=order_by, limit=limit, offset=offset)
