"""`executor_config`: what a task asks of the executor, written down for a cluster. `serialize` asks.

Objects of the Kubernetes client (`pod_override`) are written as its API has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow._leoflow.errors import ShimUnsupported
from airflow._leoflow.templating import as_json


def carried(task: Any) -> dict[str, Any]:
    """As JSON; empty where there is none. Raises `ShimUnsupported` for what is no JSON."""
    config = task.executor_config
    if not config:
        return {}
    found = as_json(_plain(config)) if isinstance(config, Mapping) else None
    if found is None:
        raise ShimUnsupported(
            f"task {task.task_id!r} has executor_config, which cannot be written down",
            "it is kept in the artifact, which is JSON",
            "use dicts of plain values, and objects of kubernetes.client",
            task._location,
        )
    return dict(found)


def _plain(value: Any) -> Any:
    """Objects of the Kubernetes client as dicts: they know the names that the API has for their attributes."""
    names = getattr(type(value), "attribute_map", None)
    if isinstance(names, Mapping):
        fields = ((written, getattr(value, name)) for name, written in names.items())
        return {written: _plain(field) for written, field in fields if field is not None}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
