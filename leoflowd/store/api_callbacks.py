"""Callbacks as people see them: the list, one of them, and what `explain` says of a task's. Called by the API alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from leoflowd.contract.errors import NotFound
from leoflowd.contract.logs import TryLog
from leoflowd.core.rights import Dags
from leoflowd.store import dag_runs
from leoflowd.store.api_lists import Column, DagListing, Json, fetch_row, list_page
from leoflowd.store.callbacks import OF_DAG
from leoflowd.store.database import Connection, fetch_all, statements

_SQL = statements("api_callbacks")

LISTING = DagListing(
    file="api_callbacks",
    key=("id",),
    sortable={
        "id": Column("c.id", "int8"),
        "dag_id": Column("r.dag_id", "text"),
        "run_id": Column("r.run_id", "text"),
        "task_id": Column("c.task_id", "text", nullable=True),
        "state": Column("c.state", "text"),
        "queued_at": Column("c.queued_at", "timestamptz"),
    },
)
NO_FILTERS: dict[str, Any] = dict.fromkeys(("id", "dag_id", "run_id", "task_id", "state"))


async def list_callbacks(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(callbacks, how many in all). Raises `Invalid` for an unknown order."""
    return await list_page(conn, LISTING.of(dags), NO_FILTERS | filters, order_by=order_by, limit=limit, offset=offset)


async def fetch_callback(conn: Connection, callback_id: int, *, dags: Dags) -> Json:
    """One of these DAGs. Raises `NotFound`."""
    row = await fetch_row(conn, LISTING.of(dags), NO_FILTERS | {"id": callback_id})
    if row is None:
        raise NotFound(f"There is no callback with id `{callback_id}`: its dag run was deleted, or it never was")
    return row


async def log_of_callback(conn: Connection, dag_id: str, row: Json) -> TryLog:
    """Where it wrote: behind the try that it is about, or for itself. Raises `NotFound`."""
    run = await dag_runs.fetch_dag_run(conn, dag_id, row["dag_run_id"])
    return TryLog(
        dag_id=dag_id,
        run_id=row["dag_run_id"],
        dag_run_id=run.id,
        task_id=OF_DAG if row["of_dag"] else row["task_id"],
        map_index=-1 if row["of_dag"] else row["map_index"],
        try_number=row["id"] if row["of_dag"] else row["try_number"],
    )


class _Unfinished(msgspec.Struct, frozen=True):
    event: str
    state: str
    because: str


async def explain_callbacks(conn: Connection, *, dag_run_id: int, task_id: str, map_index: int) -> tuple[str, ...]:
    """A sentence for each of its callbacks that is not done, or failed; the latest first."""
    rows = await fetch_all(
        conn, _SQL.list_unfinished, _Unfinished, dag_run_id=dag_run_id, task_id=task_id, map_index=map_index
    )
    return tuple(
        f"its callback for {row.event} failed: {row.because}"
        if row.state == "failed"
        else f"its callback for {row.event} is {row.state}" + (f": {row.because}" if row.because else "")
        for row in rows
    )
