"""Versions of a DAG as the API lists them; artifacts themselves come from `store.dags`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leoflowd.core.rights import Dags
from leoflowd.store.api_lists import Column, DagListing, Json, list_page
from leoflowd.store.database import Connection

LISTING = DagListing(
    file="api_dag_versions",
    key=("dag_id", "version_number"),
    sortable={
        "id": Column("v.id", "uuid"),
        "dag_id": Column("v.dag_id", "text"),
        "version_number": Column("v.version_number", "int8"),
        "bundle_name": Column("d.bundle_name", "text"),
        "bundle_version": Column("v.bundle_digest", "text"),
        "created_at": Column("v.created_at", "timestamptz"),
    },
)
NO_FILTERS: dict[str, Any] = {"dag_id": None, "version_number": None, "bundle_name": None, "bundle_version": None}


async def list_versions(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(DagVersionResponse rows, total). Raises `Invalid` for an unknown order."""
    return await list_page(conn, LISTING.of(dags), NO_FILTERS | filters, order_by=order_by, limit=limit, offset=offset)
