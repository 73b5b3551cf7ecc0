"""The audit log: who did what, for the UI's Audit Log pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from leoflowd.contract.values import shown_json
from leoflowd.store.database import Connection, statements

_SQL = statements("event_log")


async def insert_event(
    conn: Connection,
    *,
    now: datetime,
    event: str,
    owner: str | None,
    dag_id: str | None = None,
    run_id: str | None = None,
    task_id: str | None = None,
    map_index: int | None = None,
    try_number: int | None = None,
    logical_date: datetime | None = None,
    extra: Any = None,
    client: str | None = None,
) -> None:
    """`client`: the address that it was done from, through the API; with one, the row is sealed (ADR 86)."""
    await conn.execute(
        _SQL.insert_event if client is None else _SQL.insert_audited,
        {
            "now": now,
            "event": event,
            "owner": owner,
            "dag_id": dag_id,
            "run_id": run_id,
            "task_id": task_id,
            "map_index": map_index,
            "try_number": try_number,
            "logical_date": logical_date,
            "extra": None if extra is None else shown_json(extra),
            "client": client,
        },
    )
