"""XCom entries as the API lists and edits them. Values are the business of `store.xcoms`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from leoflowd.contract.agent_messages import XCOM_MAX_BYTES
from leoflowd.contract.errors import Conflict, Invalid, NotFound
from leoflowd.contract.values import json_text
from leoflowd.contract.xcoms import XCom
from leoflowd.core.rights import Dags, only
from leoflowd.core.xcom_display import reserved_key
from leoflowd.store.api_lists import Column, DagListing, Json, fetch_row, list_page
from leoflowd.store.database import Connection
from leoflowd.store.xcoms import xcoms_of

LISTING = DagListing(
    file="api_xcoms",
    key=("dag_id", "run_id", "task_id", "map_index", "key"),
    sortable={
        "key": Column("x.key", "text"),
        "dag_id": Column("r.dag_id", "text"),
        "run_id": Column("r.run_id", "text"),
        "task_id": Column("x.task_id", "text"),
        "map_index": Column("x.map_index", "int8"),
        "timestamp": Column("x.created_at", "timestamptz"),
        "run_after": Column("r.run_after", "timestamptz"),
    },
)

NO_FILTERS: dict[str, Any] = {
    "dag_id": None,
    "run_id": None,
    "task_id": None,
    "map_index": None,
    "key": None,
    **{
        f"{name}_{op}": None
        for name in ("xcom_key", "dag_display_name", "run_id", "task_id")
        for op in ("ilike", "like")
    },
    **{f"{name}_{op}": None for name in ("logical_date", "run_after") for op in ("gte", "gt", "lte", "lt")},
}


class XComKey(msgspec.Struct, frozen=True, kw_only=True):
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    key: str


async def list_xcoms(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(XComResponse rows without values, total). Raises `Invalid` for an unknown order."""
    return await list_page(conn, LISTING.of(dags), NO_FILTERS | filters, order_by=order_by, limit=limit, offset=offset)


async def fetch_xcom(conn: Connection, key: XComKey) -> Json:
    """One XComResponse without its value. Raises `NotFound`."""
    row = await fetch_row(conn, LISTING.of(only(key.dag_id)), NO_FILTERS | msgspec.structs.asdict(key))
    if row is None:
        raise NotFound(f"XCom entry with key: `{key.key}` not found")
    return row


async def fetch_xcom_value(
    conn: Connection, dag_id: str, run_id: str, task_id: str, map_index: int, key: str
) -> str | None:
    """The value as JSON text; None when there is no entry."""
    return await xcoms_of(conn).fetch(dag_id, run_id, task_id, map_index, key)


async def insert_xcom(conn: Connection, dag_run_id: int, key: XComKey, value: Any, now: datetime) -> None:
    """Raises `Conflict` when there is one, `Invalid` when it is too large."""
    if not await xcoms_of(conn).insert(_entry(dag_run_id, key, value), now):
        raise Conflict(f"The XCom with key: `{key.key}` with mentioned task instance already exists.")


async def update_xcom(conn: Connection, dag_run_id: int, key: XComKey, value: Any, now: datetime) -> None:
    """Raises `NotFound`, or `Invalid` when it is too large."""
    if not await xcoms_of(conn).replace(_entry(dag_run_id, key, value), now):
        raise NotFound(f"The XCom with key: `{key.key}` with mentioned task instance doesn't exist.")


async def delete_xcom(conn: Connection, dag_run_id: int, key: XComKey) -> None:
    """Raises `NotFound`."""
    if not await xcoms_of(conn).delete([(dag_run_id, key.task_id, key.map_index)], key=key.key):
        raise NotFound(f"XCom entry with key: `{key.key}` not found")


def _entry(dag_run_id: int, key: XComKey, value: Any) -> XCom:
    return XCom(dag_run_id=dag_run_id, task_id=key.task_id, map_index=key.map_index, key=key.key, value=_json(value))


def _json(value: Any) -> str:
    reserved = reserved_key(value)
    if reserved is not None:
        raise Invalid(f"the value has the key {reserved!r}, which marks objects of tasks", location=("body", "value"))
    try:
        return json_text(value, "the value", max_bytes=XCOM_MAX_BYTES)
    except Invalid as error:
        raise Invalid(f"{error}; store it elsewhere, and pass its name", location=("body", "value")) from error
