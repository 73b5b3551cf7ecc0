"""The graph of one DAG version, worked out once: who waits for whom, with which weight, and who decides the run.

The scheduler builds a `DagShape` per version and shares it among the views of all its runs; the compiler's graph checks
are repeated here, so that nothing later has to doubt the graph. Nodes stand in topological order: an upstream has a
smaller index than what waits for it. Setup and teardown follow Airflow 3 (`DAGNode.get_upstreams_only_setups`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush

import msgspec

from leoflowd.contract.dag_spec import DagSpec, MapInput, MappedSpec, TaskGroupSpec, TaskSpec
from leoflowd.contract.states import WeightRule

MAX_WEIGHT = 2**31 - 1
"""`priority_weight` is a 32-bit integer in the store; Airflow cuts sums off in the same way."""

GROUP_DEPTH_MAX = 50
"""Task groups inside task groups."""


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
    mapped: MappedSpec | None = None
    """Where its instances come from: its own mapping, or that of the mapped group around it."""
    mapped_group: str = ""
    """That group: inside of it, instances wait for those with the same map index."""
    sources: tuple[int, ...] = ()
    """Nodes whose outputs `mapped` maps over."""
    is_source: bool = False
    """Does a mapping count what it returns?"""
    gives_items: bool = False
    """Are the items of its output put into waits or calls by the daemon?"""
    deciders: tuple[int, ...] = ()
    """Those directly upstream that may choose to skip it."""


class DagShape(msgspec.Struct, frozen=True, kw_only=True):
    """A whole graph. `leaves` are the nodes whose states decide the dag run."""

    dag_id: str
    nodes: tuple[TaskNode, ...]
    index_of: dict[str, int]
    leaves: tuple[int, ...]
    fail_fast: bool = False
    counted: frozenset[int] = frozenset()
    """Nodes whose own instances must be counted: sources, and whoever something in a mapped group waits for."""


def shape_of(spec: DagSpec) -> DagShape:
    """Work out the graph. Raises what `checked_order` raises."""
    order = checked_order(spec)
    tasks = {task.task_id: task for task in spec.tasks}
    index_of = {task_id: index for index, task_id in enumerate(order)}
    ordered = [tasks[task_id] for task_id in order]
    upstream = [sorted({index_of[up] for up in task.upstream_task_ids}) for task in ordered]
    nodes = _with_mappings(spec, _nodes(ordered, upstream), index_of)
    return DagShape(
        dag_id=spec.dag_id,
        nodes=nodes,
        index_of=index_of,
        leaves=_leaves(nodes),
        fail_fast=spec.fail_fast,
        counted=_counted(nodes),
    )


def checked_order(spec: DagSpec) -> list[str]:
    """The task ids, upstream first. Raises ValueError on duplicate or unknown ids of tasks or groups, on cycles, and on
    mappings over what does not come before."""
    _check_groups(spec)
    order = _topological_order(spec, _upstream_ids(spec))
    _check_mappings(spec, order)
    return order


def _check_groups(spec: DagSpec) -> None:
    """Groups form trees of bounded depth, which `core.group_tree` and the UI walk."""
    parents = {group.group_id: group.parent_group_id or "" for group in spec.groups}
    if len(parents) < len(spec.groups):
        raise ValueError(f"dag {spec.dag_id!r} has two task groups of one id; group ids must be unique")
    named = {*parents.values(), *(task.group_id or "" for task in spec.tasks)} - {""}
    unknown = min(named - parents.keys(), default=None)
    if unknown is not None:
        raise ValueError(f"dag {spec.dag_id!r} names the task group {unknown!r}, which it does not have")
    depth = {"": 0}
    for group_id in parents:
        path: list[str] = []
        at = group_id
        while at not in depth and len(path) <= GROUP_DEPTH_MAX:
            path.append(at)
            at = parents[at]
        for above, inner in enumerate(reversed(path), start=depth.get(at, GROUP_DEPTH_MAX)):
            depth[inner] = above + 1
        if depth[group_id] > GROUP_DEPTH_MAX:
            raise ValueError(
                f"task group {group_id!r} of dag {spec.dag_id!r} is inside of itself, or of more than "
                f"{GROUP_DEPTH_MAX} others"
            )


def _upstream_ids(spec: DagSpec) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for task in spec.tasks:
        if task.task_id in found:
            raise ValueError(
                f"dag {spec.dag_id!r} has two tasks called {task.task_id!r}; task ids must be unique: rename one"
            )
        found[task.task_id] = frozenset(task.upstream_task_ids)
    for task_id, ups in found.items():
        unknown = min((up for up in ups if up not in found), default=None)
        if unknown is not None:
            raise ValueError(
                f"task {task_id!r} of dag {spec.dag_id!r} waits for {unknown!r}, which is no task of this dag; "
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
    path = {min(stuck): 0}
    last = next(iter(path))
    while True:
        last = min(upstream_ids[last] & stuck)
        if last in path:
            return [last, *reversed(list(path)[path[last] :])]
        path[last] = len(path)


def _nodes(tasks: Sequence[TaskSpec], upstream: Sequence[Sequence[int]]) -> tuple[TaskNode, ...]:
    downstream = _reversed(upstream, len(tasks))
    weights = _weights(tasks, upstream, downstream)
    setups = _indirect_setups(tasks, upstream, downstream)
    scopes = _scopes(tasks, upstream, downstream)
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
            deciders=tuple(up for up in upstream[index] if tasks[up].decides),
        )
        for index, task in enumerate(tasks)
    )


def _reversed(edges: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    back: list[list[int]] = [[] for _ in range(size)]
    for index, ends in enumerate(edges):
        for end in ends:
            back[end].append(index)
    return back


# --- sets of nodes, as bits of one integer: unions over a graph of thousands of tasks stay cheap ---


def _ahead(edges: Sequence[Sequence[int]], order: Iterable[int], own: Sequence[int]) -> list[int]:
    """Per node, the union of the `own` bits of all nodes that its edges lead to. `order`: ends before starts.

    Nodes with equal edges, such as those of a layer, share one answer.
    """
    found, closed = [0] * len(edges), list(own)
    known: dict[tuple[int, ...], int] = {}
    for index in order:
        ends = tuple(edges[index])
        if ends not in known:
            union = 0
            for end in ends:
                union |= closed[end]
            known[ends] = union
        found[index] = known[ends]
        closed[index] |= found[index]
    return found


def _ancestors(upstream: Sequence[Sequence[int]], own: Sequence[int]) -> list[int]:
    return _ahead(upstream, range(len(upstream)), own)


def _descendants(downstream: Sequence[Sequence[int]], own: Sequence[int]) -> list[int]:
    return _ahead(downstream, reversed(range(len(downstream))), own)


def _each(size: int) -> list[int]:
    return [1 << index for index in range(size)]


def _mask(indices: Iterable[int]) -> int:
    mask = 0
    for index in indices:
        mask |= 1 << index
    return mask


def _bits(mask: int) -> Iterator[int]:
    """Ascending. Through its text, which costs one pass; shifting bit after bit out of a long integer is quadratic."""
    text = f"{mask:b}"[::-1]
    at = text.find("1")
    while at >= 0:
        yield at
        at = text.find("1", at + 1)


# --- weights, setups, teardowns ---


def _weights(
    tasks: Sequence[TaskSpec], upstream: Sequence[Sequence[int]], downstream: Sequence[Sequence[int]]
) -> list[int]:
    rules = {task.weight_rule for task in tasks}
    each = _each(len(tasks))
    above = _ancestors(upstream, each) if WeightRule.UPSTREAM in rules else []
    below = _descendants(downstream, each) if WeightRule.DOWNSTREAM in rules else []
    members = _weight_bits(tasks)

    def total(among: int) -> int:
        return sum(weight * (among & mask).bit_count() for weight, mask in members)

    found = []
    for index, task in enumerate(tasks):
        match task.weight_rule:
            case WeightRule.ABSOLUTE:
                weight = task.priority_weight
            case WeightRule.DOWNSTREAM:
                weight = task.priority_weight + total(below[index])
            case WeightRule.UPSTREAM:
                weight = task.priority_weight + total(above[index])
        found.append(max(-MAX_WEIGHT, min(MAX_WEIGHT, weight)))
    return found


def _weight_bits(tasks: Sequence[TaskSpec]) -> list[tuple[int, int]]:
    """(value of a binary digit, who has it in its weight): a sum then costs as many steps as there are digits."""
    found: dict[int, int] = {}
    for index, task in enumerate(tasks):
        sign = 1 if task.priority_weight >= 0 else -1
        for digit in _bits(abs(task.priority_weight)):
            value = sign << digit
            found[value] = found.get(value, 0) | 1 << index
    return list(found.items())


def _indirect_setups(
    tasks: Sequence[TaskSpec], upstream: Sequence[Sequence[int]], downstream: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Per task, the setups above its direct upstream that it is inside of.

    A task is inside of a setup whose teardown comes after the task, or which has no teardown; a teardown is inside
    of none.
    """
    setups = [index for index, task in enumerate(tasks) if task.is_setup]
    if not setups:
        return [[] for _ in tasks]
    own = [0] * len(tasks)
    for bit, setup in enumerate(setups):
        own[setup] = 1 << bit
    torn_down = [
        _union(own[up] for up in upstream[index]) if task.is_teardown else 0 for index, task in enumerate(tasks)
    ]
    without_teardown = _union(own) & ~_union(torn_down)
    above, still_open = _ancestors(upstream, own), _descendants(downstream, torn_down)
    return [
        []
        if task.is_teardown
        else [
            setups[bit]
            for bit in _bits(
                above[index] & (still_open[index] | without_teardown) & ~_union(own[up] for up in upstream[index])
            )
        ]
        for index, task in enumerate(tasks)
    ]


