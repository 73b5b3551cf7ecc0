"""Spelling of Airflow 1.10 and 2 while a file is loaded: the table of `moved.py`, with a warning for each use.

`finder.py` asks for names, `dag.py` and `base_operator.py` for arguments, `serialize.py` for the names in templates and
functions that only the context of that age had.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from types import CodeType
from typing import Any

from airflow._leoflow import context, moved
from airflow._leoflow.errors import AuthoringError, Location, ShimUnsupported, UnsupportedImport, user_location, warn

HELPERS = "airflow._leoflow.leftovers"
GONE = "Airflow 3 has removed it"
_NAMES = "|".join(moved.CONTEXT)
_CONTEXT_NAME = re.compile(rf"(?<![\w.'\"])({_NAMES})(?![\w'\"])|\b(?:ti|task_instance|dag_run)\.(execution_date)\b")
_TEMPLATE = re.compile(r"\{[{%](.*?)[}%]\}", re.DOTALL)
_NO_LONGER = {
    "days_ago": "write a fixed date: this one is pinned when the file is compiled, so that each day makes a version",
    "apply_defaults": "remove it: every operator applies default_args by itself",
    **dict.fromkeys(
        ("ScheduleInterval", "ScheduleArg", "ScheduleIntervalArg", "DagStateChangeCallback"),
        "write the type itself, or Any: nothing but annotations used it",
    ),
}


_found: dict[tuple[str, str], Any] = {}
"""Each old name stands for one thing, however often it is imported."""


def is_old(module: str, name: str) -> bool:
    target = moved.resolve(module, name)
    return target is not None and target.is_removed


def find(module: str, name: str, find_today: Callable[[str, str], Any]) -> Any:
    """What an old name stands for; None = it is not old, or Airflow 3 takes it as well. Raises `UnsupportedImport`."""
    remedy = moved.remedy_of(module, name)
    if remedy is not None:
        return _gone(module, name, remedy)
    target = moved.resolve(module, name)
    if target is None or not target.is_removed:
        return None
    warn_of_name(module, name, target)
    return stands_for(module, name, target, find_today)


def stands_for(module: str, name: str, target: moved.Target, find_today: Callable[[str, str], Any]) -> Any:
    if (module, name) not in _found:
        _found[module, name] = _find(module, name, target, find_today)
    return _found[module, name]


def warn_of_name(module: str, name: str, target: moved.Target) -> None:
    if target.module == moved.HELPERS:
        warn(f"{module}.{name} is gone in Airflow 3", _NO_LONGER.get(name, "use datetime and timedelta"))
    else:
        warn(f"{module}.{name} has moved", f"write `from {target.module} import {target.name}`")


def _gone(module: str, name: str, remedy: str) -> type:
    """A class that Airflow 3 has no more: it may be imported and asked about, and none is made. Raises
    `UnsupportedImport` for whatever else it was."""
    if not name[:1].isupper():
        raise UnsupportedImport(f"{name!r} is imported from {module!r}", GONE, remedy)
    if (module, name) not in _found:

        def refuse(_: type, *__: Any, **given: Any) -> Any:
            task = f"task {given['task_id']!r} is" if "task_id" in given else "there is"
            raise ShimUnsupported(f"{task} a {name} of {module}", GONE, remedy)

        members = {"__module__": module, "__new__": refuse, "partial": classmethod(refuse)}
        _found[module, name] = type(name, (), members)
    warn_of_gone(module, name, remedy)
    found: type = _found[module, name]
    return found


def warn_of_gone(module: str, name: str, remedy: str) -> None:
    warn(f"{module}.{name} is imported, and {GONE}", remedy)


def _find(module: str, name: str, target: moved.Target, find_today: Callable[[str, str], Any]) -> Any:
    if target.module == moved.HELPERS:
        return getattr(importlib.import_module(HELPERS), target.name)
    found = find_today(target.module, target.name)
    rules = moved.rules_of(module, name)
    is_operator = isinstance(getattr(found, "template_fields", None), (tuple, list))
    return _with_rules(found, rules) if rules and is_operator else found


def _with_rules(cls: Any, rules: tuple[moved.Rules, ...]) -> Any:
    """The class, taking its old arguments; it keeps its name, so that the artifact is that of today's spelling."""

    def __init__(self: Any, **kwargs: Any) -> None:  # noqa: N807 - the class's own
        super(made, self).__init__(**modern(self, kwargs, rules))

    def partial(which: Any, /, **kwargs: Any) -> Any:
        operator = object.__new__(which)
        operator._location = user_location()
        return super(made, which).partial(**modern(operator, kwargs, rules))

    members = {"__module__": cls.__module__, "__init__": __init__, "partial": classmethod(partial)}
    made = type(cls)(cls.__name__, (cls,), members)
    return made


