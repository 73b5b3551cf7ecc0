"""Assets -> the artifact's plain data (`leoflowd.contract.asset_spec`). `serialize.py` asks."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from airflow._leoflow.assets import Asset, AssetAlias, AssetAll, AssetAny, AssetNameRef, AssetUriRef, AssetWatcher
from airflow._leoflow.errors import AuthoringError, Location, ShimUnsupported, describe
from airflow._leoflow.stored_form import stored_form


def as_list(given: Any) -> list[Any]:
    """`inlets=` and `outlets=` as Airflow takes them: several, one or none."""
    if not given:
        return []
    return list(given) if isinstance(given, Collection) and not isinstance(given, str) else [given]


def condition_spec(condition: Any, who: str, where: Location) -> dict[str, Any] | None:
    """Of a DAG's schedule; None: no asset starts runs of it."""
    if condition is None:
        return None
    if isinstance(condition, (AssetAny, AssetAll)):
        kind = "any" if isinstance(condition, AssetAny) else "all"
        return {"type": kind, "of": [condition_spec(one, who, where) for one in condition.objects]}
    return asset_spec(condition, f"the schedule of {who}", where)


def asset_specs(task: Any, name: str) -> list[dict[str, Any]]:
    """`name`: "inlets" or "outlets". Each once, in the author's order."""
    who = f"{name} of task {task.task_id!r}"
    found: list[dict[str, Any]] = []
    for one in getattr(task, name) or ():
        spec = asset_spec(one, who, task._location)
        if spec not in found:
            found.append(spec)
    return found


def asset_spec(asset: Any, who: str, where: Location) -> dict[str, Any]:
    if isinstance(asset, Asset):
        return {
            "type": "asset",
            "name": asset.name,
            "uri": asset.uri,
            "group": asset.group,
            "extra": _extra(asset, where),
            **({"watchers": [_watcher(one, asset, where) for one in asset.watchers]} if asset.watchers else {}),
        }
    if isinstance(asset, AssetAlias):
        return {"type": "alias", "name": asset.name, "group": asset.group}
    if isinstance(asset, AssetNameRef):
        return {"type": "name", "name": asset.name}
    if isinstance(asset, AssetUriRef):
        return {"type": "uri", "uri": asset.uri}
    raise ShimUnsupported(
        f"{who} hold {describe(asset)}",
        "only assets, references to assets and asset aliases have a meaning there",
        "remove it, or write Asset(...)",
        where,
    )


def _watcher(watcher: Any, asset: Asset, where: Location) -> dict[str, Any]:
    if not isinstance(watcher, AssetWatcher):
        raise AuthoringError(
            f"asset {asset.name!r} has {describe(watcher)} among its watchers",
            "each of them has a name and an event trigger",
            "write AssetWatcher(name=..., trigger=...)",
            where,
        )
    classpath, arguments = watcher.trigger.serialize()
    who = f"trigger {classpath} of watcher {watcher.name!r} of asset {asset.name!r}"
    return {"name": watcher.name, "trigger": classpath, "arguments": stored_form(arguments, who, where)}


def _extra(asset: Asset, where: Location) -> dict[str, Any]:
    try:
        found = json.loads(json.dumps(asset.extra, allow_nan=False))
        if isinstance(found, dict):
            return found
        fault = "it is no dict"
    except (TypeError, ValueError) as error:
        fault = f"it is stored as JSON: {error}"
    raise AuthoringError(
        f"asset {asset.name!r} has extra={describe(asset.extra)}",
        fault,
        "use a dict of texts, numbers, lists and dicts",
        where,
    )
