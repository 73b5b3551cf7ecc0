"""Assets: lists, events, what waits for DAGs, events and runs that people make. Blueprint `public_assets`.

An event that is made here starts runs as one of a task does: its queue is written with it, and the clock gets a hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec
from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import collection, json_answer, no_content
from leoflowd.api.audit import record
from leoflowd.api.bodies import read_body
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query, path_integer
from leoflowd.api.public.dag_runs import TriggerBody, asked_run
from leoflowd.contract.asset_spec import EXTRA_MAX_BYTES, PARTITION_KEY_MAX
from leoflowd.contract.errors import Conflict, NotFound
from leoflowd.contract.states import DagRunType
from leoflowd.contract.values import checked_text, json_text
from leoflowd.core.asset_events import NewEvent
from leoflowd.core.rights import Dags
from leoflowd.store import api_assets, api_dag_runs, dag_runs
from leoflowd.store.api_lists import Json
from leoflowd.store.asked_runs import insert_asked_run
from leoflowd.store.asset_events import AssetEventWrite, insert_events
from leoflowd.store.database import Connection
from leoflowd.store.hints import send_hint

blueprint = Blueprint("public_assets", __name__)

UPSTREAM_MAX = 1_000
"""Events of one run in one answer; `total_entries` tells how many there are."""


class EventBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    asset_id: int
    partition_key: str | None = None
    extra: dict[str, Any] = {}


class MaterializeBody(TriggerBody, frozen=True, kw_only=True):
    logical_date: datetime | None = None


# --- reading -----------------------------------------------------------------------------------------------------


@blueprint.get("/api/v2/assets")
async def list_assets() -> Response:
    query = Query()
    filters = {
        **query.patterns("name"),
        **query.patterns("uri"),
        "dag_ids": query.texts("dag_ids"),
        "only_active": query.boolean("only_active", True),
    }
    return await _listed("assets", api_assets.list_assets, query, filters, order="id")


@blueprint.get("/api/v2/assets/<asset_id>")
async def get_asset(asset_id: str) -> Response:
    number = path_integer("asset_id", asset_id)
    async with lane().connection() as conn:
        return json_answer(await api_assets.fetch_asset(conn, number, dags=auth.dags()))


@blueprint.get("/api/v2/assets/aliases")
async def list_asset_aliases() -> Response:
    query = Query()
    return await _listed("asset_aliases", api_assets.list_aliases, query, query.patterns("name"), order="id")


@blueprint.get("/api/v2/assets/aliases/<asset_alias_id>")
async def get_asset_alias(asset_alias_id: str) -> Response:
    number = path_integer("asset_alias_id", asset_alias_id)
    async with lane().connection() as conn:
        return json_answer(await api_assets.fetch_alias(conn, number, dags=auth.dags()))


@blueprint.get("/api/v2/assets/events")
async def list_asset_events() -> Response:
    query = Query()
    filters = {
        "asset_id": query.integer("asset_id"),
        "source_dag_id": query.text("source_dag_id"),
        "source_task_id": query.text("source_task_id"),
        "source_run_id": query.text("source_run_id"),
        "source_map_index": query.integer("source_map_index"),
        **query.patterns("name"),
        **query.range("timestamp"),
    }
    return await _listed("asset_events", api_assets.list_events, query, filters, order="timestamp")


class _Lists(Protocol):
    async def __call__(
        self, conn: Connection, filters: dict[str, Any], *, dags: Dags, order_by: Sequence[str], limit: int, offset: int
    ) -> tuple[list[Json], int]: ...


async def _listed(name: str, rows_of: _Lists, query: Query, filters: dict[str, Any], *, order: str) -> Response:
    """A page of what the query asks for, in this order unless it names another."""
    limit, offset = query.page()
    async with lane().connection() as conn:
        rows, total = await rows_of(
            conn, filters, dags=auth.dags(), order_by=query.order_by() or [order], limit=limit, offset=offset
        )
    return collection(name, rows, total)


@blueprint.get("/api/v2/dags/<dag_id>/dagRuns/<run_id>/upstreamAssetEvents")
async def list_upstream_asset_events(dag_id: str, run_id: str) -> Response:
    """The events that started the run, oldest first."""
    async with lane().connection() as conn:
        run = await dag_runs.fetch_dag_run(conn, dag_id, run_id)
        rows, total = await api_assets.list_events(
            conn, {"started_run": run.id}, dags=auth.dags(), order_by=["timestamp"], limit=UPSTREAM_MAX, offset=0
        )
    return collection("asset_events", rows, total)


# --- what waits for DAGs -----------------------------------------------------------------------------------------


@blueprint.get("/api/v2/assets/<asset_id>/queuedEvents")
async def list_asset_queued_events(asset_id: str) -> Response:
    return await _queued(dag_id=None, asset_id=path_integer("asset_id", asset_id))


@blueprint.get("/api/v2/dags/<dag_id>/assets/queuedEvents")
async def list_dag_queued_events(dag_id: str) -> Response:
    return await _queued(dag_id=dag_id, asset_id=None)


@blueprint.get("/api/v2/dags/<dag_id>/assets/<asset_id>/queuedEvents")
async def get_dag_queued_event(dag_id: str, asset_id: str) -> Response:
    number, before = path_integer("asset_id", asset_id), _before()
    async with lane().connection() as conn:
        rows = await api_assets.list_queued(conn, dags=auth.dags(), dag_id=dag_id, asset_id=number, before=before)
    if not rows:
        raise _none_queued(f"dag_id: `{dag_id}` and asset_id: `{number}`")
    return json_answer(rows[0])


@blueprint.delete("/api/v2/assets/<asset_id>/queuedEvents")
async def delete_asset_queued_events(asset_id: str) -> Response:
    number = path_integer("asset_id", asset_id)
    return await _delete_queued(dag_id=None, asset_id=number, what=f"asset_id: `{number}`")


@blueprint.delete("/api/v2/dags/<dag_id>/assets/queuedEvents")
async def delete_dag_queued_events(dag_id: str) -> Response:
    return await _delete_queued(dag_id=dag_id, asset_id=None, what=f"dag_id: `{dag_id}`")


@blueprint.delete("/api/v2/dags/<dag_id>/assets/<asset_id>/queuedEvents")
async def delete_dag_queued_event(dag_id: str, asset_id: str) -> Response:
    number = path_integer("asset_id", asset_id)
    what = f"dag_id: `{dag_id}` and asset_id: `{number}`"
    return await _delete_queued(dag_id=dag_id, asset_id=number, what=what)


def _before() -> datetime | None:
    query = Query()
    before = query.moment("before")
    query.check()
    return before


async def _queued(*, dag_id: str | None, asset_id: int | None) -> Response:
    before = _before()
    async with lane().connection() as conn:
        rows = await api_assets.list_queued(conn, dags=auth.dags(), dag_id=dag_id, asset_id=asset_id, before=before)
    return collection("queued_events", rows, len(rows))


async def _delete_queued(*, dag_id: str | None, asset_id: int | None, what: str) -> Response:
    before, dags = _before(), auth.dags()
    async with lane().transaction() as conn:
        if not await api_assets.delete_queued(conn, dags=dags, dag_id=dag_id, asset_id=asset_id, before=before):
            raise _none_queued(what)
        await record(conn, "delete_queued_asset_events", dag_id, extra={"asset_id": asset_id, "before": before})
    return no_content()


def _none_queued(what: str) -> NotFound:
    return NotFound(f"Queued event with {what} was not found")


# --- making ------------------------------------------------------------------------------------------------------


@blueprint.post("/api/v2/assets/events")
async def create_asset_event() -> Response:
    """The extra says that it came this way, as in Airflow."""
    body = await read_body(EventBody)
    if body.partition_key is not None:
        checked_text(body.partition_key, "partition_key", max_length=PARTITION_KEY_MAX)
    extra = json_text({**body.extra, "from_rest_api": True}, "extra", max_bytes=EXTRA_MAX_BYTES)
    now = context().now()
    async with lane().transaction() as conn:
        try:
            asset = await api_assets.fetch_asset(conn, body.asset_id, dags=auth.dags())
        except NotFound:
            raise NotFound(f"Asset with ID: `{body.asset_id}` was not found") from None
        event = NewEvent(name=asset["name"], uri=asset["uri"], extra=extra, partition_key=body.partition_key)
        waiting = await insert_events(conn, [AssetEventWrite(event=event)], now)
        for (dag_id,) in await waiting.fetchall():
            await send_hint(conn, "dag", dag_id)
        await record(conn, "create_asset_event", extra={"asset_id": body.asset_id})
        rows, _ = await api_assets.list_events(
            conn, {"asset_id": body.asset_id}, dags=auth.dags(), order_by=["-id"], limit=1, offset=0
        )
    return json_answer(rows[0])


@blueprint.post("/api/v2/assets/<asset_id>/materialize")
async def materialize_asset(asset_id: str) -> Response:
    """A run of the one DAG that makes the asset, of those that the caller may run."""
    number = path_integer("asset_id", asset_id)
    body = await read_body(MaterializeBody, none=MaterializeBody())
    async with lane().transaction() as conn:
        producers = await api_assets.list_producers(conn, number, dags=auth.dags())
        if not producers:
            raise NotFound(f"No Dag materializes asset with ID: {number}")
        if len(producers) > 1:
            raise Conflict(f"More than one Dag materializes asset with ID: {number}")
        [dag_id] = producers
        asked = asked_run(dag_id, body, context().now(), run_type=DagRunType.ASSET_MATERIALIZATION)
        run_id = await insert_asked_run(conn, asked, context().now())
        await record(conn, "materialize_asset", dag_id, run_id=run_id, extra={"asset_id": number})
        return json_answer(await api_dag_runs.fetch_dag_run_answer(conn, dag_id, run_id))
