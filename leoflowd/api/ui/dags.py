"""The Dag list with its latest runs, a Dag's header, and the dashboard's figures."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import json_bytes
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query, like_anywhere
from leoflowd.api.problems import BadRequest, FieldError, Unprocessable
from leoflowd.api.ui.ordering import read_order
from leoflowd.contract.states import DagRunState
from leoflowd.store import api_hitl_details, ui_dags, ui_grid
from leoflowd.store.dag_runs import fetch_dag_run

blueprint = Blueprint("ui_dags", __name__, url_prefix="/ui")

MAX_PENDING = 1000
"""Questions in the Dag list, which shows their number: a task that is mapped may ask very many."""
MAX_DAG_RUNS = 100
"""Latest runs per Dag; the UI asks for 14."""


@blueprint.get("/dags")
async def list_dags() -> Response:
    """Favourites and their filters are the caller's own."""
    chosen = read_filter(Query(), auth.caller().username)
    async with lane().connection() as conn:
        document = await ui_dags.fetch_dag_list(conn, dags=auth.dags(), chosen=chosen)
        pending, _ = await api_hitl_details.list_hitl_details(
            conn, api_hitl_details.PENDING, dags=auth.dags(), order_by=["created_at"], limit=MAX_PENDING, offset=0
        )
    return json_bytes(_with_pending_actions(document, pending) if pending else document)


def _with_pending_actions(document: str, pending: list[dict[str, Any]]) -> bytes:
    """The list, in which each Dag has what its tasks ask people now."""
    of_dag: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for detail in pending:
        of_dag[detail["task_instance"]["dag_id"]].append(detail)
    found = msgspec.json.decode(document)
    for dag in found["dags"]:
        dag["pending_actions"] = of_dag.get(dag["dag_id"], [])
    return msgspec.json.encode(found)


def read_filter(query: Query, username: str) -> ui_dags.DagFilter:
    tags = query.texts("tags")
    match_all = query.choice("tags_match_mode", ("any", "all"), "any") == "all"
    dag_runs_limit = query.integer("dag_runs_limit", 10, minimum=0)
    order_by = read_order(query, ui_dags.ORDERINGS, "dag_id")
    filters = {
        "exclude_stale": query.boolean("exclude_stale", True),
        "paused": query.boolean("paused"),
        "dag_ids": query.texts("dag_ids"),
        "any_tags": None if match_all else tags,
        "all_tags": tags if match_all else None,
        "owners": query.texts("owners"),
        "bundle_name": query.text("bundle_name"),
        "bundle_version": query.text("bundle_version"),
        "last_dag_run_state": query.choice("last_dag_run_state", [state.value for state in DagRunState]),
        "dag_run_state": query.choice("dag_run_state", [state.value for state in DagRunState]),
        "is_favorite": query.boolean("is_favorite"),
        "has_import_errors": query.boolean("has_import_errors"),
        "has_pending_actions": query.boolean("has_pending_actions"),
        "has_asset_schedule": query.boolean("has_asset_schedule"),
        "asset_dependency": like_anywhere(query.text("asset_dependency")),
        **query.patterns("dag_id"),
        **query.patterns("dag_display_name"),
    }
    limit, offset = query.page()
    return ui_dags.DagFilter(
        username=username,
        order_by=order_by,
        limit=limit,
        offset=offset,
        dag_runs_limit=min(dag_runs_limit or 0, MAX_DAG_RUNS),
        filters=filters,
    )


@blueprint.get("/dags/<dag_id>/latest_run")
async def latest_run(dag_id: str) -> Response:
    """`null` for a Dag without runs."""
    if dag_id == "~":
        raise BadRequest("`~` was supplied as dag_id, but querying multiple dags is not supported.")
    async with lane().connection() as conn:
        return json_bytes(await ui_grid.fetch_latest_run(conn, dag_id=dag_id) or "null")


@blueprint.get("/dags/<dag_id>/dagRuns/<path:run_id>/stats")
async def dag_run_stats(dag_id: str, run_id: str) -> Response:
    """How long the latest runs of the DAG took that have ended: to compare this run with."""
    async with lane().connection() as conn:
        await fetch_dag_run(conn, dag_id, run_id)
        return json_bytes(await ui_grid.fetch_durations(conn, dag_id=dag_id))


@blueprint.get("/dashboard/dag_stats")
async def dag_stats() -> Response:
    async with lane().connection() as conn:
        return json_bytes(await ui_dags.fetch_dag_stats(conn, dags=auth.dags()))


@blueprint.get("/dashboard/historical_metrics_data")
async def historical_metrics_data() -> Response:
    query = Query()
    start_date, end_date = query.moment("start_date"), query.moment("end_date")
    query.check()
    if start_date is None:
        raise Unprocessable(FieldError(type="missing", loc=("query", "start_date"), msg="Field required"))
    now = context().now()
    async with lane().connection() as conn:
        return json_bytes(
            await ui_dags.fetch_historical_metrics(
                conn, dags=auth.dags(), start_date=start_date, end_date=end_date, now=now
            )
        )
