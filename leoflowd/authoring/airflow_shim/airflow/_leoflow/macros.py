"""`airflow.macros`: what templates see as `macros`."""

from __future__ import annotations

import json
import time
import uuid
from datetime import datetime, timedelta
from random import random
from typing import Any

__all__ = [
    "datetime",
    "datetime_diff_for_humans",
    "ds_add",
    "ds_format",
    "ds_format_locale",
    "json",
    "random",
    "time",
    "timedelta",
    "uuid",
]


def ds_add(ds: str, days: int) -> str:
    """A `YYYY-MM-DD` date moved by so many days."""
    moved = datetime.strptime(str(ds), "%Y-%m-%d") + timedelta(days=days) if days else None
    return moved.strftime("%Y-%m-%d") if moved is not None else str(ds)


def ds_format(ds: str, input_format: str, output_format: str) -> str:
    """A date text in another format."""
    return datetime.strptime(str(ds), input_format).strftime(output_format)


def ds_format_locale(ds: str, input_format: str, output_format: str, locale: Any = None) -> str:
    """A date text in another format, with the names of a language; needs Babel."""
    from babel import Locale
    from babel.dates import LC_TIME, format_datetime

    value = datetime.strptime(str(ds), input_format)
    return str(format_datetime(value, format=output_format, locale=locale or Locale.parse(LC_TIME)))


def datetime_diff_for_humans(dt: Any, since: Any = None) -> str:
    """The distance between two moments in words, e.g. "5 minutes before"; needs pendulum."""
    import pendulum

    moment = pendulum.instance(dt)
    return str(moment.diff_for_humans(None if since is None else pendulum.instance(since)))


def __getattr__(name: str) -> Any:
    """`macros.dateutil` as in Airflow, imported when a template asks for it."""
    if name == "dateutil":
        import dateutil.parser
        import dateutil.relativedelta

        return dateutil
    raise AttributeError(name)
