"""Lists of what this server has none of yet: backfills. Blueprint `public_nothing_yet`.

The UI asks for them on ordinary pages and wants a list with the right name. Their other routes answer 404 until the
features exist; then this module goes.
"""

from __future__ import annotations

from quart import Blueprint, Response

from leoflowd.api.answers import empty_collection
from leoflowd.api.paging import Query
from leoflowd.api.public.dag_versions import check_dag

blueprint = Blueprint("public_nothing_yet", __name__)


@blueprint.get("/api/v2/backfills")
async def list_backfills() -> Response:
    query = Query()
    dag_id = query.text("dag_id")
    query.page()
    if dag_id is not None:
        await check_dag(dag_id)
    return empty_collection("backfills")
