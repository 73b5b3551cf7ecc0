"""Backfills as the API lists them. What changes them is in `store.backfills`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leoflowd.contract.errors import NotFound
from leoflowd.core.rights import Dags
from leoflowd.store.api_lists import Column, DagListing, Json, fetch_row, list_page
from leoflowd.store.database import Connection

LISTING = DagListing(file="api_backfills", key=("id",), sortable={"id": Column("b.id", "int8")})
NO_FILTERS: dict[str, Any] = {"id": None, "dag_id": None, "active": None}


async def list_backfills(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(BackfillResponse rows, total). Raises `Invalid` for an unknown order."""
    return await list_page(conn, LISTING.of(dags), NO_FILTERS | filters, order_by=order_by, limit=limit, offset=offset)


async def fetch_backfill(conn: Connection, backfill_id: int, *, dags: Dags) -> Json:
    """Raises `NotFound`."""
    row = await fetch_row(conn, LISTING.of(dags), NO_FILTERS | {"id": backfill_id})
    if row is None:
        raise NotFound(f"Could not find backfill with id {backfill_id}")
    return row
