"""What `core.explain_dag` is told of a DAG: its runs, the assets that it waits for, their watchers. Reads only."""

from __future__ import annotations

from leoflowd.core.explain_dag import AwaitedAsset, DagFacts
from leoflowd.core.rights import Dags
from leoflowd.store import api_assets, api_dags, asset_watchers
from leoflowd.store import dags as dag_rows
from leoflowd.store.database import Connection


async def fetch_dag_facts(conn: Connection, dag_id: str, *, dags: Dags) -> DagFacts:
    """Of a DAG that there is. `dags`: those that whoever asks may see; watchers of others are left out."""
    found = await dag_rows.list_next_runs(conn, dag_ids=[dag_id])
    if not found:
        return DagFacts(is_paused=False, is_stale=True, last=None, active_runs=0)
    (row,) = found
    shown = await api_dags.fetch_dag(conn, dag_id)
    assets = await api_assets.list_next(conn, dag_id)
    awaited = {asset["id"] for asset in assets}
    return DagFacts(
        is_paused=row.is_paused,
        is_stale=False,
        last=row.last,
        active_runs=row.active_runs,
        broken_file=shown["relative_fileloc"] if shown["has_import_errors"] else "",
        assets=tuple(AwaitedAsset(asset["name"], asset["lastUpdate"]) for asset in assets),
        watchers=tuple(
            one.facts for one in await asset_watchers.list_watchers(conn, dags=dags) if one.asset_id in awaited
        ),
    )
