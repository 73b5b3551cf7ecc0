"""Clear, mark, note and delete task instances. Blueprint `public_task_instance_changes`.

`core.selection` decides what a request touches; a dry run answers exactly that, the real thing then does it, in one
transaction that locks the dag runs first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from quart import Blueprint, Response

from leoflowd.api.answers import json_answer
from leoflowd.api.audit import record
from leoflowd.api.auth import caller
from leoflowd.api.bodies import read_body
from leoflowd.api.bulk import StrictBody
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query, path_integer
from leoflowd.api.problems import BadRequest
from leoflowd.contract.errors import Conflict, Invalid, NotFound
from leoflowd.contract.states import TaskInstanceState
from leoflowd.core import selection
from leoflowd.core.group_tree import list_group_members
from leoflowd.core.selection import Instance
from leoflowd.store import api_task_instances, dag_runs, dags, task_instances
from leoflowd.store.dag_runs import DagRunRow
from leoflowd.store.database import Connection

blueprint = Blueprint("public_task_instance_changes", __name__)

TASK = "/api/v2/dags/<dag_id>/dagRuns/<run_id>/taskInstances/<task_id>"
GROUP = "/api/v2/dags/<dag_id>/dagRuns/<run_id>/taskGroupInstances/<group_id>"


Note = Annotated[str, msgspec.Meta(max_length=1000)]


class ClearBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    dry_run: bool = True
    start_date: datetime | None = None
    end_date: datetime | None = None
    only_failed: bool | msgspec.UnsetType = msgspec.UNSET
    """True if it is left out, also beside `only_running`: then either of the two."""
    only_running: bool = False
    reset_dag_runs: bool = True
    task_ids: list[str | tuple[str, int]] | None = None
    dag_run_id: str | None = None
    include_upstream: bool = False
    include_downstream: bool = False
    include_future: bool = False
    include_past: bool = False
    run_on_latest_version: bool = False
    prevent_running_task: bool = False
    note: Note | None = None
    """For each that is cleared."""


class PatchBody(StrictBody, frozen=True, kw_only=True):
    new_state: Literal["success", "failed", "skipped"] | msgspec.UnsetType | None = msgspec.UNSET
    note: Note | msgspec.UnsetType | None = msgspec.UNSET
    include_upstream: bool = False
    include_downstream: bool = False
    include_future: bool = False
    include_past: bool = False


# --- clear -------------------------------------------------------------------------------------------------------


@blueprint.post("/api/v2/dags/<dag_id>/clearTaskInstances")
async def clear_task_instances(dag_id: str) -> Response:
    """A dry run is the default, and only failed ones are: Airflow's defaults, which the UI overrides."""
    body = await read_body(ClearBody)
    _check_clear(body)
    async with lane().transaction() as conn:
        version = await dags.fetch_version(conn, dag_id)
        run_ids = await _runs_to_clear(conn, dag_id, body)
        if body.dag_run_id is not None:
            run = await dag_runs.fetch_dag_run(conn, dag_id, body.dag_run_id)
            version = await dags.fetch_version_by_id(conn, run.dag_version_id)
        if not body.dry_run:
            run_ids = [run.run_id for run in await dag_runs.lock_dag_runs(conn, dag_id, run_ids)]
        shape = dags.shape_of_version(version.id, version.spec)
        chosen = selection.to_clear(
            await _instances(conn, dag_id, run_ids),
            selection.with_scopes(
                shape,
                selection.select_tasks(
                    shape, body.task_ids, upstream=body.include_upstream, downstream=body.include_downstream
                ),
            ),
            only_failed=body.only_failed is not False,
            only_running=body.only_running,
        )
        if not body.dry_run:
            live = selection.first_live(chosen) if body.prevent_running_task else None
            if live is not None:
                raise Conflict(
                    "AirflowClearRunningTaskException: Disable 'prevent_running_task' to proceed, or wait until the "
                    f"task is not running, queued, or scheduled state ({live.task_id} is {live.state})."
                )
            await _clear(conn, dag_id, chosen, reset_dag_run=body.reset_dag_runs, latest=body.run_on_latest_version)
            if body.note is not None:
                await _note(conn, chosen, body.note)
            await record(conn, "clear_task_instances", dag_id, run_id=body.dag_run_id, extra=body)
        return await _answer(conn, chosen)


def _check_clear(body: ClearBody) -> None:
    """What Airflow refuses because the fields contradict each other. Raises `Invalid`."""
    since, until = _utc(body.start_date), _utc(body.end_date)
    if body.only_failed is True and body.only_running:
        fault = "only_failed and only_running both are set to True"
    elif since is not None and until is not None and since > until:
        fault = "end_date is sooner than start_date"
    elif body.dag_run_id is not None and (since is not None or until is not None):
        fault = "Exactly one of dag_run_id or (start_date and end_date) must be provided"
    elif body.task_ids is not None and not body.task_ids:
        fault = "task_ids list should have at least 1 element."
    else:
        return
    raise Invalid(fault, location=("body",))


