"""Dag runs: lists in both paging modes, trigger, mark, note, clear, delete, wait. Blueprint `public_dag_runs`."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from quart import Blueprint, Response, request

from leoflowd.api import auth
from leoflowd.api.answers import collection, json_answer, no_content
from leoflowd.api.audit import record
from leoflowd.api.auth import SessionWatch, caller
from leoflowd.api.bodies import read_body
from leoflowd.api.bulk import StrictBody
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query, check_all, cursor_collection, decode_cursor, every
from leoflowd.api.problems import FieldError, Unprocessable
from leoflowd.api.streaming import LineStream
from leoflowd.contract.states import DagRunState, DagRunType, TaskInstanceState, TriggeredBy
from leoflowd.core import selection
from leoflowd.store import api_dag_runs, api_dags, api_task_instances, api_xcoms, dag_runs, dags, task_instances
from leoflowd.store.asked_runs import AskedRun, insert_asked_run
from leoflowd.store.database import Connection

blueprint = Blueprint("public_dag_runs", __name__)

RANGES = ("run_after", "logical_date", "start_date", "end_date", "updated_at")
WAIT_INTERVAL_MIN_S = 0.5
NOTE_MAX = 1000

Note = Annotated[str, msgspec.Meta(max_length=NOTE_MAX)]


class TriggerBody(StrictBody, frozen=True, kw_only=True):
    logical_date: datetime | None
    dag_run_id: str | None = None
    data_interval_start: datetime | None = None
    data_interval_end: datetime | None = None
    run_after: datetime | None = None
    conf: dict[str, Any] | None = None
    note: Note | None = None
    partition_key: str | None = None


class DagRunPatchBody(StrictBody, frozen=True, kw_only=True):
    state: Literal["queued", "success", "failed"] | msgspec.UnsetType | None = msgspec.UNSET
    note: Note | msgspec.UnsetType | None = msgspec.UNSET


class DagRunClearBody(StrictBody, frozen=True, kw_only=True):
    dry_run: bool = True
    only_failed: bool = False
    only_new: bool = False
    run_on_latest_version: bool = False
    note: Note | None = None
    """Of the run."""


class DagRunsBatchBody(StrictBody, frozen=True, kw_only=True):
    order_by: str | None = None
    page_offset: Annotated[int, msgspec.Meta(ge=0)] = 0
    page_limit: Annotated[int, msgspec.Meta(ge=0)] = 100
    dag_ids: list[str] | None = None
    states: list[DagRunState | None] | None = None
    run_after_gte: datetime | None = None
    run_after_gt: datetime | None = None
    run_after_lte: datetime | None = None
    run_after_lt: datetime | None = None
    logical_date_gte: datetime | None = None
    logical_date_gt: datetime | None = None
    logical_date_lte: datetime | None = None
    logical_date_lt: datetime | None = None
    start_date_gte: datetime | None = None
    start_date_gt: datetime | None = None
    start_date_lte: datetime | None = None
    start_date_lt: datetime | None = None
    end_date_gte: datetime | None = None
    end_date_gt: datetime | None = None
    end_date_lte: datetime | None = None
    end_date_lt: datetime | None = None
    duration_gte: float | None = None
    duration_gt: float | None = None
    duration_lte: float | None = None
    duration_lt: float | None = None
    conf_contains: str | None = None


# --- reading -----------------------------------------------------------------------------------------------------


@blueprint.get("/api/v2/dags/<dag_id>/dagRuns")
async def list_dag_runs(dag_id: str) -> Response:
    query = Query()
    query.refuse("partition_date_gte", "partition_date_lte")
    filters = {"dag_id": every(dag_id), **_filters(query)}
    limit, offset = query.page()
    order_by = query.order_by() or ["id"]
    query.check()
    token = query.text("cursor")
    async with lane().connection() as conn:
        if every(dag_id) is not None:
            await api_dags.fetch_dag(conn, dag_id)
        if token is not None:
            page = await api_dag_runs.list_dag_runs_from(
                conn, filters, dags=auth.dags(), order_by=order_by, limit=limit, cursor=decode_cursor(token)
            )
            return cursor_collection("dag_runs", page)
        rows, total = await api_dag_runs.list_dag_runs(
            conn, filters, dags=auth.dags(), order_by=order_by, limit=limit, offset=offset
        )
    return json_answer({"dag_runs": rows, "total_entries": total, "next_cursor": None, "previous_cursor": None})


@blueprint.post("/api/v2/dags/<dag_id>/dagRuns/list")
async def list_dag_runs_batch(dag_id: str) -> Response:
    check_all(dag_id=dag_id)
    body = await read_body(DagRunsBatchBody)
    filters = msgspec.structs.asdict(body)
    filters["state"] = None if body.states is None else [state and state.value for state in body.states]
    del filters["states"]
    limit, offset = filters.pop("page_limit"), filters.pop("page_offset")
    order_by = filters.pop("order_by")
    async with lane().connection() as conn:
        rows, total = await api_dag_runs.list_dag_runs(
            conn,
            filters,
            dags=auth.dags(),
            order_by=[order_by] if order_by else ["id"],
            limit=min(limit or 50, 100),
            offset=offset,
        )
    return json_answer({"dag_runs": rows, "total_entries": total, "next_cursor": None, "previous_cursor": None})


@blueprint.get("/api/v2/dags/<dag_id>/dagRuns/<run_id>")
async def get_dag_run(dag_id: str, run_id: str) -> Response:
    async with lane().connection() as conn:
        return json_answer(await api_dag_runs.fetch_dag_run_answer(conn, dag_id, run_id))


@blueprint.get("/api/v2/dags/<dag_id>/dagRuns/<run_id>/wait")
async def wait_dag_run(dag_id: str, run_id: str) -> Response:
    """One `{"state": ...}` line per look until the run is over; the last one has `results` for each `result=<task_id>`.

    Ends without it when the session ends that asked.

    Without a Content-Type, like the reference: with one, Airflow's Python client refuses the answer.
    """
    query = Query()
    interval = query.number("interval")
    query.check()
    if interval is None or interval <= 0:
        raise Unprocessable(
            FieldError(
                type="greater_than", loc=("query", "interval"), msg="Input should be greater than 0", input=interval
            )
        )
    task_ids = query.texts("result") or []
    async with lane().connection() as conn:
        await dag_runs.fetch_dag_run(conn, dag_id, run_id)
    is_over, watch = False, SessionWatch()

    async def next_line(first: bool) -> bytes | None:
        nonlocal is_over
        if is_over:
            return None
        if not first and not await watch.sleep(max(interval, WAIT_INTERVAL_MIN_S)):
            return None
        line, is_over = await _state_line(dag_id, run_id, task_ids)
        return line

    # the context of the request is gone while the answer streams, so the line reader holds on to the lane
    return LineStream(next_line).answer()


# --- changing ----------------------------------------------------------------------------------------------------


@blueprint.post("/api/v2/dags/<dag_id>/dagRuns")
async def trigger_dag_run(dag_id: str) -> Response:
    body = await read_body(TriggerBody)
    now = context().now()
    asked = asked_run(dag_id, body, now)
    async with lane().transaction() as conn:
        run_id = await insert_asked_run(conn, asked, now)
        await record(conn, "trigger_dag_run", dag_id, run_id=run_id, logical_date=asked.logical_date, extra=body)
        return json_answer(await api_dag_runs.fetch_dag_run_answer(conn, dag_id, run_id))


def asked_run(dag_id: str, body: TriggerBody, now: datetime, *, run_type: DagRunType = DagRunType.MANUAL) -> AskedRun:
    """The run that the body asks for. Raises `Unprocessable`."""
    logical_date = None if body.logical_date is None else _utc("logical_date", body.logical_date)
    run_after = now if body.run_after is None else _utc("run_after", body.run_after)
    if (body.data_interval_start is None) != (body.data_interval_end is None):
        message = "Either both data_interval_start and data_interval_end must be provided or both must be None"
        raise Unprocessable(FieldError(type="value_error", loc=("body",), msg=f"Value error, {message}"))
    interval = None
    if body.data_interval_start is not None and body.data_interval_end is not None:
        interval = (
            _utc("data_interval_start", body.data_interval_start),
            _utc("data_interval_end", body.data_interval_end),
        )
    return AskedRun(
        dag_id=dag_id,
        run_type=run_type,
        run_id=body.dag_run_id or None,
        unique=secrets.token_hex(4),
        logical_date=logical_date,
        data_interval=interval,
        run_after=run_after,
        conf=body.conf,
        note=body.note,
        triggered_by=TriggeredBy.UI if request.headers.get("Referer") else TriggeredBy.REST_API,
        triggering_user_name=caller().username,
        partition_key=body.partition_key,
    )


@blueprint.patch("/api/v2/dags/<dag_id>/dagRuns/<run_id>")
async def patch_dag_run(dag_id: str, run_id: str) -> Response:
    """Mark the run, or write its note."""
    mask = Query().mask("update_mask", DagRunPatchBody)
    body = await read_body(DagRunPatchBody)
    async with lane().transaction() as conn:
        await change_run(conn, dag_id, run_id, body, mask)
        return json_answer(await api_dag_runs.fetch_dag_run_answer(conn, dag_id, run_id))


async def change_run(
    conn: Connection, dag_id: str, run_id: str, body: DagRunPatchBody, mask: Collection[str] | None
) -> None:
    """In a transaction that locks no other run. Raises `NotFound`."""
    changes = {
        name: getattr(body, name)
        for name in DagRunPatchBody.__struct_fields__
        if getattr(body, name) is not msgspec.UNSET and (mask is None or name in mask)
    }
    now = context().now()
    run = await dag_runs.lock_dag_run(conn, dag_id, run_id)
    if changes.get("state") is not None:
        because = f"marked {changes['state']} by {caller().username}"
        await dag_runs.mark_dag_run(conn, run.id, DagRunState(changes["state"]), now=now, because=because)
    if "note" in changes:
        await dag_runs.set_dag_run_note(conn, run.id, changes["note"], now)
    await record(conn, "patch_dag_run", dag_id, run_id=run_id, logical_date=run.logical_date, extra=changes)


@blueprint.delete("/api/v2/dags/<dag_id>/dagRuns/<run_id>")
async def delete_dag_run(dag_id: str, run_id: str) -> Response:
    async with lane().transaction() as conn:
        await remove_run(conn, dag_id, run_id)
    return no_content()


async def remove_run(conn: Connection, dag_id: str, run_id: str) -> None:
    """As `change_run`."""
    run = await dag_runs.lock_dag_run(conn, dag_id, run_id)
    await dag_runs.delete_dag_run(conn, run.id)
    await record(conn, "delete_dag_run", dag_id, run_id=run_id, logical_date=run.logical_date)


@blueprint.post("/api/v2/dags/<dag_id>/dagRuns/<run_id>/clear")
async def clear_dag_run(dag_id: str, run_id: str) -> Response:
    """A dry run (the default) answers what would be cleared, the real thing the dag run."""
    body = await read_body(DagRunClearBody)
    check_clear(body)
    async with lane().transaction() as conn:
        if body.dry_run:
            rows = await list_cleared(conn, dag_id, run_id, body)
            return collection("task_instances", rows, len(rows))
        await clear_run(conn, dag_id, run_id, body)
        return json_answer(await api_dag_runs.fetch_dag_run_answer(conn, dag_id, run_id))


def check_clear(body: DagRunClearBody) -> None:
    """Raises `Unprocessable`."""
    if body.only_new and body.only_failed:
        message = "Value error, only_new and only_failed are mutually exclusive"
        raise Unprocessable(FieldError(type="value_error", loc=("body",), msg=message))


async def list_cleared(conn: Connection, dag_id: str, run_id: str, body: DagRunClearBody) -> list[dict[str, Any]]:
    """What `clear_run` would clear: task instances, or with `only_new` tasks. Raises `NotFound`."""
    run = await dag_runs.fetch_dag_run(conn, dag_id, run_id)
    states = await api_task_instances.list_states(conn, [run.id])
    if body.only_new:
        return _new_tasks(await dags.fetch_version(conn, dag_id), {state.task_id for state in states})
    chosen = [(run.id, s.task_id, s.map_index) for s in states if _clears(body, TaskInstanceState(s.state or "none"))]
    return await api_task_instances.list_touched(conn, chosen)


async def clear_run(conn: Connection, dag_id: str, run_id: str, body: DagRunClearBody) -> None:
    """As `change_run`."""
    run = await dag_runs.lock_dag_run(conn, dag_id, run_id)
    latest = await dags.fetch_version(conn, dag_id)
    states = await api_task_instances.list_states(conn, [run.id])
    await task_instances.clear_instances(
        conn,
        run.id,
        [(s.task_id, s.map_index) for s in states if _clears(body, TaskInstanceState(s.state or "none"))],
        now=context().now(),
        because=f"cleared by {caller().username}",
        reset_dag_run=True,
        version=latest if body.run_on_latest_version or body.only_new else None,
    )
    if body.note is not None:
        await dag_runs.set_dag_run_note(conn, run.id, body.note, context().now())
    await record(conn, "clear_dag_run", dag_id, run_id=run_id, logical_date=run.logical_date, extra=body)


def _clears(body: DagRunClearBody, state: TaskInstanceState) -> bool:
    return not body.only_new and (not body.only_failed or state in selection.ONLY_FAILED)


def _new_tasks(latest: dags.VersionRow, known: set[str]) -> list[dict[str, Any]]:
    return [
        {"task_id": task.task_id, "task_display_name": task.task_display_name or task.task_id}
        for task in sorted(latest.spec.tasks, key=lambda task: task.task_id)
        if task.task_id not in known
    ]


def _filters(query: Query) -> dict[str, Any]:
    filters: dict[str, Any] = {
        "state": query.texts("state"),
        "run_type": query.texts("run_type"),
        "dag_version": query.integers("dag_version"),
        "bundle_version": query.text("bundle_version"),
        "conf_contains": query.text("conf_contains") or None,
        **query.patterns("run_id"),
        **query.patterns("dag_id"),
        **query.patterns("triggering_user_name"),
        **query.number_range("duration"),
        **query.patterns("partition_key"),
        "consuming_asset_ilike": query.patterns("consuming_asset")["consuming_asset_ilike"],
    }
    for name in RANGES:
        filters |= query.range(name)
    return filters


def _utc(name: str, value: datetime) -> datetime:
    if value.tzinfo is None:
        raise Unprocessable(
            FieldError(
                type="timezone_aware",
                loc=("body", name),
                msg="Input should have timezone info",
                input=value.isoformat(),
            )
        )
    return value.astimezone(UTC)


async def _state_line(dag_id: str, run_id: str, task_ids: list[str]) -> tuple[bytes, bool]:
    async with lane().connection() as conn:
        run = await dag_runs.fetch_dag_run(conn, dag_id, run_id)
        is_over = run.state in ("success", "failed")
        line: dict[str, Any] = {"state": run.state}
        if is_over and task_ids:
            line["results"] = {task_id: await _result(conn, dag_id, run_id, task_id) for task_id in task_ids}
    return msgspec.json.encode(line) + b"\n", is_over


async def _result(conn: Connection, dag_id: str, run_id: str, task_id: str) -> msgspec.Raw | None:
    found = await api_xcoms.fetch_xcom_value(conn, dag_id, run_id, task_id, -1, "return_value")
    return None if found is None else msgspec.Raw(found.encode())
