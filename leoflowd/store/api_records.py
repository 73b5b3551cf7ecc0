"""Event log and import errors as the API lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from leoflowd.contract.errors import NotFound
from leoflowd.core.rights import ALL_DAGS, Dags
from leoflowd.store.api_lists import Column, DagListing, Json, fetch_row, list_page
from leoflowd.store.database import Connection

EVENT_LOGS = DagListing(
    file="api_event_logs",
    key=("id",),
    sortable={
        "id": Column("e.id", "int8"),
        "event_log_id": Column("e.id", "int8"),
        "when": Column("e.occurred_at", "timestamptz"),
        "dttm": Column("e.occurred_at", "timestamptz"),
        "event": Column("e.event", "text"),
        "dag_id": Column("e.dag_id", "text", nullable=True),
        "task_id": Column("e.task_id", "text", nullable=True),
        "run_id": Column("e.run_id", "text", nullable=True),
        "owner": Column("e.owner", "text", nullable=True),
        "extra": Column("e.extra::text", "text", nullable=True),
        "logical_date": Column("e.logical_date", "timestamptz", nullable=True),
    },
)
NO_EVENT_FILTERS: dict[str, Any] = {
    "id": None,
    "own": None,
    "dag_id": None,
    "task_id": None,
    "run_id": None,
    "map_index": None,
    "try_number": None,
    "owner": None,
    "event": None,
    "included_events": None,
    "excluded_events": None,
    "before": None,
    "after": None,
    **{f"{name}_{op}": None for name in ("dag_id", "task_id", "run_id", "owner", "event") for op in ("ilike", "like")},
}

IMPORT_ERRORS = DagListing(
    file="api_import_errors",
    key=("id",),
    sortable={
        "id": Column("e.id", "int8"),
        "import_error_id": Column("e.id", "int8"),
        "timestamp": Column("e.occurred_at", "timestamptz"),
        "filename": Column("e.filename", "text"),
        "bundle_name": Column("e.bundle_name", "text"),
        "stacktrace": Column("e.stack_trace", "text"),
    },
)
NO_IMPORT_ERROR_FILTERS: dict[str, Any] = dict.fromkeys(
    ("id", "filename", "bundle_name", "filename_ilike", "filename_like")
)

MISSING_POOLS_MAX = 100
"""That one answer names: people read it."""

DAG_WARNINGS = DagListing(
    file="api_dag_warnings",
    key=("dag_id", "warning_type", "position"),
    sortable={
        "dag_id": Column("d.dag_id", "text"),
        "position": Column("w.position", "int8"),
        "warning_type": Column("w.warning_type", "text"),
        "message": Column("w.message", "text"),
        "timestamp": Column("v.created_at", "timestamptz"),
    },
)


async def list_event_logs(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(EventLogResponse rows, total); the filter `own`: of rows of no DAG only those of this user. Raises `Invalid` for
    an unknown order."""
    filters = NO_EVENT_FILTERS | filters
    rows, total = await list_page(conn, EVENT_LOGS.of(dags), filters, order_by=order_by, limit=limit, offset=offset)
    return [_without_hidden_asker(row, dags) for row in rows], total


async def fetch_event_log(conn: Connection, event_log_id: int, *, own: str | None, dags: Dags) -> Json:
    """`own` as in the list. Raises `NotFound`."""
    row = await fetch_row(conn, EVENT_LOGS.of(dags), NO_EVENT_FILTERS | {"id": event_log_id, "own": own})
    if row is None:
        raise NotFound(f"The Event Log with id: `{event_log_id}` not found")
    return _without_hidden_asker(row, dags)


def _without_hidden_asker(row: Json, dags: Dags) -> Json:
    """A run that a task of another DAG asked for (`asked_runs.record_asked_by`) does not give that DAG away."""
    if dags.ids is None or row["extra"] is None:
        return row
    extra = msgspec.json.decode(row["extra"])
    asker = extra.pop("asked_by", None) if isinstance(extra, dict) else None
    if not isinstance(asker, dict) or str(asker.get("dag_id")) in dags:
        return row
    return row | {"extra": msgspec.json.encode(extra).decode()}


async def list_import_errors(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(ImportErrorResponse rows, total). Raises `Invalid` for an unknown order."""
    filters = NO_IMPORT_ERROR_FILTERS | filters
    return await list_page(conn, IMPORT_ERRORS.of(dags), filters, order_by=order_by, limit=limit, offset=offset)


async def fetch_import_error(conn: Connection, import_error_id: int, *, dags: Dags) -> Json:
    """Raises `NotFound`."""
    row = await fetch_row(conn, IMPORT_ERRORS.of(dags), NO_IMPORT_ERROR_FILTERS | {"id": import_error_id})
    if row is None:
        raise NotFound(f"The ImportError with import_error_id: `{import_error_id}` was not found")
    return row


async def list_dag_warnings(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(DAGWarningResponse rows, total); `filters`: dag_id, warning_type. Raises `Invalid` for an unknown order."""
    filters = {**filters, "version_id": None}
    return await list_page(conn, DAG_WARNINGS.of(dags), filters, order_by=order_by, limit=limit, offset=offset)


async def list_missing_pools(conn: Connection, *, dag_id: str, version_id: UUID) -> tuple[str, ...]:
    """A sentence for each pool that tasks of this version would wait for and that nobody has made, by task."""
    filters = {"dag_id": dag_id, "warning_type": "non-existent pool", "version_id": version_id}
    listing = DAG_WARNINGS.of(ALL_DAGS)
    rows, _ = await list_page(conn, listing, filters, order_by=["position"], limit=MISSING_POOLS_MAX, offset=0)
    return tuple(row["message"] for row in rows)
