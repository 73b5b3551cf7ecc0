"""DAGs as the API lists them. Called by `api.public.dags` and the UI's DAG list; writes are in `store.dags`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leoflowd.contract.errors import Conflict, NotFound
from leoflowd.core.rights import Dags, only
from leoflowd.store.api_lists import Column, DagListing, Json, fetch_row, list_page, list_rows
from leoflowd.store.database import Connection, execute, fetch_value, statements

_SQL = statements("api_dags")

_LAST_STATE = "(SELECT r.state FROM dag_run r WHERE r.dag_id = d.dag_id ORDER BY r.run_after DESC, r.id DESC LIMIT 1)"
_LAST_START = (
    "(SELECT r.start_date FROM dag_run r WHERE r.dag_id = d.dag_id ORDER BY r.run_after DESC, r.id DESC LIMIT 1)"
)

LISTING = DagListing(
    file="api_dags",
    key=("dag_id",),
    sortable={
        "dag_id": Column("d.dag_id", "text"),
        "dag_display_name": Column("d.dag_display_name", "text"),
        "next_dagrun": Column("d.next_run_after", "timestamptz", nullable=True),
        "state": Column(_LAST_STATE, "text", nullable=True),
        "start_date": Column(_LAST_START, "timestamptz", nullable=True),
        "last_run_state": Column(_LAST_STATE, "text", nullable=True),
        "last_run_start_date": Column(_LAST_START, "timestamptz", nullable=True),
    },
)

NO_FILTERS: dict[str, Any] = {
    "dag_id": None,
    "username": "",
    "exclude_stale": False,
    "paused": None,
    "tags_any": None,
    "tags_all": None,
    "owners": None,
    "dag_id_ilike": None,
    "dag_id_like": None,
    "dag_display_name_ilike": None,
    "dag_display_name_like": None,
    "bundle_name": None,
    "bundle_version": None,
    "timetable_type": None,
    "has_asset_schedule": None,
    "asset_dependency": None,
    "has_import_errors": None,
    "is_favorite": None,
    "last_dag_run_state": None,
    "by_runs": False,
    "dag_run_state": None,
    **{f"dag_run_{field}_{op}": None for field in ("start_date", "end_date") for op in ("gte", "gt", "lte", "lt")},
}
"""Every parameter of the filters; callers override what they filter by."""


async def list_dags(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(DAGResponse rows, total). Raises `Invalid` for an unknown order."""
    return await list_page(conn, LISTING.of(dags), NO_FILTERS | filters, order_by=order_by, limit=limit, offset=offset)


async def fetch_dag(conn: Connection, dag_id: str) -> Json:
    """One DAGResponse. Raises `NotFound`."""
    row = await fetch_row(conn, LISTING.of(only(dag_id)), NO_FILTERS | {"dag_id": dag_id})
    if row is None:
        raise NotFound(f"The Dag with ID: `{dag_id}` was not found")
    return row


async def list_tags(conn: Connection, *, dags: Dags, ilike: list[str] | None, like: list[str] | None) -> list[str]:
    """All tags in use, sorted."""
    rows = await list_rows(conn, _SQL.list_tags, visible=dags.parameter(), tag_ilike=ilike, tag_like=like)
    return [row["tag"] for row in rows]


async def list_stats(conn: Connection, dag_ids: list[str] | None, *, dags: Dags) -> list[Json]:
    """Per DAG its runs by state, zeros included."""
    found: dict[str, Json] = {}
    for row in await list_rows(conn, _SQL.list_stats, visible=dags.parameter(), dag_ids=dag_ids):
        dag = found.setdefault(
            row["dag_id"], {"dag_id": row["dag_id"], "dag_display_name": row["dag_display_name"], "stats": []}
        )
        dag["stats"].append({"state": row["state"], "count": row["count"]})
    return list(found.values())


async def fetch_is_favorite(conn: Connection, dag_id: str, username: str) -> bool:
    return bool(await fetch_value(conn, _SQL.fetch_is_favorite, dag_id=dag_id, username=username))


async def fetch_active_runs_count(conn: Connection, dag_id: str) -> int:
    count: int = await fetch_value(conn, _SQL.fetch_active_runs_count, dag_id=dag_id)
    return count


async def insert_favorite(conn: Connection, dag_id: str, username: str) -> None:
    """Raises `NotFound`."""
    await fetch_dag(conn, dag_id)
    await execute(conn, _SQL.insert_favorite, dag_id=dag_id, username=username)


async def delete_favorite(conn: Connection, dag_id: str, username: str) -> None:
    """Raises `NotFound` for the DAG, `Conflict` if it is no favorite."""
    await fetch_dag(conn, dag_id)
    if not await execute(conn, _SQL.delete_favorite, dag_id=dag_id, username=username):
        raise Conflict("Dag is not marked as favorite")
