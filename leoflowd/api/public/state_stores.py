"""The state stores of tasks and assets, which Airflow has since 3.3: nothing is ever in them here.

Its UI looks into them whenever it shows a task instance or an asset. Their writes are not there, and say so.
"""

from __future__ import annotations

from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import collection
from leoflowd.api.context import lane
from leoflowd.api.paging import Query, path_integer
from leoflowd.store import api_assets
from leoflowd.store.dag_runs import fetch_dag_run

blueprint = Blueprint("public_state_stores", __name__)


@blueprint.get("/api/v2/dags/<dag_id>/dagRuns/<run_id>/taskInstances/<task_id>/state-store")
async def list_task_state_store(dag_id: str, run_id: str, task_id: str) -> Response:
    """Of a run that is there; which of its tasks makes no difference."""
    query = Query()
    query.page()
    query.integer("map_index", -1, minimum=-1)
    query.check()
    async with lane().connection() as conn:
        await fetch_dag_run(conn, dag_id, run_id)
    return collection("task_state_store", [], 0)


@blueprint.get("/api/v2/assets/<asset_id>/state-store")
async def list_asset_state_store(asset_id: str) -> Response:
    query = Query()
    query.page()
    query.check()
    async with lane().connection() as conn:
        await api_assets.fetch_asset(conn, path_integer("asset_id", asset_id), dags=auth.dags())
    return collection("asset_state_store", [], 0)
