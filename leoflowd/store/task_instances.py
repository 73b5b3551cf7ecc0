"""Task instances as people change them: clear, mark, note. The scheduler's own writes are in `store.transitions`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from leoflowd.contract.states import TaskInstanceState
from leoflowd.store.dag_runs import insert_task_instances, queue_dag_run, touch_dag_run
from leoflowd.store.dags import VersionRow, fetch_version_by_id
from leoflowd.store.database import Connection, fetch_value, statements
from leoflowd.store.waits import delete_waits
from leoflowd.store.xcoms import xcoms_of

_SQL = statements("task_instances")

Key = tuple[str, int]
"""(task_id, map_index)"""


async def clear_instances(
    conn: Connection,
    dag_run_id: int,
    keys: Sequence[Key],
    *,
    now: datetime,
    because: str,
    reset_dag_run: bool,
    version: VersionRow | None = None,
) -> None:
    """Let these run again: the try is archived, `max_tries` raised by the task's retries, the state none.

    A live try becomes `restarting`: its agent is told to stop, and when it has ended the instance goes on. With
    `version` the run moves to that version: new tasks get rows, tasks that are gone become removed.
    """
    current = version or await fetch_version_by_id(
        conn, await fetch_value(conn, _SQL.fetch_run_version_id, dag_run_id=dag_run_id)
    )
    retries = {task.task_id: task.retries for task in current.spec.tasks}
    parameters = {
        "dag_run_id": dag_run_id,
        "task_ids": [task_id for task_id, _ in keys],
        "map_indexes": [map_index for _, map_index in keys],
        "retries": [retries.get(task_id, 0) for task_id, _ in keys],
        "version_id": current.id,
        "now": now,
        "because": because,
    }
    await conn.execute(_SQL.archive_instances, parameters)
    instances = [(dag_run_id, task_id, map_index) for task_id, map_index in keys]
    await xcoms_of(conn).delete(instances)  # what a live try pushed goes when that try has ended
    await delete_waits(conn, instances)
    await conn.execute(_SQL.clear_instances, parameters)
    if version is not None:
        await insert_task_instances(conn, dag_run_id, version, now)
        await conn.execute(
            _SQL.remove_instances_of_gone_tasks,
            {"dag_run_id": dag_run_id, "task_ids": list(retries), "now": now},
        )
    if reset_dag_run:
        await queue_dag_run(conn, dag_run_id, now=now, version_id=current.id)
    else:
        await touch_dag_run(conn, dag_run_id, now)


async def mark_instances(
    conn: Connection, dag_run_id: int, keys: Sequence[Key], state: TaskInstanceState, *, now: datetime, because: str
) -> None:
    """Set a final state by hand. A live try is told to stop; what it reports afterwards is refused."""
    await conn.execute(
        _SQL.mark_instances,
        {
            "dag_run_id": dag_run_id,
            "task_ids": [task_id for task_id, _ in keys],
            "map_indexes": [map_index for _, map_index in keys],
            "state": state,
            "now": now,
            "because": because,
        },
    )
    await touch_dag_run(conn, dag_run_id, now)


async def set_note(conn: Connection, dag_run_id: int, key: Key, note: str | None, now: datetime) -> None:
    await conn.execute(
        _SQL.update_note,
        {"dag_run_id": dag_run_id, "task_id": key[0], "map_index": key[1], "note": note, "now": now},
    )


async def delete_instance(conn: Connection, dag_run_id: int, key: Key, now: datetime) -> None:
    """Remove one row and its XComs and tries."""
    parameters = {"dag_run_id": dag_run_id, "task_id": key[0], "map_index": key[1]}
    await conn.execute(_SQL.delete_instance, parameters)
    await conn.execute(_SQL.delete_history, parameters)
    await xcoms_of(conn).delete([(dag_run_id, *key)])
    await touch_dag_run(conn, dag_run_id, now)
