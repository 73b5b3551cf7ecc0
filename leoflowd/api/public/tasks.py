"""The tasks of a DAG's current version. Blueprint `public_tasks`."""

from __future__ import annotations

from typing import Any

from quart import Blueprint, Response

from leoflowd.api.answers import collection, json_answer
from leoflowd.api.context import lane
from leoflowd.api.paging import Query
from leoflowd.contract.errors import Invalid, NotFound
from leoflowd.core.dag_shape import DagShape, TaskNode
from leoflowd.store.dags import fetch_version, shape_of_version

blueprint = Blueprint("public_tasks", __name__)


@blueprint.get("/api/v2/dags/<dag_id>/tasks")
async def list_tasks(dag_id: str) -> Response:
    shape = await _shape(dag_id)
    tasks = [task_answer(shape, node) for node in shape.nodes]
    order = Query().text("order_by") or "task_id"
    name = order.removeprefix("-")
    if tasks and name not in tasks[0]:
        raise Invalid(f"Ordering with '{name}' is disallowed: a task has no such field", location=("query", "order_by"))
    # fields of mixed types (None beside a number) are ordered by their text, so that no order fails
    tasks.sort(key=lambda task: _sort_key(task[name]), reverse=order.startswith("-"))
    return collection("tasks", tasks, len(tasks))


@blueprint.get("/api/v2/dags/<dag_id>/tasks/<task_id>")
async def get_task(dag_id: str, task_id: str) -> Response:
    shape = await _shape(dag_id)
    if task_id not in shape.index_of:
        raise NotFound(f"Task with id {task_id} was not found")
    return json_answer(task_answer(shape, shape.nodes[shape.index_of[task_id]]))


async def _shape(dag_id: str) -> DagShape:
    async with lane().connection() as conn:
        version = await fetch_version(conn, dag_id)
    return shape_of_version(version.id, version.spec)


def task_answer(shape: DagShape, node: TaskNode) -> dict[str, Any]:
    """One TaskResponse."""
    task = node.spec
    return {
        "task_id": task.task_id,
        "task_display_name": task.task_display_name or task.task_id,
        "owner": task.owner,
        "start_date": task.start_date,
        "end_date": task.end_date,
        "trigger_rule": task.trigger_rule,
        "depends_on_past": task.depends_on_past,
        "wait_for_downstream": task.wait_for_downstream,
        "retries": task.retries,
        "queue": task.queue,
        "pool": task.pool,
        "pool_slots": task.pool_slots,
        "execution_timeout": time_delta(task.execution_timeout_s),
        "retry_delay": time_delta(task.retry_delay_s),
        "retry_exponential_backoff": task.retry_exponential_backoff,
        "priority_weight": task.priority_weight,
        "weight_rule": task.weight_rule,
        "ui_color": task.ui_color,
        "ui_fgcolor": task.ui_fgcolor,
        "template_fields": list(task.template_fields),
        "downstream_task_ids": sorted(shape.nodes[index].spec.task_id for index in node.downstream),
        "doc_md": task.doc_md,
        "operator_name": task.operator_name or task.operator,
        "params": task.params,
        "class_ref": {"module_path": task.module, "class_name": task.operator},
        "is_mapped": task.mapped is not None,
        "extra_links": list(task.extra_links),
    }


def time_delta(seconds: float | None) -> dict[str, Any] | None:
    """Airflow's form of a duration."""
    if seconds is None:
        return None
    whole = int(seconds)
    return {
        "__type": "TimeDelta",
        "days": whole // 86_400,
        "seconds": whole % 86_400,
        "microseconds": round((seconds - whole) * 1_000_000),
    }


def _sort_key(value: Any) -> tuple[int, float, str]:
    if value is None:
        return (2, 0.0, "")
    if isinstance(value, (int, float)):
        return (0, float(value), "")
    return (1, 0.0, str(value))
