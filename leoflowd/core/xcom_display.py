"""How an XCom that JSON cannot carry is shown, and which keys mark one: Airflow's `__classname__` envelopes.

The API applies `readable` when a client asks for `deserialize=true`, as the UI does. It is Airflow 3.2's text for them
(`airflow.serialization.stringify`): no class is imported, the parts of the envelope are written one after the other.
"""

from __future__ import annotations

import json
import re
from typing import Any

CLASS, VERSION, DATA = "__classname__", "__version__", "__data__"
RESERVED = frozenset({CLASS, VERSION, DATA, "__id__", "__cache__", "__type", "__source", "__var"})
"""Keys that only serializers write; Airflow takes none of them from people."""
_COLLECTIONS = frozenset({"builtins.tuple", "builtins.set", "builtins.frozenset"})


def readable(value: Any) -> Any:
    """The value with every envelope replaced by its text, however deep; JSON in, JSON out."""
    if isinstance(value, list):
        return [readable(item) for item in value]
    if not isinstance(value, dict):
        return value
    if CLASS in value and VERSION in value:
        return _text(str(value[CLASS]), value[VERSION], value.get(DATA))
    return {key: readable(item) for key, item in value.items()}


def _text(name: str, version: Any, data: Any) -> str:
    if isinstance(data, dict):
        inside = ",".join(f"{key}={readable(item)}" for key, item in data.items())
    elif isinstance(data, list):
        inside = ",".join(str(readable(item)) for item in data)
        if name in _COLLECTIONS:
            return f"({inside})"
    else:
        inside = "" if data is None else str(data)
    return f"{name}@version={version}({inside})"


def reserved_key(value: Any) -> str | None:
    """The first key of serializers in a value, however deep; None when there is none."""
    if isinstance(value, dict):
        found = next((key for key in value if key in RESERVED), None)
        return found or _first(value.values())
    return _first(value) if isinstance(value, list) else None


def _first(values: Any) -> str | None:
    return next((found for one in values if (found := reserved_key(one)) is not None), None)


# --- extra links -------------------------------------------------------------------------------------------------


def link_name(key: str) -> str:
    """`_link_EmrClusterLink`: `Emr Cluster Link`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", key.removeprefix("_link_"))


def link_url(value: str | None) -> str | None:
    """Of the JSON text of such an XCom. Only addresses of the web: a task could push `javascript:` as well."""
    url = json.loads(value) if value else None
    return url if isinstance(url, str) and re.match(r"https?://", url) else None
