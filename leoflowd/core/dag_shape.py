"""The graph of one DAG version, worked out once: who waits for whom, with which weight, and who decides the run.

The scheduler builds a `DagShape` per version and shares it among the views of all its runs; the compiler's graph checks
are repeated here, so that nothing later has to doubt the graph. Nodes stand in topological order: an upstream has a
smaller index than what waits for it. Setup and teardown follow Airflow 3 (`DAGNode.get_upstreams_only_setups`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush

import msgspec

from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.contract.states import WeightRule

MAX_WEIGHT = 2**31 - 1
"""`priority_weight` is a 32-bit integer in the store; Airflow cuts sums off in the same way."""


class TaskNode(msgspec.Struct, frozen=True, kw_only=True):
    """One task and its place in the graph; all numbers are node indices, ascending."""

    index: int
    spec: TaskSpec
    upstream: tuple[int, ...] = ()
    downstream: tuple[int, ...] = ()
    weight: int = 1
    """What it competes with: `priority_weight` after its weight rule."""
    indirect_setups: tuple[int, ...] = ()
    """Setups further up that must have succeeded before it runs."""
    scope: tuple[int, ...] = ()
    """Of a teardown: the tasks between its setups and itself, which must be done before it runs."""
    feeds: tuple[int, ...] = ()
    """Everyone whose trigger rule looks at this node: downstream, and through setups and scopes."""
    setup_for: tuple[int, ...] = ()
    scope_of: tuple[int, ...] = ()


class DagShape(msgspec.Struct, frozen=True, kw_only=True):
    """A whole graph. `leaves` are the nodes whose states decide the dag run."""

    dag_id: str
    nodes: tuple[TaskNode, ...]
    index_of: dict[str, int]
    leaves: tuple[int, ...]
    fail_fast: bool = False


def shape_of(spec: DagSpec) -> DagShape:
    """Work out the graph; raises ValueError on duplicate or unknown task ids and on cycles."""
    upstream_ids = _upstream_ids(spec)
    order = _topological_order(spec, upstream_ids)
    tasks = {task.task_id: task for task in spec.tasks}
    index_of = {task_id: index for index, task_id in enumerate(order)}
    ordered = [tasks[task_id] for task_id in order]
    upstream = [sorted(index_of[up] for up in upstream_ids[task_id]) for task_id in order]
    nodes = _nodes(ordered, upstream)
    return DagShape(dag_id=spec.dag_id, nodes=nodes, index_of=index_of, leaves=_leaves(nodes), fail_fast=spec.fail_fast)


def _upstream_ids(spec: DagSpec) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for task in spec.tasks:
        if task.task_id in found:
            raise ValueError(
                f"dag {spec.dag_id!r} has two tasks called {task.task_id!r}; task ids must be unique: rename one"
            )
        found[task.task_id] = frozenset(task.upstream_task_ids)
    for task_id, ups in found.items():
        unknown = sorted(ups - found.keys())
        if unknown:
            raise ValueError(
                f"task {task_id!r} of dag {spec.dag_id!r} waits for {unknown[0]!r}, which is no task of this dag; "
                "correct the id or add the task"
            )
    return found


def _topological_order(spec: DagSpec, upstream_ids: dict[str, frozenset[str]]) -> list[str]:
    """Kahn's algorithm; among tasks that are free, the one written first comes first."""
    position = {task.task_id: at for at, task in enumerate(spec.tasks)}
    waiting = {task_id: len(ups) for task_id, ups in upstream_ids.items()}
    downstream: dict[str, list[str]] = {task_id: [] for task_id in upstream_ids}
    for task_id, ups in upstream_ids.items():
        for up in ups:
            downstream[up].append(task_id)
    free = [position[task_id] for task_id, count in waiting.items() if count == 0]
    heapify(free)
    order: list[str] = []
    while free:
        task_id = spec.tasks[heappop(free)].task_id
        order.append(task_id)
        for down in downstream[task_id]:
            waiting[down] -= 1
            if waiting[down] == 0:
                heappush(free, position[down])
    if len(order) < len(upstream_ids):
        cycle = " -> ".join(_a_cycle(upstream_ids, set(upstream_ids) - set(order)))
        raise ValueError(
            f"dag {spec.dag_id!r} has a cycle: {cycle}; a task cannot wait for itself: remove one of these dependencies"
        )
    return order


def _a_cycle(upstream_ids: dict[str, frozenset[str]], stuck: set[str]) -> list[str]:
    """Walk upstream inside the stuck tasks, each of which has a stuck upstream, until one comes again."""
    path = [min(stuck)]
    while True:
        up = min(upstream_ids[path[-1]] & stuck)
        if up in path:
            return [up, *reversed(path[path.index(up) :])]
        path.append(up)


