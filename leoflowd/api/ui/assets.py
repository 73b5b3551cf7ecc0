"""What the UI draws of assets: what a Dag waits for, and how assets connect Dags and tasks."""

from __future__ import annotations

from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import json_answer
from leoflowd.api.context import lane
from leoflowd.api.paging import Query
from leoflowd.api.problems import BadRequest, FieldError, Unprocessable
from leoflowd.contract.errors import NotFound
from leoflowd.core.asset_drawing import component_of, data_graph, scheduling_graph
from leoflowd.store import api_assets, assets, partition_runs, ui_dags

blueprint = Blueprint("ui_assets", __name__, url_prefix="/ui")


@blueprint.get("/next_run_assets/<dag_id>")
async def next_run_assets(dag_id: str) -> Response:
    """What an asset-scheduled Dag waits for, and what of it has come."""
    async with lane().connection() as conn:
        if not await ui_dags.is_known_dag(conn, dag_id=dag_id):
            raise NotFound(f"The Dag with ID: `{dag_id}` was not found")
        expression = await assets.fetch_expression(conn, dag_id)
        events = await api_assets.list_next(conn, dag_id)
        answer = {"asset_expression": expression, "events": events}
        if await partition_runs.waits_for_partitions(conn, dag_id):
            answer["pending_partition_count"] = await partition_runs.count_pending(conn, dag_id)
    return json_answer(answer)


@blueprint.get("/partitioned_dag_runs")
async def partitioned_dag_runs() -> Response:
    """Runs of partitions, the newest first: those that wait for events, and those that were made."""
    query = Query()
    dag_id, is_made = query.text("dag_id"), query.boolean("has_created_dag_run_id")
    query.check()
    async with lane().connection() as conn:
        if dag_id is not None and not (dag_id in auth.dags() and await ui_dags.is_known_dag(conn, dag_id=dag_id)):
            raise NotFound(f"Dag with id {dag_id} was not found")
        rows = await partition_runs.list_partition_runs(conn, dags=auth.dags(), dag_id=dag_id, is_made=is_made)
    expressions = {row["dag_id"]: row["asset_expression"] for row in rows}
    shown = [{name: value for name, value in row.items() if name != "asset_expression"} for row in rows]
    return json_answer(
        {
            "partitioned_dag_runs": shown,
            "total": len(shown),
            "asset_expressions": expressions if dag_id is None and rows else None,
        }
    )


@blueprint.get("/pending_partitioned_dag_run/<dag_id>/<path:partition_key>")
async def pending_partitioned_dag_run(dag_id: str, partition_key: str) -> Response:
    """One that waits, with the assets of which an event has come. The key may have slashes."""
    async with lane().connection() as conn:
        return json_answer(await partition_runs.fetch_pending_run(conn, dag_id, partition_key))


@blueprint.get("/pending_partitioned_dag_run/<dag_id>")
async def pending_partition(dag_id: str) -> Response:
    """The same, as builds from 3.3 on ask."""
    query = Query()
    partition_key = query.text("partition_key")
    query.check()
    if partition_key is None:
        raise Unprocessable(FieldError(type="missing", loc=("query", "partition_key"), msg="Field required"))
    return await pending_partitioned_dag_run(dag_id, partition_key)


@blueprint.get("/dependencies")
async def dependencies() -> Response:
    """Of Dags by assets, or of the tasks around one asset (`dependency_type=data`)."""
    query = Query()
    node_id = query.text("node_id")
    kind = query.choice("dependency_type", ("scheduling", "data"), "scheduling")
    query.check()
    asset_id = _asset_id(node_id) if kind == "data" else 0
    async with lane().connection() as conn:
        links, resolved = await api_assets.list_links(conn, dags=auth.dags())
    if kind == "data":
        graph = data_graph(asset_id, links)
    else:
        graph = scheduling_graph(links, resolved)
        graph = graph if node_id is None else component_of(node_id, graph)
    if node_id is not None and not graph.nodes:
        raise NotFound(f"Nothing that you may see is connected with {node_id!r}")
    return json_answer(graph)


def _asset_id(node_id: str | None) -> int:
    kind, _, number = (node_id or "").partition(":")
    if kind != "asset" or not (number.isascii() and number.isdigit() and len(number) < 19):
        raise BadRequest("Data dependencies require an asset node_id (e.g., 'asset:123')")
    return int(number)
