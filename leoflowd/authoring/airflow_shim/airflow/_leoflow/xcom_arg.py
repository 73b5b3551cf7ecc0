"""`XComArg`, the output of a task before there is one, and how outputs are found inside arguments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow._leoflow.dependencies import Dependable
from airflow._leoflow.errors import NO_MAPPING, ShimUnsupported, describe
from airflow._leoflow.task import Task

if TYPE_CHECKING:
    from airflow._leoflow.edges import EdgeModifier

RETURN_VALUE = "return_value"


class XComArg(Dependable):
    """Stands for the output of a task: as an argument of another task, or on one side of an edge."""

    def __init__(self, operator: Any, key: str = RETURN_VALUE) -> None:
        if isinstance(operator, XComArg):
            operator = operator.operator
        if not isinstance(operator, Task):
            raise TypeError(f"XComArg needs an operator, not {describe(operator)}")
        self.operator = operator
        self.key = key

    def __getitem__(self, item: str) -> XComArg:
        if not isinstance(item, str):
            raise ValueError(f"a task's output can only be looked up by a text key, not by {describe(item)}")
        return XComArg(self.operator, item)

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("a task's output cannot be iterated while the DAG is defined: it exists only at run time")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, XComArg) and (self.operator, self.key) == (other.operator, other.key)

    def __hash__(self) -> int:
        return hash((id(self.operator), self.key))

    def __repr__(self) -> str:
        return (
            f"XComArg({self.operator!r})" if self.key == RETURN_VALUE else f"XComArg({self.operator!r}, {self.key!r})"
        )

    def __str__(self) -> str:
        op = self.operator
        arguments = f"task_ids='{op.task_id}', dag_id='{op.dag_id}', key='{self.key}'"
        return f"{{{{ task_instance.xcom_pull({arguments}) }}}}"

    @property
    def roots(self) -> list[Task]:
        return [self.operator]

    @property
    def leaves(self) -> list[Task]:
        return [self.operator]

    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        self.operator.set_upstream(other, edge_modifier)

    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        self.operator.set_downstream(other, edge_modifier)

    def as_setup(self) -> XComArg:
        self.operator.as_setup()
        return self

    def as_teardown(self, *, setups: Any = None, on_failure_fail_dagrun: bool | None = None) -> XComArg:
        self.operator.as_teardown(setups=setups, on_failure_fail_dagrun=on_failure_fail_dagrun)
        return self

    @property
    def is_setup(self) -> bool:
        return self.operator.is_setup

    @is_setup.setter
    def is_setup(self, value: bool) -> None:
        self.operator.is_setup = value

    @property
    def is_teardown(self) -> bool:
        return self.operator.is_teardown

    @is_teardown.setter
    def is_teardown(self, value: bool) -> None:
        self.operator.is_teardown = value

    @property
    def on_failure_fail_dagrun(self) -> bool:
        return self.operator.on_failure_fail_dagrun

    @on_failure_fail_dagrun.setter
    def on_failure_fail_dagrun(self, value: bool) -> None:
        self.operator.on_failure_fail_dagrun = value

    def __enter__(self) -> Any:
        return self.operator.__enter__()

    def __exit__(self, *_: object) -> None:
        self.operator.__exit__()

    def _refuse(self, name: str) -> ShimUnsupported:
        return ShimUnsupported(f"the output of task {self.operator.task_id!r} uses .{name}()", *NO_MAPPING)

    def map(self, *_: Any) -> Any:
        raise self._refuse("map")

    def zip(self, *_: Any, **__: Any) -> Any:
        raise self._refuse("zip")

    def concat(self, *_: Any) -> Any:
        raise self._refuse("concat")


PlainXComArg = XComArg


class Literal:
    """`literal(value)`: an argument that is not rendered as a template."""

    def __init__(self, value: Any) -> None:
        self.value = value


def iter_outputs(value: Any) -> Iterator[XComArg]:
    """All outputs in a value, however deep in lists, tuples, sets, dicts and objects with `template_fields`."""
    if isinstance(value, XComArg):
        yield value
    elif isinstance(value, (str, bytes, int, float, bool, type(None))):
        return
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from iter_outputs(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from iter_outputs(item)
    elif not isinstance(value, (type, Task)) and isinstance(getattr(value, "template_fields", None), (list, tuple)):
        for name in value.template_fields:
            yield from iter_outputs(getattr(value, name, None))
