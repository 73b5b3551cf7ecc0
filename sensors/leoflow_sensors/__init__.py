"""Native sensors of the cheap-task pool: a module each, with a spec struct and an async `poke` (or a `due_at`).

`load_kinds` is the only way in for the daemon. The border is `kinds.SensorKind`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module, metadata
from typing import Any

from leoflow_sensors.kinds import ENTRY_POINTS, SensorKind

MODULES = (
    "time",
    "external_task",
    "file",
    "http",
    "sql",
    "redis_key",
    "object_key",
    "kubernetes_object",
    "webhook",
)
"""Each has a `KIND`, or `KINDS` for several."""


class BrokenKind(Exception):
    """A distribution offers a sensor kind that cannot be used; the message says which, why, and what to do."""


def load_kinds() -> dict[str, SensorKind[Any, Any]]:
    """All kinds by name: ours, and those that installed distributions offer under `leoflow.sensors`.

    Raises `BrokenKind`: a daemon without a kind that is installed would let its waits wait for nothing.
    """
    kinds = {kind.name: kind for kind in _native_kinds()}
    for entry in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        kind = _load(entry)
        if kind.name in kinds:
            raise _broken(entry, f"there is a kind {kind.name!r} already")
        kinds[kind.name] = kind
    return kinds


def _native_kinds() -> Iterable[SensorKind[Any, Any]]:
    for name in MODULES:
        module = import_module(f"{__name__}.{name}")
        yield from getattr(module, "KINDS", None) or (module.KIND,)


def _load(entry: metadata.EntryPoint) -> SensorKind[Any, Any]:
    try:
        kind = entry.load()
    except (ImportError, AttributeError, SyntaxError, TypeError, ValueError, LookupError, OSError) as error:
        raise _broken(entry, f"it cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(kind, SensorKind):
        raise _broken(entry, f"it is a {type(kind).__name__}, not a leoflow_sensors.kinds.SensorKind")
    if kind.name != entry.name:
        raise _broken(entry, f"it calls itself {kind.name!r}; the entry point must have the same name")
    if (kind.due_at is None) == (kind.poke is None):
        raise _broken(entry, "it must have either `poke` or `due_at`")
    return kind


def _broken(entry: metadata.EntryPoint, why: str) -> BrokenKind:
    distribution = entry.dist.name if entry.dist is not None else "an unknown distribution"
    return BrokenKind(
        f"cannot use the sensor kind {entry.name!r} ({entry.value}) of {distribution}: {why}. Update or uninstall "
        f"{distribution}, then start the daemon again"
    )