async def _runs_to_clear(conn: Connection, dag_id: str, body: ClearBody) -> list[str]:
    """run_ids, oldest first: the one run, or what lies before or after it, or all between two dates."""
    since, until = _utc(body.start_date), _utc(body.end_date)
    if body.dag_run_id is not None:
        run = await _run(conn, dag_id, body.dag_run_id)
        if not (body.include_past or body.include_future):
            return [run.run_id]
        if run.logical_date is None:
            raise BadRequest(
                "Cannot use include_past or include_future with no logical_date(e.g. manually or asset-triggered)."
            )
        since = until = run.logical_date
    around = await api_task_instances.list_runs_around(
        conn, dag_id, since=None if body.include_past else since, until=None if body.include_future else until
    )
    return [run.run_id for run in around]


async def _clear(
    conn: Connection, dag_id: str, chosen: Iterable[Instance], *, reset_dag_run: bool, latest: bool
) -> None:
    version = await dags.fetch_version(conn, dag_id) if latest else None
    await task_instances.clear_in_runs(
        conn,
        _by_run(chosen),
        now=context().now(),
        because=f"cleared by {caller().username}",
        reset_dag_run=reset_dag_run,
        version=version,
    )


# --- mark and note -----------------------------------------------------------------------------------------------


@blueprint.patch(TASK)
async def patch_task_instance(dag_id: str, run_id: str, task_id: str) -> Response:
    query = Query()
    map_index = query.integer("map_index")
    query.check()
    return await _patch(dag_id, run_id, task_id, map_index, dry_run=False)


@blueprint.patch(f"{TASK}/<map_index>")
async def patch_mapped_task_instance(dag_id: str, run_id: str, task_id: str, map_index: str) -> Response:
    return await _patch(dag_id, run_id, task_id, path_integer("map_index", map_index), dry_run=False)


@blueprint.patch(f"{TASK}/dry_run")
async def dry_run_patch(dag_id: str, run_id: str, task_id: str) -> Response:
    query = Query()
    map_index = query.integer("map_index")
    query.check()
    return await _patch(dag_id, run_id, task_id, map_index, dry_run=True)


@blueprint.patch(f"{TASK}/<map_index>/dry_run")
async def dry_run_patch_mapped(dag_id: str, run_id: str, task_id: str, map_index: str) -> Response:
    return await _patch(dag_id, run_id, task_id, path_integer("map_index", map_index), dry_run=True)


async def _patch(dag_id: str, run_id: str, task_id: str, map_index: int | None, *, dry_run: bool) -> Response:
    """`map_index` None = every map index of the task. A dry run answers what a mark would change."""
    body = await read_body(PatchBody)
    mask = Query().mask("update_mask", PatchBody)
    async with lane().transaction() as conn:
        changed = await change_instances(conn, dag_id, run_id, [task_id], map_index, body, mask, dry_run=dry_run)
        return await _answer(conn, changed)


@blueprint.patch(GROUP)
async def patch_task_group(dag_id: str, run_id: str, group_id: str) -> Response:
    """Marks or notes all task instances of a group, those of its groups included."""
    return await _patch_group(dag_id, run_id, group_id, dry_run=False)


@blueprint.patch(f"{GROUP}/dry_run")
async def dry_run_patch_group(dag_id: str, run_id: str, group_id: str) -> Response:
    return await _patch_group(dag_id, run_id, group_id, dry_run=True)


async def _patch_group(dag_id: str, run_id: str, group_id: str, *, dry_run: bool) -> Response:
    body = await read_body(PatchBody)
    mask = Query().mask("update_mask", PatchBody)
    async with lane().transaction() as conn:
        run = await dag_runs.fetch_dag_run(conn, dag_id, run_id)
        version = await dags.fetch_version_by_id(conn, run.dag_version_id)
        task_ids = [task_id for group, task_id in list_group_members(version.spec) if group == group_id]
        if not task_ids:
            raise NotFound(f"Task group '{group_id}' not found in DAG '{dag_id}'")
        changed = await change_instances(conn, dag_id, run_id, task_ids, None, body, mask, dry_run=dry_run)
        return await _answer(conn, changed)


async def change_instances(
    conn: Connection,
    dag_id: str,
    run_id: str,
    task_ids: Sequence[str],
    map_index: int | None,
    body: PatchBody,
    mask: Collection[str] | None,
    *,
    dry_run: bool = False,
) -> Sequence[Instance]:
    """What was marked or noted, or with `dry_run` would be marked. Raises `NotFound` when there is no such instance."""
    state = _asked(body.new_state, "new_state", mask)
    note = _asked(body.note, "note", mask)
    run = await dag_runs.fetch_dag_run(conn, dag_id, run_id)
    run_ids = await _runs_to_mark(conn, run, body) if isinstance(state, str) else [run_id]
    if not dry_run:
        run_ids = [locked.run_id for locked in await dag_runs.lock_dag_runs(conn, dag_id, run_ids)]
    own = [
        i
        for i in await _instances(conn, dag_id, [run_id])
        if i.task_id in task_ids and map_index in (None, i.map_index)
    ]
    named = ", ".join(task_ids)
    if not own:
        raise NotFound(
            f"The Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}`, task_id: `{named}` and "
            f"map_index: `{map_index}` was not found"
        )
    touched: Sequence[Instance] = own
    if isinstance(state, str):
        touched = await _mark(conn, run, run_ids, body, task_ids, map_index, TaskInstanceState(state), dry_run=dry_run)
    if dry_run:
        return touched if isinstance(state, str) else []
    if note is not msgspec.UNSET:
        await _note(conn, own, note)
    await record(conn, "patch_task_instance", dag_id, run_id=run_id, task_id=named, map_index=map_index, extra=body)
    return touched or own


