"""Task instances and their tries as the API lists them; what clears and marks choose from.

Called by the task instance routes; writes are in `store.task_instances`.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import sql
from psycopg.rows import dict_row

from leoflowd.contract.errors import NotFound
from leoflowd.contract.human import HUMAN_KIND
from leoflowd.contract.waits import TRIGGER_KIND
from leoflowd.core.explain import SlotHolder, SlotUse
from leoflowd.core.explain_run import RunLimit
from leoflowd.core.known_triggers import HITL_TRIGGER
from leoflowd.core.rights import Dags, only
from leoflowd.core.secret_names import masked
from leoflowd.store.api_lists import (
    Column,
    Cursor,
    CursorPage,
    DagListing,
    Json,
    fetch_row,
    list_cursor_page,
    list_page,
    list_rows,
)
from leoflowd.store.database import Connection, fetch_all, fetch_one, statements

_SQL = statements("api_task_instances")
NAME_OF_MAP_INDEX = "coalesce(t.rendered_map_index, nullif(t.map_index, -1)::text)"
"""As Airflow's rendered_map_index: of a mapped instance without a name its number, of any other nothing."""
_DURATION = "extract(epoch FROM t.end_date - t.start_date)::float8"

LISTING = DagListing(
    file="api_task_instances",
    key=("id", "task_id", "map_index"),
    sortable={
        # Airflow's ids grow with time and ours do not, so the UI's default order (-id) means: newest run first
        "id": Column("t.dag_run_id", "int8"),
        "state": Column("t.state", "text", nullable=True),
        "duration": Column(_DURATION, "float8", nullable=True),
        "start_date": Column("t.start_date", "timestamptz", nullable=True),
        "end_date": Column("t.end_date", "timestamptz", nullable=True),
        "map_index": Column("t.map_index", "int8"),
        "try_number": Column("t.try_number", "int8"),
        "task_id": Column("t.task_id", "text"),
        "logical_date": Column("r.logical_date", "timestamptz", nullable=True),
        "run_after": Column("r.run_after", "timestamptz"),
        "data_interval_start": Column("r.data_interval_start", "timestamptz", nullable=True),
        "data_interval_end": Column("r.data_interval_end", "timestamptz", nullable=True),
        "rendered_map_index": Column(NAME_OF_MAP_INDEX, "text", nullable=True),
        "operator": Column("t.operator", "text"),
    },
)

_PATTERNS = (
    "task_display_name",
    "dag_id",
    "run_id",
    "pool_name",
    "queue_name",
    "operator_name",
    "rendered_map_index",
)
_RANGES = ("run_after", "logical_date", "start_date", "end_date", "updated_at", "duration")

NO_FILTERS: dict[str, Any] = {
    "dag_id": None,
    "run_id": None,
    "dag_ids": None,
    "run_ids": None,
    "task_id": None,
    "task_ids": None,
    "only_map_index": None,
    "mapped": False,
    "map_index": None,
    "state": None,
    "state_none": False,
    "pool": None,
    "queue": None,
    "executor": None,
    "operator": None,
    "version_number": None,
    "try_number": None,
    **{f"{name}_{op}": None for name in _PATTERNS for op in ("ilike", "like")},
    **{f"{name}_{op}": None for name in _RANGES for op in ("gte", "gt", "lte", "lt")},
}


class RunAround(msgspec.Struct, frozen=True):
    id: int
    run_id: str
    dag_id: str
    state: str
    dag_version_id: uuid.UUID


class InstanceState(msgspec.Struct, frozen=True):
    dag_run_id: int
    task_id: str
    map_index: int
    state: str | None


