"""Values <-> JSON: XComs, and the arguments of triggers and of the methods that deferred tasks go on with.

What JSON lacks is written the way Airflow 3.2 writes it (`airflow.sdk.serde`) and read back as it was:
`{"__classname__": ..., "__version__": ..., "__data__": ...}` is Airflow's own envelope, so that a task on Airflow's
real packages reads what a task on our shim wrote, and the other way round (ADR 43). `bytes` are the one addition.
Classes of libraries and of the author are in `objects`.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from . import objects
from .limits import EARLIEST, LATEST, NotSerializable, TooLarge, xcom_text

__all__ = ["RETURN_KEY", "NotSerializable", "TooLarge", "decode", "encode", "plain"]

RETURN_KEY = "return_value"
_CLASS, _VERSION, _DATA = "__classname__", "__version__", "__data__"
_JSON: tuple[Any, ...] = (int, float, str, dict, list)
_RESERVED = {_CLASS, "__id__"}
"""Of a dict that a task returns; it would be taken for an envelope."""
_PENDULUM_MOMENT, _PENDULUM_DATE = "pendulum.datetime.DateTime", "pendulum.date.Date"
_PENDULUM_ZONE, _PENDULUM_OFFSET = "pendulum.tz.timezone.Timezone", "pendulum.tz.timezone.FixedTimezone"
_ZONE_INFO = "zoneinfo.ZoneInfo"


def encode(value: Any, *, key: str) -> str:
    """JSON text; raises with a message for the author of the task."""
    return xcom_text(plain(value, f"XCom {key}"), f"XCom {key}")


def plain(value: Any, what: str) -> Any:
    """The value as JSON types and envelopes; `what` begins the message of the error."""
    try:
        return _plain(value, what)
    except RecursionError:
        raise NotSerializable(f"{what} is nested too deeply, or contains itself") from None


def _plain(value: Any, where: str) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str, float):
        return value
    if kind is dict:
        return _plain_dict(value, where)
    if kind is list:
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    return _enveloped(value, where)


def _plain_dict(value: dict[Any, Any], where: str) -> dict[str, Any]:
    """JSON has text keys only: `df.to_dict()` has numbers, which become text as in Airflow."""
    found = {
        key if isinstance(key, str) else str(key): _plain(item, f"{where}[{key!r}]") for key, item in value.items()
    }
    if not _RESERVED.isdisjoint(found):
        names = ", ".join(sorted(_RESERVED & found.keys()))
        raise NotSerializable(f"{where} has the key {names}, which is how objects are marked; use another one")
    return found


def _enveloped(value: Any, where: str) -> Any:
    form = _form(value, where) or objects.form_of_library(value, where)
    if form is None:
        if getattr(type(value), "is_lazy", False):  # outputs of mapped tasks, and what is derived of outputs
            return _plain(list(value), where)
        for base in _JSON:  # subclasses of them, such as defaultdict, are they
            if isinstance(value, base):
                return _plain(base(value.value if isinstance(value, enum.Enum) else value), where)
        form = objects.form_of_own(value)
    if form is None:
        raise objects.refusal(value, where)
    name, version, data = form
    return {_CLASS: name, _VERSION: version, _DATA: _plain(data, where)}


def _form(value: Any, where: str) -> objects.Form | None:
    """Of the standard library's and pendulum's classes."""
    if isinstance(value, datetime):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
        if not EARLIEST <= moment <= LATEST:
            raise NotSerializable(f"{where} is {value!r}, so near to the ends of time that no time zone may be applied")
        name = _PENDULUM_MOMENT if _is_pendulums(value) else "datetime.datetime"
        return name, 2, {"timestamp": value.timestamp(), "tz": _zone(value)}
    if isinstance(value, date):
        return _PENDULUM_DATE if _is_pendulums(value) else "datetime.date", 2, value.isoformat()
    if isinstance(value, timedelta):
        return "datetime.timedelta", 2, _seconds(value, where)
    if isinstance(value, tzinfo):
        found = _named_zone(value)
        return None if found is None else (found[1], 1, found[0])
    for kind, name, text in _AS_TEXT:
        if isinstance(value, kind):
            return name, 1, text(value)
    for collection in (tuple, set, frozenset):
        if isinstance(value, collection):
            return f"builtins.{collection.__name__}", 1, list(value)
    return None


_AS_TEXT: tuple[tuple[type, str, Callable[[Any], str]], ...] = (
    (Decimal, "decimal.Decimal", str),  # Airflow writes a float, which loses digits, and reads both
    (UUID, "uuid.UUID", str),
    (bytes, "builtins.bytes", lambda value: base64.b64encode(value).decode("ascii")),
)


def _is_pendulums(value: Any) -> bool:
    return type(value).__module__.startswith("pendulum.")


def _seconds(value: timedelta, where: str) -> float:
    try:
        timedelta(seconds=value.total_seconds())
    except OverflowError:
        raise NotSerializable(f"{where} is {value!r}, which as seconds is more than any timedelta holds") from None
    return value.total_seconds()


def _zone(value: datetime) -> Any:
    """Name (or offset in seconds) and class of the time zone, as Airflow writes them; None for a naive moment."""
    zone = value.tzinfo
    if zone is None:
        return None
    found = _named_zone(zone)
    if found is None:
        offset = value.utcoffset()
        found = int(offset.total_seconds()) if offset else "UTC", _PENDULUM_OFFSET
    return (*found, 1, True)


def _named_zone(zone: tzinfo) -> tuple[Any, str] | None:
    """Name or offset of a time zone that says its own, and the class of it: of zoneinfo, pendulum and pytz."""
    is_pendulums = _is_pendulums(zone)
    if is_pendulums and isinstance(offset := getattr(zone, "offset", None), int):
        return offset or "UTC", _PENDULUM_OFFSET
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)
    return (name, _PENDULUM_ZONE if is_pendulums else _ZONE_INFO) if isinstance(name, str) else None


def decode(value: Any) -> Any:
    """Undo `encode` on a value that came as parsed JSON. Raises ImportError for classes that may not be loaded."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _CLASS in value and _VERSION in value:
        return _opened(str(value[_CLASS]), value[_VERSION], decode(value.get(_DATA)))
    return {key: decode(item) for key, item in value.items()}


