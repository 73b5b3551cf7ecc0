"""XCom values <-> JSON text. What JSON lacks is written the way Airflow 3 writes it and read back as it was.

`{"__classname__": ..., "__version__": ..., "__data__": ...}` is Airflow's own envelope, so that values look the same
to whoever knows Airflow's API.
"""

from __future__ import annotations

import json
import math
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

MAX_BYTES = 256 * 1024
"""`leoflowd.contract.agent_messages.XCOM_MAX_BYTES`; a unit test compares them."""
RETURN_KEY = "return_value"
_CLASS, _VERSION, _DATA = "__classname__", "__version__", "__data__"


class NotSerializable(TypeError):
    """The value has a type that XCom cannot carry."""


class TooLarge(ValueError):
    """The value is larger than an XCom may be."""


def encode(value: Any, *, key: str) -> str:
    """JSON text; raises with a message for the author of the task."""
    try:
        text = json.dumps(_plain(value, key))
    except RecursionError:
        raise NotSerializable(f"XCom {key!r} is nested too deeply, or contains itself") from None
    size = len(text.encode())
    if size > MAX_BYTES:
        raise TooLarge(
            f"XCom {key!r} is {size} bytes of JSON, more than the limit of {MAX_BYTES} bytes; "
            "store the data in a file, a bucket or a table, and return its path"
        )
    return text


def _plain(value: Any, where: str) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return _finite(value, where)
    if kind is dict:
        return {_key(key, where): _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if kind is list:
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    return _enveloped(value, where)


def _finite(value: float, where: str) -> float:
    if not math.isfinite(value):
        raise NotSerializable(f"XCom {where} is {value!r}, which JSON cannot carry; use None or text instead")
    return value


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise NotSerializable(
            f"XCom {where} is a dict with the key {key!r} of type {type(key).__name__}; "
            "JSON has only text keys, use str(key)"
        )
    return key


def _enveloped(value: Any, where: str) -> Any:
    if isinstance(value, datetime):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
        # Airflow keeps the instant and the zone's name; an offset is a name too.
        return _envelope("datetime.datetime", 2, {"timestamp": moment.timestamp(), "tz": _zone_name(value)})
    if isinstance(value, date):
        return _envelope("datetime.date", 2, value.isoformat())
    if isinstance(value, timedelta):
        return _envelope("datetime.timedelta", 2, value.total_seconds())
    if isinstance(value, Decimal):
        return _envelope("decimal.Decimal", 1, str(value))
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            items = [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
            return _envelope(f"builtins.{kind.__name__}", 1, items)
    return _plain(_basic(value, where), where)


def _basic(value: Any, where: str) -> Any:
    """Subclasses of JSON's types (enums with values, defaultdict, numpy's float64) as those types."""
    bases: tuple[Any, ...] = (int, float, str, dict, list)
    for base in bases:
        if isinstance(value, base):
            return base(value)
    raise NotSerializable(
        f"XCom {where} is of type {type(value).__module__}.{type(value).__qualname__}, which cannot be stored; return "
        "JSON types (text, numbers, booleans, None, lists, dicts), datetimes, tuples or sets"
    )


def _envelope(name: str, version: int, data: Any) -> dict[str, Any]:
    return {_CLASS: name, _VERSION: version, _DATA: data}


def _zone_name(value: datetime) -> str | None:
    if value.tzinfo is None:
        return None
    name = getattr(value.tzinfo, "key", None) or getattr(value.tzinfo, "name", None)
    if isinstance(name, str):
        return name
    offset = value.utcoffset()
    return "UTC" if not offset else f"{value:%z}"


def decode(value: Any) -> Any:
    """Undo `encode` on a value that came as parsed JSON."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {_CLASS, _VERSION, _DATA}:
        return _opened(str(value[_CLASS]), value[_DATA], value)
    return {key: decode(item) for key, item in value.items()}


def _opened(name: str, data: Any, envelope: dict[str, Any]) -> Any:
    if name == "datetime.datetime":
        return _moment(data)
    if name == "datetime.date":
        return date.fromisoformat(data)
    if name == "datetime.timedelta":
        return timedelta(seconds=data)
    if name == "decimal.Decimal":
        return Decimal(data)
    kind = {"builtins.tuple": tuple, "builtins.set": set, "builtins.frozenset": frozenset}.get(name)
    return kind(decode(data)) if kind is not None else envelope


def _moment(data: dict[str, Any]) -> datetime:
    moment = datetime.fromtimestamp(data["timestamp"], timezone.utc)
    zone = data["tz"]
    if zone is None:
        return moment.replace(tzinfo=None)
    if zone == "UTC":
        return moment
    if zone[0] in "+-":
        return moment.astimezone(datetime.strptime(zone, "%z").tzinfo)
    from zoneinfo import ZoneInfo

    return moment.astimezone(ZoneInfo(zone))
