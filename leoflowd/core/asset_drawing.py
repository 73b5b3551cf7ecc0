"""Graphs with assets in them: which DAG's events start which DAG, which tasks make and read what, and what surrounds
the graph of one DAG. Pure; `api.ui` calls it. Ids and types are those of Airflow 3.2's UI routes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from leoflowd.contract.asset_spec import (
    AliasSpec,
    AllOf,
    AnyOf,
    AssetAt,
    AssetCondition,
    AssetLike,
    AssetNamed,
    AssetSpec,
)
from leoflowd.contract.dag_spec import DagSpec
from leoflowd.core.dag_drawing import Graph, GraphEdge, GraphNode

BETWEEN = "__SEPARATOR__"
"""Between DAG and task in the id of a task's node."""


class Link(msgspec.Struct, frozen=True):
    """A row of `asset_use`: what it names is an asset, an alias, a name or a uri."""

    dag_id: str
    kind: str
    task_id: str
    asset_id: int | None = None
    asset_name: str | None = None
    alias_name: str | None = None
    ref_name: str | None = None
    ref_uri: str | None = None


class Resolved(msgspec.Struct, frozen=True):
    """The alias stands for the asset."""

    alias_name: str
    asset_id: int
    asset_name: str


class Node(msgspec.Struct, frozen=True):
    id: str
    label: str
    type: str


class Edge(msgspec.Struct, frozen=True, order=True):
    source_id: str
    target_id: str


class Dependencies(msgspec.Struct, frozen=True):
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def scheduling_graph(links: Sequence[Link], resolved: Iterable[Resolved]) -> Dependencies:
    """DAGs, the assets that they make, and those that they wait for."""
    nodes: dict[str, Node] = {}
    edges: set[Edge] = set()
    for link in links:
        if link.kind == "inlet":
            continue
        dag, named = Node(f"dag:{link.dag_id}", link.dag_id, "dag"), _node(link)
        nodes |= {dag.id: dag, named.id: named}
        edges.add(Edge(dag.id, named.id) if link.kind == "outlet" else Edge(named.id, dag.id))
    for one in resolved:
        alias = f"asset-alias:{one.alias_name}"
        if alias in nodes:
            asset = Node(f"asset:{one.asset_id}", one.asset_name, "asset")
            nodes[asset.id] = asset
            edges.add(Edge(alias, asset.id))
    return Dependencies(tuple(nodes.values()), tuple(sorted(edges)))


def data_graph(asset_id: int, links: Sequence[Link]) -> Dependencies:
    """Everything that is connected with this asset by tasks that make and read assets."""
    nodes: dict[str, Node] = {}
    edges: set[Edge] = set()
    for link in links:
        if link.asset_id is None or link.kind == "schedule":
            continue
        asset = _node(link)
        label = f"{link.dag_id}.{link.task_id}"
        task = Node(f"task:{link.dag_id}{BETWEEN}{link.task_id}", label, "task")
        nodes |= {task.id: task, asset.id: asset}
        edges.add(Edge(task.id, asset.id) if link.kind == "outlet" else Edge(asset.id, task.id))
    whole = Dependencies(tuple(nodes.values()), tuple(sorted(edges)))
    return component_of(f"asset:{asset_id}", whole)


def component_of(node_id: str, graph: Dependencies) -> Dependencies:
    """The part that is connected with this node; empty when it is not there."""
    neighbours: defaultdict[str, list[str]] = defaultdict(list)
    for edge in graph.edges:
        neighbours[edge.source_id].append(edge.target_id)
        neighbours[edge.target_id].append(edge.source_id)
    reached: set[str] = set()
    ahead = [node_id] if any(node.id == node_id for node in graph.nodes) else []
    while ahead:
        one = ahead.pop()
        if one not in reached:
            reached.add(one)
            ahead += neighbours[one]
    return Dependencies(
        tuple(node for node in graph.nodes if node.id in reached),
        tuple(edge for edge in graph.edges if edge.source_id in reached),
    )


