"""Task instances and their tries, to read. Blueprint `public_task_instances`; see also `task_instance_changes`."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any

import msgspec
from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import collection, json_answer
from leoflowd.api.bodies import read_body
from leoflowd.api.context import context, lane
from leoflowd.api.own.waits import fetch_known_wait
from leoflowd.api.paging import Query, check_all, cursor_collection, decode_cursor, every, path_integer
from leoflowd.contract.errors import NotFound
from leoflowd.contract.states import TaskInstanceState
from leoflowd.core.explain import explain_instance
from leoflowd.core.explain_run import RunLimit, explain_run, to_tell_of
from leoflowd.core.group_tree import list_group_members
from leoflowd.core.run_view import RunView
from leoflowd.core.xcom_display import link_name, link_url
from leoflowd.store import api_task_instances, api_xcoms, dag_runs, dags
from leoflowd.store.dag_runs import DagRunRow
from leoflowd.store.database import Connection
from leoflowd.store.replicas import fetch_launcher
from leoflowd.store.run_views import LoadedRun, load_view

blueprint = Blueprint("public_task_instances", __name__)

RUN = "/api/v2/dags/<dag_id>/dagRuns/<run_id>"
TASK = f"{RUN}/taskInstances/<task_id>"
NO_STATE = frozenset({"none", "None", "no_status"})
"""How a filter asks for task instances that nobody has scheduled yet."""
WAITING = frozenset({None, "scheduled", "up_for_retry", "up_for_reschedule", "deferred", "queued"})
PATTERNS = ("task_display_name", "dag_id", "run_id", "pool_name", "queue_name", "operator_name", "rendered_map_index")
RANGES = ("run_after", "logical_date", "start_date", "end_date", "updated_at")


class TaskInstancesBatchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    dag_ids: list[str] | None = None
    dag_run_ids: list[str] | None = None
    task_ids: list[str] | None = None
    state: list[TaskInstanceState | None] | None = None
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
    pool: list[str] | None = None
    queue: list[str] | None = None
    executor: list[str] | None = None
    page_offset: Annotated[int, msgspec.Meta(ge=0)] = 0
    page_limit: Annotated[int, msgspec.Meta(ge=0)] = 100
    order_by: str | None = None


LINK_KEYS = r"\_link\_%"
"""Airflow's keys of XComs that hold an operator's extra link, for LIKE."""
LINKS_MAX = 50
"""That are shown; operators have one or two."""


@blueprint.get(f"{RUN}/taskInstances")
async def list_task_instances(dag_id: str, run_id: str) -> Response:
    query = Query()
    filters = {"dag_id": every(dag_id), "run_id": every(run_id), "task_id": query.text("task_id"), **_filters(query)}
    limit, offset = query.page()
    order_by = query.order_by() or ["map_index"]
    query.check()
    token, group_id = query.text("cursor"), query.text("task_group_id")
    async with lane().connection() as conn:
        await _check_parents(conn, every(dag_id), every(run_id))
        if group_id is not None:
            filters["task_ids"] = await _tasks_of_group(conn, every(dag_id), group_id)
        if token is not None:
            page = await api_task_instances.list_task_instances_from(
                conn, filters, dags=auth.dags(), order_by=order_by, limit=limit, cursor=decode_cursor(token)
            )
            await _add_executor_configs(conn, page.rows)
            return cursor_collection("task_instances", page)
        rows, total = await api_task_instances.list_task_instances(
            conn, filters, dags=auth.dags(), order_by=order_by, limit=limit, offset=offset
        )
        await _add_executor_configs(conn, rows)
    return _page(rows, total)


@blueprint.post(f"{RUN}/taskInstances/list")
async def list_task_instances_batch(dag_id: str, run_id: str) -> Response:
    check_all(dag_id=dag_id, dag_run_id=run_id)
    body = await read_body(TaskInstancesBatchBody)
    filters = msgspec.structs.asdict(body)
    del filters["state"]
    filters |= state_filter(None if body.state is None else [state.value if state else "none" for state in body.state])
    filters["run_ids"] = filters.pop("dag_run_ids")
    limit, offset = filters.pop("page_limit"), filters.pop("page_offset")
    order_by = filters.pop("order_by")
    filters |= {"dag_id": None, "run_id": None}
    async with lane().connection() as conn:
        rows, total = await api_task_instances.list_task_instances(
            conn,
            filters,
            dags=auth.dags(),
            order_by=[order_by] if order_by else ["id"],
            limit=min(limit or 50, 100),
            offset=offset,
        )
        await _add_executor_configs(conn, rows)
    return _page(rows, total)


@blueprint.get(f"{TASK}/listMapped")
async def list_mapped(dag_id: str, run_id: str, task_id: str) -> Response:
    query = Query()
    filters = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "mapped": True, **_filters(query)}
    limit, offset = query.page()
    async with lane().connection() as conn:
        await dag_runs.fetch_dag_run(conn, dag_id, run_id)
        rows, total = await api_task_instances.list_task_instances(
            conn, filters, dags=auth.dags(), order_by=query.order_by() or ["map_index"], limit=limit, offset=offset
        )
        await _add_executor_configs(conn, rows)
    return _page(rows, total)


@blueprint.get(TASK)
async def get_task_instance(dag_id: str, run_id: str, task_id: str) -> Response:
    return await _one(dag_id, run_id, task_id, -1)


@blueprint.get(f"{TASK}/<map_index>")
async def get_mapped_task_instance(dag_id: str, run_id: str, task_id: str, map_index: str) -> Response:
    return await _one(dag_id, run_id, task_id, path_integer("map_index", map_index))


@blueprint.get(f"{TASK}/tries")
async def list_tries(dag_id: str, run_id: str, task_id: str) -> Response:
    return await _tries(dag_id, run_id, task_id, _map_index())


@blueprint.get(f"{TASK}/<map_index>/tries")
async def list_mapped_tries(dag_id: str, run_id: str, task_id: str, map_index: str) -> Response:
    return await _tries(dag_id, run_id, task_id, path_integer("map_index", map_index))


@blueprint.get(f"{TASK}/tries/<task_try_number>")
async def get_try(dag_id: str, run_id: str, task_id: str, task_try_number: str) -> Response:
    return await _try(dag_id, run_id, task_id, _map_index(), path_integer("task_try_number", task_try_number))


@blueprint.get(f"{TASK}/<map_index>/tries/<task_try_number>")
async def get_mapped_try(dag_id: str, run_id: str, task_id: str, map_index: str, task_try_number: str) -> Response:
    index = path_integer("map_index", map_index)
    return await _try(dag_id, run_id, task_id, index, path_integer("task_try_number", task_try_number))


@blueprint.get(f"{TASK}/dependencies")
async def list_dependencies(dag_id: str, run_id: str, task_id: str) -> Response:
    return await _dependencies(dag_id, run_id, task_id, _map_index())


@blueprint.get(f"{TASK}/<map_index>/dependencies")
async def list_mapped_dependencies(dag_id: str, run_id: str, task_id: str, map_index: str) -> Response:
    return await _dependencies(dag_id, run_id, task_id, path_integer("map_index", map_index))


@blueprint.get(f"{TASK}/links")
async def list_extra_links(dag_id: str, run_id: str, task_id: str) -> Response:
    """What operators pushed when they ended, as Airflow's do: those that the version knows by name, null until they
    are pushed, and what else is called `_link_<class of the link>`. Of an earlier try nothing is left."""
    query = Query()
    map_index, try_number = query.integer("map_index", -1), query.integer("try_number")
    query.check()
    assert map_index is not None
    filters = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
    async with lane().connection() as conn:
        instance = await api_task_instances.fetch_task_instance(conn, dag_id, run_id, task_id, map_index)
        if try_number not in (None, instance["try_number"]):
            await _fetch_try(conn, dag_id, run_id, task_id, map_index, try_number)
            return json_answer({"extra_links": {}, "total_entries": 0})
        names = await _names_of_links(conn, instance)
        rows, _ = await api_xcoms.list_xcoms(
            conn,
            filters | {"xcom_key_like": [LINK_KEYS]},
            dags=auth.dags(),
            order_by=("key",),
            limit=LINKS_MAX,
            offset=0,
        )
        pushed = {row["key"] for row in rows}
        links: dict[str, str | None] = dict.fromkeys(names.values())
        for key in sorted(names.keys() | pushed):
            url = link_url(await api_xcoms.fetch_xcom_value(conn, dag_id, run_id, task_id, map_index, key))
            if url is not None:
                links[names.get(key) or link_name(key)] = url
    return json_answer({"extra_links": links, "total_entries": len(links)})


async def _names_of_links(conn: Connection, instance: dict[str, Any]) -> dict[str, str]:
    """Key of the XCom -> name of the link."""
    version = await dags.fetch_version_by_id(conn, uuid.UUID(str(instance["dag_version"]["id"])))
    task = next((task for task in version.spec.tasks if task.task_id == instance["task_id"]), None)
    # an artifact may be anybody's: names without a key are nobody's
    return {} if task is None else dict(zip(task.extra_link_keys, task.extra_links, strict=False))


# --- shared ------------------------------------------------------------------------------------------------------


async def _one(dag_id: str, run_id: str, task_id: str, map_index: int) -> Response:
    async with lane().connection() as conn:
        row = await api_task_instances.fetch_task_instance(conn, dag_id, run_id, task_id, map_index)
        await _add_executor_configs(conn, [row])
        if row["rendered_fields"] is None:
            # what the author wrote, until the task process reports what it rendered
            version = await dags.fetch_version(conn, dag_id, row["dag_version"]["version_number"])
            task = next((task for task in version.spec.tasks if task.task_id == task_id), None)
            row["rendered_fields"] = {} if task is None else task.template_values
    return json_answer(row)


async def _add_executor_configs(conn: Connection, rows: list[dict[str, Any]]) -> None:
    """As Airflow shows them, by the version that each try ran. Versions are remembered, and most have none."""
    configs: dict[str, dict[str, str]] = {}
    for row in rows:
        version_id = str(row["dag_version"]["id"])
        if version_id not in configs:
            version = await dags.fetch_version_by_id(conn, uuid.UUID(version_id))
            configs[version_id] = {
                task.task_id: str(task.executor_config) for task in version.spec.tasks if task.executor_config
            }
        row["executor_config"] = configs[version_id].get(row["task_id"], "{}")


async def _tries(dag_id: str, run_id: str, task_id: str, map_index: int) -> Response:
    async with lane().connection() as conn:
        rows = await api_task_instances.list_tries(conn, dag_id, run_id, task_id, map_index)
        await _add_executor_configs(conn, rows)
    return collection("task_instances", rows, len(rows))


async def _try(dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int) -> Response:
    async with lane().connection() as conn:
        row = await _fetch_try(conn, dag_id, run_id, task_id, map_index, try_number)
        await _add_executor_configs(conn, [row])
    return json_answer(row)


async def _fetch_try(
    conn: Connection, dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int | None
) -> dict[str, Any]:
    """Raises `NotFound`."""
    for row in await api_task_instances.list_tries(conn, dag_id, run_id, task_id, map_index):
        if row["try_number"] == try_number:
            return row
    raise NotFound(
        f"The Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}`, task_id: `{task_id}`, "
        f"try_number: `{try_number}` and map_index: `{map_index}` was not found"
    )


async def _dependencies(dag_id: str, run_id: str, task_id: str, map_index: int) -> Response:
    """What an unfinished task instance waits for, in the words of `explain`."""
    async with lane().connection() as conn:
        row = await api_task_instances.fetch_task_instance(conn, dag_id, run_id, task_id, map_index)
        if row["state"] not in WAITING:
            return json_answer({"dependencies": []})
        explained = await explain(conn, await dag_runs.fetch_dag_run(conn, dag_id, run_id), task_id, map_index)
    return json_answer({"dependencies": [{"name": "Blocked by", "reason": reason} for reason in explained.because[1:]]})


class Explained(msgspec.Struct, frozen=True):
    because: tuple[str, ...] = ()
    """Empty when this version of the DAG does not have the instance."""
    wait_id: str | None = None


async def explain(conn: Connection, run: DagRunRow, task_id: str, map_index: int) -> Explained:
    """`core.explain` of one instance, from rows alone: whoever leads is not asked. Its route has checked the DAG."""
    loaded = await load_view(conn, run.id)
    instance = None if loaded is None else _position(loaded.view, task_id, map_index)
    if loaded is None or instance is None:
        return Explained()
    return await _explain(conn, run, loaded, instance, await api_task_instances.fetch_run_limit(conn, run.id))


async def explain_whole(conn: Connection, run: DagRunRow) -> tuple[str, ...]:
    """`core.explain_run` of a dag run, from the same rows."""
    loaded = await load_view(conn, run.id)
    if loaded is None:
        return ()
    limit = await api_task_instances.fetch_run_limit(conn, run.id)
    told = {i: (await _explain(conn, run, loaded, i, limit)).because for i in to_tell_of(loaded.view)}
    return explain_run(
        loaded.view,
        context().now(),
        instances=told,
        is_paused=loaded.is_paused,
        run_after=run.run_after,
        limit=limit,
    )


async def _explain(
    conn: Connection, run: DagRunRow, loaded: LoadedRun, instance: int, limit: RunLimit | None
) -> Explained:
    view, facts = loaded.view, loaded.view.facts[instance]
    task = view.node_of(instance).spec
    slots = launcher = None
    if facts.state is TaskInstanceState.SCHEDULED:
        slots = await api_task_instances.fetch_slot_use(
            conn, dags=auth.dags(), dag_id=run.dag_id, dag_run_id=run.id, task_id=task.task_id, pool=task.pool
        )
    elif facts.state is TaskInstanceState.QUEUED:
        launcher = await fetch_launcher(conn, facts.launcher)
    wait = await fetch_known_wait(conn, dag_run_id=run.id, task_id=task.task_id, map_index=facts.map_index)
    because = explain_instance(
        view,
        instance,
        context().now(),
        slots=slots,
        launcher=launcher,
        wait=wait,
        is_paused=loaded.is_paused,
        run_after=run.run_after,
        limit=limit,
        is_building=context().is_building(facts.id),
    )
    return Explained(because, None if wait is None else wait.facts.id)


def _position(view: RunView, task_id: str, map_index: int) -> int | None:
    node = view.shape.index_of.get(task_id)
    instances = () if node is None else view.instances_of(node)
    return next((i for i in instances if view.facts[i].map_index == map_index), None)


def _map_index() -> int:
    query = Query()
    value = query.integer("map_index", -1)
    query.check()
    assert value is not None
    return value


def _filters(query: Query) -> dict[str, Any]:
    filters: dict[str, Any] = {
        "map_index": query.integers("map_index"),
        "try_number": query.integers("try_number"),
        "version_number": query.integers("version_number"),
        "pool": query.texts("pool"),
        "queue": query.texts("queue"),
        "executor": query.texts("executor"),
        "operator": query.texts("operator"),
        **state_filter(query.texts("state")),
        **query.number_range("duration"),
    }
    for name in PATTERNS:
        filters |= query.patterns(name)
    for name in RANGES:
        filters |= query.range(name)
    return filters


def state_filter(states: list[str] | None) -> dict[str, Any]:
    """A state that does not exist matches nothing: the next UI release asks for some that we do not know."""
    return {"state": states, "state_none": states is not None and bool(NO_STATE & set(states))}


async def _check_parents(conn: Connection, dag_id: str | None, run_id: str | None) -> None:
    if dag_id is not None and run_id is not None:
        await dag_runs.fetch_dag_run(conn, dag_id, run_id)
    elif dag_id is not None:
        await dags.fetch_version(conn, dag_id)


async def _tasks_of_group(conn: Connection, dag_id: str | None, group_id: str) -> list[str]:
    if dag_id is None:
        return []
    version = await dags.fetch_version(conn, dag_id)
    return [task_id for group, task_id in list_group_members(version.spec) if group == group_id]


def _page(rows: list[dict[str, Any]], total: int) -> Response:
    return json_answer({"task_instances": rows, "total_entries": total, "next_cursor": None, "previous_cursor": None})
