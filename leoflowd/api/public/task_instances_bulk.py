"""Mark, note and delete many task instances in one request. Blueprint `public_task_instances_bulk`.

Each entity is one transaction, done or refused by itself: a request over many runs holds the locks of one at a time.
"""

from __future__ import annotations

import msgspec
from quart import Blueprint, Response

from leoflowd.api import auth, bulk
from leoflowd.api.bodies import read_body
from leoflowd.api.bulk import BulkBody, BulkDelete, BulkUpdate
from leoflowd.api.context import lane
from leoflowd.api.paging import every
from leoflowd.api.problems import BadRequest
from leoflowd.api.public.task_instance_changes import PatchBody, change_instances, remove_instance
from leoflowd.api.rights import ALL
from leoflowd.contract.errors import NotFound
from leoflowd.store import api_task_instances, dag_runs

blueprint = Blueprint("public_task_instances_bulk", __name__)


class BulkTaskInstanceBody(PatchBody, frozen=True, kw_only=True):
    task_id: str
    map_index: int | None = None
    """None: every one of the task."""
    dag_id: str | None = None
    dag_run_id: str | None = None


Entity = str | BulkTaskInstanceBody
Action = BulkUpdate[BulkTaskInstanceBody] | BulkDelete[BulkTaskInstanceBody]


class Place(msgspec.Struct, frozen=True):
    dag_id: str
    run_id: str
    task_id: str
    map_index: int | None

    def named(self, map_index: int) -> str:
        return f"{self.dag_id}.{self.run_id}.{self.task_id}[{map_index}]"


@blueprint.patch("/api/v2/dags/<dag_id>/dagRuns/<run_id>/taskInstances")
async def bulk_task_instances(dag_id: str, run_id: str) -> Response:
    """A BulkResponse: `dag.run.task[map_index]` of all that was changed, and an error for each entity that was not."""
    body = await read_body(BulkBody[BulkTaskInstanceBody], bulk.BODY_MAX_BYTES)

    async def change(action: Action, entity: Entity) -> list[str]:
        return await _carry_out(action, entity, _place(entity, every(dag_id), every(run_id)))

    return await bulk.carry_out_each(body, "Task instances", change)


def _place(entity: Entity, dag_id: str | None, run_id: str | None) -> Place:
    """Raises `BadRequest` where neither the path nor the entity says which run is meant."""
    if isinstance(entity, str):
        task_id, map_index = entity, None
    else:
        task_id, map_index = entity.task_id, entity.map_index
        dag_id, run_id = entity.dag_id or dag_id, entity.dag_run_id or run_id
    if dag_id is None or run_id is None or ALL in (dag_id, run_id):
        raise BadRequest(f"The path names all DAGs or runs: dag_id and dag_run_id must be given for task_id: {task_id}")
    return Place(dag_id, run_id, task_id, map_index)


async def _carry_out(action: Action, entity: Entity, place: Place) -> list[str]:
    """The names of what was changed, in one transaction. Raises `LeoflowError`: nothing was."""
    auth.check_dag(place.dag_id)
    async with lane().transaction() as conn:
        if isinstance(action, BulkUpdate):
            assert isinstance(entity, BulkTaskInstanceBody)
            changed = await change_instances(
                conn, place.dag_id, place.run_id, [place.task_id], place.map_index, entity, action.update_mask
            )
            return [place.named(one.map_index) for one in changed]
        run = await dag_runs.lock_dag_run(conn, place.dag_id, place.run_id)
        rows = [row for row in await api_task_instances.list_states(conn, [run.id]) if row.task_id == place.task_id]
        doomed = [row.map_index for row in rows if place.map_index in (None, row.map_index)]
        if not doomed:
            raise NotFound(
                f"No task instances found for {place.named(-1 if place.map_index is None else place.map_index)}"
            )
        for map_index in doomed:
            await remove_instance(conn, run, place.task_id, map_index)
        return [place.named(map_index) for map_index in doomed]
