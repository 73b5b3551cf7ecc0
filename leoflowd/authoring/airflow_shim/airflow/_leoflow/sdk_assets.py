"""Assets that the real SDK has made, made again of the shim's classes. `sdk_objects.py` asks."""

from __future__ import annotations

from typing import Any

from airflow._leoflow import assets
from airflow._leoflow.asset_decorator import refuse_watchers_of_decorator
from airflow._leoflow.assets import MODULE as MODULE  # of the real classes as well

NAMES = ("Asset", "AssetAlias", "AssetNameRef", "AssetUriRef", "AssetAny", "AssetAll")
"""Of the classes that `shim_asset` knows; those of the author are derived from them."""


def shim_asset(real: Any) -> Any:
    """Its uri is what the providers of the environment made of it."""
    names = {cls.__name__ for cls in type(real).__mro__ if cls.__module__ == MODULE}
    if "Asset" in names:
        refuse_watchers_of_decorator(getattr(getattr(real, "_source", None), "watchers", ()))
        watchers = [assets.AssetWatcher(one.name, one.trigger) for one in real.watchers]
        return assets.Asset(real.name, real.uri, group=real.group, extra=real.extra, watchers=watchers)
    if "AssetAlias" in names:
        return assets.AssetAlias(real.name, group=real.group)
    if "AssetNameRef" in names:
        return assets.AssetNameRef(real.name)
    if "AssetUriRef" in names:
        return assets.AssetUriRef(real.uri)
    kind = assets.AssetAny if "AssetAny" in names else assets.AssetAll
    return kind(*map(shim_asset, real.objects))
