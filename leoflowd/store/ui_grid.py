"""What the UI's grid and Gantt chart read of a DAG's runs: documents built inside Postgres, passed on as text."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from leoflowd.contract.states import FINISHED
from leoflowd.store.database import Connection, fetch_all, fetch_one, fetch_planned, fetch_value, statements
from leoflowd.store.ui_ordering import ordered

_SQL = statements("ui_grid")

ORDERINGS: Mapping[str, bytes] = {
    "id": b"r.id",
    "run_after": b"r.run_after",
    "logical_date": b"r.logical_date",
    "start_date": b"r.start_date",
    "end_date": b"r.end_date",
}
_KEY = b"r.id"

RUNS_COMPARED = 100
"""Ended runs whose durations a run is compared with."""
STATE_PRIORITY = (
    "failed",
    "upstream_failed",
    "up_for_retry",
    "up_for_reschedule",
    "queued",
    "scheduled",
    "deferred",
    "running",
    "restarting",
    "none",
    "success",
    "skipped",
    "removed",
)
"""Airflow's: a group is shown in the first of these states that one of its tasks is in."""


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs of a DAG the grid shows: filters (None = any), order, page."""

    order_by: Sequence[str]
    limit: int
    offset: int
    filters: Mapping[str, Any]
    """run_type, state (lists), triggering_user_ilike, _like (patterns), run_after_gte, _gt, _lte, _lt."""

    def parameters(self) -> dict[str, Any]:
        return {**self.filters, "limit": self.limit, "offset": self.offset}


class SummaryRun(msgspec.Struct, frozen=True):
    id: int
    run_id: str
    dag_version_id: uuid.UUID
    revision: int
    has_ended: bool


class Summary(msgspec.Struct, frozen=True):
    document: str
    """GridTISummaries."""
    is_over: bool
    """All task instances are in a state that only a person takes them out of."""


async def fetch_grid_runs(conn: Connection, *, dag_id: str, page: RunPage, now: datetime, late: timedelta) -> str:
    """JSON array of GridRunsResponse, in which runs end so much `late`."""
    statement = ordered(_SQL.fetch_grid_runs, page.order_by, ORDERINGS, _KEY)
    document: str = await fetch_planned(conn, statement, dag_id=dag_id, now=now, late=late, **page.parameters())
    return document


async def list_grid_versions(conn: Connection, *, dag_id: str, page: RunPage) -> tuple[uuid.UUID, ...]:
    """Versions that the shown runs have task instances of, newest first; nothing for a DAG with one version."""
    statement = ordered(_SQL.list_grid_versions, page.order_by, ORDERINGS, _KEY)
    cursor = await conn.execute(statement, {"dag_id": dag_id, **page.parameters()}, prepare=False)
    return tuple(row[0] for row in await cursor.fetchall())


async def list_summary_runs(conn: Connection, *, dag_id: str, run_ids: Sequence[str]) -> tuple[SummaryRun, ...]:
    """The known ones of `run_ids`, in the order asked."""
    return await fetch_all(conn, _SQL.list_summary_runs, SummaryRun, dag_id=dag_id, run_ids=list(run_ids))


async def fetch_ti_summaries(
    conn: Connection,
    *,
    dag_id: str,
    run: SummaryRun,
    group_ids: Sequence[str],
    member_ids: Sequence[str],
    mapped_ids: Sequence[str],
) -> Summary:
    """`group_ids` and `member_ids` are pairs (group, task) of the run's version, and
    `mapped_ids` its tasks that are mapped, expanded or not."""
    summary = await fetch_one(
        conn,
        _SQL.fetch_ti_summaries,
        Summary,
        dag_id=dag_id,
        run_id=run.run_id,
        dag_run_id=run.id,
        group_ids=list(group_ids),
        member_ids=list(member_ids),
        mapped_ids=list(mapped_ids),
        priority=list(STATE_PRIORITY),
        final=sorted(FINISHED),
    )
    assert summary is not None, "an aggregate has a row"
    return summary


async def fetch_durations(conn: Connection, *, dag_id: str) -> str:
    """DagRunStatsResponse."""
    document: str = await fetch_value(conn, _SQL.fetch_durations, dag_id=dag_id, at_most=RUNS_COMPARED)
    return document


async def fetch_latest_run(conn: Connection, *, dag_id: str) -> str | None:
    """DAGRunLightResponse of the newest run, or None."""
    document: str | None = await fetch_value(conn, _SQL.fetch_latest_run, dag_id=dag_id)
    return document


async def fetch_gantt(conn: Connection, *, dag_id: str, run_id: str) -> str | None:
    """GanttResponse, or None for a run without task instances."""
    document: str | None = await fetch_value(conn, _SQL.fetch_gantt, dag_id=dag_id, run_id=run_id)
    return document
