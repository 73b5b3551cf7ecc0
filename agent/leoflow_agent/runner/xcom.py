"""Values <-> JSON: XComs, and the arguments of triggers and of the methods that deferred tasks go on with.

What JSON lacks is written the way Airflow 3.2 writes it (`airflow.sdk.serde`) and read back as it was:
`{"__classname__": ..., "__version__": ..., "__data__": ...}` is Airflow's own envelope, so that a task on Airflow's
real packages reads what a task on our shim wrote, and the other way round. `bytes` are the one addition.
"""

from __future__ import annotations

import base64
import enum
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

from .limits import EARLIEST, LATEST, NotSerializable, TooLarge, json_text

__all__ = ["RETURN_KEY", "NotSerializable", "TooLarge", "decode", "encode", "plain"]

RETURN_KEY = "return_value"
_CLASS, _VERSION, _DATA = "__classname__", "__version__", "__data__"
_PENDULUM_MOMENT = "pendulum.datetime.DateTime"


def encode(value: Any, *, key: str) -> str:
    """JSON text; raises with a message for the author of the task."""
    return json_text(plain(value, f"XCom {key}"), f"XCom {key}")


def plain(value: Any, what: str) -> Any:
    """The value as JSON types and envelopes; `what` begins the message of the error."""
    try:
        return _plain(value, what)
    except RecursionError:
        raise NotSerializable(f"{what} is nested too deeply, or contains itself") from None


def _plain(value: Any, where: str) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value
    if kind is dict:
        # JSON has text keys only: `df.to_dict()` has numbers, which become text as in Airflow
        return {
            key if isinstance(key, str) else str(key): _plain(item, f"{where}[{key!r}]") for key, item in value.items()
        }
    if kind is list:
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    return _enveloped(value, where)


def _enveloped(value: Any, where: str) -> Any:
    if isinstance(value, datetime):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
        if not EARLIEST <= moment <= LATEST:
            raise NotSerializable(f"{where} is {value!r}, so near to the ends of time that no time zone may be applied")
        return _envelope(_moment_class(value), 2, {"timestamp": moment.timestamp(), "tz": _zone(value)})
    if isinstance(value, date):
        return _envelope("datetime.date", 2, value.isoformat())
    if isinstance(value, timedelta):
        return _envelope("datetime.timedelta", 2, _seconds(value, where))
    if isinstance(value, Decimal):
        return _envelope("decimal.Decimal", 1, str(value))
    if isinstance(value, bytes):
        return _envelope("builtins.bytes", 1, base64.b64encode(value).decode("ascii"))
    if getattr(type(value), "is_lazy", False):  # outputs of mapped tasks, and what is derived of outputs
        return _plain(list(value), where)
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            items = [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
            return _envelope(f"builtins.{kind.__name__}", 1, items)
    return _plain(_basic(value, where), where)


def _seconds(value: timedelta, where: str) -> float:
    try:
        timedelta(seconds=value.total_seconds())
    except OverflowError:
        raise NotSerializable(f"{where} is {value!r}, which as seconds is more than any timedelta holds") from None
    return value.total_seconds()


def _basic(value: Any, where: str) -> Any:
    """Subclasses of JSON's types (defaultdict, numpy's float64) as those types; enums of them as their values."""
    bases: tuple[Any, ...] = (int, float, str, dict, list)
    for base in bases:
        if isinstance(value, base):
            return base(value.value if isinstance(value, enum.Enum) else value)
    raise NotSerializable(
        f"{where} is of type {type(value).__module__}.{type(value).__qualname__}, which cannot be stored; use "
        "JSON types (text, numbers, booleans, None, lists, dicts), datetimes, bytes, tuples or sets"
        + (", for instance its `.value`" if isinstance(value, enum.Enum) else "")
    )


def _envelope(name: str, version: int, data: Any) -> dict[str, Any]:
    return {_CLASS: name, _VERSION: version, _DATA: data}


def _moment_class(value: datetime) -> str:
    return _PENDULUM_MOMENT if type(value).__module__.startswith("pendulum.") else "datetime.datetime"


def _zone(value: datetime) -> Any:
    """Name (or offset in seconds) and class of the time zone, as Airflow writes them; None for a naive moment."""
    zone = value.tzinfo
    if zone is None:
        return None
    name: Any = getattr(zone, "key", None) or getattr(zone, "zone", None)  # zoneinfo and pendulum; pytz
    kind = "zoneinfo.ZoneInfo"
    if not isinstance(name, str):
        offset = value.utcoffset()
        name = int(offset.total_seconds()) if offset else "UTC"
        kind = "pendulum.tz.timezone.FixedTimezone"
    return _envelope("builtins.tuple", 1, [name, kind, 1, True])


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
    if name in ("datetime.datetime", _PENDULUM_MOMENT):
        return _moment(data, is_pendulum=name == _PENDULUM_MOMENT)
    if name in ("datetime.date", "pendulum.date.Date"):
        return date.fromisoformat(data)
    if name == "datetime.timedelta":
        return timedelta(seconds=data)
    if name == "decimal.Decimal":
        return Decimal(data)
    if name == "builtins.bytes":
        return base64.b64decode(data)
    kind = {"builtins.tuple": tuple, "builtins.set": set, "builtins.frozenset": frozenset}.get(name)
    return kind(decode(data)) if kind is not None else envelope


def _moment(data: dict[str, Any], *, is_pendulum: bool) -> datetime:
    moment = datetime.fromtimestamp(data["timestamp"], timezone.utc)
    zone = decode(data["tz"])
    if isinstance(zone, tuple):
        zone = zone[0]
    if zone is None:
        moment = moment.replace(tzinfo=None)
    elif zone != "UTC":
        moment = moment.astimezone(_zone_of(zone))
    return _as_pendulum(moment) if is_pendulum else moment


def _zone_of(zone: Any) -> tzinfo | None:
    """An offset in seconds, `+0200` (our first releases wrote that), or a name."""
    if isinstance(zone, (int, float)):
        return timezone(timedelta(seconds=zone))
    if zone[0] in "+-":
        return datetime.strptime(zone, "%z").tzinfo
    from zoneinfo import ZoneInfo

    return ZoneInfo(zone)


def _as_pendulum(moment: datetime) -> datetime:
    try:
        import pendulum
    except ImportError:  # the one who wrote it had it, this environment does not
        return moment
    return pendulum.instance(moment, tz=None)
