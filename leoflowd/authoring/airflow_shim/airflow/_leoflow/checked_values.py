"""Numbers, moments and names as the artifact takes them; what does not fit is refused with the author's line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.errors import AuthoringError, describe, warn
from airflow._leoflow.load_clock import is_from_the_clock
from airflow._leoflow.timetables import iso_utc


def params_of(params: Mapping[str, Any], where: Any) -> dict[str, Any]:
    for name, param in params.items():
        if not isinstance(param["schema"], dict):
            raise AuthoringError(
                f"param {name!r} has schema={describe(param['schema'])}", "a JSON schema is a dict", "correct it", where
            )
    # JSON has text keys only; `values_display={1: "one", None: "none"}` is common, and its keys do not sort.
    normal: dict[str, Any] = json.loads(json.dumps(dict(params), allow_nan=False))
    return normal


def seconds(value: Any, name: str, where: Any) -> float | None:
    if value is None:
        return None
    amount = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 <= amount < float("inf"):
        raise AuthoringError(
            f"{name} is {describe(value)}", "it must be a timedelta or seconds, and not negative", "correct it", where
        )
    return float(amount)


def backoff(value: Any, where: Any) -> float:
    if value is True:
        return 2.0
    if not isinstance(value, (bool, int, float)) or not 0 <= value < float("inf"):
        raise AuthoringError(
            f"retry_exponential_backoff is {describe(value)}",
            "it must be True, False or a number >= 0",
            "correct it",
            where,
        )
    return float(value)


def count(value: Any, name: str, least: int | None, where: Any) -> int:
    is_whole = isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 64
    if not is_whole or (least is not None and value < least):
        limit = "" if least is None else f" of at least {least}"
        raise AuthoringError(f"{name} is {describe(value)}", f"it must be a whole number{limit}", "correct it", where)
    return int(value)


def optional_count(task: BaseOperator, name: str) -> int | None:
    value = getattr(task, name)
    return None if value is None else count(value, name, 1, task._location)


def moment(value: Any, name: str, where: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise AuthoringError(
            f"{name} is {describe(value)}", "it must be a datetime", "write for example datetime(2024, 1, 1)", where
        )
    try:
        written = iso_utc(value)
    except (ValueError, OverflowError) as error:
        raise AuthoringError(
            f"{name} is {describe(value)}", f"it has no form in UTC: {error}", "write a moment of our age", where
        ) from error
    if is_from_the_clock(value):
        warn(
            f"{name} is the moment at which the file was loaded",
            "write a fixed moment: this one is pinned when the file is compiled, so that each compile makes a version",
            where,
            varies=True,
        )
    return written


def text_of(value: Any) -> str:
    return str(getattr(value, "value", value))


def one_of(value: Any, allowed: Iterable[str], name: str, task: BaseOperator) -> str:
    text = text_of(value)
    if text not in allowed:
        raise AuthoringError(
            f"task {task.task_id!r} has {name}={text!r}",
            "there is no such rule",
            f"use one of {', '.join(allowed)}",
            task._location,
        )
    return text


def inside(path: str, project: str) -> str:
    """Paths inside the project are kept relative: the artifact must not name folders of the compiling machine."""
    absolute = os.path.abspath(os.path.join(project, path))
    relative = os.path.relpath(absolute, project)
    return absolute if relative.startswith("..") else relative
