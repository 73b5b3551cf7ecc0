"""The graph of a Dag: nodes and edges of one version."""

from __future__ import annotations

from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import json_bytes
from leoflowd.api.context import lane
from leoflowd.api.paging import Query
from leoflowd.api.problems import FieldError, Unprocessable
from leoflowd.api.ui.selection import Subset, read_subset
from leoflowd.api.ui.structures import encode_graph, graph_document_of
from leoflowd.core.asset_drawing import has_assets, with_assets
from leoflowd.core.dag_drawing import Graph, build_graph
from leoflowd.store import api_assets, assets, dags

blueprint = Blueprint("ui_structure", __name__, url_prefix="/ui")


@blueprint.get("/structure/structure_data")
async def structure_data() -> Response:
    """Of the version asked for, or of the current one; with `external_dependencies`, what its assets connect it to."""
    query = Query()
    dag_id = query.text("dag_id")
    version_number = query.integer("version_number", minimum=1)
    with_external = query.boolean("external_dependencies")
    subset = read_subset(query)
    query.check()
    if not dag_id:
        raise Unprocessable(FieldError(type="missing", loc=("query", "dag_id"), msg="Field required"))
    async with lane().connection() as conn:
        version = await dags.fetch_version(conn, dag_id, version_number)
        if with_external and has_assets(version.spec):
            ids = await assets.list_ids(conn, [dag_id])
            resolved = await api_assets.list_resolved(conn, dags=auth.dags())
            return json_bytes(encode_graph(with_assets(_graph(version, subset), version.spec, ids, resolved)))
    return json_bytes(await dags.off_loop(lambda: _document(version, subset), size=dags.size_of(version.spec)))


def _document(version: dags.VersionRow, subset: Subset | None) -> bytes:
    if subset is None:
        return graph_document_of(version)
    return encode_graph(_graph(version, subset))


def _graph(version: dags.VersionRow, subset: Subset | None) -> Graph:
    return build_graph(version.spec if subset is None else subset.of(version.spec))
