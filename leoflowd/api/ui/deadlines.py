"""Deadlines of dag runs, and those that a DAG's file declares."""

from __future__ import annotations

import hashlib
from uuid import UUID

from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import json_answer, json_bytes
from leoflowd.api.context import lane
from leoflowd.api.paging import Query
from leoflowd.api.problems import BadRequest
from leoflowd.api.rights import ALL
from leoflowd.api.ui.ordering import read_order
from leoflowd.contract.deadline_spec import DeadlineSpec
from leoflowd.store import api_dag_versions, dags, deadlines
from leoflowd.store.api_lists import Json
from leoflowd.store.dag_runs import fetch_dag_run

blueprint = Blueprint("ui_deadlines", __name__, url_prefix="/ui/dags/<dag_id>")

REFERENCES = {
    "logical_date": "DagRunLogicalDateDeadline",
    "queued_at": "DagRunQueuedAtDeadline",
    "fixed": "FixedDatetimeDeadline",
    "average_runtime": "AverageRuntimeDeadline",
}
"""Airflow's names."""
ALERT_ORDERINGS = {"id": b"", "created_at": b"", "name": b""}
"""All of a version are as old as it is."""


@blueprint.get("/dagRuns/<path:run_id>/deadlines")
async def list_deadlines(dag_id: str, run_id: str) -> Response:
    """Those that were met are gone, as in Airflow. `~` is any DAG, or any run."""
    query = Query()
    query.refuse(*(f"last_updated_at_{one}" for one in ("gte", "gt", "lte", "lt")))
    limit, offset = query.page()
    order_by = read_order(query, deadlines.ORDERINGS, "deadline_time")
    filters = {"missed": query.boolean("missed"), **query.range("deadline_time")}
    query.check()
    if dag_id == ALL and run_id != ALL:
        raise BadRequest("dag_id is required when dag_run_id is specified")
    async with lane().connection() as conn:
        page = deadlines.DeadlinePage(
            dag_id=None if dag_id == ALL else dag_id,
            dag_run_id=None if run_id == ALL else (await fetch_dag_run(conn, dag_id, run_id)).id,
            order_by=order_by,
            limit=limit,
            offset=offset,
            filters=filters,
        )
        return json_bytes(await deadlines.list_deadlines(conn, page, dags=auth.dags()))


@blueprint.get("/deadlineAlerts")
async def list_deadline_alerts(dag_id: str) -> Response:
    """Of the current version, or of `version_number`, in the order of the file."""
    query = Query()
    limit, offset = query.page()
    version_number = query.integer("version_number", minimum=1)
    falling = read_order(query, ALERT_ORDERINGS, "created_at")[0].startswith("-")
    query.check()
    async with lane().connection() as conn:
        version = await dags.fetch_version(conn, dag_id, version_number)
        only = {"dag_id": dag_id, "version_number": version.version_number}
        (row,), _ = await api_dag_versions.list_versions(conn, only, dags=auth.dags(), order_by=(), limit=1, offset=0)
    alerts = [_alert(row, place, one) for place, one in enumerate(version.spec.deadlines)]
    alerts = alerts[::-1] if falling else alerts
    return json_answer({"deadline_alerts": alerts[offset : offset + limit], "total_entries": len(alerts)})


def _alert(version: Json, place: int, spec: DeadlineSpec) -> Json:
    """Its id is the one that `list_deadlines` names."""
    digest = hashlib.md5(f"{version['id']}:{place}".encode(), usedforsecurity=False)
    return {
        "id": UUID(digest.hexdigest()),
        "name": None,
        "reference_type": REFERENCES[spec.reference],
        "interval": spec.interval_s,
        "created_at": version["created_at"],
    }
