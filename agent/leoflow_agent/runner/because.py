"""How the ends of a try are worded, for people who see one sentence of it in the UI."""

from __future__ import annotations

import os
import re
import traceback
from datetime import datetime, timezone
from typing import Any

from . import limits, logs

LENGTH = 500


_DATED = re.compile(
    r"(?:UndefinedError: '|KeyError: |NameError: name '|TypeError: .*missing .* required .*')"
    r"(?P<name>ds|ds_nodash|ts|ts_nodash|ts_nodash_with_tz|logical_date|execution_date|data_interval_(?:start|end)"
    r"|(?:prev|next)_ds|(?:prev|next)_ds_nodash|yesterday_ds|tomorrow_ds)(?:'|$)"
)
"""What fails when a name is missing that only a run with a logical date has: templates, `context[...]`, arguments."""


_NO_HOOK = re.compile(r"AirflowException: Unknown hook type \"(?P<type>[^\"]+)\"")
"""Airflow's words for a connection whose provider is not in the environment."""


class CannotLoad(Exception):
    """The project or the task in it cannot be loaded; the message says where."""


def sentence(error: BaseException) -> str:
    """`ValueError: what it says`."""
    text = logs.safe_text(error).strip()
    if isinstance(error, KeyError) and error.args:
        text = logs.clean(str(error.args[0]))
    return limits.shown(f"{type(error).__name__}: {text}" if text else type(error).__name__, LENGTH)


def remedy(sentence: str, dag_run: dict[str, Any]) -> str:
    """What to do about a name that a run without a logical date does not have, or a hook that no package has; "" when
    neither is what failed."""
    if (hook := _NO_HOOK.match(sentence)) is not None:
        return (
            f"no package in this DAG's environment knows connections of type {hook['type']!r}: name the provider that "
            f"does in `connectors:` of leoflow.yaml, such as `connectors: [{hook['type']}]`"
        )
    found = _DATED.match(sentence) if dag_run.get("logical_date") is None else None
    if found is None:
        return ""
    return (
        f"this dag run was started without a logical date, and so has no {found['name']}: start it with one "
        "(`leoflow runs trigger --logical-date`, or the date of the UI's dialog), or use what each run has, such as "
        "{{ dag_run.run_after | ds }}"
    )


def where(error: BaseException, folder: str) -> str:
    """`dag.py:3: ImportError: ...`: the innermost line of the author's own files."""
    file, line = "", 0
    if isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno or 0
    elif isinstance(location := getattr(error, "location", None), tuple):  # what the shim refuses knows its place
        file, line = location
    else:
        for frame, number in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename.startswith(folder):
                file, line = frame.f_code.co_filename, number
    place = f"{os.path.relpath(file, folder)}:{line}: " if file else ""
    return f"{place}{sentence(error)}"


def moment_text(moment: datetime) -> str:
    """RFC 3339 in UTC; a naive moment is taken for UTC. Raises ValueError at the ends of time."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
    if not limits.EARLIEST <= aware <= limits.LATEST:
        raise ValueError(f"{moment.isoformat()} is so near to the ends of time that no time zone may be applied")
    return aware.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
