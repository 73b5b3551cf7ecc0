"""Ids of DAGs, tasks and groups: which are allowed, and which is the next free one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow._leoflow import context
from airflow._leoflow.errors import AuthoringError

if TYPE_CHECKING:
    from airflow._leoflow.dag import DAG
    from airflow._leoflow.task_group import TaskGroup

ID_PATTERN = re.compile(r"[\w.-]{1,250}")
SUFFIX = re.compile(r"__\d+$")
GROUP_ID_PATTERN = re.compile(r"[\w-]{1,200}")


def validate_id(value: Any, what: str) -> str:
    if not isinstance(value, str) or not ID_PATTERN.fullmatch(value):
        raise AuthoringError(
            f"{what} {value!r} is not a valid id",
            "ids are 1 to 250 letters, digits, dashes, dots and underscores",
            "rename it; `..._display_name` may hold any text",
        )
    return value


def validate_group_id(value: Any) -> str:
    if not isinstance(value, str) or not GROUP_ID_PATTERN.fullmatch(value):
        raise AuthoringError(
            f"group_id {value!r} is not a valid id",
            "ids of groups are 1 to 200 letters, digits, dashes and underscores, without dots",
            "rename it; group_display_name may hold any text",
        )
    return value


def near_miss(wrong: Any, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for an id that is nearly one that there is; else nothing."""
    import difflib  # nobody pays for it who writes no wrong id

    found = difflib.get_close_matches(str(wrong), list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def unique_task_id(task_id: str, dag: DAG | None, group: TaskGroup | None) -> str:
    """`task_id`, or the next free `task_id__N`; how calling one @task function twice gives two tasks."""
    dag = dag or context.current_dag()
    if dag is None:
        return task_id
    group = group or context.current_group(dag)
    full_id = group.child_id(task_id) if group is not None else task_id
    return task_id if full_id not in dag.task_dict else next_suffix(task_id, full_id, dag.task_dict, dag.suffixes)


def next_suffix(label: str, full_id: str, used: Any, seen: dict[str, int] | None = None) -> str:
    """`seen` remembers the last number per id, so that a list comprehension of n tasks costs n steps."""
    base, prefix = SUFFIX.sub("", label), SUFFIX.sub("", full_id)
    number = (seen or {}).get(prefix, 0) + 1
    while f"{prefix}__{number}" in used:
        number += 1
    if seen is not None:
        seen[prefix] = number
    return f"{base}__{number}"
