"""Arguments of a trigger -> JSON in the form that its trigger host reads back (`leoflow_agent.runner.xcom.decode`).

While a file is loaded the agent's code is not there: this is the small part of it that arguments in a file need.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any

from airflow._leoflow.errors import AuthoringError, Location, describe


def stored_form(value: Any, who: str, where: Location) -> Any:
    """Raises `AuthoringError` for what is not plain data."""
    if isinstance(value, Enum):
        return stored_form(value.value, who, where)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict) and all(isinstance(key, str) and not key.startswith("__") for key in value):
        return {key: stored_form(one, who, where) for key, one in value.items()}
    if isinstance(value, list):
        return [stored_form(one, who, where) for one in value]
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            # A set has another order in each process, and each compile is to give the same artifact.
            items = list(value) if kind is tuple else sorted(value, key=repr)
            return _envelope(f"builtins.{kind.__name__}", 1, [stored_form(one, who, where) for one in items])
    if isinstance(value, datetime):
        zone = None if value.tzinfo is None else "UTC"
        moment = value.timestamp() if zone is None else value.astimezone(timezone.utc).timestamp()
        return _envelope("datetime.datetime", 2, {"timestamp": moment, "tz": zone})
    if isinstance(value, timedelta):
        return _envelope("datetime.timedelta", 2, value.total_seconds())
    raise AuthoringError(
        f"{who} has the argument {describe(value)}",
        "what the trigger is made of is stored",
        "use texts, numbers, moments, durations, and lists and dicts of them",
        where,
    )


def _envelope(name: str, version: int, data: Any) -> dict[str, Any]:
    return {"__classname__": name, "__version__": version, "__data__": data}
