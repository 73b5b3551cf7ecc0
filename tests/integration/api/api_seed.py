"""A small past: one DAG with a group and two versions, three runs in different states, XComs, a log, records."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from psycopg.types.json import Jsonb

from leoflowd.api.context import ApiContext
from leoflowd.contract.dag_spec import CronTimetable, DagSpec, DagWarning, TaskGroupSpec, TaskSpec
from leoflowd.contract.logs import TryLog
from leoflowd.contract.states import DagRunType, TriggeredBy
from leoflowd.store.dag_runs import fetch_dag_run, insert_dag_run
from leoflowd.store.dags import fetch_version, put_import_error, register_dag
from leoflowd.store.database import Connection
from leoflowd.store.event_log import insert_event
from tests.integration.api.api_client import START

DAG = "etl"
DONE, BROKEN, OPEN = "manual__done", "scheduled__2026-11-20T00:00:00+00:00", "manual__open"

SPEC = DagSpec(
    dag_id=DAG,
    description="Loads it",
    doc_md="# etl",
    tags=("daily", "a"),
    timetable=CronTimetable(expression="0 0 * * *"),
    timetable_summary="0 0 * * *",
    start_date=START - timedelta(days=10),
    dagrun_timeout_s=5400.0,
    params={
        "n": {"value": 3, "schema": {"type": "integer", "minimum": 1}, "description": "how many", "source": None},
    },
    tasks=(
        TaskSpec(task_id="extract", operator="PythonOperator", owner="ana", retry_delay_s=1.5, retries=1),
        TaskSpec(task_id="g.transform", operator="BashOperator", group_id="g", upstream_task_ids=("extract",)),
        TaskSpec(
            task_id="load",
            operator="PythonOperator",
            upstream_task_ids=("g.transform",),
            template_fields=("sql",),
            template_values={"sql": "{{ ds }}"},
            execution_timeout_s=90_061.25,
            executor_config={"pod": {"cpu": 1}},
        ),
    ),
    groups=(TaskGroupSpec(group_id="g", label="g"),),
    source="dag = ...\n",
    bundle_digest="b" * 64,
    warnings=(DagWarning(path="dag.py", line=3, what="days_ago is gone", remedy="write a fixed date"),),
)


async def seed(context: ApiContext) -> None:
    async with context.db.api.transaction() as conn:
        for spec in (SPEC, DagSpec(dag_id="other", tasks=(TaskSpec(task_id="only", operator="EmptyOperator"),))):
            await register_dag(
                conn, spec, now=START, fileloc=f"/w/{spec.dag_id}/dag.py", relative_fileloc=f"{spec.dag_id}/dag.py"
            )
        version = await fetch_version(conn, DAG)
        for days, run_id in ((2, DONE), (1, BROKEN), (0, OPEN)):
            moment = START - timedelta(days=days)
            scheduled = run_id == BROKEN
            await insert_dag_run(
                conn,
                version=version,
                run_id=run_id,
                run_type=DagRunType.SCHEDULED if scheduled else DagRunType.MANUAL,
                logical_date=None if run_id == OPEN else moment,
                data_interval_start=None if run_id == OPEN else moment,
                data_interval_end=None if run_id == OPEN else moment,
                run_after=moment,
                conf={"n": 4},
                triggered_by=TriggeredBy.TIMETABLE if scheduled else TriggeredBy.UI,
                triggering_user_name=None if scheduled else "admin",
                note="first" if run_id == DONE else None,
                now=moment,
            )
        await _finish(conn, DONE, "success", {"extract": "success", "g.transform": "success", "load": "success"})
        states = {"extract": "success", "g.transform": "failed", "load": "upstream_failed"}
        await _finish(conn, BROKEN, "failed", states)
        await conn.execute(
            b"UPDATE task_instance SET try_number = 1, start_date = %(now)s, state = 'running', hostname = 'here',"
            b" rendered_fields = '{\"a\": 1}' FROM dag_run r WHERE r.id = dag_run_id AND r.run_id = %(run)s"
            b" AND task_id = 'extract'",
            {"now": START, "run": OPEN},
        )
        await conn.execute(
            b"UPDATE dag_run SET state = 'running', start_date = %(now)s WHERE run_id = %(run)s",
            {"now": START, "run": OPEN},
        )
        for key, value in (("return_value", {"rows": [1, None]}), ("text", "plain")):
            await conn.execute(
                b"INSERT INTO xcom SELECT id, 'extract', -1, %(key)s, %(value)s, %(now)s FROM dag_run"
                b" WHERE run_id = %(run)s",
                {"key": key, "value": Jsonb(value), "now": START, "run": DONE},
            )
        await put_import_error(
            conn, filename="bad/dag.py", bundle_name="workspace", stack_trace="SyntaxError: x", now=START
        )
        await insert_event(conn, now=START, event="seeded", owner="admin", dag_id=DAG, extra={"a": 1})
        dag_run_id = (await fetch_dag_run(conn, DAG, OPEN)).id
    its_log = TryLog(dag_id=DAG, run_id=OPEN, dag_run_id=dag_run_id, task_id="extract", map_index=-1, try_number=1)
    whole = msgspec.json.encode({"event": "hello", "level": "info", "timestamp": "2026-11-21T03:00:00Z"})
    await context.logs.append(its_log, 0, whole + b'\n{"event": "half')


async def _finish(conn: Connection, run_id: str, state: str, tasks: dict[str, str]) -> None:
    for task_id, task_state in tasks.items():
        await conn.execute(
            b"UPDATE task_instance SET try_number = %(try)s, start_date = %(start)s, end_date = %(end)s,"
            b" state = %(state)s FROM dag_run r WHERE r.id = dag_run_id AND r.run_id = %(run)s"
            b" AND task_id = %(task)s",
            {
                "try": 0 if task_state == "upstream_failed" else 1,
                "start": START - timedelta(hours=1),
                "end": START - timedelta(minutes=59, seconds=58, microseconds=500),
                "state": task_state,
                "run": run_id,
                "task": task_id,
            },
        )
    await conn.execute(
        b"UPDATE dag_run SET state = %(state)s, start_date = %(start)s, end_date = %(end)s WHERE run_id = %(run)s",
        {"state": state, "start": START - timedelta(hours=1), "end": START, "run": run_id},
    )