def _union(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union


def _scopes(
    tasks: Sequence[TaskSpec], upstream: Sequence[Sequence[int]], downstream: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Per teardown, the tasks between its setups and itself that are not already its direct upstream."""
    scopes: list[list[int]] = [[] for _ in tasks]
    teardowns = [index for index, task in enumerate(tasks) if task.is_teardown]
    if not teardowns:
        return scopes
    each = _each(len(tasks))
    above, below = _ancestors(upstream, each), _descendants(downstream, each)
    for index in teardowns:
        inside = _union(below[up] for up in upstream[index] if tasks[up].is_setup)
        scopes[index] = list(_bits(inside & above[index] & ~_mask(upstream[index])))
    return scopes


def _leaves(nodes: Sequence[TaskNode]) -> tuple[int, ...]:
    """Tasks with nothing after them; a teardown counts, as end or as successor, only with `on_failure_fail_dagrun`."""

    def counts(node: TaskNode) -> bool:
        return not node.spec.is_teardown or node.spec.on_failure_fail_dagrun

    leaves = tuple(
        node.index for node in nodes if counts(node) and not any(counts(nodes[down]) for down in node.downstream)
    )
    # A DAG of nothing but teardowns still needs someone to decide.
    return leaves or tuple(node.index for node in nodes if not node.downstream)


# --- mappings ----------------------------------------------------------------------------------------------------


def _check_mappings(spec: DagSpec, order: Sequence[str]) -> None:
    """Each maps over tasks that come before all of its own, and is inside of no other."""
    groups = {group.group_id: group for group in spec.groups}
    for group in spec.groups:
        outer = _mapped_group(groups, group.parent_group_id)
        if group.mapped is not None and outer is not None:
            raise ValueError(
                f"the mapped task group {group.group_id!r} of dag {spec.dag_id!r} is inside of the mapped task group "
                f"{outer.group_id!r}, which is not possible yet: expand one of them"
            )
    rank = {task_id: index for index, task_id in enumerate(order)}
    for task, (mapped, group_id) in zip(spec.tasks, _mappings(spec), strict=True):
        if mapped is None:
            continue
        if task.mapped is not None and group_id:
            raise ValueError(
                f"task {task.task_id!r} of dag {spec.dag_id!r} is mapped inside of the mapped task group {group_id!r}, "
                "which is not possible: expand the group or the task"
            )
        named = {*mapped.needs, *(one for part in mapped.inputs for one in _named(part))}
        late = named - set(mapped.needs)
        if task.mapped is not None:
            late |= named - set(task.upstream_task_ids)
        else:
            late |= {one for one in named if rank.get(one, len(order)) >= rank[task.task_id]}
        if late:
            raise ValueError(
                f"task {task.task_id!r} of dag {spec.dag_id!r} maps over {min(late)!r}, "
                "which is no task before it: correct the mapping"
            )


def _named(one: MapInput) -> Iterator[str]:
    if one.task_id is not None:
        yield one.task_id
    for part in one.parts:
        yield from _named(part)


def _mappings(spec: DagSpec) -> Iterator[tuple[MappedSpec | None, str]]:
    """For each task: where its instances come from, and the mapped group that it is in."""
    groups = {group.group_id: group for group in spec.groups}
    for task in spec.tasks:
        group = _mapped_group(groups, task.group_id)
        if group is None:
            yield task.mapped, ""
        else:
            yield task.mapped or group.mapped, group.group_id


def _mapped_group(groups: Mapping[str, TaskGroupSpec], group_id: str | None) -> TaskGroupSpec | None:
    """The innermost mapped group, this one or one around it."""
    group = groups.get(group_id or "")
    while group is not None and group.mapped is None:
        group = groups.get(group.parent_group_id or "")
    return group


def _with_mappings(spec: DagSpec, nodes: Sequence[TaskNode], index_of: dict[str, int]) -> tuple[TaskNode, ...]:
    """A source feeds whatever waits to be expanded by it, also what is no direct downstream of it."""
    mappings = {task.task_id: found for task, found in zip(spec.tasks, _mappings(spec), strict=True)}
    if all(mapped is None for mapped, _ in mappings.values()):
        return tuple(nodes)
    sources = [
        sorted(index_of[one] for one in mapped.needs) if (mapped := mappings[node.spec.task_id][0]) is not None else []
        for node in nodes
    ]
    expanded_by = _reversed(sources, len(nodes))
    takers = [sources[node.index] for node in nodes if node.spec.mapped_items]
    givers = {source for found in takers for source in found}
    return tuple(
        msgspec.structs.replace(
            node,
            mapped=mappings[node.spec.task_id][0],
            mapped_group=mappings[node.spec.task_id][1],
            sources=tuple(sources[node.index]),
            is_source=bool(expanded_by[node.index]),
            gives_items=node.index in givers,
            feeds=tuple(sorted({*node.feeds, *expanded_by[node.index]})),
        )
        for node in nodes
    )


def _counted(nodes: Sequence[TaskNode]) -> frozenset[int]:
    inside = [node for node in nodes if node.mapped_group]
    awaited = {up for node in inside for up in (*node.upstream, *node.indirect_setups, *node.scope)}
    return frozenset(awaited | {node.index for node in nodes if node.is_source})
