"""Bases of classes that plugins and callbacks are made of: they may be derived from, and their objects be made.

The methods that authors write raise, as Airflow's do. Notifiers are called by the processes of callbacks; what would
call links is refused where it is given (`refused_arguments`); a weight is asked once, here.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Generator, Sequence
from types import SimpleNamespace
from typing import Any

from airflow._leoflow import templating
from airflow._leoflow.errors import AuthoringError, describe, warn


class BaseNotifier:
    """Called with the context, it tells someone: `notify(context)` says how."""

    template_fields: Sequence[str] = ()
    template_ext: Sequence[str] = ()

    def __init__(self, context: Any = None, **_: Any) -> None:
        """Airflow's own takes options of a later release."""
        self.context = context or {}

    @property
    def log(self) -> logging.Logger:
        return logging.getLogger(f"{type(self).__module__}.{type(self).__name__}")

    def notify(self, context: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no notify()")

    async def async_notify(self, context: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no async_notify()")

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Changes its attributes: each is rendered once."""
        templates = templating.of_notifier(self)
        for name in self.template_fields:
            setattr(self, name, templates.render(getattr(self, name, None), context, jinja_env))

    def __call__(self, *args: Any) -> None:
        """With the context, its template fields rendered and in there too."""
        context = args[0]
        self._begin(context)
        self.notify(context)

    def __await__(self) -> Generator[Any, Any, Any]:
        """The same with the context that it was made with, as `AsyncCallback` makes it."""
        self._begin(self.context)
        return self.async_notify(self.context).__await__()

    def _begin(self, context: Any) -> None:
        context.update({name: getattr(self, name, None) for name in self.template_fields})
        if self.template_fields:
            self.render_template_fields(context)


class BaseOperatorLink:
    """A link that an operator shows beside its tasks, under a `name`: pushed as an XCom once the task has run."""

    operators: Sequence[Any] = ()
    name: str = ""

    @property
    def xcom_key(self) -> str:
        return f"_link_{type(self).__name__}"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        raise NotImplementedError(f"{type(self).__name__} has no get_link()")


class PriorityWeightStrategy:
    """`weight_rule` as code: `get_weight(ti)`."""

    def get_weight(self, ti: Any) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no get_weight()")


def weight_of(task: Any) -> tuple[Any, Any]:
    """(`priority_weight`, `weight_rule`) of a task; what a strategy answers for a first try is an absolute weight.

    Raises `AuthoringError`.
    """
    rule = task.weight_rule
    if isinstance(rule, str) and "." in rule:
        rule = _named(rule, task)
    if not isinstance(rule, PriorityWeightStrategy):
        return task.priority_weight, rule
    first_try = SimpleNamespace(
        task=task,
        task_id=task.task_id,
        dag_id=task.dag_id,
        map_index=-1,
        try_number=0,
        priority_weight=task.priority_weight,
    )
    try:
        weight = rule.get_weight(first_try)
    except AttributeError as error:
        raise _refused(task, f"it asks for what only a run has: {error}") from error
    if not isinstance(weight, int):
        raise _refused(task, f"get_weight() gives {describe(weight)}, which is no whole number")
    warn(
        f"task {task.task_id!r} has the weight strategy {type(rule).__name__}",
        f"it was asked for a first try, and its answer, {weight}, holds for all of them",
        task._location,
        task.dag_id,
    )
    return weight, "absolute"


def _named(path: str, task: Any) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError) as error:
        raise _refused(task, f"weight_rule={path!r} cannot be imported: {error}") from error


def _refused(task: Any, why: str) -> AuthoringError:
    remedy = "write priority_weight and one of the rules downstream, upstream, absolute"
    return AuthoringError(f"task {task.task_id!r} has a weight strategy", why, remedy, task._location)
