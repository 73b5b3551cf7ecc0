"""What all schedules ask for in the next days, and what a change of one would do. Blueprint `own_forecast`."""

from __future__ import annotations

from functools import partial

import trio
from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import json_answer
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query
from leoflowd.contract.errors import Invalid, NotFound
from leoflowd.core.forecast import Outlook, forecast, with_change
from leoflowd.store import forecast_facts

blueprint = Blueprint("own_forecast", __name__)

DAGS_MAX = 200
_one_at_a_time = trio.CapacityLimiter(1)
"""It is work of a second or two, in the worst case."""


@blueprint.get("/leoflow/api/forecast")
async def get_forecast() -> Response:
    """`as_is` for `days` (7) from now; with `changed`, a DAG, and its `schedule` or `paused`, also how it would be.

    Of DAGs that the caller may see, at most `DAGS_MAX`: `dag_id_pattern` chooses, `dags_left_out` tells whether there
    are more. Pools hold what those ask for and nothing else.
    """
    query = Query()
    days, patterns = query.integer("days", 7, minimum=1), query.patterns("dag_id")
    changed, schedule, paused = query.text("changed"), query.text("schedule"), query.boolean("paused")
    query.check()
    assert days is not None
    if changed is None and (schedule is not None or paused is not None):
        raise Invalid("name the DAG that `schedule` and `paused` are about", location=("query", "changed"))
    async with lane().connection() as conn:
        found = await forecast_facts.list_planned_dags(
            conn, patterns, dags=auth.dags(), changed=changed, limit=DAGS_MAX + 1
        )
        if changed is not None and changed not in found:
            raise NotFound(f"The Dag with ID: `{changed}` was not found")
        outlooks = await forecast_facts.list_outlooks(conn, found[:DAGS_MAX])
        pools = await forecast_facts.list_pool_sizes(conn)

    plan = partial(forecast, pools=pools, now=context().now(), days=days)
    as_is = await trio.to_thread.run_sync(plan, outlooks, limiter=_one_at_a_time)
    then = None
    if changed is not None:
        outlooks = _changed(outlooks, changed, schedule, paused)
        then = await trio.to_thread.run_sync(plan, outlooks, limiter=_one_at_a_time)
    return json_answer({"as_is": as_is, "changed": then, "dags_left_out": len(found) > DAGS_MAX})


def _changed(outlooks: list[Outlook], dag_id: str, schedule: str | None, paused: bool | None) -> list[Outlook]:
    return [
        with_change(one, schedule=schedule, is_paused=paused) if one.spec.dag_id == dag_id else one for one in outlooks
    ]
