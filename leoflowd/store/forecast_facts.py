"""What `core.forecast` is told: DAGs with a schedule, where that stands, how long tasks took, pools. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leoflowd.core.forecast import Outlook, PoolSize, TaskMean
from leoflowd.core.rights import Dags
from leoflowd.store.dags import fetch_version_by_id, list_next_runs
from leoflowd.store.database import Connection, fetch_all, statements

_SQL = statements("forecast_facts")

RUNS_OF_MEANS = 10
"""Of each DAG: its newest finished runs."""


async def list_planned_dags(
    conn: Connection, patterns: Mapping[str, list[str] | None], *, dags: Dags, changed: str | None, limit: int
) -> tuple[str, ...]:
    """Ids; `changed` first, if there is such a DAG among `dags`. `patterns`: as `Query.patterns` gives them."""
    values = {"visible": dags.parameter(), "changed": changed, "limit": limit, **patterns}
    cursor = await conn.execute(_SQL.list_planned_dags, values)
    return tuple(row[0] for row in await cursor.fetchall())


async def list_outlooks(conn: Connection, dag_ids: Sequence[str]) -> list[Outlook]:
    """One for each of these DAGs that is there."""
    means: dict[str, dict[str, TaskMean]] = {}
    for mean in await fetch_all(conn, _SQL.list_means, TaskMean, dag_ids=list(dag_ids), runs=RUNS_OF_MEANS):
        means.setdefault(mean.dag_id, {})[mean.task_id] = mean
    return [
        Outlook(
            spec=(await fetch_version_by_id(conn, row.version_id)).spec,
            is_paused=row.is_paused,
            last=row.last,
            means=means.get(row.dag_id, {}),
        )
        for row in await list_next_runs(conn, dag_ids=dag_ids)
    ]


async def list_pool_sizes(conn: Connection) -> tuple[PoolSize, ...]:
    return await fetch_all(conn, _SQL.list_pool_sizes, PoolSize)
