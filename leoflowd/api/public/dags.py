"""DAGs: lists, details, pause, favorites, delete, tags, statistics. Blueprint `public_dags`."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import msgspec
from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import collection, empty_collection, json_answer, no_content
from leoflowd.api.audit import record
from leoflowd.api.bodies import read_body
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query, like_anywhere
from leoflowd.api.problems import BadRequest
from leoflowd.contract.dag_spec import is_link
from leoflowd.contract.errors import Conflict, NotFound
from leoflowd.contract.states import DagRunState
from leoflowd.core.rights import only
from leoflowd.store import api_dag_versions, api_dags, api_records, assets, dags

blueprint = Blueprint("public_dags", __name__)

_RUN_STATES = tuple(DagRunState)


class DagPatchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    is_paused: bool


@blueprint.get("/api/v2/dags")
async def list_dags() -> Response:
    query = Query()
    filters = _filters(query)
    limit, offset = query.page()
    async with lane().connection() as conn:
        rows, total = await api_dags.list_dags(
            conn, filters, dags=auth.dags(), order_by=query.order_by() or ["dag_id"], limit=limit, offset=offset
        )
    return collection("dags", rows, total)


@blueprint.patch("/api/v2/dags")
async def patch_dags() -> Response:
    """Pause or unpause everything that the filters leave; without a name pattern nothing is changed, as in Airflow."""
    query = Query()
    filters = _filters(query)
    limit, offset = query.page()
    _check_mask(query)
    body = await read_body(DagPatchBody)
    if not query.text("dag_id_pattern") and not query.text("dag_id_prefix_pattern"):
        return empty_collection("dags")
    async with lane().transaction() as conn:
        rows, total = await api_dags.list_dags(
            conn, filters, dags=auth.dags(), order_by=["dag_id"], limit=limit, offset=offset
        )
        for row in rows:
            await _pause(conn, row["dag_id"], body.is_paused)
            row["is_paused"] = body.is_paused
    return collection("dags", rows, total)


@blueprint.get("/api/v2/dags/<dag_id>")
async def get_dag(dag_id: str) -> Response:
    async with lane().connection() as conn:
        return json_answer(await api_dags.fetch_dag(conn, dag_id))


@blueprint.patch("/api/v2/dags/<dag_id>")
async def patch_dag(dag_id: str) -> Response:
    _check_mask(Query())
    body = await read_body(DagPatchBody)
    async with lane().transaction() as conn:
        await _pause(conn, dag_id, body.is_paused)
        return json_answer(await api_dags.fetch_dag(conn, dag_id))


@blueprint.delete("/api/v2/dags/<dag_id>")
async def delete_dag(dag_id: str) -> Response:
    """200 with `null`. Other than in Airflow, a DAG whose file is still there stays deleted until its own definition
    changes or somebody pushes it; a change of its project alone does not bring it back."""
    async with lane().transaction() as conn:
        await dags.delete_dag(conn, dag_id)
        await record(conn, "delete_dag", dag_id)
    return json_answer(None)


@blueprint.put("/api/v2/parseDagFile/<file_token>")
async def reparse_dag_file(file_token: str) -> Response:
    """201 with `null`: the workspace compiles the DAG's file again, also when nothing in it changed."""
    dag_id = _dag_of_token(file_token)
    auth.check_dag(dag_id)
    reparse = context().reparse
    if reparse is None:
        raise NotFound(
            "There are no DAG files here to be parsed: `leoflow deploy` or `leoflow push` brings a new version"
        )
    if not reparse(dag_id):
        raise NotFound(f"No file of the workspace has a DAG `{dag_id}`: it came by `leoflow push`, or its file is gone")
    async with lane().transaction() as conn:
        await record(conn, "reparse_dag_file", dag_id)
    return json_answer(None, 201)


