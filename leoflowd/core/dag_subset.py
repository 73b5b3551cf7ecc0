"""A DAG cut down to some tasks and their relatives, as the UI's filter asks for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from leoflowd.contract.dag_spec import DagSpec
from leoflowd.core.group_tree import downstream_of, enclosing_groups


def select_subset(
    spec: DagSpec, root: str, *, include_upstream: bool, include_downstream: bool, depth: int | None
) -> DagSpec:
    """The DAG cut down to the tasks whose id contains `root` (as Airflow matches) and their relatives up to `depth`.

    Setups and teardowns of what stays are kept, because a path without them would look wrong.
    """
    downstream = downstream_of(spec.tasks)
    upstream = {task.task_id: task.upstream_task_ids for task in spec.tasks}
    kept = {task.task_id for task in spec.tasks if root in task.task_id}
    matched = tuple(kept)
    if include_downstream:
        kept |= _reach(matched, downstream, depth)
    if include_upstream:
        kept |= _reach(matched, upstream, depth)
    scaffolding = {task.task_id for task in spec.tasks if task.is_setup or task.is_teardown}
    kept |= {
        near for task_id in tuple(kept) for near in (*upstream[task_id], *downstream[task_id]) if near in scaffolding
    }
    tasks = tuple(
        msgspec.structs.replace(task, upstream_task_ids=tuple(u for u in task.upstream_task_ids if u in kept))
        for task in spec.tasks
        if task.task_id in kept
    )
    parents = {group.group_id: group.parent_group_id for group in spec.groups}
    inhabited = {group_id for task in tasks for group_id in enclosing_groups(task.group_id, parents)}
    visible = kept | inhabited
    groups = tuple(
        msgspec.structs.replace(
            group,
            upstream_ids=tuple(i for i in group.upstream_ids if i in visible),
            downstream_ids=tuple(i for i in group.downstream_ids if i in visible),
        )
        for group in spec.groups
        if group.group_id in inhabited
    )
    return msgspec.structs.replace(spec, tasks=tasks, groups=groups)


def _reach(start: Iterable[str], neighbours: Mapping[str, Sequence[str]], depth: int | None) -> set[str]:
    seen: set[str] = set(start)
    frontier, steps = set(seen), 0
    while frontier and (depth is None or steps < depth):
        frontier = {n for task_id in frontier for n in neighbours.get(task_id, ())} - seen
        seen |= frontier
        steps += 1
    return seen
