"""What an argument holds before it is rendered: plain data, templates, or what only a process can evaluate."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from airflow._leoflow.params import DagParam
from airflow._leoflow.xcom_arg import Literal, MappedArgument, iter_outputs

running: Any = None
"""Set by the task runner: `render(content, context, jinja_env)` and `environment()` of the task that runs."""


def of_running_task(task: Any) -> Any:
    if running is None:
        raise RuntimeError(f"task {task.task_id!r} cannot render templates here: only a task that runs has a context")
    return running


def of_notifier(notifier: Any) -> Any:
    """The same, with the notifier's own endings of template files."""
    if running is None:
        raise RuntimeError(f"{type(notifier).__name__} cannot render templates here: call it in a task or a callback")
    return running.of(notifier)


def texts(value: Any) -> Iterable[str]:
    """All texts in a value, keys of mappings aside: Airflow renders no keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from texts(item)


def holds_code(value: Any) -> bool:
    """Outputs of tasks, params, mapped arguments and `literal(...)`: data once a process has resolved them."""
    if isinstance(value, (DagParam, Literal, MappedArgument)) or any(True for _ in iter_outputs(value)):
        return True
    if isinstance(value, Mapping):
        return any(holds_code(item) for item in value.values())
    return isinstance(value, (list, tuple, set, frozenset)) and any(holds_code(item) for item in value)


def has_own_jinja(task: Any) -> bool:
    """Whether the DAG changed what its templates mean."""
    dag = task.dag
    return bool(
        dag.template_undefined
        or dag.user_defined_macros
        or dag.user_defined_filters
        or dag.jinja_environment_kwargs
        or dag.render_template_as_native_obj
        or task.render_template_as_native_obj
    )


def needs_jinja(task: Any) -> bool:
    """Whether the template fields need more than the daemon's language, as far as the text itself does not show it."""
    fields = [getattr(task, name, None) for name in task.template_fields]
    found = list(texts(fields))
    return (
        any(holds_code(value) for value in fields)
        or any(text.endswith(tuple(task.template_ext)) for text in found if task.template_ext)
        or (has_own_jinja(task) and any("{" in text for text in found))
    )


def as_json(value: Any) -> Any:
    """A copy of plain data; None when it is no JSON (dates, sets), which only a process can carry.

    Raises ValueError for numbers that JSON does not have.
    """
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except TypeError:
        return None
