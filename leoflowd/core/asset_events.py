"""Which events a task makes when it succeeds: one of every asset among its outlets, and those that it recorded.

Airflow's rules: what is recorded for something that is no outlet makes no event, and of an alias only what is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from leoflowd.contract.asset_spec import AliasSpec, AssetAt, AssetLike, AssetNamed, AssetRecord, AssetSpec


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be stored. Name or uri None: of the active asset that has the other."""

    name: str | None = None
    uri: str | None = None
    extra: str = "{}"
    aliases: tuple[str, ...] = ()
    """Not empty: the asset is made if there is none, and these stand for it from now on."""
    group: str = "asset"
    asset_extra: str = "{}"
    partition_key: str | None = None


def events_of(outlets: Sequence[AssetLike], records: Sequence[AssetRecord]) -> tuple[NewEvent, ...]:
    """In the order of the outlets; what came by aliases last."""
    direct = [record for record in records if record.alias is None]
    seen: dict[NewEvent, None] = {}
    for outlet in outlets:
        match outlet:
            case AssetSpec(name=name, uri=uri):
                seen[_event(name, uri, (r for r in direct if (r.name, r.uri) == (name, uri)))] = None
            case AssetNamed(name=name):
                seen[_event(name, None, (r for r in direct if r.name == name))] = None
            case AssetAt(uri=uri):
                seen[_event(None, uri, (r for r in direct if r.uri == uri))] = None
            case AliasSpec():
                pass
    return (*seen, *_by_alias(outlets, records))


def refused_records(outlets: Sequence[AssetLike], records: Iterable[AssetRecord]) -> tuple[AssetRecord, ...]:
    """Those for which the task has no outlet."""
    return tuple(record for record in records if not any(_is_for(record, outlet) for outlet in outlets))


def _is_for(record: AssetRecord, outlet: AssetLike) -> bool:
    match outlet:
        case AliasSpec(name=name):
            return record.alias == name
        case AssetSpec(name=name, uri=uri):
            return record.alias is None and (record.name, record.uri) == (name, uri)
        case AssetNamed(name=name):
            return record.alias is None and record.name == name
        case AssetAt(uri=uri):
            return record.alias is None and record.uri == uri


def _event(name: str | None, uri: str | None, records: Iterable[AssetRecord]) -> NewEvent:
    """What was recorded last counts."""
    said = list(records)
    if not said:
        return NewEvent(name=name, uri=uri)
    return NewEvent(name=name, uri=uri, extra=said[-1].extra, partition_key=said[-1].partition_key)


def _by_alias(outlets: Sequence[AssetLike], records: Iterable[AssetRecord]) -> Iterator[NewEvent]:
    """Two aliases that say the same of the same asset make one event."""
    declared = {outlet.name for outlet in outlets if isinstance(outlet, AliasSpec)}
    merged: dict[NewEvent, list[str]] = {}
    for record in records:
        if record.alias in declared and record.alias is not None:
            bare = NewEvent(
                name=record.name,
                uri=record.uri,
                extra=record.extra,
                group=record.group,
                asset_extra=record.asset_extra,
                partition_key=record.partition_key,
            )
            merged.setdefault(bare, []).append(record.alias)
    for event, aliases in merged.items():
        yield msgspec.structs.replace(event, aliases=tuple(sorted(set(aliases))))
