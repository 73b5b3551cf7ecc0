"""The tree of a DAG's groups: who holds whom, who comes after whom, and in which order children are shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

from leoflowd.contract.dag_spec import DagSpec, TaskGroupSpec, TaskSpec

ROOT = ""
"""Stands for the group that holds everything; no group has an empty id."""


def list_group_members(spec: DagSpec) -> tuple[tuple[str, str], ...]:
    """(group id, task id) for each task and each group around it, the outer ones included."""
    parents = {group.group_id: group.parent_group_id for group in spec.groups}
    return tuple(
        (group_id, task.task_id) for task in spec.tasks for group_id in enclosing_groups(task.group_id, parents)
    )


def list_mapped_tasks(spec: DagSpec) -> list[str]:
    """Ids of the tasks that are mapped, by themselves or with a group around them."""
    parents = {group.group_id: group.parent_group_id for group in spec.groups}
    mapped = {group.group_id for group in spec.groups if group.mapped is not None}
    return [
        task.task_id
        for task in spec.tasks
        if task.mapped is not None or not mapped.isdisjoint(enclosing_groups(task.group_id, parents))
    ]


class GroupTree:
    """Tasks and groups by id, who holds whom, and who comes after whom."""

    def __init__(self, spec: DagSpec) -> None:
        self.tasks: dict[str, TaskSpec] = {task.task_id: task for task in spec.tasks}
        self.groups: dict[str, TaskGroupSpec] = {group.group_id: group for group in spec.groups}
        self.labels = {(edge.upstream_id, edge.downstream_id): edge.label for edge in spec.edge_labels}
        self.downstream = downstream_of(spec.tasks)
        self._parents = {group.group_id: group.parent_group_id for group in spec.groups}
        self.children: dict[str, list[str]] = {ROOT: [], **{group_id: [] for group_id in self.groups}}
        self.members: dict[str, list[str]] = {group_id: [] for group_id in self.groups}
        placed: set[str] = set()
        for task in spec.tasks:
            path = (task.task_id, *enclosing_groups(task.group_id, self._parents))
            for node_id, parent_id in zip(path, (*path[1:], ROOT), strict=True):
                if node_id not in placed:
                    placed.add(node_id)
                    self.children[parent_id].append(node_id)
            for group_id in path[1:]:
                self.members[group_id].append(task.task_id)
        self.links = tuple(_group_links(self))
        self.linked_from = {source_id for source_id, _ in self.links}
        self.linked_to = {target_id for _, target_id in self.links}

    def sorted_children(self, parent_id: str) -> list[str]:
        """The children of a group in topological order; equals stay in the order of the artifact."""
        children = self.children[parent_id]
        position = {node_id: index for index, node_id in enumerate(children)}
        before: list[set[int]] = [set() for _ in children]
        for node_id in children:
            for task_id in self.members.get(node_id, (node_id,)):
                for upstream_id in self.tasks[task_id].upstream_task_ids:
                    child = self._child_holding(upstream_id, parent_id)
                    if child is not None and child != node_id:
                        before[position[node_id]].add(position[child])
            for upstream_id in self.groups[node_id].upstream_ids if node_id in self.groups else ():
                if upstream_id in position and upstream_id != node_id:
                    before[position[node_id]].add(position[upstream_id])
        return [children[index] for index in _sort_by_passes(before)]

    def _child_holding(self, task_id: str, parent_id: str) -> str | None:
        """Which child of `parent_id` is or contains the task; None if it is outside."""
        if task_id not in self.tasks:
            return None
        path = (task_id, *enclosing_groups(self.tasks[task_id].group_id, self._parents), ROOT)
        for node_id, holder in pairwise(path):
            if holder == parent_id:
                return node_id
        return None

    def roots(self, node_id: str) -> list[str]:
        """The tasks that a group starts with; of a task, itself."""
        if node_id not in self.groups:
            return [node_id]
        inside = set(self.members[node_id])
        return [t for t in self.members[node_id] if inside.isdisjoint(self.tasks[t].upstream_task_ids)]

    def leaves(self, node_id: str) -> list[str]:
        """The tasks that a group ends with; of a task, itself. A teardown does not count: what it tears down does."""
        if node_id not in self.groups:
            return [node_id]
        inside = {t for t in self.members[node_id] if not self.tasks[t].is_teardown}
        leaves = [t for t in self.members[node_id] if t in inside and inside.isdisjoint(self.downstream[t])]
        return leaves or [t for t in self.members[node_id] if not self.downstream[t]]


def _sort_by_passes(before: Sequence[Iterable[int]]) -> list[int]:
    """Airflow's display order: pass after pass over the children as written, taking each whose upstreams are placed.

    Computed as (number of the pass, position) in one traversal. Groups can wait for each other (a task between two
    members of one group): then the first one that is left goes ahead.
    """
    waiting = [set(upstreams) for upstreams in before]
    after: list[list[int]] = [[] for _ in before]
    for index, upstreams in enumerate(waiting):
        for upstream in upstreams:
            after[upstream].append(index)
    in_pass = [0] * len(waiting)
    ready = [index for index, upstreams in enumerate(waiting) if not upstreams]
    heapify(ready)
    left = dict.fromkeys(range(len(waiting)))
    while left:
        index = heappop(ready) if ready else next(iter(left))
        if index not in left:
            continue
        del left[index]
        for later in left.keys() & after[index]:
            in_pass[later] = max(in_pass[later], in_pass[index] + (index > later))
            waiting[later].discard(index)
            if not waiting[later]:
                heappush(ready, later)
    return sorted(range(len(waiting)), key=lambda index: (in_pass[index], index))


def enclosing_groups(group_id: str | None, parents: Mapping[str, str | None]) -> Iterator[str]:
    """The group, its parent, and so on outwards."""
    while group_id:
        yield group_id
        group_id = parents.get(group_id)


def downstream_of(tasks: Iterable[TaskSpec]) -> dict[str, list[str]]:
    downstream: dict[str, list[str]] = {task.task_id: [] for task in tasks}
    for task in tasks:
        for upstream_id in task.upstream_task_ids:
            downstream.setdefault(upstream_id, []).append(task.task_id)
    return downstream


def _group_links(tree: GroupTree) -> Iterator[tuple[str, str]]:
    """(source, target) of each link that the author drew from or to a whole group. One without tasks is not drawn."""
    drawn = {*tree.tasks, *(group_id for group_id, members in tree.members.items() if members)}
    for group in tree.groups.values():
        ends = [(upstream_id, group.group_id) for upstream_id in group.upstream_ids]
        ends += [(group.group_id, downstream_id) for downstream_id in group.downstream_ids]
        yield from (link for link in ends if drawn.issuperset(link))
