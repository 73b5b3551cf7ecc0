"""Lists of what this server has none of yet: assets. Blueprint `public_nothing_yet`.

The UI asks for them on ordinary pages and wants a list with the right name. Their other routes answer 404 until the
features exist; then this module goes.
"""

from __future__ import annotations

from quart import Blueprint, Response

from leoflowd.api.answers import empty_collection
from leoflowd.api.paging import Query
from leoflowd.api.public.dag_versions import check_dag

blueprint = Blueprint("public_nothing_yet", __name__)


@blueprint.get("/api/v2/assets")
async def list_assets() -> Response:
    Query().page()
    return empty_collection("assets")


@blueprint.get("/api/v2/assets/events")
async def list_asset_events() -> Response:
    Query().page()
    return empty_collection("asset_events")


@blueprint.get("/api/v2/assets/aliases")
async def list_asset_aliases() -> Response:
    Query().page()
    return empty_collection("asset_aliases")


@blueprint.get("/api/v2/dags/<dag_id>/assets/queuedEvents")
async def list_queued_events(dag_id: str) -> Response:
    await check_dag(dag_id)
    return empty_collection("queued_events")
