"""The calendar of a Dag: how many runs per day or hour and state, and the runs that its timetable plans."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from functools import partial

import trio
from quart import Blueprint, Response

from leoflowd.api.answers import json_answer
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query
from leoflowd.contract.dag_spec import ContinuousTimetable, DagSpec, NoTimetable, OnceTimetable
from leoflowd.core.timetable import RunSlot, next_run, time_restriction
from leoflowd.store import dags, ui_dags
from leoflowd.store.ui_dags import CalendarCell

blueprint = Blueprint("ui_calendar", __name__, url_prefix="/ui")

MAX_PLANNED = 2000
"""As in Airflow: a minutely Dag plans a day and a half, a daily one the whole year."""
GRANULARITIES = {"hourly": "hour", "daily": "day"}

Bounds = dict[str, datetime | None]


@blueprint.get("/calendar/<dag_id>")
async def calendar(dag_id: str) -> Response:
    query = Query()
    granularity = GRANULARITIES[query.choice("granularity", GRANULARITIES, "daily") or "daily"]
    bounds = _bounds(query)
    query.check()
    async with lane().connection() as conn:
        version = await dags.fetch_version(conn, dag_id)
        cells = await ui_dags.list_calendar(conn, dag_id=dag_id, granularity=granularity, bounds=bounds)
        last = await ui_dags.fetch_last_interval(conn, dag_id=dag_id)
    # up to 2,000 cron steps of 50 us each
    plan = partial(plan_cells, version.spec, last, context().now(), granularity, bounds)
    planned = await trio.to_thread.run_sync(plan)
    return json_answer({"total_entries": len(cells) + len(planned), "dag_runs": [*cells, *planned]})


def _bounds(query: Query) -> Bounds:
    """Of logical dates; those of partitions, for a Dag that has them, take their place when they are given."""
    dates, partitions = query.range("logical_date"), query.range("partition_date")
    if any(partitions.values()):
        return {name.replace("partition", "logical"): moment for name, moment in partitions.items()}
    return dates


def plan_cells(
    spec: DagSpec, last: RunSlot | None, now: datetime, granularity: str, bounds: Bounds
) -> tuple[CalendarCell, ...]:
    """Planned runs after `last`, inside the bounds; without an upper bound, up to the end of the year. Pure."""
    if isinstance(spec.timetable, NoTimetable | OnceTimetable | ContinuousTimetable):
        return ()
    until = bounds.get("logical_date_lte") or bounds.get("logical_date_lt") or _end_of_year(now)
    start_date, end_date = time_restriction(spec)
    counts: Counter[datetime] = Counter()
    slot, catchup = last, spec.catchup
    for _ in range(MAX_PLANNED):
        slot = next_run(spec.timetable, last=slot, start_date=start_date, end_date=end_date, catchup=catchup, now=now)
        if slot is None or slot.logical_date > until:
            break
        catchup = True  # from the next run on, every slot is one that comes
        date = slot.partition_date or slot.logical_date
        if _is_inside(date, bounds):
            counts[_truncate(date, granularity)] += 1
    return tuple(CalendarCell(date, "planned", count) for date, count in counts.items())


def _end_of_year(now: datetime) -> datetime:
    return now.replace(month=12, day=31, hour=23, minute=59, second=59, microsecond=999_999)


def _truncate(moment: datetime, granularity: str) -> datetime:
    hour = moment.replace(minute=0, second=0, microsecond=0)
    return hour if granularity == "hour" else hour - timedelta(hours=hour.hour)


def _is_inside(moment: datetime, bounds: Bounds) -> bool:
    gte, gt = bounds.get("logical_date_gte"), bounds.get("logical_date_gt")
    lte, lt = bounds.get("logical_date_lte"), bounds.get("logical_date_lt")
    return (
        (gte is None or moment >= gte)
        and (gt is None or moment > gt)
        and (lte is None or moment <= lte)
        and (lt is None or moment < lt)
    )