async def list_task_instances(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(TaskInstanceResponse rows, total). Raises `Invalid` for an unknown order."""
    rows, total = await list_page(
        conn, LISTING.of(dags), NO_FILTERS | filters, order_by=order_by, limit=limit, offset=offset
    )
    return _with_fields(rows), total


async def list_task_instances_from(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, cursor: Cursor | None
) -> CursorPage:
    page = await list_cursor_page(
        conn, LISTING.of(dags), NO_FILTERS | filters, order_by=order_by, limit=limit, cursor=cursor
    )
    _with_fields(page.rows)
    return page


async def fetch_task_instance(conn: Connection, dag_id: str, run_id: str, task_id: str, map_index: int) -> Json:
    """One TaskInstanceResponse; `rendered_fields` stays None until the task reported them. Raises `NotFound`."""
    key = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "only_map_index": map_index}
    row = await fetch_row(conn, LISTING.of(only(dag_id)), NO_FILTERS | key)
    if row is None:
        raise NotFound(
            f"The Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}`, task_id: `{task_id}` and "
            f"map_index: `{map_index}` was not found"
        )
    _show_trigger(row)
    return row


async def list_tries(conn: Connection, dag_id: str, run_id: str, task_id: str, map_index: int) -> list[Json]:
    """TaskInstanceHistoryResponse rows, oldest first, the present try last. Raises `NotFound`."""
    rows = await list_rows(conn, _SQL.list_tries, dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)
    if not rows:
        raise NotFound(
            f"The Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}`, task_id: `{task_id}` and "
            f"map_index: `{map_index}` was not found"
        )
    return rows


async def list_earlier_tries(conn: Connection, dag_run_id: int, task_id: str, map_index: int) -> list[Json]:
    """`try_number`, `state`, `because` of the tries before the present one, oldest first."""
    return await list_rows(conn, _SQL.list_earlier_tries, dag_run_id=dag_run_id, task_id=task_id, map_index=map_index)


class _SlotCounts(msgspec.Struct, frozen=True):
    pool_slots: int | None
    in_run: int
    of_task: int
    of_task_in_run: int


async def fetch_slot_use(
    conn: Connection, *, dags: Dags, dag_id: str, dag_run_id: int, task_id: str, pool: str
) -> SlotUse:
    """What an instance of this task competes with. `dags`: of which a holder may be named."""
    holders = await fetch_all(conn, _SQL.list_slot_holders, SlotHolder, pool=pool, visible=dags.parameter())
    counts = await fetch_one(
        conn, _SQL.fetch_slot_counts, _SlotCounts, pool=pool, dag_id=dag_id, dag_run_id=dag_run_id, task_id=task_id
    )
    assert counts is not None, "an aggregate has a row"
    return SlotUse(holders=holders, **msgspec.structs.asdict(counts))


async def fetch_run_limit(conn: Connection, dag_run_id: int) -> RunLimit | None:
    """What a queued run competes with; None: there is no such run."""
    return await fetch_one(conn, _SQL.fetch_run_limit, RunLimit, dag_run_id=dag_run_id)


async def list_states(conn: Connection, dag_run_ids: Sequence[int]) -> tuple[InstanceState, ...]:
    return await fetch_all(conn, _SQL.list_states, InstanceState, dag_run_ids=list(dag_run_ids))


async def list_runs_around(
    conn: Connection, dag_id: str, *, since: datetime | None, until: datetime | None
) -> tuple[RunAround, ...]:
    """Runs by logical date (run_after for those without), oldest first."""
    return await fetch_all(conn, _SQL.list_runs_around, RunAround, dag_id=dag_id, since=since, until=until)


async def list_touched(conn: Connection, keys: Sequence[tuple[int, str, int]]) -> list[Json]:
    """TaskInstanceResponse rows of (dag_run.id, task_id, map_index) keys."""
    statement = LISTING.part("list_touched").format(columns=LISTING.part("columns"), source=LISTING.part("source"))
    parameters = {
        "run_keys": [run for run, _, _ in keys],
        "task_ids": [task for _, task, _ in keys],
        "map_indexes": [index for _, _, index in keys],
    }
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql.Composed([statement]), parameters)
        return _with_fields(await cursor.fetchall())


def _with_fields(rows: list[Json]) -> list[Json]:
    for row in rows:
        if row["rendered_fields"] is None:
            row["rendered_fields"] = {}
        _show_trigger(row)
    return rows


def _show_trigger(row: Json) -> None:
    """Airflow shows the arguments as text; ours hides what is a secret by its name."""
    trigger = row["trigger"]
    if trigger is None:
        return
    probe = trigger["kwargs"]
    arguments = probe.get("arguments") or {}
    if probe["kind"] == TRIGGER_KIND:
        trigger["classpath"], arguments = arguments.get("classpath"), arguments.get("kwargs") or {}
    elif probe["kind"] == HUMAN_KIND:
        trigger["classpath"] = HITL_TRIGGER
    trigger["kwargs"] = msgspec.json.encode(masked(arguments)).decode()
