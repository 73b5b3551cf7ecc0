"""Mark, note, clear and delete many dag runs in one request, as the UI asks since Airflow 3.3. Blueprint
`public_dag_runs_bulk`.

Each run is one transaction: a request over many holds the locks of one at a time (ADR 22).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from quart import Blueprint, Response

from leoflowd.api import auth, bulk
from leoflowd.api.answers import collection
from leoflowd.api.bodies import read_body
from leoflowd.api.bulk import BulkBody, BulkDelete, BulkUpdate
from leoflowd.api.context import lane
from leoflowd.api.problems import BadRequest
from leoflowd.api.public import dag_runs as one_run
from leoflowd.api.public.dag_runs import DagRunClearBody, DagRunPatchBody
from leoflowd.api.rights import ALL
from leoflowd.store import api_dag_runs, dag_runs

blueprint = Blueprint("public_dag_runs_bulk", __name__)

PARTITIONS = ("partition_key", "partition_date_start", "partition_date_end")


class BulkDagRunBody(DagRunPatchBody, frozen=True, kw_only=True):
    dag_run_id: str
    dag_id: str | None = None


Entity = str | BulkDagRunBody
Action = BulkUpdate[BulkDagRunBody] | BulkDelete[BulkDagRunBody]


class ClearDagRunsBody(DagRunClearBody, frozen=True, kw_only=True):
    dag_runs: list[BulkDagRunBody] = []
    partition_key: str | None = None
    partition_date_start: datetime | None = None
    partition_date_end: datetime | None = None


@blueprint.patch("/api/v2/dags/<dag_id>/dagRuns")
async def bulk_dag_runs(dag_id: str) -> Response:
    """A BulkResponse: `dag.run` of all that was changed, and an error for each entity that was not."""
    body = await read_body(BulkBody[BulkDagRunBody], bulk.BODY_MAX_BYTES)

    async def change(action: Action, entity: Entity) -> list[str]:
        dag, run_id = _place(dag_id, entity)
        auth.check_dag(dag)
        async with lane().transaction() as conn:
            if isinstance(action, BulkUpdate):
                assert isinstance(entity, BulkDagRunBody)
                await one_run.change_run(conn, dag, run_id, entity, action.update_mask)
            else:
                await one_run.remove_run(conn, dag, run_id)
        return [f"{dag}.{run_id}"]

    return await bulk.carry_out_each(body, "Dag runs", change)


@blueprint.post("/api/v2/dags/<dag_id>/clearDagRuns")
async def clear_dag_runs(dag_id: str) -> Response:
    """A dry run (the default) answers what would be cleared, the real thing the dag runs. That all of them are there
    is seen before the first is cleared."""
    body = await read_body(ClearDagRunsBody)
    one_run.check_clear(body)
    places = _places(dag_id, body)
    for dag, _ in places:
        auth.check_dag(dag)
    rows: list[dict[str, Any]] = []
    async with lane().connection() as conn:
        for dag, run_id in places:
            await dag_runs.fetch_dag_run(conn, dag, run_id)
            rows += await one_run.list_cleared(conn, dag, run_id, body) if body.dry_run else ()
    if body.dry_run:
        return collection("task_instances", rows, len(rows))
    own = DagRunClearBody(**{name: getattr(body, name) for name in DagRunClearBody.__struct_fields__})
    for dag, run_id in places:
        async with lane().transaction() as conn:
            await one_run.clear_run(conn, dag, run_id, own)  # its row of the audit log names no other runs
            rows.append(await api_dag_runs.fetch_dag_run_answer(conn, dag, run_id))
    return collection("dag_runs", rows, len(rows))


def _places(dag_id: str, body: ClearDagRunsBody) -> tuple[tuple[str, str], ...]:
    """(dag_id, run_id), each once. Raises `BadRequest`."""
    if any(getattr(body, name) is not None for name in PARTITIONS):
        raise BadRequest(f"{', '.join(PARTITIONS)} are not there yet: name the dag runs of the partitions in dag_runs")
    if not body.dag_runs:
        raise BadRequest("dag_runs is empty: name the dag runs that are to be cleared")
    return tuple(dict.fromkeys(_each(dag_id, body.dag_runs)))


def _each(dag_id: str, entities: Sequence[BulkDagRunBody]) -> Iterator[tuple[str, str]]:
    for entity in entities:
        if entity.state is not msgspec.UNSET or entity.note is not msgspec.UNSET:
            raise BadRequest("An entry of dag_runs has only dag_run_id and dag_id here; a note is the body's")
        yield _place(dag_id, entity)


def _place(dag_id: str, entity: Entity) -> tuple[str, str]:
    """Raises `BadRequest` where path and entity do not say together which DAG is meant."""
    run_id, named = (entity, None) if isinstance(entity, str) else (entity.dag_run_id, entity.dag_id)
    if dag_id == ALL:
        if named in (None, ALL):
            raise BadRequest(f"The path names all DAGs: dag_id must be given for dag_run_id: {run_id}")
        return str(named), run_id
    if named not in (None, dag_id):
        raise BadRequest(f"Entry dag_id {named!r} does not match the URL dag_id {dag_id!r}.")
    return dag_id, run_id
