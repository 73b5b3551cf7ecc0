"""Waits and calls that are mapped over values which the file itself names, written down.

So nobody starts a process to learn what each instance waits for.

All instances are made here as their processes would make them (`MappedOperator.unmap`). What they have in common is the
task's wait or call; where they differ is a column, with a value for each map index.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.mapping import MappedOperator
from airflow._leoflow.templating import as_json
from airflow._leoflow.xcom_arg import iter_outputs

AT_MOST = 100_000
"""Instances; more of them are a large artifact, and are told by their processes what they wait for."""


def plain_form(task: MappedOperator) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """The common wait or call, and the columns; None when only the process of an instance can say it."""
    forms: list[dict[str, Any]] = []
    try:
        for instance in _instances(task):
            form = _form(instance)
            if form is None:
                return None
            forms.append(form)
    except Exception:  # noqa: BLE001  the author's constructor; as in Airflow, it is that instance which fails, and says why
        return None
    if not forms:
        return None
    common, columns = _compared(forms, [])
    is_of_one_mode = not any(column["path"][:2] == ["terms", "mode"] or not column["path"] for column in columns)
    return (common, columns) if is_of_one_mode else None


def _instances(task: MappedOperator) -> Iterator[BaseOperator]:
    mapped = task.expand_input
    if any(True for _ in mapped.outputs()) or any(True for _ in iter_outputs(mapped.literals())):
        return
    length = 1
    for one in mapped.spec()["inputs"]:
        length *= one["length"]
    if length <= AT_MOST:
        for map_index in range(length):
            yield task.unmap(map_index, _pull)[0]


def _pull(task_id: str, key: str) -> Any:
    raise LookupError(f"the output {key!r} of task {task_id!r} is not known while the file is loaded")


def _form(instance: BaseOperator) -> dict[str, Any] | None:
    if instance.kind == "wait":
        found = None if instance.needs_process() else as_json(instance.leoflow_wait())  # type: ignore[attr-defined]
    else:
        found = as_json(instance.leoflow_http()) if instance.kind == "http" else None  # type: ignore[attr-defined]
    return found if isinstance(found, dict) else None


def _compared(ones: list[Any], path: list[str]) -> tuple[Any, list[dict[str, Any]]]:
    first = ones[0]
    if len({json.dumps(one, sort_keys=True) for one in ones}) == 1:
        return first, []
    if not all(isinstance(one, dict) and one.keys() == first.keys() for one in ones):
        return first, [{"path": path, "values": ones}]
    common, columns = {}, []
    for key in first:
        common[key], found = _compared([one[key] for one in ones], [*path, key])
        columns += found
    return common, columns
