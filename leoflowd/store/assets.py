"""Which DAGs name which assets, as their current versions say. Called by `store.dags` when a version becomes current.

An asset that no DAG names any more is inactive and keeps its events (ADR 46).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from leoflowd.contract.asset_spec import AliasSpec, AssetAt, AssetFacts, AssetLike, AssetNamed, AssetSpec
from leoflowd.contract.dag_spec import DagSpec
from leoflowd.core.asset_conditions import expression_of, named_in
from leoflowd.store.asset_watchers import forget_watchers, write_watchers
from leoflowd.store.database import Connection, execute, fetch_all, fetch_value, statements

_SQL = statements("assets")

USES_LOCK = 0x1E0F20
"""Key of the advisory lock of `lock_uses`. Taken behind the lock of a DAG; who holds it asks for no DAG and no run."""


class Use(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One row of `asset_use`; an asset by name and uri, an alias by name."""

    kind: str
    task_id: str = ""
    name: str | None = None
    uri: str | None = None
    alias: str | None = None
    ref_name: str | None = None
    ref_uri: str | None = None


class AssetId(msgspec.Struct, frozen=True):
    name: str
    uri: str
    id: int


class Conflicting(msgspec.Struct, frozen=True):
    """An asset that stays inactive, and the active one that has its name or its uri."""

    name: str
    uri: str
    other_name: str
    other_uri: str


async def write_uses(conn: Connection, spec: DagSpec, now: datetime) -> tuple[Conflicting, ...]:
    """What this version says of assets, instead of what the one before it said."""
    named = list(_named(spec))
    if not named and not await fetch_value(conn, _SQL.fetch_has_uses, dag_id=spec.dag_id):
        return ()
    await conn.execute(_SQL.lock_uses, {"key": USES_LOCK})
    assets = _assets(one for _, _, one in named)
    aliases = {one.name: one for _, _, one in named if isinstance(one, AliasSpec)}
    rows = [{"name": a.name, "uri": a.uri, "group": a.group, "extra": a.extra} for a in assets.values()]
    await conn.execute(_SQL.upsert_assets, {"assets": _text(rows), "now": now})
    await conn.execute(
        _SQL.upsert_aliases, {"aliases": _text([{"name": a.name, "group": a.group} for a in aliases.values()])}
    )
    uses = [_use(kind, task_id, one) for kind, task_id, one in named]
    await conn.execute(_SQL.write_uses, {"uses": _text(uses), "dag_id": spec.dag_id, "now": now})
    await write_watchers(conn, spec, assets.values(), now)
    if spec.asset_condition is None:
        await conn.execute(_SQL.delete_queue, {"dag_ids": [spec.dag_id]})
    await _refresh_activity(conn)
    shown = expression_of(spec.asset_condition, await list_ids(conn, [spec.dag_id]))
    text = None if shown is None else _text(shown)
    await conn.execute(_SQL.update_expression, {"dag_id": spec.dag_id, "expression": text})
    return await fetch_all(conn, _SQL.list_conflicts, Conflicting, dag_id=spec.dag_id)


async def fetch_active(conn: Connection, *, name: str | None, uri: str | None) -> AssetFacts | None:
    """The active asset that a reference by name or by uri means; None when both are given, or neither."""
    if (name is None) == (uri is None):
        return None
    found = await fetch_all(conn, _SQL.fetch_active, AssetFacts, name=name, uri=uri)
    return found[0] if found else None


async def forget_uses(conn: Connection, dag_ids: Sequence[str]) -> None:
    """These DAGs are gone, for good or for now."""
    await conn.execute(_SQL.lock_uses, {"key": USES_LOCK})
    await conn.execute(_SQL.delete_queue, {"dag_ids": list(dag_ids)})
    await execute(conn, _SQL.delete_uses, dag_ids=list(dag_ids))
    await forget_watchers(conn, dag_ids)
    await _refresh_activity(conn)


async def fetch_expression(conn: Connection, dag_id: str) -> object:
    """What its schedule waits for, as the API shows it; None: for no assets, or there is no such DAG."""
    return await fetch_value(conn, _SQL.fetch_expression, dag_id=dag_id)


async def list_ids(conn: Connection, dag_ids: Sequence[str]) -> dict[tuple[str, str], int]:
    """Of the assets that these DAGs name, by name and uri."""
    found = await fetch_all(conn, _SQL.list_ids, AssetId, dag_ids=list(dag_ids))
    return {(one.name, one.uri): one.id for one in found}


async def _refresh_activity(conn: Connection) -> None:
    await conn.execute(_SQL.deactivate_assets)
    await conn.execute(_SQL.activate_assets)


def _named(spec: DagSpec) -> list[tuple[str, str, AssetLike]]:
    return [
        *(("schedule", "", one) for one in named_in(spec.asset_condition)),
        *(("outlet", task.task_id, one) for task in spec.tasks for one in task.outlets),
        *(("inlet", task.task_id, one) for task in spec.tasks for one in task.inlets),
    ]


def _assets(named: Iterable[AssetLike]) -> dict[tuple[str, str], AssetSpec]:
    """By name and uri. One place of the DAG may say what is watched for the asset, and another only name it."""
    found: dict[tuple[str, str], AssetSpec] = {}
    for one in named:
        if isinstance(one, AssetSpec):
            known = found.get((one.name, one.uri))
            watchers = () if known is None else known.watchers
            found[one.name, one.uri] = msgspec.structs.replace(one, watchers=(*watchers, *one.watchers))
    return found


def _use(kind: str, task_id: str, one: AssetLike) -> Use:
    match one:
        case AssetSpec():
            return Use(kind=kind, task_id=task_id, name=one.name, uri=one.uri)
        case AliasSpec():
            return Use(kind=kind, task_id=task_id, alias=one.name)
        case AssetNamed():
            return Use(kind=kind, task_id=task_id, ref_name=one.name)
        case AssetAt():
            return Use(kind=kind, task_id=task_id, ref_uri=one.uri)


def _text(rows: object) -> str:
    return msgspec.json.encode(rows).decode()
