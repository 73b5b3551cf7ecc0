"""Waits as people see them: the list, one wait, and what a task instance waits for. Called by the API alone."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from leoflowd.contract.errors import NotFound
from leoflowd.contract.wait_spec import ProbeSpec, WaitTerms
from leoflowd.core.explain import WaitFacts
from leoflowd.core.rights import Dags
from leoflowd.store.api_lists import (
    Column,
    Cursor,
    CursorPage,
    DagListing,
    Json,
    fetch_row,
    list_cursor_page,
    list_page,
)
from leoflowd.store.database import Connection, fetch_one, statements

_SQL = statements("api_waits")

LISTING = DagListing(
    file="api_waits",
    key=("id",),
    sortable={
        "id": Column("w.id", "uuid"),
        "dag_id": Column("w.dag_id", "text"),
        "run_id": Column("r.run_id", "text"),
        "task_id": Column("w.task_id", "text"),
        "kind": Column("w.kind", "text"),
        "state": Column("t.state", "text", nullable=True),
        "registered_at": Column("w.registered_at", "timestamptz"),
        "deadline_at": Column("w.deadline_at", "timestamptz", nullable=True),
    },
)
NO_FILTERS: dict[str, Any] = {
    "id": None,
    "only_waiting": True,
    "dag_id": None,
    "run_id": None,
    "task_id": None,
    "kind": None,
    "state": None,
    **{f"{name}_{op}": None for name in ("dag_id", "task_id") for op in ("ilike", "like")},
}


class TryStory(msgspec.Struct, frozen=True):
    """How one try went, without its log."""

    dag_run_id: int
    state: str | None
    because: str | None
    start_date: datetime | None
    end_date: datetime | None
    rendered_fields: Any
    """As stored, secrets are not masked; None for what is not kept of earlier tries."""
    is_present: bool
    """Not followed by another try."""


async def list_waits(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Json], int]:
    """(what waits now, how many in all). Raises `Invalid` for an unknown order."""
    return await list_page(conn, LISTING.of(dags), NO_FILTERS | filters, order_by=order_by, limit=limit, offset=offset)


async def list_waits_from(
    conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, cursor: Cursor | None
) -> CursorPage:
    return await list_cursor_page(
        conn, LISTING.of(dags), NO_FILTERS | filters, order_by=order_by, limit=limit, cursor=cursor
    )


async def fetch_wait(conn: Connection, wait_id: str, *, dags: Dags) -> Json:
    """One wait of these DAGs, also one that has ended while its row is kept. Raises `NotFound`."""
    row = None
    if (identifier := _uuid(wait_id)) is not None:
        row = await fetch_row(conn, LISTING.of(dags), NO_FILTERS | {"id": identifier, "only_waiting": False})
    if row is None:
        raise NotFound(f"There is no wait with id `{wait_id}`: it has ended, was cleared, or never was")
    return row


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


class _WaitRow(msgspec.Struct, frozen=True):
    id: str
    probe: str
    terms: str
    registered_at: datetime
    deadline_at: datetime | None
    is_paused: bool


async def fetch_wait_of_instance(
    conn: Connection, *, dag_run_id: int, task_id: str, map_index: int
) -> WaitFacts | None:
    """What this task instance waits for at this moment; None = nothing."""
    row = await fetch_one(
        conn, _SQL.fetch_wait_of_instance, _WaitRow, dag_run_id=dag_run_id, task_id=task_id, map_index=map_index
    )
    if row is None:
        return None
    return WaitFacts(
        id=row.id,
        probe=msgspec.json.decode(row.probe, type=ProbeSpec),
        terms=msgspec.json.decode(row.terms, type=WaitTerms),
        registered_at=row.registered_at,
        deadline_at=row.deadline_at,
        is_paused=row.is_paused,
    )


async def fetch_try_story(
    conn: Connection, *, dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int
) -> TryStory | None:
    return await fetch_one(
        conn,
        _SQL.fetch_try_story,
        TryStory,
        dag_id=dag_id,
        run_id=run_id,
        task_id=task_id,
        map_index=map_index,
        try_number=try_number,
    )
