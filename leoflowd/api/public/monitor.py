"""Version, health and jobs: what a client asks before and without anything else. Blueprint `public_monitor`."""

from __future__ import annotations

from datetime import timedelta

import trio
from quart import Blueprint, Response

from leoflowd.api.answers import collection, json_answer
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.store import api_jobs
from leoflowd.store.api_monitor import fetch_leader

blueprint = Blueprint("public_monitor", __name__)

AIRFLOW_VERSION = "3.2.2"
"""The API and UI that we answer for; a client that compares versions sees this one."""
HEARTBEAT_MAX_AGE = timedelta(seconds=30)
DATABASE_DEADLINE_S = 5.0

SECTIONS = {
    "embedded postgres": "metadatabase",
    "store": "metadatabase",
    "hint listener": "metadatabase",
    "cheap-task pool": "triggerer",
    "workspace": "dag_processor",
}
"""Component of the tree -> Airflow's word for it. All others make tasks run: `scheduler`."""


@blueprint.get("/api/v2/version")
async def version() -> Response:
    return json_answer({"version": AIRFLOW_VERSION, "git_version": f"leoflow {context().version}"})


@blueprint.get("/api/v2/monitor/health")
async def health() -> Response:
    """Always 200, as Airflow: the statuses are in the body. `faults` is ours: which component, and why."""
    faults = context().faults()
    red = {SECTIONS.get(fault.component.partition("/")[0], "scheduler") for fault in faults}
    heartbeat, database = None, _word("metadatabase" not in red)
    try:
        with trio.fail_after(DATABASE_DEADLINE_S):
            async with context().db.api.connection() as conn:
                leader = await fetch_leader(conn)
        heartbeat = leader.heartbeat_at if leader.holder else None
    except (StoreUnavailable, trio.TooSlowError):
        database = "unhealthy"
    alive = heartbeat is not None and context().now() - heartbeat <= HEARTBEAT_MAX_AGE
    beat = None if heartbeat is None else heartbeat.isoformat()
    # Airflow answers null where no triggerer is known
    has_pool = context().pool is not None
    return json_answer(
        {
            "metadatabase": {"status": database},
            "scheduler": {
                "status": _word(alive and "scheduler" not in red),
                "latest_scheduler_heartbeat": beat,
            },
            "triggerer": {
                "status": _word("triggerer" not in red) if has_pool else None,
                "latest_triggerer_heartbeat": context().now().isoformat() if has_pool else None,
            },
            "dag_processor": {
                "status": _word(alive and "dag_processor" not in red),
                "latest_dag_processor_heartbeat": beat,
            },
            "faults": faults,
        }
    )


@blueprint.get("/api/v2/jobs")
async def list_jobs() -> Response:
    """A row for each daemon, with its last beat: our scheduler, waits and API are parts of one process."""
    query = Query()
    filters = {
        "is_alive": query.boolean("is_alive"),
        **{name: query.text(name) for name in ("job_state", "job_type", "hostname", "executor_class")},
        **query.range("start_date"),
        **query.range("end_date"),
    }
    limit, offset = query.page()
    async with lane().connection() as conn:
        rows, total = await api_jobs.list_jobs(
            conn, filters, now=context().now(), order_by=query.order_by() or ["id"], limit=limit, offset=offset
        )
    return collection("jobs", rows, total)


def _word(is_healthy: bool) -> str:
    return "healthy" if is_healthy else "unhealthy"
