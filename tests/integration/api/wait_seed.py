"""Task instances that wait: what the scheduler would have written, put there directly."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from leoflowd.contract.wait_spec import ProbeSpec, WaitSpec, WaitTerms
from leoflowd.contract.waits import NewWait, coalescing_key
from leoflowd.store.database import Connection, Database, fetch_value
from leoflowd.store.waits import WaitWrite, upsert_waits
from tests.integration.api.api_client import START
from tests.integration.api.api_seed import DAG, OPEN

TIMEOUT_S = 600.0


async def put_wait(
    database: Database,
    task_id: str = "load",
    *,
    state: str = "deferred",
    kind: str = "http",
    arguments: dict[str, Any] | None = None,
    registered_at: datetime = START,
    **terms: Any,
) -> str:
    """`task_id` of the open run waits since `registered_at`; the id of its wait."""
    wait_id = uuid.uuid4()
    probe = ProbeSpec(kind=kind, arguments={"endpoint": "/ready"} if arguments is None else arguments)
    async with database.api.transaction() as conn:
        dag_run_id = await _begin(conn, wait_id, task_id, state, registered_at)
        wait = NewWait(
            id=wait_id,
            dag_run_id=dag_run_id,
            dag_id=DAG,
            spec=WaitSpec(probe=probe, terms=WaitTerms(timeout_s=TIMEOUT_S, **terms)),
            key=coalescing_key(probe, str(wait_id)),
            registered_at=registered_at,
            deadline_at=registered_at + timedelta(seconds=TIMEOUT_S),
        )
        await upsert_waits(conn, [WaitWrite((dag_run_id, task_id, -1), wait)])
    return str(wait_id)


async def _begin(conn: Connection, wait_id: uuid.UUID, task_id: str, state: str, at: datetime) -> int:
    dag_run_id: int = await fetch_value(
        conn,
        b"UPDATE task_instance t SET id = %(id)s, state = %(state)s, try_number = 1, start_date = %(at)s FROM dag_run r"
        b" WHERE r.id = t.dag_run_id AND r.run_id = %(run)s AND t.task_id = %(task)s RETURNING r.id",
        id=wait_id,
        state=state,
        at=at,
        run=OPEN,
        task=task_id,
    )
    return dag_run_id


async def put_question(database: Database, *, run_id: str, task_id: str, subject: str) -> None:
    """The present try of this instance asks, or has asked, whatever state it is in."""
    async with database.api.transaction() as conn:
        await conn.execute(
            b"""
            INSERT INTO hitl_detail (dag_run_id, task_id, map_index, try_number, wait_id, subject, options, multiple,
                                     params, assigned_users, created_at)
            SELECT t.dag_run_id, t.task_id, t.map_index, t.try_number, t.id, %(subject)s, '["Yes", "No"]', false,
                   '{"age": 3}', '[{"id": "admin", "name": "Admin"}]', %(now)s
            FROM task_instance t JOIN dag_run r ON r.id = t.dag_run_id
            WHERE r.run_id = %(run)s AND t.task_id = %(task)s
            """,
            {"run": run_id, "task": task_id, "subject": subject, "now": START},
        )


async def end_wait(database: Database, task_id: str, state: str, because: str, at: datetime) -> None:
    """As the scheduler ends a native wait: the row of the wait goes with the move."""
    async with database.api.transaction() as conn:
        await conn.execute(b"DELETE FROM wait WHERE task_id = %(task)s", {"task": task_id})
        await conn.execute(
            b"UPDATE task_instance t SET state = %(state)s, because = %(because)s, end_date = %(at)s FROM dag_run r"
            b" WHERE r.id = t.dag_run_id AND r.run_id = %(run)s AND t.task_id = %(task)s",
            {"state": state, "because": because, "at": at, "run": OPEN, "task": task_id},
        )
