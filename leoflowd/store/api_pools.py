"""Pools with what occupies them, and their changes. Called by `api.public.pools`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leoflowd.contract.errors import Conflict, NotFound
from leoflowd.store.api_lists import Column, Json, Listing, fetch_row, list_page
from leoflowd.store.database import Connection, execute, fetch_value, statements

_SQL = statements("api_pools")

LISTING = Listing(
    file="api_pools",
    key=("name",),
    sortable={
        "id": Column("p.name", "text"),
        "name": Column("p.name", "text"),
        "pool": Column("p.name", "text"),
        "slots": Column("p.slots", "int8"),
    },
)
NO_FILTERS: dict[str, Any] = {"name": None, "pool_name_ilike": None, "pool_name_like": None}


async def list_pools(
    conn: Connection, filters: dict[str, Any], *, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(PoolResponse rows, total). Raises `Invalid` for an unknown order."""
    return await list_page(conn, LISTING, NO_FILTERS | filters, order_by=order_by, limit=limit, offset=offset)


async def fetch_pool(conn: Connection, name: str) -> Json:
    """Raises `NotFound`."""
    row = await fetch_row(conn, LISTING, NO_FILTERS | {"name": name})
    if row is None:
        raise NotFound(f"The Pool with name: `{name}` was not found")
    return row


async def lock_pool(conn: Connection, name: str) -> str | None:
    """Its name, locked until the transaction ends; None: there is none."""
    found: str | None = await fetch_value(conn, _SQL.lock_pool, name=name)
    return found


async def insert_pool(
    conn: Connection, *, name: str, slots: int, description: str | None, include_deferred: bool
) -> None:
    """Raises `Conflict`."""
    values = {"name": name, "slots": slots, "description": description, "include_deferred": include_deferred}
    if not await execute(conn, _SQL.insert_pool, **values):
        raise Conflict(f"The Pool with name: `{name}` already exists")


async def update_pool(
    conn: Connection, *, name: str, slots: int, description: str | None, include_deferred: bool
) -> None:
    """Raises `NotFound`."""
    values = {"name": name, "slots": slots, "description": description, "include_deferred": include_deferred}
    if not await execute(conn, _SQL.update_pool, **values):
        raise NotFound(f"The Pool with name: `{name}` was not found")


async def delete_pool(conn: Connection, name: str) -> None:
    """Raises `NotFound`."""
    if not await execute(conn, _SQL.delete_pool, name=name):
        raise NotFound(f"The Pool with name: `{name}` was not found")