def _dag_of_token(file_token: str) -> str:
    """A DAG's `file_token` is its id in base64. Raises `NotFound`."""
    try:
        return base64.b64decode(file_token + "=" * (-len(file_token) % 4), altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise NotFound("File not found: the token is none that this server gave") from error


@blueprint.get("/api/v2/dags/<dag_id>/details")
async def get_dag_details(dag_id: str) -> Response:
    async with lane().connection() as conn:
        row = await api_dags.fetch_dag(conn, dag_id)
        version = await dags.fetch_version(conn, dag_id)
        latest, _ = await api_dag_versions.list_versions(
            conn, {"version_number": version.version_number}, dags=only(dag_id), order_by=[], limit=1, offset=0
        )
        expression = await assets.fetch_expression(conn, dag_id)
        row["is_favorite"] = await api_dags.fetch_is_favorite(conn, dag_id, auth.caller().username)
        row["active_runs_count"] = await api_dags.fetch_active_runs_count(conn, dag_id)
    spec = version.spec
    row |= {
        "catchup": spec.catchup,
        "dag_run_timeout": None if spec.dagrun_timeout_s is None else timedelta(seconds=spec.dagrun_timeout_s),
        "asset_expression": expression,
        "doc_md": spec.doc_md,
        "start_date": spec.start_date,
        "end_date": spec.end_date,
        "is_paused_upon_creation": spec.is_paused_upon_creation,
        "params": {name: spec.params[name] for name in spec.param_order if name in spec.params} | spec.params,
        "render_template_as_native_obj": spec.render_template_as_native_obj,
        "template_search_path": list(spec.template_searchpath) or None,
        "timezone": spec.timezone,
        "last_parsed": row["last_parsed_time"],
        "default_args": spec.default_args,
        "owner_links": {owner: link for owner, link in spec.owner_links.items() if is_link(link)},
        "concurrency": row["max_active_tasks"],
        "latest_dag_version": latest[0] if latest else None,
    }
    return json_answer(row)


@blueprint.post("/api/v2/dags/<dag_id>/favorite")
async def favorite_dag(dag_id: str) -> Response:
    token = auth.caller().access_token
    if token is not None and token.username is None:
        raise Conflict("A service has no favorites")
    async with lane().transaction() as conn:
        await api_dags.insert_favorite(conn, dag_id, auth.caller().username)
    return no_content()


@blueprint.post("/api/v2/dags/<dag_id>/unfavorite")
async def unfavorite_dag(dag_id: str) -> Response:
    async with lane().transaction() as conn:
        await api_dags.delete_favorite(conn, dag_id, auth.caller().username)
    return no_content()


@blueprint.get("/api/v2/dagTags")
async def list_tags() -> Response:
    query = Query()
    limit, offset = query.page()
    patterns = query.patterns("tag_name")
    async with lane().connection() as conn:
        tags = await api_dags.list_tags(
            conn, dags=auth.dags(), ilike=patterns["tag_name_ilike"], like=patterns["tag_name_like"]
        )
    if "-name" in query.order_by():
        tags.reverse()
    return collection("tags", tags[offset : offset + limit], len(tags))


@blueprint.get("/api/v2/dagStats")
async def list_stats() -> Response:
    async with lane().connection() as conn:
        stats = await api_dags.list_stats(conn, Query().texts("dag_ids"), dags=auth.dags())
    return collection("dags", stats, len(stats))


@blueprint.get("/api/v2/dagWarnings")
async def list_warnings() -> Response:
    """What the compiler found in the code of each current version: old spelling, values that vary."""
    query = Query()
    filters = {
        "dag_id": query.text("dag_id"),
        "warning_type": query.choice("warning_type", ("asset conflict", "non-existent pool", "runtime varying value")),
    }
    limit, offset = query.page()
    async with lane().connection() as conn:
        rows, total = await api_records.list_dag_warnings(
            conn, filters, dags=auth.dags(), order_by=query.order_by() or ["dag_id"], limit=limit, offset=offset
        )
    return collection("dag_warnings", rows, total)


def _filters(query: Query) -> dict[str, Any]:
    match_all = query.choice("tags_match_mode", ("any", "all"), "any") == "all"
    tags = query.texts("tags")
    runs = {
        "dag_run_state": query.choices("dag_run_state", _RUN_STATES),
        **query.range("dag_run_start_date"),
        **query.range("dag_run_end_date"),
    }
    return {
        "username": auth.caller().username,
        "exclude_stale": query.boolean("exclude_stale", True),
        "paused": query.boolean("paused"),
        "tags_any": None if match_all else tags,
        "tags_all": tags if match_all else None,
        "owners": query.texts("owners"),
        "bundle_name": query.text("bundle_name"),
        "bundle_version": query.text("bundle_version"),
        "has_import_errors": query.boolean("has_import_errors"),
        "is_favorite": query.boolean("is_favorite"),
        "last_dag_run_state": query.choice("last_dag_run_state", _RUN_STATES),
        "by_runs": any(value is not None for value in runs.values()),
        "timetable_type": query.texts("timetable_type"),
        "has_asset_schedule": query.boolean("has_asset_schedule"),
        "asset_dependency": like_anywhere(query.text("asset_dependency")),
        **query.patterns("dag_id"),
        **query.patterns("dag_display_name"),
        **runs,
    }


def _check_mask(query: Query) -> None:
    wrong = [name for name in query.texts("update_mask") or () if name != "is_paused"]
    if wrong:
        raise BadRequest("Only `is_paused` field can be updated through the REST API")


async def _pause(conn: Any, dag_id: str, is_paused: bool) -> None:
    await dags.set_paused(conn, dag_id, is_paused, context().now())
    await record(conn, "patch_dag", dag_id, extra={"is_paused": is_paused})
