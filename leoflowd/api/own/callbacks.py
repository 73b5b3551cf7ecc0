"""Callbacks: the list, the log of one, and running one once more. Blueprint `own_callbacks`, below `/leoflow/api`.

Airflow's API has none of them. What a callback wrote for a task stands in the log of the task's try as well.
"""

from __future__ import annotations

from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import collection, json_answer, ndjson_answer
from leoflowd.api.audit import record
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query, path_integer
from leoflowd.api.public.logs import read_whole_lines
from leoflowd.contract.errors import Conflict
from leoflowd.store import api_callbacks
from leoflowd.store.callbacks import queue_ended

blueprint = Blueprint("own_callbacks", __name__)

CALLBACKS = "/leoflow/api/callbacks"


@blueprint.get(CALLBACKS)
async def list_callbacks() -> Response:
    query = Query()
    filters = {
        **{name: query.text(name) for name in ("dag_id", "run_id", "task_id")},
        "state": query.choices("state", ("queued", "running", "success", "failed")),
    }
    limit, offset = query.page()
    order_by = query.order_by() or ["-id"]
    query.check()
    async with lane().connection() as conn:
        rows, total = await api_callbacks.list_callbacks(
            conn, filters, dags=auth.dags(), order_by=order_by, limit=limit, offset=offset
        )
    return collection("callbacks", rows, total)


@blueprint.get(f"{CALLBACKS}/<callback_id>")
async def get_callback(callback_id: str) -> Response:
    async with lane().connection() as conn:
        row = await api_callbacks.fetch_callback(conn, path_integer("callback_id", callback_id), dags=auth.dags())
    return json_answer(row)


@blueprint.get(f"{CALLBACKS}/<callback_id>/log")
async def get_callback_log(callback_id: str) -> Response:
    """NDJSON lines; of a task's callback those of the whole try, its own behind them."""
    async with lane().connection() as conn:
        row = await api_callbacks.fetch_callback(conn, path_integer("callback_id", callback_id), dags=auth.dags())
        log = await api_callbacks.log_of_callback(conn, row["dag_id"], row)
    return ndjson_answer(await read_whole_lines(context().logs, log))


@blueprint.post(f"{CALLBACKS}/<callback_id>/retry")
async def retry_callback(callback_id: str) -> Response:
    """Once more, from the beginning. Raises `Conflict` for one that has not ended."""
    number = path_integer("callback_id", callback_id)
    async with lane().transaction() as conn:
        row = await api_callbacks.fetch_callback(conn, number, dags=auth.dags())
        because = f"{auth.caller().username} asked for it once more"
        if not await queue_ended(conn, number, because=because, now=context().now()):
            raise Conflict(f"Callback `{number}` is {row['state']}: only one that has ended can be run once more")
        await record(
            conn,
            "retry_callback",
            row["dag_id"],
            run_id=row["dag_run_id"],
            task_id=row["task_id"],
            map_index=row["map_index"],
            try_number=row["try_number"],
            extra={"callback_id": number, "event": row["event"]},
        )
    return json_answer({"id": number, "state": "queued"}, 202)
