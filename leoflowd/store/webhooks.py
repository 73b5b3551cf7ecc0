"""Signed webhooks that arrived: the API stores them, the cheap-task pool reads them, a sweep deletes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from leoflowd.store.database import Connection, execute, fetch_all, statements

_SQL = statements("webhooks")

LISTED_MAX = 100
"""Deliveries that a probe reads; more of one name between two probes push the oldest out."""


class DeliveryRow(msgspec.Struct, frozen=True):
    """`leoflow_sensors.webhook.Delivery`."""

    delivery_id: str
    received_at: datetime
    body: Any


async def insert_delivery(
    conn: Connection, *, name: str, delivery_id: str, received_at: datetime, body: str | None, signature: str
) -> bool:
    """`body` is JSON text. False: its id or its signature was here before, so it is a replay or a repetition."""
    return bool(
        await execute(
            conn,
            _SQL.insert_delivery,
            name=name,
            delivery_id=delivery_id,
            received_at=received_at,
            body=body,
            signature=signature,
        )
    )


async def list_deliveries(conn: Connection, name: str) -> tuple[DeliveryRow, ...]:
    """The newest LISTED_MAX, oldest first."""
    return await fetch_all(conn, _SQL.list_deliveries, DeliveryRow, name=name, limit=LISTED_MAX)


async def delete_old_deliveries(conn: Connection, before: datetime) -> int:
    """How many."""
    return await execute(conn, _SQL.delete_old_deliveries, before=before)
