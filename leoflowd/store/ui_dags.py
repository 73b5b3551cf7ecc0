"""What the UI's Dag list, dashboard and calendar read: documents built inside Postgres, passed on as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import msgspec

from leoflowd.contract.states import DagRunState, TaskInstanceState
from leoflowd.core.rights import Dags
from leoflowd.core.timetable import RunSlot
from leoflowd.store.database import Connection, fetch_all, fetch_one, fetch_planned, fetch_value, statements
from leoflowd.store.ui_ordering import ordered

_SQL = statements("ui_dags")

COUNT_LIMIT = 1000
"""Above it the dashboard shows "1000+"."""
FEW = 10 * COUNT_LIMIT
"""Task instances in one state that are read rather than looked for run by run."""

ORDERINGS: Mapping[str, bytes] = {
    "dag_id": b"c.dag_id",
    "dag_display_name": b"c.dag_display_name",
    "next_dagrun": b"c.next_run_after",
    "state": b"c.last_state",
    "start_date": b"c.last_start_date",
    "last_run_state": b"c.last_state",
    "last_run_start_date": b"c.last_start_date",
}
_ORDERINGS_OF_LAST_RUN = frozenset({"state", "start_date", "last_run_state", "last_run_start_date"})
_KEY = b"c.dag_id"


class DagFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which DAGs the list shows; None = any. `username` says whose favourites count."""

    username: str
    order_by: Sequence[str]
    limit: int
    offset: int
    dag_runs_limit: int
    filters: Mapping[str, Any]
    """exclude_stale (never None), paused, is_favorite, has_import_errors, has_pending_actions; dag_ids, any_tags,
    all_tags, owners (lists);
    dag_id_ilike, dag_id_like, dag_display_name_ilike, dag_display_name_like (patterns); bundle_name,
    bundle_version, last_dag_run_state, dag_run_state."""

    def parameters(self) -> dict[str, Any]:
        return {
            **self.filters,
            "username": self.username,
            "limit": self.limit,
            "offset": self.offset,
            "dag_runs_limit": self.dag_runs_limit,
        }


class CalendarCell(msgspec.Struct, frozen=True):
    date: datetime
    state: str
    count: int


async def fetch_dag_list(conn: Connection, *, dags: Dags, chosen: DagFilter) -> str:
    """DAGWithLatestDagRunsCollectionResponse."""
    needs_last_run = chosen.filters["last_dag_run_state"] is not None or any(
        name.removeprefix("-") in _ORDERINGS_OF_LAST_RUN for name in chosen.order_by
    )
    statement = ordered(_SQL.fetch_dag_list, chosen.order_by, ORDERINGS, _KEY)
    document: str = await fetch_planned(
        conn, statement, visible=dags.parameter(), needs_last_run=needs_last_run, **chosen.parameters()
    )
    return document


async def fetch_dag_stats(conn: Connection, *, dags: Dags) -> str:
    """DashboardDagStatsResponse."""
    document: str = await fetch_value(conn, _SQL.fetch_dag_stats, visible=dags.parameter())
    return document


async def fetch_historical_metrics(
    conn: Connection, *, dags: Dags, start_date: datetime, end_date: datetime | None, now: datetime
) -> str:
    """HistoricalMetricDataResponse; every state is there, zero included."""
    return str(
        await fetch_planned(
            conn,
            _historical_metrics(),
            visible=dags.parameter(),
            start_date=start_date,
            end_date=end_date,
            now=now,
            count_limit=COUNT_LIMIT,
            few=FEW,
            run_states=[state.value for state in DagRunState],
        )
    )


@cache
def _historical_metrics() -> bytes:
    """With a count for each state, whose names are ours."""
    counts = []
    for state in TaskInstanceState:
        name, has = state.value.encode(), b"t.state = '%b'" % state.value.encode()
        if state is TaskInstanceState.NONE:
            name, has = b"no_status", b"t.state IS NULL"
        counts.append(b"'%b', %b" % (name, _SQL.count_ti.replace(b"{state}", has)))
    counts.append(b"'awaiting_input', 0")  # of builds of the UI since 3.3; here such a task is deferred
    return _SQL.fetch_historical_metrics.replace(b"{counts}", b", ".join(counts))


async def list_calendar(
    conn: Connection, *, dag_id: str, granularity: str, bounds: Mapping[str, datetime | None]
) -> tuple[CalendarCell, ...]:
    """What ran per `granularity` ("hour" or "day") and state, oldest first; `bounds` are logical_date_gte, _gt, ..."""
    return await fetch_all(conn, _SQL.list_calendar, CalendarCell, dag_id=dag_id, granularity=granularity, **bounds)


async def fetch_last_interval(conn: Connection, *, dag_id: str) -> RunSlot | None:
    """The newest run that the timetable or a backfill started; planning goes on from there."""
    return await fetch_one(conn, _SQL.fetch_last_interval, RunSlot, dag_id=dag_id)


async def is_known_dag(conn: Connection, *, dag_id: str) -> bool:
    """There is such a DAG, stale or not."""
    return bool(await fetch_value(conn, _SQL.fetch_dag_exists, dag_id=dag_id))
