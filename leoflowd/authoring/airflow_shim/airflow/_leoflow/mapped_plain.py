"""Waits and calls that are mapped, written down, so that nobody starts a process to learn what each instance waits for.

Over values which the file itself names (`plain_form`): all instances are made here as their processes would make them
(`MappedOperator.unmap`). What they have in common is the task's wait or call; where they differ is a column, with a
value for each map index.

Over outputs (`item_form`): an instance is made with a mark in the place of each item. Where the marks come out is where
the daemon puts the items (ADR 70).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.mapping import MappedOperator, closest_mapped_group
from airflow._leoflow.templating import as_json
from airflow._leoflow.xcom_arg import XComArg, iter_outputs

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


MARKS = ("leoflow-item-{}", "/leoflow.items/{}?a=1&b=2#c", "{} leoflow:item")
"""Texts of unlike kinds: a constructor that looks into them would make something else of one of them."""


def item_form(task: MappedOperator) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """The wait or call without the items, and where each of these goes; None when only a process can say it."""
    names = _names_of_outputs(task)
    forms = []
    try:
        for mark in MARKS if names else ():
            form = _form(task.instance_with({name: mark.format(name) for name in names}))
            if form is None:
                return None
            forms.append(_without_marks(form, {mark.format(name): name for name in names}))
    except Exception:  # noqa: BLE001  as above
        return None
    if not forms or any(form != forms[0] or form is None for form in forms):
        return None
    bare, paths = forms[0]  # type: ignore[misc]  # not None, as the last line says
    objects = getattr(task.operator_class, "object_fields", ())
    return bare, [{"name": name, "paths": paths.get(name, []), "takes_objects": name in objects} for name in names]


def _names_of_outputs(task: MappedOperator) -> list[str]:
    """What it is mapped over, if each is what one task returns, and a class of ours takes it as it is: none of its
    template fields is looked at by the constructor, as a template might stand there."""
    mapped, cls = task.expand_input, task.operator_class
    is_ours = (cls.__module__ or "").startswith("airflow._leoflow.")
    if mapped.kind != "expand" or not is_ours or closest_mapped_group(task.task_group) is not None:
        return []
    is_plain = all(type(one) is XComArg and _has_one_output(one.operator) for one in mapped.value.values())
    return list(mapped.value) if is_plain and set(mapped.value) <= set(cls.template_fields) else []


def _has_one_output(task: Any) -> bool:
    return not task.is_mapped and closest_mapped_group(task.task_group) is None


def _without_marks(
    form: dict[str, Any], marks: dict[str, str]
) -> tuple[dict[str, Any], dict[str, list[list[str]]]] | None:
    """`form` with empty texts in the places of the marks, and these places; None where a mark is part of a text."""
    places: dict[str, list[list[str]]] = {}
    is_whole = True

    def bare(value: Any, path: list[str]) -> Any:
        nonlocal is_whole
        if isinstance(value, dict):
            return {key: bare(one, [*path, key]) for key, one in value.items()}
        if isinstance(value, str) and value in marks:
            places.setdefault(marks[value], []).append(path)
            return ""
        is_whole = is_whole and not any(mark in json.dumps(value) for mark in marks)
        return value

    found = bare(form, [])
    return (found, places) if is_whole else None


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