# --- arguments ---------------------------------------------------------------------------------------------------


def modern(operator: Any, given: Mapping[str, Any], rules: Iterable[moved.Rules]) -> dict[str, Any]:
    """The arguments of one operator by today's names, with a warning. Raises `ShimUnsupported`."""
    arguments = dict(given)
    for one in rules:
        try:
            arguments, remarks = moved.modern_arguments(one, arguments, operator._defaults)
        except moved.Refused as error:
            raise ShimUnsupported(
                f"task {arguments.get('task_id')!r}: {type(operator).__name__} has {error.argument}",
                "it has no such argument any more",
                error.remedy,
                operator._location,
            ) from error
        if remarks:
            _warn_of(type(operator).__name__, remarks, operator._location, _dag_id(given.get("dag")))
    return arguments


def task_arguments(operator: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that no operator has any more, by today's names; those that nobody knows stay as they are."""
    return modern(operator, given, (moved.TASK_RULES,))


def partial_arguments(cls: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """What `cls.partial` is given, by today's names: those that no operator has any more, and the class's own."""
    operator = object.__new__(cls)
    operator._location = user_location()
    arguments = modern(operator, given, (moved.TASK_RULES, *cls.leoflow_rules))
    if "trigger_rule" in arguments:
        arguments["trigger_rule"] = trigger_rule(arguments["trigger_rule"], given.get("dag"), operator._location)
    return arguments


def default_arguments(operator: Any, defaults: Mapping[str, Any] | None) -> dict[str, Any]:
    """An operator's own `default_args` by today's names; those of the DAG and of groups are when they are made."""
    return task_arguments(operator, defaults) if defaults else {}


def dag_arguments(
    dag_id: Any, positional: tuple[Any, ...], given: Mapping[str, Any], location: Location
) -> tuple[dict[str, Any], bool]:
    """What `DAG(...)` is given, by today's names, with a warning; and whether it is of that age.

    Raises `AuthoringError`.
    """
    try:
        arguments, remarks, is_old = moved.modern_dag(positional, given)
    except moved.Refused as error:
        raise AuthoringError(
            f"dag {dag_id!r} has {error.argument}", "Airflow 3 has no such argument", error.remedy, location
        ) from error
    if remarks:
        _warn_of("DAG", remarks, location, dag_id)
    return arguments, is_old


def _dag_id(dag: Any) -> str | None:
    """Of the DAG that is given, or open."""
    dag = dag or context.current_dag()
    return None if dag is None else str(dag.dag_id)


def _warn_of(who: str, remarks: list[str], location: Location, dag_id: Any = None) -> None:
    warn(f"{who} is given old arguments", "; ".join(remarks), location, dag_id if isinstance(dag_id, str) else None)


def warn_of_dag_in_chain(dag_id: str, location: Location) -> None:
    remedy = "a DAG stands in no chain any more: write `with DAG(...)` around its tasks, or pass them dag=..."
    warn("a dependency begins with a DAG", remedy, location, dag_id)


def trigger_rule(rule: Any, dag: Any, location: Location) -> Any:
    today = moved.TRIGGER_RULES.get(rule) if isinstance(rule, str) else None
    if today is None:
        return rule
    warn(f"the trigger rule {rule!r} has another name", f"write trigger_rule={today!r}", location, _dag_id(dag))
    return today


# --- names of the context ----------------------------------------------------------------------------------------


def warn_of_context(task: Any, texts: Iterable[str]) -> None:
    """Of names in its templates and its function that Airflow 3 does not have, and that a try still gets."""
    used = {name for text in texts if "{" in text for name in _names_in(text)}
    code = getattr(getattr(task, "python_callable", None), "__code__", None)
    if code is not None:
        used |= _names_of(code)
    for name in sorted(used):
        what = f"{name} is no name of the task's context in Airflow 3"
        warn(what, f"use {moved.CONTEXT[name]}", task._location, task.dag_id)


def _names_in(text: str) -> set[str]:
    parts = " ".join(_TEMPLATE.findall(text))
    return {first or second for first, second in _CONTEXT_NAME.findall(parts)}


def _names_of(code: CodeType) -> set[str]:
    """Parameters, `context["..."]` and `.execution_date`. Nobody is warned of `conf`, a usual name of one's own."""
    parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    texts = [value for value in code.co_consts if isinstance(value, str)]
    found = {name for name in (*parameters, *texts) if name in moved.CONTEXT}
    found |= {"execution_date"} & set(code.co_names)
    for value in code.co_consts:
        if isinstance(value, CodeType):
            found |= _names_of(value)
    return found - {"conf"}
