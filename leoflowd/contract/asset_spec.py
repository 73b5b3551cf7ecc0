"""What a DAG says about assets: what its tasks read and write, and what events of them start its runs (ADR 0046).

An asset is known by its name and its uri together; either is made of the other when the author gives one. The artifact
and the agents' messages carry these.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from leoflowd.contract.errors import Invalid
from leoflowd.contract.values import byte_size, checked_json_text, checked_text, json_text, parsed_json

TEXT_MAX = 1_500
"""Characters of a name, a uri or a group, as in Airflow's tables."""
KEY_MAX_BYTES = 2_600
"""Of name and uri together: one entry of an index."""
EXTRA_MAX_BYTES = 64 * 1024
WATCHERS_MAX = 100
"""Of one asset."""
PARTITION_KEY_MAX = 250


class _Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base."""


class WatcherSpec(_Spec, frozen=True, kw_only=True):
    """An event trigger that makes events of the asset: `AssetWatcher(name, trigger)`."""

    name: str
    trigger: str
    """Its class, `package.module.Class`."""
    arguments: dict[str, Any] = {}
    """Its keyword arguments, in the runner's XCom form."""


class AssetSpec(_Spec, frozen=True, kw_only=True, tag="asset"):
    """`Asset(...)`, and `Dataset(...)` of old."""

    name: str
    uri: str
    group: str = "asset"
    extra: dict[str, Any] = {}
    watchers: tuple[WatcherSpec, ...] = ()


class AliasSpec(_Spec, frozen=True, kw_only=True, tag="alias"):
    """`AssetAlias(...)`: stands for the assets that tasks add to it when they run."""

    name: str
    group: str = "asset"


class AssetNamed(_Spec, frozen=True, kw_only=True, tag="name"):
    """`Asset.ref(name=...)`: the active asset of this name, whoever defines it."""

    name: str


class AssetAt(_Spec, frozen=True, kw_only=True, tag="uri"):
    """`Asset.ref(uri=...)`: the active asset of this uri."""

    uri: str


AssetLike = AssetSpec | AliasSpec | AssetNamed | AssetAt


class AnyOf(_Spec, frozen=True, kw_only=True, tag="any"):
    """`a | b`"""

    of: tuple[AssetCondition, ...]


class AllOf(_Spec, frozen=True, kw_only=True, tag="all"):
    """`a & b`; also `schedule=[a, b]`."""

    of: tuple[AssetCondition, ...]


AssetCondition = AssetSpec | AliasSpec | AssetNamed | AssetAt | AnyOf | AllOf
"""True when each asset that it needs has an event since the last run that an event started."""


class AssetRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a task says of one of its outlets before it succeeds: `outlet_events[...]`, or an alias' `.add(...)`.

    Every asset among a task's outlets gets an event when it succeeds, with or without such a record.
    """

    name: str
    uri: str
    group: str = "asset"
    asset_extra: str = "{}"
    """JSON text of an object: of an asset that was unknown until now."""
    alias: str | None = None
    """The outlet is this alias, and the event is of an asset that it stands for."""
    extra: str = "{}"
    """JSON text of an object: of the event."""
    partition_key: str | None = None


class AssetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An asset, as tasks are told of it."""

    name: str
    uri: str
    group: str = "asset"
    extra: str = "{}"
    """JSON text of an object."""


class AssetEventFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One event, as tasks see it (`inlet_events`, `triggering_asset_events`)."""

    id: int
    timestamp: datetime
    name: str
    uri: str
    group: str = "asset"
    asset_extra: str = "{}"
    extra: str = "{}"
    """JSON texts of objects."""
    source_dag_id: str | None = None
    source_run_id: str | None = None
    source_task_id: str | None = None
    source_map_index: int | None = None
    aliases: tuple[str, ...] = ()
    partition_key: str | None = None


# --- what may be stored ------------------------------------------------------------------------------------------


def check_asset(name: str, uri: str, group: str, who: str) -> None:
    """Raises `Invalid`."""
    for what, text in (("name", name), ("uri", uri), ("group", group)):
        checked_text(text, f"the {what} of an asset of {who}", max_length=TEXT_MAX)
    if byte_size(name) + byte_size(uri) > KEY_MAX_BYTES:
        raise Invalid(f"name and uri of asset {name[:100]!r} of {who} have more than {KEY_MAX_BYTES:,} bytes together")


def check_condition(condition: AssetCondition, who: str) -> None:
    """Raises `Invalid`."""
    match condition:
        case AssetSpec(name=name, uri=uri, group=group, watchers=watchers):
            check_asset(name, uri, group, who)
            _check_watchers(watchers, f"asset {name!r} of {who}")
        case AliasSpec(name=name, group=group):
            checked_text(name, f"the name of an asset alias of {who}", max_length=TEXT_MAX)
            checked_text(group, f"the group of an asset alias of {who}", max_length=TEXT_MAX)
        case AssetNamed(name=text) | AssetAt(uri=text):
            checked_text(text, f"a reference to an asset of {who}", max_length=TEXT_MAX)
        case AnyOf(of=parts) | AllOf(of=parts):
            for part in parts:
                check_condition(part, who)


def _check_watchers(watchers: tuple[WatcherSpec, ...], who: str) -> None:
    if len(watchers) > WATCHERS_MAX:
        raise Invalid(f"{who} has {len(watchers)} watchers; at most {WATCHERS_MAX} are possible")
    for watcher in watchers:
        checked_text(watcher.name, f"the name of a watcher of {who}", max_length=TEXT_MAX)
        checked_text(watcher.trigger, f"the trigger of watcher {watcher.name!r} of {who}", max_length=TEXT_MAX)
        what = f"the arguments of watcher {watcher.name!r} of {who}"
        json_text(watcher.arguments, what, max_bytes=EXTRA_MAX_BYTES)


def check_record(record: AssetRecord, who: str) -> None:
    """What a task says of an outlet. Raises `Invalid`."""
    check_asset(record.name, record.uri, record.group, who)
    if record.alias is not None:
        checked_text(record.alias, f"the name of an asset alias of {who}", max_length=TEXT_MAX)
    if record.partition_key is not None:
        checked_text(record.partition_key, f"a partition key of {who}", max_length=PARTITION_KEY_MAX)
    for what, text in (("an asset event", record.extra), ("an asset", record.asset_extra)):
        checked_json_text(text, f"extra of {what} of {who}", max_bytes=EXTRA_MAX_BYTES)
        if not isinstance(parsed_json(text, f"extra of {what} of {who}"), dict):
            raise Invalid(f"extra of {what} of {who} is no JSON object")
