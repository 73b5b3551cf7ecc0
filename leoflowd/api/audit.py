"""Rows of the audit log, written in the transaction of what they record. Called by every route that changes things."""

from __future__ import annotations

from typing import Any

from leoflowd.api.auth import caller, client_address
from leoflowd.api.context import context
from leoflowd.store.database import Connection
from leoflowd.store.event_log import insert_event


async def record(conn: Connection, event: str, dag_id: str | None = None, **details: Any) -> None:
    """`event` in Airflow's spelling; `details` as `insert_event` takes them."""
    await insert_event(
        conn,
        now=context().now(),
        event=event,
        owner=caller().username,
        dag_id=dag_id,
        client=client_address(),
        **details,
    )
