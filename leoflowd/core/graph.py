"""What the UI draws of a DAG: the rows of the grid and the nodes and edges of the graph, from the artifact alone.

Pure; `api.ui` calls it and keeps the result per version. The shapes are those of Airflow 3.2's private UI routes
(`GridNodeResponse`, `StructureDataResponse`): a group is a node with children, ids carry the group prefix, labels do
not, and a group that is linked as a whole gets a join node on that side, through which the edges of its members are
bundled (otherwise two linked groups of ten tasks would be drawn with a hundred edges).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

import msgspec

from leoflowd.contract.dag_spec import DagSpec, TaskGroupSpec, TaskSpec

ROOT = ""
"""Stands for the group that holds everything; no group has an empty id."""


class GridNode(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the grid; `children` of a task is None."""

    id: str
    label: str
    is_mapped: bool | None = None
    children: tuple[GridNode, ...] | None = None
    setup_teardown_type: str | None = None


class GraphNode(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    label: str
    type: str = "task"
    children: tuple[GraphNode, ...] | None = None
    is_mapped: bool | None = None
    tooltip: str | None = None
    setup_teardown_type: str | None = None
    operator: str | None = None
    asset_condition_type: str | None = None


class GraphEdge(msgspec.Struct, frozen=True, kw_only=True):
    source_id: str
    target_id: str
    is_setup_teardown: bool | None = None
    label: str | None = None
    is_source_asset: bool | None = None


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]


def build_grid(spec: DagSpec) -> tuple[GridNode, ...]:
    """The grid's rows in display order: topological, and among equals as the author wrote them."""
    tree = _Tree(spec)
    return tuple(_grid_node(tree, node_id) for node_id in tree.sorted_children(ROOT))


def merge_grids(latest: Sequence[GridNode], older: Sequence[GridNode]) -> tuple[GridNode, ...]:
    """`latest` plus what only `older` has, at the end of its group: tasks that left the DAG still show their squares.

    A node that was a group and is a task now (or the other way round) keeps the form that `latest` gives it.
    """
    older_by_id = {node.id: node for node in older}
    merged = [_merge_children(node, older_by_id.get(node.id)) for node in latest]
    known = {node.id for node in latest}
    return (*merged, *(node for node in older if node.id not in known))


def build_graph(spec: DagSpec) -> Graph:
    """Nodes with their join nodes, and edges sorted by (source, target)."""
    tree = _Tree(spec)
    nodes = tuple(_graph_node(tree, node_id) for node_id in tree.sorted_children(ROOT))
    return Graph(nodes=nodes, edges=_edges(tree))


def list_group_members(spec: DagSpec) -> tuple[tuple[str, str], ...]:
    """(group id, task id) for each task and each group around it, the outer ones included."""
    parents = {group.group_id: group.parent_group_id for group in spec.groups}
    return tuple(
        (group_id, task.task_id) for task in spec.tasks for group_id in _enclosing_groups(task.group_id, parents)
    )


def select_subset(
    spec: DagSpec, root: str, *, include_upstream: bool, include_downstream: bool, depth: int | None
) -> DagSpec:
    """The DAG cut down to the tasks whose id contains `root` (as Airflow matches) and their relatives up to `depth`.

    Setups and teardowns of what stays are kept, because a path without them would look wrong.
    """
    downstream = _downstream(spec.tasks)
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
    inhabited = {group_id for task in tasks for group_id in _enclosing_groups(task.group_id, parents)}
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


# --- the tree of groups ------------------------------------------------------------------------------------------


class _Tree:
    """Tasks and groups by id, who holds whom, and who comes after whom."""

    def __init__(self, spec: DagSpec) -> None:
        self.tasks: dict[str, TaskSpec] = {task.task_id: task for task in spec.tasks}
        self.groups: dict[str, TaskGroupSpec] = {group.group_id: group for group in spec.groups}
        self.labels = {(edge.upstream_id, edge.downstream_id): edge.label for edge in spec.edge_labels}
        self.downstream = _downstream(spec.tasks)
        self._parents = {group.group_id: group.parent_group_id for group in spec.groups}
        self.children: dict[str, list[str]] = {ROOT: [], **{group_id: [] for group_id in self.groups}}
        self.members: dict[str, list[str]] = {group_id: [] for group_id in self.groups}
        placed: set[str] = set()
        for task in spec.tasks:
            path = (task.task_id, *_enclosing_groups(task.group_id, self._parents))
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
        path = (task_id, *_enclosing_groups(self.tasks[task_id].group_id, self._parents), ROOT)
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


def _enclosing_groups(group_id: str | None, parents: Mapping[str, str | None]) -> Iterator[str]:
    """The group, its parent, and so on outwards."""
    while group_id:
        yield group_id
        group_id = parents.get(group_id)


def _downstream(tasks: Iterable[TaskSpec]) -> dict[str, list[str]]:
    downstream: dict[str, list[str]] = {task.task_id: [] for task in tasks}
    for task in tasks:
        for upstream_id in task.upstream_task_ids:
            downstream.setdefault(upstream_id, []).append(task.task_id)
    return downstream