def _node(link: Link) -> Node:
    if link.asset_id is not None:
        return Node(f"asset:{link.asset_id}", link.asset_name or "", "asset")
    if link.alias_name is not None:
        return Node(f"asset-alias:{link.alias_name}", link.alias_name, "asset-alias")
    if link.ref_name is not None:
        return Node(f"asset-name-ref:{link.ref_name}", link.ref_name, "asset-name-ref")
    return Node(f"asset-uri-ref:{link.ref_uri}", link.ref_uri or "", "asset-uri-ref")


# --- around the graph of one DAG -------------------------------------------------------------------------------------


def has_assets(spec: DagSpec) -> bool:
    """Is there anything to draw around it?"""
    return spec.asset_condition is not None or any(task.outlets for task in spec.tasks)


def with_assets(
    graph: Graph, spec: DagSpec, ids: Mapping[tuple[str, str], int], resolved: Sequence[Resolved] = ()
) -> Graph:
    """The graph with what starts the DAG before its first node, and what its tasks make behind them."""
    nodes: dict[str, GraphNode] = {}
    edges: list[GraphEdge] = []
    if spec.asset_condition is not None and graph.nodes:
        for node, edge in _upstream(spec.asset_condition, graph.nodes[0].id, ids, [0]):
            nodes.setdefault(node.id, node)
            edges.append(edge)
    shown = {task_id for node in graph.nodes for task_id in _ids_in(node)}
    for task in spec.tasks:
        if task.task_id in shown:
            for node in _outlets(task.outlets, ids, resolved):
                nodes.setdefault(node.id, node)
                edges.append(GraphEdge(source_id=task.task_id, target_id=node.id))
    return Graph(nodes=(*graph.nodes, *nodes.values()), edges=(*graph.edges, *edges))


def _ids_in(node: GraphNode) -> Iterator[str]:
    yield node.id
    for child in node.children or ():
        yield from _ids_in(child)


def _upstream(
    condition: AssetCondition, target_id: str, ids: Mapping[tuple[str, str], int], gates: list[int]
) -> Iterator[tuple[GraphNode, GraphEdge]]:
    """Each node with the edge out of it; `gates[0]` counts those that stand for `&` and `|`."""
    is_source = True if gates[0] == 0 else None
    if not isinstance(condition, AnyOf | AllOf):
        node = _leaf(condition, ids)
        yield node, GraphEdge(source_id=node.id, target_id=target_id, is_source_asset=is_source)
        return
    kind = "or-gate" if isinstance(condition, AnyOf) else "and-gate"
    gate = f"{kind}-{gates[0]}"
    gates[0] += 1
    yield (
        GraphNode(id=gate, label=gate, type="asset-condition", asset_condition_type=kind),
        GraphEdge(source_id=gate, target_id=target_id, is_source_asset=is_source),
    )
    for part in condition.of:
        yield from _upstream(part, gate, ids, gates)


def _leaf(named: AssetLike, ids: Mapping[tuple[str, str], int]) -> GraphNode:
    match named:
        case AssetSpec(name=name, uri=uri):
            return GraphNode(id=str(ids.get((name, uri), name)), label=name, type="asset")
        case AliasSpec(name=name):
            return GraphNode(id=name, label=name, type="asset-alias")
        case AssetNamed(name=name):
            return GraphNode(id=name, label=name, type="asset-name-ref")
        case AssetAt(uri=uri):
            return GraphNode(id=uri, label=uri, type="asset-uri-ref")


def _outlets(
    outlets: Sequence[AssetLike], ids: Mapping[tuple[str, str], int], resolved: Sequence[Resolved]
) -> Iterator[GraphNode]:
    for outlet in outlets:
        match outlet:
            case AssetSpec(name=name, uri=uri):
                yield GraphNode(id=f"asset:{ids.get((name, uri), name)}", label=name, type="asset")
            case AliasSpec(name=name):
                yield GraphNode(id=f"asset-alias:{name}", label=name, type="asset-alias")
                for one in resolved:
                    if one.alias_name == name:
                        yield GraphNode(id=f"asset:{one.asset_id}", label=one.asset_name, type="asset")
            case AssetNamed(name=name):
                yield GraphNode(id=f"asset-name-ref:{name}", label=name, type="asset-name-ref")
            case AssetAt(uri=uri):
                yield GraphNode(id=f"asset-uri-ref:{uri}", label=uri, type="asset-uri-ref")
