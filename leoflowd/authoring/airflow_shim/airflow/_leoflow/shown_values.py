"""Values as JSON, for people: what templates and default arguments look like in the UI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from airflow._leoflow.errors import describe
from airflow._leoflow.params import DagParam
from airflow._leoflow.provider_constants import Constant
from airflow._leoflow.xcom_arg import Literal, XComArg

DISPLAY_DEPTH = 32
UNCARRIED = re.compile("[\x00\ud800-\udfff]")


def display(value: Any, levels: int = DISPLAY_DEPTH) -> Any:
    """A value as JSON, for people: outputs as their Jinja text, other objects as a name without memory addresses.

    Whatever it holds can be stored: it is shown, never refused (ADR 18).
    """
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int:
        return value if value.bit_length() <= 63 else describe(value)
    if isinstance(value, float):
        return value if abs(value) < 2.0**63 else str(value)  # not a number is not smaller either
    if isinstance(value, Literal):
        return display(value.value, levels)
    if isinstance(value, (Mapping, set, frozenset, list, tuple)):
        return _display_all(value, levels - 1) if levels > 0 else "..."
    return _storable(_display_text(value))


def _display_all(value: Any, levels: int) -> Any:
    if isinstance(value, Mapping):
        return {_storable(str(key)): display(item, levels) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((display(item, levels) for item in value), key=repr)
    return [display(item, levels) for item in value]


def _display_text(value: Any) -> str:
    if isinstance(value, (str, XComArg, DagParam)):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (date, timedelta)):
        return str(value)
    if isinstance(value, Constant):
        return repr(value)
    if callable(value):
        return f"<callable {getattr(value, '__qualname__', type(value).__name__)}>"
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def _storable(text: str) -> str:
    """As `shown` of `leoflowd.contract.values`, which is out of reach here."""
    return UNCARRIED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
