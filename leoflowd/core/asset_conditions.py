"""When the events that have come start a run of a DAG, and how a condition is shown.

Evaluated as Airflow's `AssetEvaluator` does, over what the queue of the DAG holds: `store.asset_events` reads it,
`scheduler.asset_runs` asks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, assert_never

import msgspec

from leoflowd.contract.asset_spec import (
    AliasSpec,
    AllOf,
    AnyOf,
    AssetAt,
    AssetCondition,
    AssetLike,
    AssetNamed,
    AssetSpec,
)


class ComeAsset(msgspec.Struct, frozen=True):
    """An asset of which an event has come since the last run that an event started."""

    name: str
    uri: str
    is_active: bool
    aliases: tuple[str, ...]
    """Those that stand for it."""


def is_met(condition: AssetCondition, come: Collection[ComeAsset]) -> bool:
    match condition:
        case AssetSpec(name=name, uri=uri):
            return any(one.name == name and one.uri == uri for one in come)
        case AliasSpec(name=name):
            return any(name in one.aliases for one in come)
        case AssetNamed(name=name):
            return any(one.is_active and one.name == name for one in come)
        case AssetAt(uri=uri):
            return any(one.is_active and one.uri == uri for one in come)
        case AnyOf(of=parts):
            return any(is_met(part, come) for part in parts)
        case AllOf(of=parts):
            return all(is_met(part, come) for part in parts)
        case _:
            assert_never(condition)


def named_in(condition: AssetCondition | None) -> Iterator[AssetLike]:
    """What the condition names, from left to right."""
    match condition:
        case None:
            return
        case AnyOf(of=parts) | AllOf(of=parts):
            for part in parts:
                yield from named_in(part)
        case _:
            yield condition


def expression_of(condition: AssetCondition | None, ids: Mapping[tuple[str, str], int]) -> dict[str, Any] | None:
    """`asset_expression` as Airflow's API shows it; `ids`: of assets, by name and uri."""
    match condition:
        case None:
            return None
        case AssetSpec(name=name, uri=uri, group=group):
            return {"asset": {"id": ids.get((name, uri)), "name": name, "uri": uri, "group": group}}
        case AliasSpec(name=name, group=group):
            return {"alias": {"name": name, "group": group}}
        case AssetNamed(name=name):
            return {"asset_ref": {"name": name}}
        case AssetAt(uri=uri):
            return {"asset_ref": {"uri": uri}}
        case AnyOf(of=parts):
            return {"any": [expression_of(part, ids) for part in parts]}
        case AllOf(of=parts):
            return {"all": [expression_of(part, ids) for part in parts]}
        case _:
            assert_never(condition)
