"""Watchers of assets: what the current versions of DAGs want watched, and how the triggers went (ADR 56).

`store.assets` writes the rows with what a DAG says of assets; `cheap_tasks.asset_watchers` runs the triggers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import msgspec

from leoflowd.contract.asset_spec import EXTRA_MAX_BYTES, AssetLike, AssetSpec, WatcherSpec
from leoflowd.contract.dag_spec import DagSpec
from leoflowd.contract.values import json_text
from leoflowd.contract.waits import TriggerCall
from leoflowd.core.asset_events import NewEvent
from leoflowd.core.rights import Dags
from leoflowd.core.watching import WatcherFacts
from leoflowd.store.asset_events import AssetEventWrite, insert_events
from leoflowd.store.database import Connection, execute, fetch_all, statements
from leoflowd.store.hints import send_hint

_SQL = statements("asset_watchers")


class Watched(msgspec.Struct, frozen=True):
    """A trigger that is to run, however many watchers and DAGs share it."""

    key: str
    call: str
    """JSON text of a `TriggerCall`."""
    failures: int
    retry_at: datetime | None


class WatcherRow(msgspec.Struct, frozen=True, kw_only=True):
    """A watcher, for people."""

    id: int
    dag_id: str
    asset_id: int
    asset_name: str
    asset_uri: str
    name: str
    trigger: str
    created_at: datetime
    events: int
    fired_at: datetime | None
    failures: int
    error: str | None
    retry_at: datetime | None
    is_active: bool
    is_awaited: bool
    """A DAG that is not paused is scheduled on the asset."""

    @property
    def facts(self) -> WatcherFacts:
        return WatcherFacts(**{name: getattr(self, name) for name in WatcherFacts.__struct_fields__})


class _WatchedAsset(msgspec.Struct, frozen=True):
    name: str
    uri: str


async def write_watchers(conn: Connection, spec: DagSpec, named: Iterable[AssetLike], now: datetime) -> None:
    """What this version wants watched, instead of what the one before it wanted. Its assets are stored already."""
    rows = [row for one in named if isinstance(one, AssetSpec) for row in _rows(spec, one)]
    text = msgspec.json.encode(rows).decode()
    await conn.execute(_SQL.write_watchers, {"watchers": text, "dag_id": spec.dag_id, "now": now})


def _rows(spec: DagSpec, asset: AssetSpec) -> Iterator[dict[str, object]]:
    for watcher in asset.watchers:
        yield {
            "name": asset.name,
            "uri": asset.uri,
            "watcher": watcher.name,
            "key": trigger_key(watcher),
            "call": msgspec.to_builtins(_call(spec, watcher)),
        }


def trigger_key(watcher: WatcherSpec) -> str:
    """Equal for equal triggers, which run once for all who watch by them, as in Airflow."""
    canonical = msgspec.json.encode([watcher.trigger, watcher.arguments], order="sorted")
    return hashlib.sha256(canonical).hexdigest()[:32]


def _call(spec: DagSpec, watcher: WatcherSpec) -> TriggerCall:
    return TriggerCall(
        classpath=watcher.trigger,
        kwargs=watcher.arguments,
        environment=msgspec.to_builtins(spec.environment),
        bundle_digest=spec.bundle_digest,
        source_path=spec.source_path,
        import_paths=spec.import_paths,
        image=spec.image,
        dag_id=spec.dag_id,
        run_id="",
        task_id="",
        map_index=-1,
        try_number=0,
        try_id="",
        repeats=True,
    )


async def forget_watchers(conn: Connection, dag_ids: Sequence[str]) -> None:
    await conn.execute(_SQL.delete_watchers, {"dag_ids": list(dag_ids)})


async def list_watched(conn: Connection) -> tuple[Watched, ...]:
    return await fetch_all(conn, _SQL.list_watched, Watched)


async def insert_watched_event(conn: Connection, key: str, payload: object, now: datetime) -> int:
    """An event of each active asset that this trigger watches for, as Airflow writes it; how many.

    Once for each `now`: who does not know whether it is stored says it again (ADR 77). `conn` is in a transaction.
    Raises `Invalid` for a payload that no event may have.
    """
    extra = json_text({"from_trigger": True, "payload": payload}, "the event of the trigger", max_bytes=EXTRA_MAX_BYTES)
    assets = await fetch_all(conn, _SQL.mark_fired, _WatchedAsset, key=key, now=now)
    writes = [AssetEventWrite(event=NewEvent(name=one.name, uri=one.uri, extra=extra)) for one in assets]
    if writes:
        waiting = await insert_events(conn, writes, now)
        for (dag_id,) in await waiting.fetchall():
            await send_hint(conn, "dag", dag_id)
    return len(writes)


async def mark_failed(conn: Connection, key: str, *, failures: int, error: str, retry_at: datetime) -> None:
    await execute(conn, _SQL.mark_failed, key=key, failures=failures, error=error, retry_at=retry_at)


async def list_watchers(conn: Connection, *, dags: Dags) -> tuple[WatcherRow, ...]:
    return await fetch_all(conn, _SQL.list_watchers, WatcherRow, visible=dags.parameter())
