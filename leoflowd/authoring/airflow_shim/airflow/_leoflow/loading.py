"""What a file may read while it is compiled, and the note of what it read: `leoflowd.contract.loading` (ADR 39).

`loader.py` begins it. In a task's process it never begins: there the daemon answers, through `supervisor`.
"""

from __future__ import annotations

import os
from typing import Any

_known: dict[str, Any] | None = None
_reads: set[tuple[str, str]] = set()
MASK = "***"


def begin(known: dict[str, Any]) -> None:
    """`known` is a `Loadable` as plain data."""
    global _known
    _known = known


def is_compiling() -> bool:
    return _known is not None


def reads() -> list[list[str]]:
    """[kind, key] of each thing that was asked for, there or not, in one order."""
    return [list(read) for read in sorted(_reads)]


def environment(name: str) -> str | None:
    """`AIRFLOW_VAR_...` or `AIRFLOW_CONN_...`; that it counted is noted while a file is compiled."""
    text = os.environ.get(name)
    if text is not None and _known is not None:
        _reads.add(("environment", name))
    return text


def variable(key: str) -> str | None:
    """The stored text; `***` for one that is a secret; in JSON, `***` stands under names of secrets."""
    assert _known is not None
    _reads.add(("variable", key))
    if key in _known["secret_variables"]:
        return MASK
    text: str | None = _known["variables"].get(key)
    return text


def connection(conn_id: str) -> dict[str, Any] | None:
    """Fields of the stored connection, and under `__secrets__` the names of those that are not told."""
    assert _known is not None
    _reads.add(("connection", conn_id))
    facts: dict[str, Any] | None = _known["connections"].get(conn_id)
    return None if facts is None else dict(facts)
