"""Assets between the task SDK's messages and ours: events that a task sees, and what it says of its outlets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

from .assets import checked_size, record

_SOURCE = ("source_dag_id", "source_run_id", "source_task_id", "source_map_index")
_log = logging.getLogger("task")


def event(facts: dict[str, Any]) -> dict[str, Any]:
    """`AssetEventFacts` as the fields of `AssetEventResponse`."""
    asset = {"name": facts["name"], "uri": facts["uri"], "group": facts.get("group") or "asset"}
    return {
        "id": facts["id"],
        "timestamp": facts["timestamp"],
        "extra": json.loads(facts.get("extra") or "{}"),
        "asset": {**asset, "extra": json.loads(facts.get("asset_extra") or "{}")},
        "created_dagruns": [],
        "partition_key": facts.get("partition_key"),
        **{name: facts.get(name) for name in _SOURCE},
    }


def triggering(facts: dict[str, Any]) -> dict[str, Any]:
    """`AssetEventFacts` as the fields of `AssetEventDagRunReference`."""
    extra = json.loads(facts.get("asset_extra") or "{}")
    return {
        "asset": {"name": facts["name"], "uri": facts["uri"], "extra": extra},
        "timestamp": facts["timestamp"],
        "extra": json.loads(facts.get("extra") or "{}"),
        "source_aliases": [{"name": name} for name in facts.get("aliases") or ()],
        **{name: facts.get(name) for name in _SOURCE},
    }


def records(said: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """`outlet_events` of `SucceedTask` as `AssetRecord` has them. Raises for an extra that JSON does not carry."""
    found = []
    for one in said:
        key = one["dest_asset_key"]
        made = record(key["name"], key["uri"], one["extra"])
        if "source_alias_name" in one:
            of_asset = record(key["name"], key["uri"], one["dest_asset_extra"])
            made |= {"alias": one["source_alias_name"], "asset_extra": of_asset["extra"]}
        found.append(made)
    return checked_size(found)


def tell_of_more(outlets: Iterable[Any], declared: Iterable[Any]) -> None:
    """`outlets`: profiles of those that the task has at its end; `declared`: those that its file gave it."""
    known = {(getattr(one, "name", None), getattr(one, "uri", None)) for one in declared}
    for one in outlets:
        if one.type == "Asset" and (one.name, one.uri) not in known:
            _log.warning(
                "Asset %r became an outlet while the task ran: it gets no event. Name it in outlets=[...], or add it "
                "to an alias among them",
                one.name,
            )
