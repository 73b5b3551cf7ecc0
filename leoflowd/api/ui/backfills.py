"""Backfills as the UI asks for them: the banner of every Dag page (`active=true`) and the Backfills tab."""

from __future__ import annotations

from quart import Blueprint, Response

from leoflowd.api.paging import Query
from leoflowd.api.public.backfills import backfills_page

blueprint = Blueprint("ui_backfills", __name__, url_prefix="/ui")


@blueprint.get("/backfills")
async def list_backfills() -> Response:
    query = Query()
    filters = {"dag_id": query.text("dag_id"), "active": query.boolean("active")}
    limit, offset = query.page()
    return await backfills_page(filters, query, limit, offset)
