"""XCom entries. Blueprint `public_xcoms`. Lists carry no values; one entry comes native or as text."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import collection, json_answer, no_content
from leoflowd.api.audit import record
from leoflowd.api.bodies import read_body
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query, every
from leoflowd.core.xcom_display import CLASS, readable
from leoflowd.store import api_task_instances, api_xcoms, dag_runs
from leoflowd.store.api_xcoms import XComKey
from leoflowd.store.database import Connection

blueprint = Blueprint("public_xcoms", __name__)

TASK = "/api/v2/dags/<dag_id>/dagRuns/<run_id>/taskInstances/<task_id>"
ENTRY = f"{TASK}/xcomEntries/<path:xcom_key>"
"""`path:` because a key may hold a slash."""
KEY_MAX = 512
"""Characters; the table's."""
ORDER = ("dag_id", "task_id", "run_id", "map_index", "key")


class XComCreateBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=KEY_MAX)]
    value: Any
    map_index: int = -1


class XComUpdateBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    value: Any
    map_index: int = -1


@blueprint.get(f"{TASK}/xcomEntries")
async def list_xcom_entries(dag_id: str, run_id: str, task_id: str) -> Response:
    query = Query()
    map_index = query.integer("map_index", minimum=-1)
    filters = {
        "dag_id": every(dag_id),
        "run_id": every(run_id),
        "task_id": every(task_id),
        "key": query.text("xcom_key"),
        "map_index": query.integer("map_index_filter") if map_index is None else map_index,
        **query.patterns("xcom_key"),
        **query.patterns("dag_display_name"),
        **query.patterns("run_id"),
        **query.patterns("task_id"),
        **query.range("logical_date"),
        **query.range("run_after"),
    }
    limit, offset = query.page()
    async with lane().connection() as conn:
        if every(dag_id) is not None and every(run_id) is not None:
            await dag_runs.fetch_dag_run(conn, dag_id, run_id)
        rows, total = await api_xcoms.list_xcoms(
            conn, filters, dags=auth.dags(), order_by=query.order_by() or ORDER, limit=limit, offset=offset
        )
    return collection("xcom_entries", rows, total)


@blueprint.get(ENTRY)
async def get_xcom_entry(dag_id: str, run_id: str, task_id: str, xcom_key: str) -> Response:
    query = Query()
    stringify, deserialize = query.boolean("stringify", False), query.boolean("deserialize", False)
    key = _key(query, dag_id, run_id, task_id, xcom_key)
    async with lane().connection() as conn:
        return json_answer(await _with_value(conn, key, stringify=bool(stringify), deserialize=bool(deserialize)))


@blueprint.post(f"{TASK}/xcomEntries")
async def create_xcom_entry(dag_id: str, run_id: str, task_id: str) -> Response:
    body = await read_body(XComCreateBody)
    key = XComKey(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=body.map_index, key=body.key)
    async with lane().transaction() as conn:
        run = await dag_runs.lock_dag_run(conn, dag_id, run_id)
        await api_task_instances.fetch_task_instance(conn, dag_id, run_id, task_id, body.map_index)
        await api_xcoms.insert_xcom(conn, run.id, key, body.value, context().now())
        await _record(conn, "create_xcom_entry", key)
        return json_answer(await _with_value(conn, key), 201)


@blueprint.patch(ENTRY)
async def update_xcom_entry(dag_id: str, run_id: str, task_id: str, xcom_key: str) -> Response:
    body = await read_body(XComUpdateBody)
    key = XComKey(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=body.map_index, key=xcom_key)
    async with lane().transaction() as conn:
        run = await dag_runs.lock_dag_run(conn, dag_id, run_id)
        await api_xcoms.update_xcom(conn, run.id, key, body.value, context().now())
        await _record(conn, "update_xcom_entry", key)
        return json_answer(await _with_value(conn, key))


@blueprint.delete(ENTRY)
async def delete_xcom_entry(dag_id: str, run_id: str, task_id: str, xcom_key: str) -> Response:
    key = _key(Query(), dag_id, run_id, task_id, xcom_key)
    async with lane().transaction() as conn:
        run = await dag_runs.lock_dag_run(conn, dag_id, run_id)
        await api_xcoms.delete_xcom(conn, run.id, key)
        await _record(conn, "delete_xcom_entry", key)
    return no_content()


def _key(query: Query, dag_id: str, run_id: str, task_id: str, xcom_key: str) -> XComKey:
    map_index = query.integer("map_index", -1)
    query.check()
    assert map_index is not None
    return XComKey(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index, key=xcom_key)


async def _with_value(
    conn: Connection, key: XComKey, *, stringify: bool = False, deserialize: bool = False
) -> dict[str, Any]:
    row = await api_xcoms.fetch_xcom(conn, key)
    found = await api_xcoms.fetch_xcom_value(conn, key.dag_id, key.run_id, key.task_id, key.map_index, key.key)
    text = "null" if found is None else found
    if deserialize and CLASS in text:
        text = msgspec.json.encode(readable(msgspec.json.decode(text))).decode()
    return row | {"value": _as_text(text) if stringify else msgspec.Raw(text.encode())}


def _as_text(document: str) -> str | None:
    """A string as it is, everything else as its JSON."""
    value = msgspec.json.decode(document)
    return value if value is None or isinstance(value, str) else document


async def _record(conn: Connection, event: str, key: XComKey) -> None:
    await record(
        conn,
        event,
        key.dag_id,
        run_id=key.run_id,
        task_id=key.task_id,
        map_index=key.map_index,
        extra={"key": key.key},
    )