def _nodes(tasks: Sequence[TaskSpec], upstream: Sequence[Sequence[int]]) -> tuple[TaskNode, ...]:
    downstream = _reversed(upstream, len(tasks))
    # Sets of nodes are bits of one integer: unions over a graph of thousands of tasks stay cheap.
    ancestors = [0] * len(tasks)
    for index, ups in enumerate(upstream):
        for up in ups:
            ancestors[index] |= ancestors[up] | 1 << up
    descendants = [0] * len(tasks)
    for index in reversed(range(len(tasks))):
        for down in downstream[index]:
            descendants[index] |= descendants[down] | 1 << down
    weights = _weights(tasks, ancestors, descendants)
    setups = _indirect_setups(tasks, upstream, downstream, ancestors, descendants)
    scopes = _scopes(tasks, upstream, ancestors, descendants)
    setup_for = _reversed(setups, len(tasks))
    scope_of = _reversed(scopes, len(tasks))
    return tuple(
        TaskNode(
            index=index,
            spec=task,
            upstream=tuple(upstream[index]),
            downstream=tuple(downstream[index]),
            weight=weights[index],
            indirect_setups=tuple(setups[index]),
            scope=tuple(scopes[index]),
            feeds=tuple(sorted({*downstream[index], *setup_for[index], *scope_of[index]})),
            setup_for=tuple(setup_for[index]),
            scope_of=tuple(scope_of[index]),
        )
        for index, task in enumerate(tasks)
    )


def _reversed(edges: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    back: list[list[int]] = [[] for _ in range(size)]
    for index, ends in enumerate(edges):
        for end in ends:
            back[end].append(index)
    return back


def _weights(tasks: Sequence[TaskSpec], ancestors: Sequence[int], descendants: Sequence[int]) -> list[int]:
    members: dict[int, int] = {}
    for index, task in enumerate(tasks):
        members[task.priority_weight] = members.get(task.priority_weight, 0) | 1 << index

    def total(among: int) -> int:
        return sum(weight * (among & mask).bit_count() for weight, mask in members.items())

    found = []
    for index, task in enumerate(tasks):
        match task.weight_rule:
            case WeightRule.ABSOLUTE:
                weight = task.priority_weight
            case WeightRule.DOWNSTREAM:
                weight = task.priority_weight + total(descendants[index])
            case WeightRule.UPSTREAM:
                weight = task.priority_weight + total(ancestors[index])
        found.append(max(-MAX_WEIGHT, min(MAX_WEIGHT, weight)))
    return found


def _indirect_setups(
    tasks: Sequence[TaskSpec],
    upstream: Sequence[Sequence[int]],
    downstream: Sequence[Sequence[int]],
    ancestors: Sequence[int],
    descendants: Sequence[int],
) -> list[list[int]]:
    """Per task, the setups above its direct upstream that it is inside of.

    A task is inside of a setup whose teardown comes after the task, or which has no teardown; a teardown is inside
    of none.
    """
    setup_mask = _mask(index for index, task in enumerate(tasks) if task.is_setup)
    teardown_mask = _mask(index for index, task in enumerate(tasks) if task.is_teardown)
    own_teardowns = [_mask(downs) & teardown_mask for downs in downstream]
    return [
        []
        if task.is_teardown
        else [
            setup
            for setup in _bits(ancestors[index] & setup_mask & ~_mask(upstream[index]))
            if not own_teardowns[setup] or own_teardowns[setup] & descendants[index]
        ]
        for index, task in enumerate(tasks)
    ]


def _scopes(
    tasks: Sequence[TaskSpec],
    upstream: Sequence[Sequence[int]],
    ancestors: Sequence[int],
    descendants: Sequence[int],
) -> list[list[int]]:
    """Per teardown, the tasks between its setups and itself that are not already its direct upstream."""
    scopes: list[list[int]] = []
    for index, task in enumerate(tasks):
        inside = 0
        if task.is_teardown:
            for up in upstream[index]:
                inside |= descendants[up] if tasks[up].is_setup else 0
        scopes.append(list(_bits(inside & ancestors[index] & ~_mask(upstream[index]))))
    return scopes


def _mask(indices: Iterator[int] | Sequence[int]) -> int:
    mask = 0
    for index in indices:
        mask |= 1 << index
    return mask


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _leaves(nodes: Sequence[TaskNode]) -> tuple[int, ...]:
    """Tasks with nothing after them; a teardown counts, as end or as successor, only with `on_failure_fail_dagrun`."""

    def counts(node: TaskNode) -> bool:
        return not node.spec.is_teardown or node.spec.on_failure_fail_dagrun

    leaves = tuple(
        node.index for node in nodes if counts(node) and not any(counts(nodes[down]) for down in node.downstream)
    )
    # A DAG of nothing but teardowns still needs someone to decide.
    return leaves or tuple(node.index for node in nodes if not node.downstream)