def _asked(value: Any, name: str, mask: Collection[str] | None) -> Any:
    return value if mask is None or name in mask else msgspec.UNSET


async def _mark(
    conn: Connection,
    run: DagRunRow,
    run_ids: Sequence[str],
    body: PatchBody,
    task_ids: Sequence[str],
    map_index: int | None,
    state: TaskInstanceState,
    *,
    dry_run: bool,
) -> tuple[Instance, ...]:
    """Set the state, then let what had failed because of it go on, as Airflow does."""
    version = await dags.fetch_version_by_id(conn, run.dag_version_id)
    shape = dags.shape_of_version(version.id, version.spec)
    instances = await _instances(conn, run.dag_id, run_ids)
    named: list[str | tuple[str, int]] = [one if map_index is None else (one, map_index) for one in task_ids]
    chosen = selection.select_tasks(shape, named, upstream=body.include_upstream, downstream=body.include_downstream)
    marked = selection.to_mark(instances, chosen, state)
    if dry_run:
        return marked
    because = f"marked {state} by {caller().username}"
    await task_instances.mark_in_runs(conn, _by_run(marked), state, now=context().now(), because=because)
    resumed = selection.to_resume(shape, instances, task_ids, marked)
    await _clear(conn, run.dag_id, resumed, reset_dag_run=True, latest=False)
    return marked


async def _note(conn: Connection, instances: Iterable[Instance], note: str | None) -> None:
    for i in instances:
        await task_instances.set_note(conn, i.dag_run_id, (i.task_id, i.map_index), note, context().now())


async def _runs_to_mark(conn: Connection, run: DagRunRow, body: PatchBody) -> list[str]:
    if run.logical_date is None or not (body.include_past or body.include_future):
        return [run.run_id]
    around = await api_task_instances.list_runs_around(
        conn,
        run.dag_id,
        since=None if body.include_past else run.logical_date,
        until=None if body.include_future else run.logical_date,
    )
    return [other.run_id for other in around]


@blueprint.delete(TASK)
async def delete_task_instance(dag_id: str, run_id: str, task_id: str) -> Response:
    """200 with `null`."""
    query = Query()
    map_index = query.integer("map_index", -1)
    query.check()
    assert map_index is not None
    async with lane().transaction() as conn:
        run = await dag_runs.lock_dag_run(conn, dag_id, run_id)
        await api_task_instances.fetch_task_instance(conn, dag_id, run_id, task_id, map_index)
        await remove_instance(conn, run, task_id, map_index)
    return json_answer(None)


async def remove_instance(conn: Connection, run: DagRunRow, task_id: str, map_index: int) -> None:
    """Of a run that is locked."""
    await task_instances.delete_instance(conn, run.id, (task_id, map_index), context().now())
    await record(conn, "delete_task_instance", run.dag_id, run_id=run.run_id, task_id=task_id, map_index=map_index)


# --- shared ------------------------------------------------------------------------------------------------------


async def _run(conn: Connection, dag_id: str, run_id: str) -> DagRunRow:
    try:
        return await dag_runs.fetch_dag_run(conn, dag_id, run_id)
    except NotFound as error:
        raise NotFound(f"Dag Run id {run_id} not found in dag {dag_id}") from error


async def _instances(conn: Connection, dag_id: str, run_ids: Sequence[str]) -> list[Instance]:
    ids = [(await dag_runs.fetch_dag_run(conn, dag_id, run_id)).id for run_id in run_ids]
    return [
        Instance(row.dag_run_id, row.task_id, row.map_index, TaskInstanceState(row.state or "none"))
        for row in await api_task_instances.list_states(conn, ids)
    ]


def _by_run(instances: Iterable[Instance]) -> dict[int, list[selection.Key]]:
    keys: dict[int, list[selection.Key]] = defaultdict(list)
    for i in instances:
        keys[i.dag_run_id].append((i.task_id, i.map_index))
    return keys


async def _answer(conn: Connection, instances: Iterable[Instance]) -> Response:
    rows = await api_task_instances.list_touched(conn, [(i.dag_run_id, i.task_id, i.map_index) for i in instances])
    return json_answer(
        {"task_instances": rows, "total_entries": len(rows), "next_cursor": None, "previous_cursor": None}
    )


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