def _reach(start: Iterable[str], neighbours: Mapping[str, Sequence[str]], depth: int | None) -> set[str]:
    seen: set[str] = set(start)
    frontier, steps = set(seen), 0
    while frontier and (depth is None or steps < depth):
        frontier = {n for task_id in frontier for n in neighbours.get(task_id, ())} - seen
        seen |= frontier
        steps += 1
    return seen


# --- nodes -------------------------------------------------------------------------------------------------------


def _grid_node(tree: _Tree, node_id: str) -> GridNode:
    if node_id in tree.tasks:
        task = tree.tasks[node_id]
        return GridNode(id=node_id, label=_task_label(tree, task), setup_teardown_type=_setup_teardown(task))
    children = tuple(_grid_node(tree, child) for child in tree.sorted_children(node_id))
    return GridNode(id=node_id, label=tree.groups[node_id].label, children=children)


def _merge_children(node: GridNode, older: GridNode | None) -> GridNode:
    if older is None or node.children is None or older.children is None:
        return node
    return msgspec.structs.replace(node, children=merge_grids(node.children, older.children))


def _graph_node(tree: _Tree, node_id: str) -> GraphNode:
    if node_id in tree.tasks:
        task = tree.tasks[node_id]
        return GraphNode(
            id=node_id,
            label=_task_label(tree, task),
            operator=task.operator_name or task.operator,
            is_mapped=False,
            setup_teardown_type=_setup_teardown(task),
        )
    group = tree.groups[node_id]
    children = [_graph_node(tree, child) for child in tree.sorted_children(node_id)]
    if node_id in tree.linked_to:
        children.append(GraphNode(id=_upstream_join(node_id), label="", type="join"))
    if node_id in tree.linked_from:
        children.append(GraphNode(id=_downstream_join(node_id), label="", type="join"))
    return GraphNode(id=node_id, label=group.label, tooltip=group.tooltip, is_mapped=False, children=tuple(children))


def _task_label(tree: _Tree, task: TaskSpec) -> str:
    """The display name, or the id without the prefix that its group gave it."""
    if task.task_display_name and task.task_display_name != task.task_id:
        return task.task_display_name
    group = tree.groups.get(task.group_id or "")
    if group is not None and group.prefix_group_id:
        return task.task_id.removeprefix(f"{group.group_id}.")
    return task.task_id


def _setup_teardown(task: TaskSpec) -> str | None:
    return "setup" if task.is_setup else "teardown" if task.is_teardown else None


# --- edges -------------------------------------------------------------------------------------------------------


def _edges(tree: _Tree) -> tuple[GraphEdge, ...]:
    """Task to task, except where a link of a whole group replaces the edges of its members."""
    direct = {(u, task.task_id) for task in tree.tasks.values() for u in task.upstream_task_ids if u in tree.tasks}
    bundled: set[tuple[str, str]] = set()
    replaced: set[tuple[str, str]] = set()
    for source_id, target_id in tree.links:
        leaves, roots = tree.leaves(source_id), tree.roots(target_id)
        out = _downstream_join(source_id) if source_id in tree.groups else source_id
        into = _upstream_join(target_id) if target_id in tree.groups else target_id
        bundled.add((out, into))
        replaced |= {(leaf, root) for leaf in leaves for root in roots}
        if source_id in tree.groups:
            bundled |= {(leaf, out) for leaf in leaves}
            # a member linked to the target by itself as well is already on the way through the join
            replaced |= {(leaf, into) for leaf in leaves}
        if target_id in tree.groups:
            bundled |= {(into, root) for root in roots}
            replaced |= {(out, root) for root in roots}
    labels = {_label_ends(tree, *ends): label for ends, label in tree.labels.items()}
    return tuple(_edge(tree, ends, labels.get(ends)) for ends in sorted((direct | bundled) - replaced))


def _group_links(tree: _Tree) -> Iterator[tuple[str, str]]:
    """(source, target) of each link that the author drew from or to a whole group. One without tasks is not drawn."""
    drawn = {*tree.tasks, *(group_id for group_id, members in tree.members.items() if members)}
    for group in tree.groups.values():
        ends = [(upstream_id, group.group_id) for upstream_id in group.upstream_ids]
        ends += [(group.group_id, downstream_id) for downstream_id in group.downstream_ids]
        yield from (link for link in ends if drawn.issuperset(link))


def _label_ends(tree: _Tree, upstream_id: str, downstream_id: str) -> tuple[str, str]:
    """A label drawn on a link of a group belongs to the edge between the joins."""
    return (
        _downstream_join(upstream_id) if upstream_id in tree.groups else upstream_id,
        _upstream_join(downstream_id) if downstream_id in tree.groups else downstream_id,
    )


def _edge(tree: _Tree, ends: tuple[str, str], label: str | None) -> GraphEdge:
    source, target = tree.tasks.get(ends[0]), tree.tasks.get(ends[1])
    spans = source is not None and target is not None and source.is_setup and target.is_teardown
    return GraphEdge(source_id=ends[0], target_id=ends[1], is_setup_teardown=spans or None, label=label)


def _upstream_join(group_id: str) -> str:
    return f"{group_id}.upstream_join_id"


def _downstream_join(group_id: str) -> str:
    return f"{group_id}.downstream_join_id"
