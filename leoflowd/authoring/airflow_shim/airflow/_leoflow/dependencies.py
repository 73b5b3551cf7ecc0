"""What may stand beside `>>` and `<<`; the base of tasks, groups, outputs and labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow._leoflow.errors import AuthoringError, describe

if TYPE_CHECKING:
    from airflow._leoflow.edges import EdgeModifier
    from airflow._leoflow.task import Task


class Dependable:
    """Whatever may stand beside `>>` and `<<`: an operator, a group, an output, a label."""

    @property
    def roots(self) -> list[Task]:
        """The tasks that an edge into this leads to."""
        raise NotImplementedError

    @property
    def leaves(self) -> list[Task]:
        """The tasks that an edge out of this comes from."""
        raise NotImplementedError

    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        raise NotImplementedError

    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        raise NotImplementedError

    def update_relative(self, other: Any, upstream: bool, edge_modifier: EdgeModifier | None) -> None:
        """Called on the other side of an edge, which groups and labels need to know of."""

    def __rshift__(self, other: Any) -> Any:
        self.set_downstream(other)
        return other

    def __lshift__(self, other: Any) -> Any:
        self.set_upstream(other)
        return other

    def __rrshift__(self, other: Any) -> Any:
        self.__lshift__(other)
        return self

    def __rlshift__(self, other: Any) -> Any:
        self.__rshift__(other)
        return self


def as_list(nodes: Any) -> list[Any]:
    if isinstance(nodes, Dependable):
        return [nodes]
    if hasattr(nodes, "not_called"):
        raise nodes.not_called()
    if isinstance(nodes, (str, bytes)) or not isinstance(nodes, Iterable):
        raise AuthoringError(
            f"a dependency is set to {describe(nodes)}",
            "only tasks, task groups, task outputs, labels and lists of these have dependencies",
            "put a task there; for a function decorated with @task, call it",
        )
    return [node for item in nodes for node in as_list(item)]
