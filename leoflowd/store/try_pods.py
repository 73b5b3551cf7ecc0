"""Which pod is a try's. Agents write it before they tell a pod anything; the launcher asks before it makes another."""

from __future__ import annotations

from leoflowd.store.database import Connection, execute, fetch_value, statements

_SQL = statements("try_pods")


async def fetch_pod_uid(conn: Connection, try_id: str) -> str | None:
    """None: no pod has asked for it."""
    uid: str | None = await fetch_value(conn, _SQL.fetch_pod_uid, try_id=try_id)
    return uid


async def insert_try_pod(conn: Connection, try_id: str, *, dag_run_id: int, pod_uid: str) -> bool:
    """False: another one was first."""
    return bool(await execute(conn, _SQL.insert_try_pod, try_id=try_id, dag_run_id=dag_run_id, pod_uid=pod_uid))
