"""Which task instances a clear or a mark touches, as Airflow 3 chooses them. Called by the API's and CLI's routes.

Tasks are chosen first (the named ones and their relatives), then their instances in each run, then by state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from leoflowd.contract.states import LIVE, TaskInstanceState
from leoflowd.core.dag_shape import DagShape, TaskNode

_S = TaskInstanceState

ONLY_FAILED = frozenset({_S.FAILED, _S.UPSTREAM_FAILED})
ONLY_RUNNING = frozenset({_S.RUNNING})

_Place = tuple[int, int | None]
"""A node, and one map index of it or (None) all of them."""
Key = tuple[str, int]
"""(task_id, map_index)"""


class Instance(msgspec.Struct, frozen=True):
    """One task instance of one run."""

    dag_run_id: int
    task_id: str
    map_index: int
    state: TaskInstanceState


class Selection(msgspec.Struct, frozen=True):
    """Whole tasks (every map index), and single map indexes of tasks that are not whole."""

    task_ids: frozenset[str]
    keys: frozenset[Key]

    def __contains__(self, instance: Instance) -> bool:
        return instance.task_id in self.task_ids or (instance.task_id, instance.map_index) in self.keys


def select_tasks(
    shape: DagShape, named: Iterable[str | Key] | None, *, upstream: bool = False, downstream: bool = False
) -> Selection:
    """The named tasks with, if asked for, everything before or after them. None = all tasks.

    A relative is always a whole task, also of a single map index, but for those in the same mapped group, which depend
    on each other index by index. Names that the DAG does not have are kept: an older run may still have instances of
    them.
    """
    if named is None:
        return Selection(frozenset(shape.index_of), frozenset())
    whole: set[str] = set()
    keys: set[Key] = set()
    for name in named:
        if isinstance(name, str):
            whole.add(name)
        else:
            keys.add(name)
    start: list[_Place] = [(shape.index_of[task_id], None) for task_id in whole if task_id in shape.index_of]
    start += [(shape.index_of[task_id], index) for task_id, index in keys if task_id in shape.index_of]
    if upstream:
        _add(whole, keys, _reached(shape, start, "upstream"))
    if downstream:
        _add(whole, keys, _reached(shape, start, "downstream"))
    return Selection(frozenset(whole), frozenset(key for key in keys if key[0] not in whole))


def with_scopes(shape: DagShape, chosen: Selection) -> Selection:
    """The selection with the setups that its tasks run inside of, and the teardowns of all of its setups, whole.

    As Airflow's `partial_subset`: what a setup made is gone once its teardown ran, so whoever runs again needs both.
    """
    named = {*chosen.task_ids, *(task_id for task_id, _ in chosen.keys)}
    nodes = [shape.nodes[shape.index_of[task_id]] for task_id in named & shape.index_of.keys()]
    setups = {node.index for node in nodes if node.spec.is_setup}
    for node in nodes:
        if not node.spec.is_setup and not node.spec.is_teardown:
            setups.update(node.indirect_setups, _setups_around(shape, node))
    after = {down for setup in setups for down in shape.nodes[setup].downstream}
    teardowns = {down for down in after if shape.nodes[down].spec.is_teardown}
    whole = chosen.task_ids | {shape.nodes[index].spec.task_id for index in setups | teardowns}
    return Selection(whole, frozenset(key for key in chosen.keys if key[0] not in whole))


def _setups_around(shape: DagShape, node: TaskNode) -> Iterator[int]:
    """Those directly upstream that this task is inside of: their teardown comes after it, or there is none."""
    closing = {*node.downstream, *node.scope_of}
    for up in node.upstream:
        if shape.nodes[up].spec.is_setup:
            teardowns = [down for down in shape.nodes[up].downstream if shape.nodes[down].spec.is_teardown]
            if not teardowns or not closing.isdisjoint(teardowns):
                yield up


def to_clear(
    instances: Iterable[Instance], selection: Selection, *, only_failed: bool, only_running: bool
) -> tuple[Instance, ...]:
    """Selected instances whose state is asked for; both restrictions together mean either."""
    states: Collection[TaskInstanceState] | None = None
    if only_failed or only_running:
        states = (ONLY_FAILED if only_failed else frozenset()) | (ONLY_RUNNING if only_running else frozenset())
    return tuple(i for i in instances if i in selection and (states is None or i.state in states))


def to_mark(instances: Iterable[Instance], selection: Selection, state: TaskInstanceState) -> tuple[Instance, ...]:
    """Selected instances that are not in this state yet."""
    return tuple(i for i in instances if i in selection and i.state is not state)


def to_resume(
    shape: DagShape, instances: Iterable[Instance], marked_task_ids: Collection[str], marked: Collection[Instance]
) -> tuple[Instance, ...]:
    """What goes on after a mark: failed instances downstream of the marked tasks, but not what was just marked."""
    after = with_scopes(shape, select_tasks(shape, list(marked_task_ids), downstream=True))
    return tuple(
        i
        for i in instances
        if i in after and i.task_id not in marked_task_ids and i.state in ONLY_FAILED and i not in marked
    )


def first_live(instances: Sequence[Instance]) -> Instance | None:
    """An instance that a clear would have to stop (Airflow: `prevent_running_task`)."""
    return next((i for i in instances if i.state in LIVE), None)


def _add(whole: set[str], keys: set[Key], found: Iterable[tuple[str, int | None]]) -> None:
    for task_id, map_index in found:
        if map_index is None:
            whole.add(task_id)
        else:
            keys.add((task_id, map_index))


def _reached(shape: DagShape, start: Sequence[_Place], direction: str) -> Iterator[tuple[str, int | None]]:
    """What is beyond these places, themselves not included unless another leads to them."""
    seen: set[_Place] = set()
    ahead = list(start)
    while ahead:
        at, map_index = ahead.pop()
        node = shape.nodes[at]
        for index in node.upstream if direction == "upstream" else node.downstream:
            is_beside = bool(node.mapped_group) and shape.nodes[index].mapped_group == node.mapped_group
            place = (index, map_index if is_beside and map_index is not None and map_index >= 0 else None)
            if place not in seen:
                seen.add(place)
                ahead.append(place)
                yield shape.nodes[index].spec.task_id, place[1]
