"""No read that people make again and again scans a large table: by the plans of what the routes really send.

The reads are those that `loadtests.site` measures. Whoever adds a list to the UI's daily ones adds it there.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import trio
from psycopg import AsyncCursor

from leoflowd.api.context import ApiContext
from leoflowd.store.database import Database
from loadtests import seed, site
from tests.integration.api.api_client import Client

SIZE = seed.Size(dags=300, runs=8_000, task_instances=40_000, wide_tasks=20, wide_runs=2)
LARGE = {"dag_run", "task_instance", "task_instance_history", "xcom", "event_log", "audit_seal", "dag_version"}
COUNTS_ALL = re.compile(r"SELECT count\(\*\) AS n .* WHERE true$", re.DOTALL)
"""Airflow's `total_entries` of a list without filters: every row of an index, or of the table."""
SCANS = {
    "tasks of ~, counted": "without an order they are asked for by map index, which nearly all have in common",
    "audit log, prefix": "its total counts what a pattern without an index finds",
    "results of ~": "its total is of all",
    "tasks of ~, failed, counted": "of all that failed the newest run is looked for: a hash of the runs, at this size",
    "home: history of a day": "counting a state stops at a limit, which a scan for a frequent one soon reaches",
    "home: history of a week": "the same",
}


class Sent(msgspec.Struct, frozen=True):
    statement: str
    parameters: Any
    is_prepared: bool


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    """What goes to Postgres through any cursor."""
    found: list[Sent] = []
    execute = AsyncCursor.execute

    async def noted(cursor: Any, query: Any, params: Any = None, *, prepare: bool | None = None, **options: Any) -> Any:
        text = query.as_string(cursor) if hasattr(query, "as_string") else query
        text = text.decode() if isinstance(text, bytes) else text
        found.append(Sent(text, params, is_prepared=prepare is not False))
        return await execute(cursor, query, params, prepare=prepare, **options)

    monkeypatch.setattr(AsyncCursor, "execute", noted)
    return found


async def test_no_hot_read_scans_a_large_table(
    api_context: ApiContext, admin: Client, database: Database, sent: list[Sent]
) -> None:
    await trio.to_thread.run_sync(lambda: seed.seed(database.conninfo, SIZE, until=datetime.now(UTC)))
    place, _ = await trio.to_thread.run_sync(site.look_around, database.conninfo)
    # of so few DAGs the one with the most runs has a good part of all; and of an answer that is streamed, Quart's test
    # client takes ten parts before anybody reads it
    place = msgspec.structs.replace(
        place, squares={dag_id: runs[:5] for dag_id, runs in place.squares.items()}, busy=place.dags[0]
    )
    dice, found, statements = random.Random(1), [], 0
    reads = [
        (read.name, read.path(place, dice))
        for read in site.READS
        if not (read.is_large or ("explain" in read.name and not place.waiting))
    ]
    search = "/leoflow/api/logSearch?text=nothing&limit=1"
    reads += [("log search", search), ("log search, dag", f"{search}&dag_id={place.dags[1]}&state=failed")]
    for name, path in reads:
        sent.clear()
        answer = await admin.call("GET", path)
        await answer.get_data(as_text=False)
        assert answer.status_code == 200, name
        asked = [one for one in sent if one.statement.lstrip().startswith(("SELECT", "WITH", "--"))]
        statements += len(asked)
        for one in asked:
            if name in SCANS or COUNTS_ALL.match(one.statement):
                continue
            async with database.api.connection() as conn:
                cursor = await conn.execute(b"EXPLAIN (FORMAT JSON) " + one.statement.encode(), one.parameters)
                ((plan,),) = await cursor.fetchall()
            scanned = {node["Relation Name"] for node in _nodes(plan) if node["Node Type"] == "Seq Scan"} & LARGE
            if scanned:
                found.append(f"{name}: scans {sorted(scanned)}: {' '.join(one.statement.split())[:300]}")
    assert found == [], "\n".join(found)
    assert statements > 2 * len(site.READS) - 20, "a read is a login and what it asks"


def _nodes(plan: Any) -> Iterator[dict[str, Any]]:
    match plan:
        case list():
            for part in plan:
                yield from _nodes(part)
        case dict():
            if "Node Type" in plan:
                yield plan
            for part in plan.values():
                yield from _nodes(part)
