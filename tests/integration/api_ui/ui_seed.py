"""A DAG with every state of the grid, written through the store as the daemon writes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec

from leoflowd.contract.dag_spec import CronTimetable, DagSpec, EdgeLabel, TaskGroupSpec, TaskSpec
from leoflowd.contract.states import DagRunType, TriggeredBy
from leoflowd.store import dag_runs, dags
from leoflowd.store.database import Connection, Database

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def etl_spec(*, extra_task: bool = False) -> DagSpec:
    """start -> group (extract -> load) -> end; `extra_task` makes another version."""
    tasks = [
        TaskSpec(task_id="start", operator="EmptyOperator", kind="empty"),
        TaskSpec(task_id="etl.extract", operator="BashOperator", upstream_task_ids=("start",), group_id="etl"),
        TaskSpec(task_id="etl.load", operator="PythonOperator", upstream_task_ids=("etl.extract",), group_id="etl"),
        TaskSpec(task_id="end", operator="EmptyOperator", upstream_task_ids=("etl.load",), task_display_name="The end"),
    ]
    if extra_task:
        tasks.append(TaskSpec(task_id="extra", operator="EmptyOperator"))
    return DagSpec(
        dag_id="etl_daily",
        description="Sales of the day",
        tags=("sales", "daily"),
        timetable=CronTimetable(expression="0 3 * * *"),
        timetable_summary="0 3 * * *",
        start_date=datetime(2026, 11, 1, tzinfo=UTC),
        tasks=tuple(tasks),
        groups=(TaskGroupSpec(group_id="etl", label="etl", upstream_ids=("start",), downstream_ids=("end",)),),
        edge_labels=(EdgeLabel(upstream_id="etl.extract", downstream_id="etl.load", label="rows"),),
    )


async def register(database: Database, spec: DagSpec) -> dags.VersionRow:
    async with database.api.transaction() as conn:
        await dags.register_dag(
            conn, spec, now=NOW, fileloc=f"/w/{spec.dag_id}/dag.py", relative_fileloc=f"{spec.dag_id}/dag.py"
        )
        return await dags.fetch_version(conn, spec.dag_id)


async def start_run(
    conn: Connection,
    version: dags.VersionRow,
    run_id: str,
    *,
    days_ago: int = 0,
    kind: DagRunType = DagRunType.SCHEDULED,
) -> int:
    at = NOW - timedelta(days=days_ago)
    return await dag_runs.insert_dag_run(
        conn,
        version=version,
        run_id=run_id,
        run_type=kind,
        logical_date=at,
        data_interval_start=at,
        data_interval_end=at,
        run_after=at,
        conf={},
        triggered_by=TriggeredBy.TIMETABLE,
        triggering_user_name=None,
        note=None,
        now=at,
    )


async def set_states(conn: Connection, dag_run_id: int, states: dict[str, str | None], run_state: str) -> None:
    """Put a run and its tasks into states at once; the scheduler is not what these tests are about."""
    for task_id, state in states.items():
        await conn.execute(
            b"""UPDATE task_instance SET state = %s, try_number = 1, start_date = %s, end_date = %s,
                due_at = CASE WHEN %s LIKE 'up_for%%' THEN %s::timestamptz END
                WHERE dag_run_id = %s AND task_id = %s""",
            (state, NOW, NOW + timedelta(seconds=2), state or "", NOW, dag_run_id, task_id),
        )
    ended = NOW + timedelta(seconds=5) if run_state in ("success", "failed") else None
    await conn.execute(
        b"UPDATE dag_run SET state = %s, start_date = %s, end_date = %s WHERE id = %s",
        (run_state, NOW, ended, dag_run_id),
    )


async def add_mapped_instance(conn: Connection, dag_run_id: int, task_id: str, map_index: int, state: str) -> None:
    await conn.execute(
        b"""INSERT INTO task_instance (dag_run_id, task_id, map_index, id, dag_version_id, state, try_number, operator,
                                       operator_name, task_display_name, start_date, end_date, updated_at)
            SELECT id, %s, %s, %s, dag_version_id, %s, 1, 'PythonOperator', 'PythonOperator', %s, %s, %s, %s
            FROM dag_run WHERE id = %s""",
        (task_id, map_index, uuid4(), state, task_id, NOW, NOW, NOW, dag_run_id),
    )


class Seeded(msgspec.Struct, frozen=True):
    version: dags.VersionRow
    runs: dict[str, int]
    """run_id -> dag_run.id"""


async def seed(database: Database) -> Seeded:
    """`etl_daily` with a good, a failed and a running run; `quiet`, which never ran."""
    async with database.api.transaction() as conn:
        await conn.execute(
            b"INSERT INTO app_user VALUES ('admin', 'no password fits', 'Admin', %(now)s, %(now)s)", {"now": NOW}
        )
    version = await register(database, etl_spec())
    await register(database, DagSpec(dag_id="quiet", tasks=(TaskSpec(task_id="only", operator="EmptyOperator"),)))
    runs = {}
    plans: dict[str, tuple[int, str, dict[str, str | None]]] = {
        "good": (2, "success", dict.fromkeys(("start", "etl.extract", "etl.load", "end"), "success")),
        "bad": (1, "failed", {"start": "success", "etl.extract": "failed", "etl.load": "upstream_failed"}),
        "manual__2026-11-21T12:00:00+00:00": (0, "running", {"start": "success", "etl.extract": "running"}),
    }
    async with database.api.transaction() as conn:
        for run_id, (days_ago, run_state, states) in plans.items():
            runs[run_id] = await start_run(conn, version, run_id, days_ago=days_ago)
            await set_states(conn, runs[run_id], states, run_state)
    return Seeded(version, runs)
