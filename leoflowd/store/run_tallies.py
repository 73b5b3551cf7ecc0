"""What two runs of a DAG are compared by: their task instances counted per task and state. Reads only."""

from __future__ import annotations

from leoflowd.core.run_diff import TaskTally
from leoflowd.store.database import Connection, fetch_all, fetch_value, statements

_SQL = statements("run_tallies")


async def list_tallies(conn: Connection, dag_run_id: int) -> tuple[TaskTally, ...]:
    """One row per task and state, in no order."""
    return await fetch_all(conn, _SQL.list_tallies, TaskTally, dag_run_id=dag_run_id)


async def fetch_success_before(conn: Connection, dag_run_id: int) -> str | None:
    """The run id of the newest successful run of the same DAG that was due before this one."""
    found: str | None = await fetch_value(conn, _SQL.fetch_success_before, dag_run_id=dag_run_id)
    return found
