"""Edges between any two things: `chain`, `chain_linear`, `cross_downstream`, and `Label` for a text on an edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow._leoflow.dependencies import Dependable, as_list
from airflow._leoflow.errors import AuthoringError
from airflow._leoflow.task import Task
from airflow._leoflow.task_group import TaskGroup
from airflow._leoflow.xcom_arg import XComArg

if TYPE_CHECKING:
    from airflow._leoflow.dag import DAG


def chain(*tasks: Any) -> None:
    """`a >> b >> c`; two neighbouring lists of the same length are joined pair by pair."""
    for up, down in zip(tasks, tasks[1:]):  # noqa: B905 - neighbours
        if isinstance(up, Dependable):
            up.set_downstream(down)
        elif isinstance(down, Dependable):
            down.set_upstream(up)
        else:
            ups, downs = as_list(up), as_list(down)
            if len(ups) != len(downs):
                raise AuthoringError(
                    f"chain() got neighbouring lists of {len(ups)} and {len(downs)} tasks",
                    "two lists are joined pair by pair, so they must be equally long",
                    "use cross_downstream(first, second) to join each with each",
                )
            for one, other in zip(ups, downs):  # noqa: B905 - lengths compared above
                one.set_downstream(other)


def cross_downstream(from_tasks: Sequence[Any], to_tasks: Any) -> None:
    """Each of `from_tasks` runs before each of `to_tasks`."""
    for task in from_tasks:
        task.set_downstream(to_tasks)


def chain_linear(*elements: Any) -> None:
    """Like `chain`, but neighbouring lists are joined each with each."""
    if not elements:
        raise ValueError("chain_linear() needs tasks")
    is_set = False
    for before, after in zip(elements, elements[1:]):  # noqa: B905 - neighbours
        if isinstance(before, EdgeModifier) or isinstance(after, EdgeModifier):
            raise ValueError("chain_linear() takes no labels; use chain()")
        for task in as_list(before):
            task.set_downstream(after)
            is_set = True
    if not is_set:
        raise ValueError("chain_linear() set no dependency; did you forget to unpack a list with *?")


# --- labels ------------------------------------------------------------------------------------------------------


def Label(label: str) -> EdgeModifier:  # noqa: N802 - Airflow's name
    """A text on the edges that it stands on: `a >> Label("yes") >> b`."""
    return EdgeModifier(label)


class EdgeModifier(Dependable):
    """`Label("...")`: waits until both of its sides are known, then labels the edges between them."""

    def __init__(self, label: str | None = None) -> None:
        self.label = label
        self._upstream: list[Dependable] = []
        self._downstream: list[Dependable] = []

    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        self._upstream += as_list(other)
        self._widen_to_groups()
        for node in self._downstream:
            node.set_upstream(other, edge_modifier=self)

    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        self._downstream += as_list(other)
        self._widen_to_groups()
        for node in self._upstream:
            node.set_downstream(other, edge_modifier=self)

    def update_relative(self, other: Any, upstream: bool, edge_modifier: EdgeModifier | None) -> None:
        (self.set_upstream if upstream else self.set_downstream)(other)

    @property
    def roots(self) -> list[Task]:
        return [task for node in self._downstream for task in node.roots]

    @property
    def leaves(self) -> list[Task]:
        return [task for node in self._upstream for task in node.leaves]

    def add_edge_info(self, dag: DAG, upstream_id: str, downstream_id: str) -> None:
        dag.edge_labels[(upstream_id, downstream_id)] = self.label or ""

    def _widen_to_groups(self) -> None:
        """Tasks of different groups are joined group to group, as Airflow draws them."""
        if not (self._upstream and self._downstream):
            return
        groups = {_group_id_of(node) for node in (*self._upstream, *self._downstream)}
        if len(groups) == 1:
            return
        self._upstream = [_outer_group(node) for node in self._upstream]
        self._downstream = [_outer_group(node) for node in self._downstream]


def _group_id_of(node: Dependable) -> str | None:
    if isinstance(node, TaskGroup):
        return node.parent_group.group_id if node.parent_group is not None else None
    operator = node.operator if isinstance(node, XComArg) else node
    group = getattr(operator, "task_group", None)
    return group.group_id if group is not None else None


def _outer_group(node: Dependable) -> Dependable:
    group = node.task_group if isinstance(node, (Task, TaskGroup)) else None
    return group if group is not None and not group.is_root else node
