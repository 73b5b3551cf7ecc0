"""How an XCom that JSON cannot carry is shown: the runner's envelopes (Airflow's `__classname__` form) made readable.

The API applies it when a client asks for `deserialize=true`, as the UI does. The daemon imports no class named in data:
what it does not know keeps its name and is shown as text, as Airflow shows classes it may not import.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

CLASS, VERSION, DATA = "__classname__", "__version__", "__data__"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AS_TEXT = frozenset({"datetime.date", "pendulum.date.Date", "decimal.Decimal"})
_MOMENTS = frozenset({"datetime.datetime", "pendulum.datetime.DateTime"})
_AS_LIST = frozenset({"builtins.tuple", "builtins.set", "builtins.frozenset"})


def readable(value: Any) -> Any:
    """The value with every envelope replaced, however deep; JSON in, JSON out."""
    if isinstance(value, list):
        return [readable(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {CLASS, VERSION, DATA}:
        return _opened(str(value[CLASS]), value[VERSION], value[DATA])
    return {key: readable(item) for key, item in value.items()}


def _opened(name: str, version: Any, data: Any) -> Any:
    if name in _AS_LIST and isinstance(data, list):
        return readable(data)
    if name in _AS_TEXT and isinstance(data, str):
        return data
    with contextlib.suppress(OverflowError, ValueError):  # no such moment or duration: its numbers are shown
        if name == "datetime.timedelta" and isinstance(data, int | float):
            return str(timedelta(seconds=data))
        if name in _MOMENTS and isinstance(data, dict) and isinstance(data.get("timestamp"), int | float):
            return (_EPOCH + timedelta(seconds=data["timestamp"])).isoformat().replace("+00:00", "Z")
    return f"{name}@version={version}({readable(data)})"