def _opened(name: str, version: Any, data: Any) -> Any:
    opener = _OPENERS.get(name)
    return objects.opened(name, version, data) if opener is None else opener(data)


def _moment(data: dict[str, Any]) -> datetime:
    zone = data["tz"][0] if isinstance(data["tz"], tuple) else data["tz"]  # our first releases wrote the name alone
    if zone is None:
        return datetime.fromtimestamp(data["timestamp"])  # noqa: DTZ006  it was a naive one
    return datetime.fromtimestamp(data["timestamp"], timezone.utc).astimezone(_zone_of(zone))


def _pendulum_moment(data: dict[str, Any]) -> datetime:
    moment, pendulum = _moment(data), _pendulum()
    return moment if pendulum is None else pendulum.instance(moment, tz=None)


def _pendulum_date(data: str) -> date:
    pendulum = _pendulum()
    return date.fromisoformat(data) if pendulum is None else pendulum.Date.fromisoformat(data)


def _zone_of(zone: Any) -> tzinfo:
    """An offset in seconds, `+0200` (our first releases wrote that), or a name; pendulum's, as in Airflow."""
    if isinstance(zone, str) and zone[0] in "+-":
        sign, hours, minutes = zone[0], int(zone[1:3]), int(zone[3:5])
        zone = (-60 if sign == "-" else 60) * (60 * hours + minutes)
    pendulum = _pendulum()
    if pendulum is not None:
        return pendulum.timezone(zone)  # type: ignore[no-any-return]
    return timezone(timedelta(seconds=zone)) if isinstance(zone, (int, float)) else ZoneInfo(zone)


def _pendulum() -> Any:
    """None: whoever wrote it had pendulum, this environment does not."""
    try:
        import pendulum
    except ImportError:
        return None
    return pendulum


_OPENERS: dict[str, Callable[[Any], Any]] = {
    "datetime.datetime": _moment,
    _PENDULUM_MOMENT: _pendulum_moment,
    "datetime.date": date.fromisoformat,
    _PENDULUM_DATE: _pendulum_date,
    "datetime.timedelta": lambda data: timedelta(seconds=float(data)),
    _ZONE_INFO: ZoneInfo,
    _PENDULUM_ZONE: _zone_of,
    _PENDULUM_OFFSET: _zone_of,
    "decimal.Decimal": lambda data: Decimal(str(data)),
    "uuid.UUID": UUID,
    "builtins.bytes": base64.b64decode,
    "builtins.tuple": tuple,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
}
