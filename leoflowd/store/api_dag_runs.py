"""Dag runs as the API lists them. Called by `api.public.dag_runs`; writes are in `store.dag_runs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leoflowd.contract.errors import NotFound
from leoflowd.core.rights import Dags, only
from leoflowd.store.api_lists import (
    Column,
    Cursor,
    CursorPage,
    DagListing,
    Json,
    fetch_row,
    list_cursor_page,
    list_page,
)
from leoflowd.store.database import Connection

_DURATION = "extract(epoch FROM r.end_date - r.start_date)::float8"

LISTING = DagListing(
    file="api_dag_runs",
    key=("id",),
    sortable={
        "id": Column("r.id", "int8"),
        "state": Column("r.state", "text"),
        "dag_id": Column("r.dag_id", "text"),
        "run_id": Column("r.run_id", "text"),
        "dag_run_id": Column("r.run_id", "text"),
        "logical_date": Column("r.logical_date", "timestamptz", nullable=True),
        "run_after": Column("r.run_after", "timestamptz"),
        "partition_date": Column("r.partition_date", "timestamptz", nullable=True),
        "start_date": Column("r.start_date", "timestamptz", nullable=True),
        "end_date": Column("r.end_date", "timestamptz", nullable=True),
        "updated_at": Column("r.updated_at", "timestamptz"),
        "conf": Column("r.conf::text", "text"),
        "duration": Column(_DURATION, "float8", nullable=True),
    },
)

_RANGES = ("run_after", "logical_date", "start_date", "end_date", "updated_at", "duration")

NO_FILTERS: dict[str, Any] = {
    "dag_id": None,
    "run_id": None,
    "dag_ids": None,
    "state": None,
    "run_type": None,
    "dag_version": None,
    "bundle_version": None,
    "conf_contains": None,
    "consuming_asset_ilike": None,
    **{
        f"{name}_{op}": None
        for name in ("run_id", "dag_id", "triggering_user_name", "partition_key")
        for op in ("ilike", "like")
    },
    **{f"{name}_{op}": None for name in _RANGES for op in ("gte", "gt", "lte", "lt")},
}


async def list_dag_runs(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(DAGRunResponse rows, total). Raises `Invalid` for an unknown order."""
    return await list_page(conn, LISTING.of(dags), NO_FILTERS | filters, order_by=order_by, limit=limit, offset=offset)


async def list_dag_runs_from(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, cursor: Cursor | None
) -> CursorPage:
    """Raises `Invalid` for an unknown order or a cursor of another order."""
    return await list_cursor_page(
        conn, LISTING.of(dags), NO_FILTERS | filters, order_by=order_by, limit=limit, cursor=cursor
    )


async def fetch_dag_run_answer(conn: Connection, dag_id: str, run_id: str) -> Json:
    """One DAGRunResponse. Raises `NotFound`."""
    row = await fetch_row(conn, LISTING.of(only(dag_id)), NO_FILTERS | {"dag_id": dag_id, "run_id": run_id})
    if row is None:
        raise NotFound(f"The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found")
    return row
