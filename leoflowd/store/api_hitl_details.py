"""Questions to people as the API shows them: with the task instances that ask. Written by `store.hitl_details`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from leoflowd.contract.errors import NotFound
from leoflowd.core.human import param_form
from leoflowd.core.rights import Dags
from leoflowd.store.api_lists import Column, DagListing, Json, list_page
from leoflowd.store.api_task_instances import NAME_OF_MAP_INDEX, fetch_task_instance, list_touched, list_tries
from leoflowd.store.database import Connection

LISTING = DagListing(
    file="api_hitl_details",
    key=("created_at", "run_key", "task_id", "map_index"),
    sortable={
        # Airflow's ids grow with time
        "ti_id": Column("h.created_at", "timestamptz"),
        "created_at": Column("h.created_at", "timestamptz"),
        "subject": Column("h.subject", "text"),
        "responded_at": Column("h.responded_at", "timestamptz", nullable=True),
        "responded_by_user_id": Column("h.responded_by_id", "text", nullable=True),
        "responded_by_user_name": Column("h.responded_by_name", "text", nullable=True),
        "dag_id": Column("r.dag_id", "text"),
        "run_id": Column("r.run_id", "text"),
        "run_after": Column("r.run_after", "timestamptz"),
        "run_key": Column("h.dag_run_id", "int8"),
        "task_id": Column("h.task_id", "text"),
        "map_index": Column("h.map_index", "int8"),
        "task_display_name": Column("t.task_display_name", "text"),
        "rendered_map_index": Column(NAME_OF_MAP_INDEX, "text", nullable=True),
        "task_instance_operator": Column("t.operator", "text"),
        "task_instance_state": Column("t.state", "text", nullable=True),
    },
)
NO_FILTERS: dict[str, Any] = {
    **dict.fromkeys(("dag_id", "run_id", "dag_ids", "task_id", "map_index", "state", "response_received")),
    **dict.fromkeys(("responded_by_user_id", "responded_by_user_name", "subject_ilike", "body_ilike")),
    "state_none": False,
    **{f"{name}_{op}": None for name in ("dag_id", "task_id") for op in ("ilike", "like")},
    **{f"created_at_{op}": None for op in ("gte", "gt", "lte", "lt")},
}
PENDING: dict[str, Any] = {"state": ["deferred"], "response_received": False}
"""Filters of what somebody is asked at this moment."""


async def list_hitl_details(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(HITLDetail rows of present tries, how many in all). Raises `Invalid` for an unknown order."""
    rows, total = await list_page(
        conn, LISTING.of(dags), NO_FILTERS | filters, order_by=order_by, limit=limit, offset=offset
    )
    if not rows:
        return [], total
    keys = [(row.pop("dag_run_id"), row.pop("task_id"), row.pop("map_index")) for row in rows]
    instances = {one["id"]: one for one in await list_touched(conn, keys)}
    # One that moved on between the two reads has another id, and asks nobody any more.
    return [_shown(row, instances[row["instance_id"]]) for row in rows if row["instance_id"] in instances], total


async def fetch_hitl_detail(conn: Connection, dag_id: str, run_id: str, task_id: str, map_index: int) -> Json:
    """The HITLDetail of an instance's present try. Raises `NotFound`."""
    instance = await fetch_task_instance(conn, dag_id, run_id, task_id, map_index)
    instance["rendered_fields"] = instance["rendered_fields"] or {}
    row = await _fetch_of_try(conn, dag_id, run_id, task_id, map_index, instance["try_number"])
    if row is None:
        raise no_question(instance["id"])
    return _shown(row, instance)


async def fetch_hitl_detail_of_try(
    conn: Connection, dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int
) -> Json:
    """The HITLDetailHistory of one try. Raises `NotFound`."""
    tries = await list_tries(conn, dag_id, run_id, task_id, map_index)
    instance = next((one for one in tries if one["try_number"] == try_number), None)
    row = await _fetch_of_try(conn, dag_id, run_id, task_id, map_index, try_number)
    if instance is None or row is None:
        raise NotFound(f"Try {try_number} of task `{task_id}` with map_index `{map_index}` asked nobody, or never was")
    return _shown(row, instance)


def no_question(instance_id: object) -> NotFound:
    return NotFound(f"Human-in-the-loop detail does not exist for Task Instance with id {instance_id}")


async def _fetch_of_try(
    conn: Connection, dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int
) -> Json | None:
    statement = LISTING.part("fetch_of_try").format(columns=LISTING.part("columns"))
    parameters = {
        "dag_id": dag_id,
        "run_id": run_id,
        "task_id": task_id,
        "map_index": map_index,
        "try_number": try_number,
    }
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql.Composed([statement]), parameters)
        row = await cursor.fetchone()
    if row is not None:
        del row["dag_run_id"], row["task_id"], row["map_index"]
    return row


def _shown(row: Json, instance: Json) -> Json:
    del row["instance_id"]
    return {
        **row,
        "params": {name: param_form(param) for name, param in row["params"].items()},
        "task_instance": instance,
    }
