"""Events of assets: written in the transaction of what makes them, and what tasks are told of them.

Whoever writes some gets the DAGs that have something to look at now; who looks is `scheduler.asset_runs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncCursor

from leoflowd.contract.agent_messages import AssetEventsAsk
from leoflowd.contract.asset_spec import AssetEventFacts
from leoflowd.contract.errors import Invalid
from leoflowd.core.asset_conditions import ComeAsset
from leoflowd.core.asset_events import NewEvent
from leoflowd.store.database import Connection, fetch_all, statements

_SQL = statements("asset_events")

ANSWER_MAX = 5_000
"""Events of one answer to a task."""


class AssetEventWrite(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a task instance, or of nobody (`dag_run_id` None): of a person or a watcher."""

    event: NewEvent
    dag_run_id: int | None = None
    task_id: str | None = None
    map_index: int = -1


class QueuedEvent(msgspec.Struct, frozen=True):
    event_id: int
    timestamp: datetime
    name: str
    uri: str
    is_active: bool
    partition_key: str | None
    source_dag_id: str | None
    source_run_id: str | None
    source_task_id: str | None
    aliases: list[str]

    @property
    def asset(self) -> ComeAsset:
        return ComeAsset(self.name, self.uri, self.is_active, tuple(self.aliases))


async def insert_events(conn: Connection, writes: Sequence[AssetEventWrite], now: datetime) -> AsyncCursor[Any]:
    """The events, at `now`, and what waits for them; rows of the cursor: the DAGs that wait.

    One of an asset that is not there, or not active, is left out, as in Airflow.
    """
    rows = [{"place": place, **_row(write)} for place, write in enumerate(writes)]
    parameters = {"events": msgspec.json.encode(rows).decode(), "now": now}
    if any(write.event.aliases for write in writes):
        await conn.execute(_SQL.insert_alias_assets, parameters)
        await conn.execute(_SQL.link_aliases, parameters)
    return await conn.execute(_SQL.insert_events, parameters)


def _row(write: AssetEventWrite) -> dict[str, object]:
    return {
        **msgspec.structs.asdict(write.event),
        "dag_run_id": write.dag_run_id,
        "task_id": write.task_id,
        "map_index": write.map_index,
    }


async def lock_queued(conn: Connection, dag_id: str) -> tuple[QueuedEvent, ...]:
    """What waits for this DAG, oldest first, locked until the transaction ends: behind its DAG (ADR 22)."""
    await conn.execute(_SQL.share_dag, {"dag_id": dag_id})
    return await fetch_all(conn, _SQL.list_queued, QueuedEvent, dag_id=dag_id)


async def consume_events(
    conn: Connection, *, dag_id: str, dag_run_id: int, event_ids: Sequence[int], until: datetime
) -> None:
    """This run has taken them, with all others of the DAG's assets that came since its last run of this kind."""
    await conn.execute(
        _SQL.consume_events, {"dag_id": dag_id, "dag_run_id": dag_run_id, "event_ids": list(event_ids), "until": until}
    )


async def list_waiting_dags(conn: Connection) -> set[str]:
    cursor = await conn.execute(_SQL.list_waiting_dags)
    return {row[0] for row in await cursor.fetchall()}


async def list_asked_events(conn: Connection, ask: AssetEventsAsk) -> tuple[AssetEventFacts, ...]:
    """Of an asset or alias, by time. Raises `Invalid` when there are too many for an answer."""
    order = _SQL.oldest_first if ask.ascending else _SQL.newest_first
    found = await fetch_all(
        conn,
        b"\n".join((_SQL.facts, _SQL.that_were_asked_for, order)),
        AssetEventFacts,
        name=ask.name,
        uri=ask.uri,
        alias=ask.alias,
        after=ask.after,
        before=ask.before,
        limit=min(ask.limit or ANSWER_MAX + 1, ANSWER_MAX + 1),
    )
    return _that_fit(found)


async def list_triggering_events(conn: Connection, dag_run_id: int) -> tuple[AssetEventFacts, ...]:
    """What started this run, by time. Raises `Invalid` when it is too much for an answer."""
    statement = b"\n".join((_SQL.facts, _SQL.that_started, _SQL.oldest_first))
    limit = ANSWER_MAX + 1
    return _that_fit(await fetch_all(conn, statement, AssetEventFacts, dag_run_id=dag_run_id, limit=limit))


def _that_fit(events: tuple[AssetEventFacts, ...]) -> tuple[AssetEventFacts, ...]:
    if len(events) > ANSWER_MAX:
        raise Invalid(f"these are more than {ANSWER_MAX:,} asset events; ask for fewer, with limit, after or before")
    return events
