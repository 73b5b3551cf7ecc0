"""What differs between two versions of a DAG, for people: tasks, edges, the DAG's own settings, environment, source."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec

from leoflowd.contract.dag_spec import DagSpec, TaskSpec

FOR_PEOPLE_ONLY = frozenset({"warnings", "dag_version", "reads", "schema_version"})
SHOWN_APART = frozenset({"tasks", "environment", "source", "bundle_digest", "dag_id"})
EDGES = "upstream_task_ids"

Changes = dict[str, tuple[Any, Any]]
"""Field -> what it was, and what it is; None where it was not there."""


class VersionDiff(msgspec.Struct, frozen=True, kw_only=True):
    tasks_added: tuple[str, ...]
    tasks_removed: tuple[str, ...]
    tasks_changed: dict[str, Changes]
    """Without their edges."""
    edges_added: tuple[tuple[str, str], ...]
    """(upstream, downstream), also of tasks that came or went."""
    edges_removed: tuple[tuple[str, str], ...]
    dag: Changes
    """Schedule, dates, limits, params, groups, ..."""
    environment: Changes
    source: tuple[str, ...]
    """Lines of a unified diff of the DAG's file."""
    code_changed: bool
    """Some file of the project did, perhaps another one than the DAG's own."""

    @property
    def is_empty(self) -> bool:
        return self == NOTHING


NOTHING = VersionDiff(
    tasks_added=(),
    tasks_removed=(),
    tasks_changed={},
    edges_added=(),
    edges_removed=(),
    dag={},
    environment={},
    source=(),
    code_changed=False,
)


def diff_versions(old: DagSpec, new: DagSpec, *, labels: tuple[str, str]) -> VersionDiff:
    """`old` and `new` with their source; `labels` head the diff of it."""
    was, now = _by_id(old), _by_id(new)
    both = [task_id for task_id in was if task_id in now]
    changed = {
        task_id: changes
        for task_id in both
        if (changes := _changes(_fields(was[task_id]), _fields(now[task_id]), without=frozenset({EDGES})))
    }
    old_edges, new_edges = _edges(old), _edges(new)
    return VersionDiff(
        tasks_added=tuple(sorted(now.keys() - was.keys())),
        tasks_removed=tuple(sorted(was.keys() - now.keys())),
        tasks_changed=changed,
        edges_added=tuple(sorted(new_edges - old_edges)),
        edges_removed=tuple(sorted(old_edges - new_edges)),
        dag=_changes(_fields(old), _fields(new), without=FOR_PEOPLE_ONLY | SHOWN_APART),
        environment=_changes(_fields(old.environment), _fields(new.environment), without=frozenset()),
        source=tuple(difflib.unified_diff(old.source.splitlines(), new.source.splitlines(), *labels, lineterm="")),
        code_changed=old.bundle_digest != new.bundle_digest,
    )


def _by_id(spec: DagSpec) -> dict[str, TaskSpec]:
    return {task.task_id: task for task in spec.tasks}


def _edges(spec: DagSpec) -> set[tuple[str, str]]:
    return {(up, task.task_id) for task in spec.tasks for up in task.upstream_task_ids}


def _fields(struct: msgspec.Struct) -> Mapping[str, Any]:
    """Also those that have their default, which an encoded struct leaves out."""
    return {name: msgspec.to_builtins(getattr(struct, name)) for name in struct.__struct_fields__}


def _changes(was: Mapping[str, Any], now: Mapping[str, Any], *, without: frozenset[str]) -> Changes:
    names = sorted((was.keys() | now.keys()) - without)
    return {name: (was.get(name), now.get(name)) for name in names if was.get(name) != now.get(name)}
