"""Mapped task groups: `@task_group` functions with `expand` and `expand_kwargs`.

All tasks of such a group share the map index of the group; their arguments that are mapped are `MappedArgument`s, which
find their values in the process of each instance.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from airflow._leoflow.errors import AuthoringError
from airflow._leoflow.mapping import (
    ExpandInput,
    check_duplicates,
    check_names,
    closest_mapped_group,
    expand_input,
    kwargs_input,
    parameters_of,
)
from airflow._leoflow.task_group import TaskGroup
from airflow._leoflow.xcom_arg import MappedArgument


class MappedTaskGroup(TaskGroup):
    """A group whose tasks have an instance for each item of what it is mapped over."""

    is_mapped = True

    def __init__(self, *, expand_input: ExpandInput, **kwargs: Any) -> None:
        self.expand_input = expand_input
        super().__init__(**kwargs)
        outer = closest_mapped_group(self.parent_group)
        if outer is not None:
            raise AuthoringError(
                f"the task group {self.group_id!r} is mapped inside of the mapped task group {outer.group_id!r}",
                "Nested Mapped TaskGroups are not yet supported",
                "expand one of them",
            )

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if error and error[0] is not None:
            return
        for task in self:
            if str(getattr(task.trigger_rule, "value", task.trigger_rule)) == "always":
                raise AuthoringError(
                    f"task {task.task_id!r} has trigger_rule='always' in the mapped task group {self.group_id!r}",
                    "Task-generated mapping within a mapped task group is not allowed with trigger rule 'always'",
                    "use trigger_rule='all_done'",
                )
        for output in self.expand_input.references():
            self.set_upstream(output.operator)


def partial_group(decorator: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the function that are given, with those that were given before."""
    name = decorator.function.__name__
    check_names(arguments, parameters_of(decorator.function), name, "partial")
    check_duplicates(decorator.given, arguments, f"task group {name!r}", "duplicate partial")
    return {**decorator.given, **arguments}


def expand_group(decorator: Any, mapped: dict[str, Any]) -> Any:
    name = decorator.function.__name__
    expanded = expand_input(mapped, parameters_of(decorator.function), name)
    check_duplicates(decorator.given, mapped, f"task group {name!r}", "mapping already partial")
    return _make(decorator, expanded, {key: MappedArgument(expanded, key) for key in mapped})


def expand_group_kwargs(decorator: Any, kwargs: Any) -> Any:
    name = decorator.function.__name__
    expanded = kwargs_input(kwargs, name)
    parameters = inspect.signature(decorator.function).parameters
    if any(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in parameters.values()):
        raise AuthoringError(
            f"task group {name!r} uses expand_kwargs(), and its function has * or **",
            "calling expand_kwargs() on task group function with * or ** is not supported",
            "name the parameters of the function",
        )
    stubs = {key: MappedArgument(expanded, key) for key in parameters if key not in decorator.given}
    return _make(decorator, expanded, stubs)


def _make(decorator: Any, expanded: ExpandInput, stubs: Mapping[str, Any]) -> Any:
    def make(**arguments: Any) -> TaskGroup:
        return MappedTaskGroup(expand_input=expanded, **arguments)

    return decorator.make_group(make, (), {**decorator.given, **stubs})
