"""Which connections an artifact names, for whoever shows them (`leoflow deploy`) or looks for them (the API)."""

from __future__ import annotations

from typing import Any

import msgspec

from leoflowd.contract.dag_spec import DagSpec


def connections_in(spec: DagSpec) -> list[str]:
    """Ids, sorted; what is in a template, or asked for while a task runs, is not among them."""
    found: set[str] = set()
    left: list[Any] = [msgspec.to_builtins(spec.tasks)]
    while left:  # no recursion: others say how deep it is
        value = left.pop()
        if isinstance(value, list | tuple):
            left += value
        elif isinstance(value, dict):
            for name, inner in value.items():
                is_id = isinstance(name, str) and (name.endswith("conn_id") or name == "connection_id")
                if not is_id or not isinstance(inner, str):
                    left.append(inner)
                elif inner and "{{" not in inner:
                    found.add(inner)
    return sorted(found)
