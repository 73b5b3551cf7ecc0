"""`GET /livez` and `GET /readyz`: what an orchestrator asks, without a login; nothing secret. Blueprint `own_probes`.

`/livez` answers as long as the event loop does. `/readyz` says whether this daemon can serve: 503 when it cannot reach
the database, else 200. Components, stores and leadership are named there, and never make a daemon unready: with Redis
or an object store gone it is degraded, and taking it out of service would help nobody.
"""

from __future__ import annotations

import trio
from quart import Blueprint, Response

from leoflowd.api.answers import json_answer
from leoflowd.api.context import context
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.store.api_monitor import fetch_leader, fetch_schema_number

blueprint = Blueprint("own_probes", __name__)

DATABASE_DEADLINE_S = 3.0
"""Shorter than a probe's usual patience."""


@blueprint.get("/livez")
async def livez() -> Response:
    return json_answer({"status": "alive", "version": context().version})


@blueprint.get("/readyz")
async def readyz() -> Response:
    """{"status": "ready" | "degraded" | "unavailable", "version", "schema": number of the last migration, "leader":
    seconds since its last sign of life, null without one, "faults": [{component, because}]}."""
    faults = context().faults()
    answer = {"status": "degraded" if faults else "ready", "version": context().version, "faults": faults}
    try:
        with trio.fail_after(DATABASE_DEADLINE_S):
            async with context().db.api.connection() as conn:
                schema, leader = await fetch_schema_number(conn), await fetch_leader(conn)
    except (StoreUnavailable, trio.TooSlowError) as error:
        because = str(error) or f"Postgres did not answer within {DATABASE_DEADLINE_S:g} s"
        return json_answer({**answer, "status": "unavailable", "because": because}, 503)
    beat = leader.heartbeat_at if leader.holder else None
    silent_s = None if beat is None else round((context().now() - beat).total_seconds(), 1)
    return json_answer({**answer, "schema": schema, "leader": silent_s})
