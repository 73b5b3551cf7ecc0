"""Waits and calls that are mapped, written down, so that nobody starts a process to learn what each instance waits for.

Over values which the file itself names (`plain_form`): all instances are made here as their processes would make them
(`MappedOperator.unmap`). What they have in common is the task's wait or call; where they differ is a column, with a
value for each map index.

Over outputs (`item_form`): an instance is made with a mark in the place of each item. Where the marks come out is where
the daemon puts the items (ADR 70).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.errors import ShimUnsupported
from airflow._leoflow.mapping import MappedOperator, closest_mapped_group
from airflow._leoflow.templating import as_json
from airflow._leoflow.xcom_arg import XComArg, item_at, iter_outputs

AT_MOST = 100_000
"""Instances; more of them are a large artifact, and are told by their processes what they wait for."""


class RealPackageNeeded(Exception):
    """An instance has an argument that only the class of the provider's own package honours."""


def plain_form(task: MappedOperator) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """The common wait or call, and the columns; None when only the process of an instance can say it. Raises
    `RealPackageNeeded`, and where the environment lacks that package the refusal that names it."""
    forms = _forms(task, _instances(task))
    if not forms:
        return None
    common, columns = _compared(forms, [])
    is_of_one_mode = not any(column["path"][:2] == ["terms", "mode"] or not column["path"] for column in columns)
    return (common, columns) if is_of_one_mode else None


def _forms(task: MappedOperator, instances: Iterable[BaseOperator]) -> list[dict[str, Any]] | None:
    """What each of them waits for; None when one needs its process. Raises as `plain_form`."""
    forms: list[dict[str, Any] | None] = []
    try:
        for instance in instances:
            if instance.kind == "operator":
                raise RealPackageNeeded
            forms.append(_form(instance))
    except RealPackageNeeded:
        raise
    except ShimUnsupported as error:
        if error.connector:
            error.location = task._location
            raise
        return None
    except Exception:  # noqa: BLE001  the author's constructor; as in Airflow, it is that instance which fails, and says why
        return None
    known = [form for form in forms if form is not None]
    return known if len(known) == len(forms) else None


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
    """The wait or call without the items, and where each of these goes; None when only a process can say it. Raises as
    `plain_form`."""
    names = _names_of_outputs(task)
    if not names:
        _forms(task, _specimens(task))
        return None
    marked = [{name: mark.format(name) for name in names} for mark in MARKS]
    found = _forms(task, (task.instance_with(dict(marks)) for marks in marked))
    if found is None:
        return None
    forms = [
        _without_marks(form, {mark: name for name, mark in marks.items()})
        for form, marks in zip(found, marked, strict=True)
    ]
    if any(form != forms[0] or form is None for form in forms):
        return None
    bare, paths = forms[0]  # type: ignore[misc]  # not None, as the last line says
    objects = getattr(task.operator_class, "object_fields", ())
    return bare, [{"name": name, "paths": paths.get(name, []), "takes_objects": name in objects} for name in names]


def _specimens(task: MappedOperator) -> Iterator[BaseOperator]:
    """Instances with a mark in the place of each output, of which the constructor knows no more."""
    mapped = task.expand_input
    if mapped.kind == "expand":
        yield task.instance_with({name: _first(name, one) for name, one in mapped.value.items()})
    elif isinstance(mapped.value, XComArg):  # its names are not known: the template fields stand for what is required
        fields = [name for name in task.operator_class.template_fields if name not in task.arguments]
        yield task.instance_with({name: MARKS[0].format(name) for name in fields})
    else:
        yield from (task.instance_with(dict(one)) for one in mapped.value if not isinstance(one, XComArg))


def _first(name: str, values: Any) -> Any:
    if isinstance(values, XComArg) or not len(values):
        return MARKS[0].format(name)
    return item_at(values, 0)


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
