"""One try, one pod: the first that asks is written down, and no other is told what the try is (ADR 78).

The uid comes from the token that the cluster signed for this very pod: a second pod of the same name is another one.
"""

from __future__ import annotations

from leoflowd.store.database import Database
from leoflowd.store.tries import TryRow
from leoflowd.store.try_pods import fetch_pod_uid, insert_try_pod

REPLACED_BECAUSE = "its pod began it and is gone without a word; another one that was made for it ran nothing"


async def admits(db: Database, row: TryRow, pod_uid: str) -> bool:
    """May this pod run the try? From the first that may on no other does, and it may as often as it asks."""
    try_id = str(row.id)
    async with db.agents.connection() as conn:
        known = await fetch_pod_uid(conn, try_id)
        if known is None and await insert_try_pod(conn, try_id, dag_run_id=row.dag_run_id, pod_uid=pod_uid):
            return True
        return (known or await fetch_pod_uid(conn, try_id)) == pod_uid
