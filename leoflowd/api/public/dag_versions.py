"""Versions of a DAG and their source text (the Code tab). Blueprint `public_dag_versions`."""

from __future__ import annotations

from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import JSON, collection, json_answer
from leoflowd.api.context import lane
from leoflowd.api.paging import Query, accepted_form, every, path_integer
from leoflowd.contract.errors import NotFound
from leoflowd.core.rights import only
from leoflowd.store import api_dag_versions, api_dags, dags

blueprint = Blueprint("public_dag_versions", __name__)


@blueprint.get("/api/v2/dags/<dag_id>/dagVersions")
async def list_versions(dag_id: str) -> Response:
    query = Query()
    filters = {
        "dag_id": every(dag_id),
        "version_number": query.integer("version_number"),
        "bundle_name": query.text("bundle_name"),
        "bundle_version": query.text("bundle_version"),
    }
    limit, offset = query.page()
    async with lane().connection() as conn:
        if every(dag_id) is not None:
            await api_dags.fetch_dag(conn, dag_id)
        rows, total = await api_dag_versions.list_versions(
            conn, filters, dags=auth.dags(), order_by=query.order_by(), limit=limit, offset=offset
        )
    return collection("dag_versions", rows, total)


@blueprint.get("/api/v2/dags/<dag_id>/dagVersions/<version_number>")
async def get_version(dag_id: str, version_number: str) -> Response:
    number = path_integer("version_number", version_number)
    async with lane().connection() as conn:
        rows, _ = await api_dag_versions.list_versions(
            conn, {"version_number": number}, dags=only(dag_id), order_by=[], limit=1, offset=0
        )
    if not rows:
        raise NotFound(f"The DagVersion with dag_id: `{dag_id}` and version_number: `{number}` was not found")
    return json_answer(rows[0])


@blueprint.get("/api/v2/dagSources/<dag_id>")
async def get_source(dag_id: str) -> Response:
    """JSON, or the bare text for `Accept: text/plain`."""
    query = Query()
    number = query.integer("version_number")
    query.check()
    form = accepted_form(JSON, "text/plain")
    async with lane().connection() as conn:
        dag = await api_dags.fetch_dag(conn, dag_id)
        version = await dags.fetch_version(conn, dag_id, number)
    if form == "text/plain":
        return Response(version.source, content_type="text/plain; charset=utf-8")
    return json_answer(
        {
            "content": version.source,
            "dag_id": dag_id,
            "version_number": version.version_number,
            "dag_display_name": dag["dag_display_name"],
        }
    )


async def check_dag(dag_id: str) -> None:
    """Raises `NotFound`."""
    async with lane().connection() as conn:
        await api_dags.fetch_dag(conn, dag_id)
