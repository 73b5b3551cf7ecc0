"""Task instances as people change them: clear, mark, note. The scheduler's own writes are in `store.transitions`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from leoflowd.contract.states import TaskInstanceState
from leoflowd.core.by_hand import Change, plan_clear, plan_mark, plan_removal
from leoflowd.core.transitions import clear_run
from leoflowd.store.dag_runs import insert_task_instances, touch_dag_run
from leoflowd.store.dags import VersionRow, off_loop
from leoflowd.store.database import Connection, statements
from leoflowd.store.held_runs import hold_runs, list_held, set_versions, write_changes
from leoflowd.store.waits import InstanceKey
from leoflowd.store.xcoms import xcoms_of

_SQL = statements("task_instances")

Key = tuple[str, int]
"""(task_id, map_index)"""


async def clear_instances(
    conn: Connection,
    dag_run_id: int,
    keys: Collection[Key],
    *,
    now: datetime,
    because: str,
    reset_dag_run: bool,
    version: VersionRow | None = None,
) -> None:
    """`clear_in_runs` for one run."""
    chosen = {dag_run_id: keys}
    await clear_in_runs(conn, chosen, now=now, because=because, reset_dag_run=reset_dag_run, version=version)


async def clear_in_runs(
    conn: Connection,
    keys: Mapping[int, Collection[Key]],
    *,
    now: datetime,
    because: str,
    reset_dag_run: bool,
    version: VersionRow | None = None,
) -> None:
    """Let these run again (`transitions.clear`), by run. Whoever has locked runs already has locked all of these.

    `reset_dag_run`: a run that had ended waits for its turn again. With `version` the runs move to that version: new
    tasks get rows, tasks that are gone become removed.
    """
    runs = await hold_runs(conn, keys, version)
    chosen = _instance_keys(keys)
    rows = await list_held(conn, runs, None if version else chosen)

    def plan() -> tuple[tuple[Change, ...], tuple[Change, ...]]:
        cleared = plan_clear((held for held in rows if held.key in chosen), because=because)
        return cleared, plan_removal(rows, cleared, now) if version else cleared

    cleared, changes = await off_loop(plan, size=len(rows))
    await write_changes(
        conn,
        runs,
        changes,
        now=now,
        moved_runs={run.id: clear_run(run.facts, because=because) for run in runs} if reset_dag_run else None,
        version_id=None if version is None else version.id,
    )
    versions = {run.id: run.version.id for run in runs}
    await set_versions(conn, {change.held.key: versions[change.held.dag_run_id] for change in cleared})
    if version is not None:
        for run in runs:
            await insert_task_instances(conn, run.id, version, now)


async def mark_instances(
    conn: Connection, dag_run_id: int, keys: Collection[Key], state: TaskInstanceState, *, now: datetime, because: str
) -> None:
    """`mark_in_runs` for one run."""
    await mark_in_runs(conn, {dag_run_id: keys}, state, now=now, because=because)


async def mark_in_runs(
    conn: Connection, keys: Mapping[int, Collection[Key]], state: TaskInstanceState, *, now: datetime, because: str
) -> None:
    """Set a final state by hand (`transitions.mark`), by run. A live try is told to stop, its report refused."""
    runs = await hold_runs(conn, keys)
    rows = await list_held(conn, runs, _instance_keys(keys))
    changes = await off_loop(lambda: plan_mark(rows, state, now, because=because), size=len(rows))
    await write_changes(conn, runs, changes, now=now)


def _instance_keys(keys: Mapping[int, Collection[Key]]) -> frozenset[InstanceKey]:
    return frozenset((run, task_id, map_index) for run, chosen in keys.items() for task_id, map_index in chosen)


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
