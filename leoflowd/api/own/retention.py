"""How much history is kept: what would go, and away with it. Blueprint `own_retention`, below `/leoflow/api`, for
administrators. ADR 93."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import Annotated

import msgspec
from quart import Blueprint, Response

from leoflowd.api.answers import json_answer
from leoflowd.api.audit import record
from leoflowd.api.bodies import read_body
from leoflowd.api.context import context
from leoflowd.api.paging import Query
from leoflowd.contract.errors import Invalid
from leoflowd.store import retention
from leoflowd.store.retention import Limits

blueprint = Blueprint("own_retention", __name__)

DAYS_MAX = 36_500
BATCHES = 10
"""That one request removes: seconds, also of a slow machine."""


class CleanBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    days: Annotated[float, msgspec.Meta(gt=0, le=DAYS_MAX)] | None = None
    runs_per_dag: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None


@blueprint.get("/leoflow/api/retention")
async def preview() -> Response:
    """What would be removed, by DAG, most runs first. `days`, `runs_per_dag`; without either, by the settings."""
    query = Query()
    days, runs_per_dag = query.number("days"), query.integer("runs_per_dag", minimum=1)
    query.check()
    if days is not None and not 0 < days <= DAYS_MAX:
        raise Invalid(f"days is {days:g}; give more than 0 and at most {DAYS_MAX}", location=("query", "days"))
    limits = _limits(days, runs_per_dag)
    async with context().db.history.connection() as conn:
        found = await retention.list_what_would_go(conn, limits)
    return json_answer(
        {
            "before": limits.before,
            "runs_per_dag": limits.keep,
            "dags": found,
            "runs": sum(one.runs for one in found),
            "task_instances": sum(one.task_instances for one in found),
        }
    )


@blueprint.post("/leoflow/api/retention")
async def clean() -> Response:
    """Removes some of it, the oldest first, and answers how many dag runs; 0: nothing is left to remove. Their logs
    and values go within minutes. Body: `days`, `runs_per_dag`, as in the preview."""
    body = await read_body(CleanBody)
    limits = _limits(body.days, body.runs_per_dag)
    async with context().db.history.connection() as conn:
        batches = islice(retention.batches_of(await retention.list_removable(conn, limits)), BATCHES)
        count = sum([await retention.remove_runs(conn, batch) for batch in batches])
        if count:
            await record(conn, "clean_history", extra={**msgspec.structs.asdict(body), "dag_runs": count})
    return json_answer({"removed_runs": count})


def _limits(days: float | None, runs_per_dag: int | None) -> Limits:
    config = context().retention
    if days is None and runs_per_dag is None:
        days, runs_per_dag = config.days or None, config.runs_per_dag or None
    if days is None and runs_per_dag is None:
        raise Invalid(
            "nothing says what is too old or too much; give days or runs_per_dag, or set LEOFLOW_RETENTION_DAYS or "
            "LEOFLOW_RETENTION_RUNS_PER_DAG"
        )
    return Limits(before=None if days is None else context().now() - timedelta(days=days), keep=runs_per_dag)
