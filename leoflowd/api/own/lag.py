"""How late the scheduler, the queue and the waits are, for the card on the home page. Blueprint `own_lag`."""

from __future__ import annotations

from typing import Any

import msgspec
from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import json_answer
from leoflowd.api.context import context, lane
from leoflowd.api.live import followed
from leoflowd.store.lag import BehindRow, fetch_lag, list_behind

blueprint = Blueprint("own_lag", __name__)


@blueprint.get("/leoflow/api/lag")
@followed
async def get_lag() -> Response:
    """Of the DAGs that the caller may see; `waits` of this daemon's share of the pool, null where it has none.

    It says nothing of the present moment, so that an answer that is followed stays the same while nothing happens.
    """
    now, dags = context().now(), auth.dags()
    async with lane().connection() as conn:
        facts = await fetch_lag(conn, dags=dags, now=now)
        behind = await list_behind(conn, dags=dags, now=now)
    return json_answer({**msgspec.structs.asdict(facts), "behind": [_shown(row) for row in behind], "waits": _waits()})


def _shown(row: BehindRow) -> dict[str, Any]:
    is_full = row.active_runs >= row.max_active_runs
    active = "1 run is" if row.active_runs == 1 else f"{row.active_runs} runs are"
    because = f"{active} active, as many as it may have" if is_full else "the scheduler is late"
    return {**msgspec.structs.asdict(row), "because": because}


def _waits() -> dict[str, Any] | None:
    pool = context().pool
    if pool is None:
        return None
    found = pool.statistics()
    return {
        "armed": sum(found.waits.values()),
        "due": found.ready_groups,
        "lateness_p50_s": found.lateness_p50_s,
        "lateness_p99_s": found.lateness_p99_s,
    }
