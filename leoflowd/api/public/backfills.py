"""Backfills: list, dry run, create, pause, unpause, cancel. Blueprint `public_backfills`.

The dry run and the real thing ask `store.backfills` the same; the runs themselves are made by the daemon that leads, so
that whoever asked gets an answer at once and may go away.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import collection, json_answer
from leoflowd.api.audit import record
from leoflowd.api.auth import caller
from leoflowd.api.bodies import read_body
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query, path_integer
from leoflowd.api.problems import FieldError, Unprocessable
from leoflowd.core.backfills import Asked, Reprocess
from leoflowd.store import api_backfills, backfills
from leoflowd.store.backfills import NewBackfill
from leoflowd.store.database import Connection

blueprint = Blueprint("public_backfills", __name__)

BACKFILLS = "/api/v2/backfills"
ID_MAX = 2**63 - 1


DIGITS = msgspec.Meta(pattern="^[1-9][0-9]{0,8}$")


class BackfillBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Airflow's BackfillPostBody; dates without a zone are UTC."""

    dag_id: str
    from_date: datetime
    to_date: datetime
    run_backwards: bool = False
    dag_run_conf: dict[str, Any] | None = None
    reprocess_behavior: Reprocess = Reprocess.NONE
    max_active_runs: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | Annotated[str, DIGITS] = 10
    """The UI's dialog sends what was typed into it as text, and Airflow takes it."""
    run_on_latest_version: bool = True


@blueprint.get(BACKFILLS)
async def list_backfills() -> Response:
    query = Query()
    dag_id = query.text("dag_id")
    limit, offset = query.page()
    if dag_id is None:
        raise Unprocessable(FieldError(type="missing", loc=("query", "dag_id"), msg="Field required"))
    return await backfills_page({"dag_id": dag_id}, query, limit, offset)


async def backfills_page(filters: dict[str, Any], query: Query, limit: int, offset: int) -> Response:
    """Airflow's BackfillCollectionResponse."""
    async with lane().connection() as conn:
        rows, total = await api_backfills.list_backfills(
            conn, filters, dags=auth.dags(), order_by=query.order_by(), limit=limit, offset=offset
        )
    return collection("backfills", rows, total)


@blueprint.get(f"{BACKFILLS}/<backfill_id>")
async def get_backfill(backfill_id: str) -> Response:
    async with lane().connection() as conn:
        return await _answer(conn, _id(backfill_id))


@blueprint.post(f"{BACKFILLS}/dry_run")
async def create_backfill_dry_run() -> Response:
    """Airflow's list of moments that would run, and `preview`: what they would cost."""
    new = await _read()
    async with lane().connection() as conn:
        found = await backfills.dry_run(conn, new, context().now())
    rows = [
        {
            "logical_date": slot.logical_date if slot.partition_key is None else None,
            "partition_key": slot.partition_key,
            "partition_date": slot.partition_date,
        }
        for slot in found.slots
    ]
    return json_answer({"backfills": rows, "total_entries": len(rows), "preview": found.preview})


@blueprint.post(BACKFILLS)
async def create_backfill() -> Response:
    new = await _read()
    async with lane().transaction() as conn:
        backfill_id = await backfills.insert_backfill(conn, new, context().now())
        asked = msgspec.to_builtins(new.asked)
        await record(
            conn,
            "create_backfill",
            new.dag_id,
            extra={"backfill_id": backfill_id, "max_active_runs": new.max_active_runs, **asked},
        )
        return await _answer(conn, backfill_id)


@blueprint.put(f"{BACKFILLS}/<backfill_id>/pause")
async def pause_backfill(backfill_id: str) -> Response:
    return await _set_paused(_id(backfill_id), True)


@blueprint.put(f"{BACKFILLS}/<backfill_id>/unpause")
async def unpause_backfill(backfill_id: str) -> Response:
    return await _set_paused(_id(backfill_id), False)


@blueprint.put(f"{BACKFILLS}/<backfill_id>/cancel")
async def cancel_backfill(backfill_id: str) -> Response:
    """Its queued runs fail; what runs goes on."""
    number = _id(backfill_id)
    async with lane().transaction() as conn:
        await api_backfills.fetch_backfill(conn, number, dags=auth.dags())
        because = f"backfill {number} was cancelled by {caller().username}"
        dag_id = await backfills.cancel(conn, number, now=context().now(), because=because)
        await record(conn, "cancel_backfill", dag_id, extra={"backfill_id": number})
        return await _answer(conn, number)


async def _set_paused(backfill_id: int, paused: bool) -> Response:
    async with lane().transaction() as conn:
        await api_backfills.fetch_backfill(conn, backfill_id, dags=auth.dags())
        dag_id = await backfills.set_paused(conn, backfill_id, paused, context().now())
        event = "pause_backfill" if paused else "unpause_backfill"
        await record(conn, event, dag_id, extra={"backfill_id": backfill_id})
        return await _answer(conn, backfill_id)


async def _answer(conn: Connection, backfill_id: int) -> Response:
    return json_answer(await api_backfills.fetch_backfill(conn, backfill_id, dags=auth.dags()))


async def _read() -> NewBackfill:
    """What the body asks for, by somebody who may ask it of that DAG."""
    body = await read_body(BackfillBody)
    auth.check_dag(body.dag_id)
    return NewBackfill(
        dag_id=body.dag_id,
        asked=Asked(
            from_date=_utc(body.from_date),
            to_date=_utc(body.to_date),
            reverse=body.run_backwards,
            reprocess=body.reprocess_behavior,
            conf=body.dag_run_conf,
        ),
        max_active_runs=int(body.max_active_runs),
        run_on_latest_version=body.run_on_latest_version,
        user=caller().username,
    )


def _id(raw: str) -> int:
    number = path_integer("backfill_id", raw)
    if not 0 <= number <= ID_MAX:
        message = "Input should be a number of a backfill"
        raise Unprocessable(FieldError(type="value_error", loc=("path", "backfill_id"), msg=message, input=raw))
    return number


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
