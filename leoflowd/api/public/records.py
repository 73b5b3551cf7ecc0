"""The audit log and import errors. Blueprint `public_records`."""

from __future__ import annotations

from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import collection, json_answer
from leoflowd.api.context import lane
from leoflowd.api.paging import Query, path_integer
from leoflowd.core.rights import Right, is_allowed
from leoflowd.store import api_records

blueprint = Blueprint("public_records", __name__)


@blueprint.get("/api/v2/eventLogs")
async def list_event_logs() -> Response:
    query = Query()
    filters = {
        **{name: query.text(name) for name in ("dag_id", "task_id", "run_id", "owner", "event")},
        "map_index": query.integer("map_index"),
        "try_number": query.integer("try_number"),
        "included_events": query.texts("included_events"),
        "excluded_events": query.texts("excluded_events"),
        "before": query.moment("before"),
        "after": query.moment("after"),
        "own": _own(),
    }
    for name in ("dag_id", "task_id", "run_id", "owner", "event"):
        filters |= query.patterns(name)
    limit, offset = query.page()
    async with lane().connection() as conn:
        rows, total = await api_records.list_event_logs(
            conn, filters, dags=auth.dags(), order_by=query.order_by() or ["id"], limit=limit, offset=offset
        )
    return collection("event_logs", rows, total)


def _own() -> str | None:
    """Whose logins and settings the caller may see: his own; None: everybody's."""
    who = auth.caller()
    return None if is_allowed(who, Right.ADMIN, None) else who.username


@blueprint.get("/api/v2/eventLogs/<event_log_id>")
async def get_event_log(event_log_id: str) -> Response:
    number = path_integer("event_log_id", event_log_id)
    async with lane().connection() as conn:
        return json_answer(await api_records.fetch_event_log(conn, number, own=_own(), dags=auth.dags()))


@blueprint.get("/api/v2/importErrors")
async def list_import_errors() -> Response:
    query = Query()
    filters = {
        **query.patterns("filename"),
        "filename": query.text("filename"),
        "bundle_name": query.text("bundle_name"),
    }
    limit, offset = query.page()
    async with lane().connection() as conn:
        rows, total = await api_records.list_import_errors(
            conn, filters, dags=auth.dags(), order_by=query.order_by() or ["id"], limit=limit, offset=offset
        )
    return collection("import_errors", rows, total)


@blueprint.get("/api/v2/importErrors/<import_error_id>")
async def get_import_error(import_error_id: str) -> Response:
    number = path_integer("import_error_id", import_error_id)
    async with lane().connection() as conn:
        return json_answer(await api_records.fetch_import_error(conn, number, dags=auth.dags()))
