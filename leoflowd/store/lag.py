"""How late the scheduler is, from rows: runs that it made, tries that began, DAGs whose next run is due. Reads only."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from leoflowd.core.rights import Dags
from leoflowd.store.database import Connection, fetch_all, fetch_one, statements

_SQL = statements("lag")

NEWEST = 100
"""Runs and tries that percentiles are of."""
LOOKED_AT = 1000
"""Newest rows among which those are looked for: someone who sees few DAGs must not cost more than anybody."""
COUNTED = 10_000
"""Instances that stand in a queue; more are not counted."""
BEHIND_MAX = 20
BEHIND_AFTER = timedelta(seconds=5)
"""A run that is due is on its way for so long."""


class LagFacts(msgspec.Struct, frozen=True, kw_only=True):
    runs: int
    """Newest scheduled runs that were looked at: of those that were due when their DAG was there already."""
    runs_p50_s: float | None
    """From the moment that a run was due until its row; one that a pause or a limit held back counts whole."""
    runs_p95_s: float | None
    last_run_at: datetime | None
    starts: int
    starts_p50_s: float | None
    """From the launch of a try until it began."""
    starts_p95_s: float | None
    scheduled: int
    """Instances that wait for a slot, `COUNTED` at most with those that are queued."""
    queued: int
    """Instances that are launched and have not begun."""
    oldest_queued_at: datetime | None


class BehindRow(msgspec.Struct, frozen=True, kw_only=True):
    dag_id: str
    dag_display_name: str
    due_at: datetime
    max_active_runs: int
    active_runs: int


async def fetch_lag(conn: Connection, *, dags: Dags, now: datetime) -> LagFacts:
    found = await fetch_one(
        conn,
        _SQL.fetch_lag,
        LagFacts,
        visible=dags.parameter(),
        now=now,
        newest=NEWEST,
        looked_at=LOOKED_AT,
        counted=COUNTED,
    )
    assert found is not None
    return found


async def list_behind(conn: Connection, *, dags: Dags, now: datetime) -> tuple[BehindRow, ...]:
    """The latest first, `BEHIND_MAX` of them."""
    before = now - BEHIND_AFTER
    return await fetch_all(
        conn, _SQL.list_behind, BehindRow, visible=dags.parameter(), due_before=before, limit=BEHIND_MAX
    )
