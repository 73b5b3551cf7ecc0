"""Assets, aliases, events and queues as the API lists them. Writes are in `store.assets` and `store.asset_events`.

An asset is seen by whoever sees a DAG that names it, or when no DAG does; of an asset that is seen, only the DAGs that
the caller sees are named (ADR 32).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from leoflowd.contract.errors import NotFound
from leoflowd.core.asset_drawing import Link, Resolved
from leoflowd.core.rights import Dags
from leoflowd.core.secret_names import masked
from leoflowd.store.api_lists import Column, DagListing, Json, fetch_row, list_page, list_rows
from leoflowd.store.database import Connection, execute, fetch_all, statements

_SQL = statements("api_assets")

ASSETS = DagListing(
    file="api_assets",
    key=("id",),
    sortable={
        "id": Column("a.id", "int8"),
        "name": Column("a.name", "text"),
        "uri": Column("a.uri", "text"),
        "created_at": Column("a.created_at", "timestamptz"),
        "updated_at": Column("a.updated_at", "timestamptz"),
    },
)
ALIASES = DagListing(
    file="api_asset_aliases",
    key=("id",),
    sortable={"id": Column("l.id", "int8"), "name": Column("l.name", "text")},
)
EVENTS = DagListing(
    file="api_asset_events",
    key=("id",),
    sortable={
        "id": Column("e.id", "int8"),
        "timestamp": Column("e.timestamp", "timestamptz"),
        "source_dag_id": Column("e.source_dag_id", "text", nullable=True),
        "source_task_id": Column("e.source_task_id", "text", nullable=True),
        "source_run_id": Column("e.source_run_id", "text", nullable=True),
        "source_map_index": Column("e.source_map_index", "int8"),
    },
)
_NAMES = dict.fromkeys(("id", "name_ilike", "name_like"))
NO_ASSET_FILTERS: dict[str, Any] = {
    **_NAMES,
    "only_active": False,
    **dict.fromkeys(("uri_ilike", "uri_like", "dag_ids")),
}
NO_EVENT_FILTERS: dict[str, Any] = {
    **_NAMES,
    **dict.fromkeys(("asset_id", "source_dag_id", "source_task_id", "source_run_id", "source_map_index")),
    **dict.fromkeys(("started_run", "timestamp_gte", "timestamp_gt", "timestamp_lte", "timestamp_lt")),
}


async def list_assets(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(AssetResponse rows, total). Raises `Invalid` for an unknown order."""
    given = NO_ASSET_FILTERS | filters
    rows, total = await list_page(conn, ASSETS.of(dags), given, order_by=order_by, limit=limit, offset=offset)
    return [_without_secrets(row) for row in rows], total


async def fetch_asset(conn: Connection, asset_id: int, *, dags: Dags) -> Json:
    """One AssetResponse. Raises `NotFound`."""
    row = await fetch_row(conn, ASSETS.of(dags), NO_ASSET_FILTERS | {"id": asset_id})
    if row is None:
        raise NotFound(f"The Asset with ID: `{asset_id}` was not found")
    return _without_secrets(row)


async def list_aliases(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    given = {**_NAMES, **filters}
    return await list_page(conn, ALIASES.of(dags), given, order_by=order_by, limit=limit, offset=offset)


async def fetch_alias(conn: Connection, alias_id: int, *, dags: Dags) -> Json:
    """Raises `NotFound`."""
    row = await fetch_row(conn, ALIASES.of(dags), {**_NAMES, "id": alias_id})
    if row is None:
        raise NotFound(f"The Asset Alias with ID: `{alias_id}` was not found")
    return row


async def list_events(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(AssetEventResponse rows, total). Raises `Invalid` for an unknown order."""
    given = NO_EVENT_FILTERS | filters
    rows, total = await list_page(conn, EVENTS.of(dags), given, order_by=order_by, limit=limit, offset=offset)
    return [_without_secrets(row) for row in rows], total


async def list_producers(conn: Connection, asset_id: int, *, dags: Dags) -> list[str]:
    """The DAG of which a task has the asset among its outlets; two of them when there are several."""
    rows = await list_rows(conn, _SQL.list_producers, asset_id=asset_id, visible=dags.parameter())
    return [row["dag_id"] for row in rows]


async def list_queued(
    conn: Connection, *, dags: Dags, dag_id: str | None, asset_id: int | None, before: datetime | None
) -> list[Json]:
    """QueuedEventResponse rows, by DAG and asset."""
    return await list_rows(
        conn, _SQL.list_queued, visible=dags.parameter(), dag_id=dag_id, asset_id=asset_id, before=before
    )


async def delete_queued(
    conn: Connection, *, dags: Dags, dag_id: str | None, asset_id: int | None, before: datetime | None
) -> int:
    """How many events wait no more."""
    return await execute(
        conn, _SQL.delete_queued, visible=dags.parameter(), dag_id=dag_id, asset_id=asset_id, before=before
    )


async def list_next(conn: Connection, dag_id: str) -> list[Json]:
    """What the DAG's schedule waits for, by uri; in the words of builds of the UI before 3.3 and since."""
    rows = await list_rows(conn, _SQL.list_next, dag_id=dag_id)
    return [
        {**row, "last_update": row["lastUpdate"], "received_count": int(row["lastUpdate"] is not None)} for row in rows
    ]


async def list_links(conn: Connection, *, dags: Dags) -> tuple[tuple[Link, ...], tuple[Resolved, ...]]:
    """Who names what, and what aliases stand for."""
    links = await fetch_all(conn, _SQL.list_links, Link, visible=dags.parameter())
    return links, await list_resolved(conn, dags=dags)


async def list_resolved(conn: Connection, *, dags: Dags) -> tuple[Resolved, ...]:
    """What aliases stand for that these DAGs name."""
    return await fetch_all(conn, _SQL.list_resolved, Resolved, visible=dags.parameter())


def _without_secrets(row: Json) -> Json:
    row["extra"] = masked(row["extra"])
    return row
