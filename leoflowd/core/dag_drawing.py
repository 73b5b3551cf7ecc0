"""What the UI draws of a DAG: the rows of the grid and the nodes and edges of the graph, from the artifact alone.

Pure; `api.ui` calls it and keeps the result per version. The shapes are those of Airflow 3.2's private UI routes
(`GridNodeResponse`, `StructureDataResponse`): a group is a node with children, ids carry the group prefix, labels do
not, and a group that is linked as a whole gets a join node on that side, through which the edges of its members are
bundled (otherwise two linked groups of ten tasks would be drawn with a hundred edges).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.core.group_tree import ROOT, GroupTree


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
    tree = GroupTree(spec)
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
    tree = GroupTree(spec)
    nodes = tuple(_graph_node(tree, node_id) for node_id in tree.sorted_children(ROOT))
    return Graph(nodes=nodes, edges=_edges(tree))


# --- nodes -------------------------------------------------------------------------------------------------------


def _grid_node(tree: GroupTree, node_id: str, *, inside: bool = False) -> GridNode:
    """`inside`: of a mapped group, whose tasks are mapped with it."""
    if node_id in tree.tasks:
        task = tree.tasks[node_id]
        return GridNode(
            id=node_id,
            label=_task_label(tree, task),
            is_mapped=inside or task.mapped is not None or None,
            setup_teardown_type=_setup_teardown(task),
        )
    is_mapped = tree.groups[node_id].mapped is not None
    children = tuple(_grid_node(tree, child, inside=inside or is_mapped) for child in tree.sorted_children(node_id))
    return GridNode(id=node_id, label=tree.groups[node_id].label, is_mapped=is_mapped or None, children=children)


def _merge_children(node: GridNode, older: GridNode | None) -> GridNode:
    if older is None or node.children is None or older.children is None:
        return node
    return msgspec.structs.replace(node, children=merge_grids(node.children, older.children))


def _graph_node(tree: GroupTree, node_id: str, *, inside: bool = False) -> GraphNode:
    if node_id in tree.tasks:
        task = tree.tasks[node_id]
        return GraphNode(
            id=node_id,
            label=_task_label(tree, task),
            operator=task.operator_name or task.operator,
            is_mapped=inside or task.mapped is not None,
            setup_teardown_type=_setup_teardown(task),
        )
    group = tree.groups[node_id]
    is_mapped = group.mapped is not None
    children = [_graph_node(tree, child, inside=inside or is_mapped) for child in tree.sorted_children(node_id)]
    if node_id in tree.linked_to:
        children.append(GraphNode(id=_upstream_join(node_id), label="", type="join"))
    if node_id in tree.linked_from:
        children.append(GraphNode(id=_downstream_join(node_id), label="", type="join"))
    return GraphNode(
        id=node_id, label=group.label, tooltip=group.tooltip, is_mapped=is_mapped, children=tuple(children)
    )


def _task_label(tree: GroupTree, task: TaskSpec) -> str:
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


def _edges(tree: GroupTree) -> tuple[GraphEdge, ...]:
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


def _label_ends(tree: GroupTree, upstream_id: str, downstream_id: str) -> tuple[str, str]:
    """A label drawn on a link of a group belongs to the edge between the joins."""
    return (
        _downstream_join(upstream_id) if upstream_id in tree.groups else upstream_id,
        _upstream_join(downstream_id) if downstream_id in tree.groups else downstream_id,
    )


def _edge(tree: GroupTree, ends: tuple[str, str], label: str | None) -> GraphEdge:
    source, target = tree.tasks.get(ends[0]), tree.tasks.get(ends[1])
    spans = source is not None and target is not None and source.is_setup and target.is_teardown
    return GraphEdge(source_id=ends[0], target_id=ends[1], is_setup_teardown=spans or None, label=label)


def _upstream_join(group_id: str) -> str:
    return f"{group_id}.upstream_join_id"


def _downstream_join(group_id: str) -> str:
    return f"{group_id}.downstream_join_id"
