"""`XComArg`, the output of a task before there is one: as it is, mapped, zipped or concatenated; and how outputs are
found inside arguments.

`resolve(pull)` gives the value in the task's process, where `pull(task_id, key)` asks for outputs. What others are
derived from is looked at item by item: a mapped task takes one item of a list that may be long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow._leoflow.dependencies import Dependable
from airflow._leoflow.errors import AuthoringError, XComNotFound, describe
from airflow._leoflow.task import Task

if TYPE_CHECKING:
    from airflow._leoflow.edges import EdgeModifier

RETURN_VALUE = "return_value"

Pull = Callable[[str, str], Any]


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()
"""What `pull` answers for an output that was never pushed."""


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

    # -- what it stands for

    def references(self) -> Iterator[XComArg]:
        """The outputs as they are pushed that this one is made of: for a plain one, itself."""
        yield self

    def resolve(self, pull: Pull) -> Any:
        """The value. Raises `XComNotFound` as Airflow does: not for return values and parts of several outputs."""
        value = pull(self.operator.task_id, self.key)
        if value is not MISSING:
            return value
        if self.key == RETURN_VALUE or self.operator.multiple_outputs:
            return None
        raise XComNotFound(self.operator.dag_id, self.operator.task_id, self.key)

    def length(self) -> dict[str, Any]:
        """How long it is, as `MapInput` of the artifact says that."""
        return {"task_id": self.operator.task_id}

    def map(self, f: Callable[[Any], Any]) -> XComArg:
        """Each item through `f`, which is called in the process of the task that takes the item."""
        if getattr(f, "operator_class", None) is not None:
            raise AuthoringError(
                "map() is given a @task function",
                "map() argument must be a plain function, not a @task operator",
                "pass a function without the decorator",
            )
        return MapXComArg(_whole(self, "map"), (f,))

    def zip(self, *others: XComArg, fillvalue: Any = MISSING) -> XComArg:
        """Tuples of one item of each; as long as the shortest, or with `fillvalue` as the longest."""
        return ZipXComArg(tuple(_whole(one, "zip") for one in (self, *others)), fillvalue)

    def concat(self, *others: XComArg) -> XComArg:
        """The items of all, one after the other."""
        return ConcatXComArg(tuple(_whole(one, "concat") for one in (self, *others)))

    # -- edges

    @property
    def roots(self) -> list[Task]:
        return [output.operator for output in self.references()]

    @property
    def leaves(self) -> list[Task]:
        return self.roots

    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        for task in self.roots:
            task.set_upstream(other, edge_modifier)

    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        for task in self.roots:
            task.set_downstream(other, edge_modifier)

    def as_setup(self) -> XComArg:
        for task in self.roots:
            task.as_setup()
        return self

    def as_teardown(self, *, setups: Any = None, on_failure_fail_dagrun: bool | None = None) -> XComArg:
        for task in self.roots:
            task.as_teardown(setups=setups, on_failure_fail_dagrun=on_failure_fail_dagrun)
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


PlainXComArg = XComArg


# --- derived outputs ---------------------------------------------------------------------------------------------


class _Derived(XComArg):
    """What is made of other outputs, item by item."""

    def __init__(self, args: Sequence[XComArg]) -> None:
        self.args = tuple(args)
        super().__init__(self.args[0].operator)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getitem__(self, item: Any) -> XComArg:
        raise TypeError(f"{self!r} has no keys: only the output of a task itself can be looked up by one")

    def __str__(self) -> str:
        return repr(self)

    def references(self) -> Iterator[XComArg]:
        for one in self.args:
            yield from one.references()

    def values(self, pull: Pull) -> list[Any]:
        found = [one.resolve(pull) for one in self.args]
        for value in found:
            if not is_sequence(value) and not isinstance(value, Mapping):
                raise ValueError(f"{self!r} expects sequence or dict, not {type(value).__name__}")
        return found


class MapXComArg(_Derived):
    """`output.map(f)`."""

    def __init__(self, arg: XComArg, callables: Sequence[Callable[[Any], Any]]) -> None:
        super().__init__((arg,))
        self.callables = tuple(callables)

    def __repr__(self) -> str:
        calls = "".join(f".map({getattr(f, '__name__', '<function>')})" for f in self.callables)
        return f"{self.args[0]!r}{calls}"

    def length(self) -> dict[str, Any]:
        return self.args[0].length()

    def resolve(self, pull: Pull) -> Any:
        (value,) = self.values(pull)
        return _Items(len(value), lambda index: self._through(item_at(value, index)))

    def _through(self, item: Any) -> Any:
        for function in self.callables:
            item = function(item)
        return item


class ZipXComArg(_Derived):
    """`output.zip(others)`."""

    def __init__(self, args: Sequence[XComArg], fillvalue: Any = MISSING) -> None:
        super().__init__(args)
        self.fillvalue = fillvalue

    def __repr__(self) -> str:
        others = [*map(repr, self.args[1:]), *([] if self.fillvalue is MISSING else [f"fillvalue={self.fillvalue!r}"])]
        return f"{self.args[0]!r}.zip({', '.join(others)})"

    def length(self) -> dict[str, Any]:
        combine = "zip" if self.fillvalue is MISSING else "zip_longest"
        return {"parts": [one.length() for one in self.args], "combine": combine}

    def resolve(self, pull: Pull) -> Any:
        values = self.values(pull)
        lengths = [len(value) for value in values]
        length = min(lengths) if self.fillvalue is MISSING else max(lengths)

        def item(index: int) -> tuple[Any, ...]:
            return tuple(
                item_at(value, index) if index < len_of else self.fillvalue
                for value, len_of in zip(values, lengths)  # noqa: B905 - made of each other
            )

        return _Items(length, item)


class ConcatXComArg(_Derived):
    """`output.concat(others)`."""

    def __repr__(self) -> str:
        return f"{self.args[0]!r}.concat({', '.join(map(repr, self.args[1:]))})"

    def length(self) -> dict[str, Any]:
        return {"parts": [one.length() for one in self.args], "combine": "concat"}

    def resolve(self, pull: Pull) -> Any:
        values = self.values(pull)

        def item(index: int) -> Any:
            for value in values:
                if index < len(value):
                    return item_at(value, index)
                index -= len(value)
            raise IndexError(index)

        return _Items(sum(len(value) for value in values), item)


class _Items(Sequence):  # type: ignore[type-arg]
    """A sequence whose items are made when somebody asks for them."""

    is_lazy = True

    def __init__(self, length: int, item: Callable[[int], Any]) -> None:
        self._length = length
        self._item = item

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._item(at) for at in range(*index.indices(self._length))]
        at = index + self._length if index < 0 else index
        if not 0 <= at < self._length:
            raise IndexError(index)
        return self._item(at)

    def __eq__(self, other: object) -> bool:
        return is_sequence(other) and list(self) == list(other)  # type: ignore[call-overload]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self._length} items>"


def is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))


def item_at(value: Any, index: int) -> Any:
    """Of a dict the pair, as Airflow maps over dicts."""
    if isinstance(value, Mapping):
        return next(islice(value.items(), index, None))
    return value[index]


def _whole(output: Any, method: str) -> XComArg:
    """Only whole outputs have items."""
    if not isinstance(output, XComArg):
        raise AuthoringError(
            f"{method}() is given {describe(output)}",
            "it takes the outputs of tasks",
            "put the list into a @task, or combine it inside of the task that uses it",
        )
    if output.key != RETURN_VALUE:
        raise AuthoringError(
            f"{method}() is called on the output {output.key!r} of task {output.operator.task_id!r}",
            "cannot map against non-return XCom",
            "return the list from the task as a whole",
        )
    return output


# --- outputs in arguments ----------------------------------------------------------------------------------------


class MappedArgument:
    """An argument inside of a mapped task group: each map index finds its own value there."""

    def __init__(self, expand_input: Any, key: str) -> None:
        self.expand_input = expand_input
        self.key = key

    def __repr__(self) -> str:
        return f"MappedArgument({self.key!r})"

    def references(self) -> Iterator[XComArg]:
        yield from self.expand_input.references()

    def resolve(self, map_index: int, pull: Pull) -> Any:
        found, _ = self.expand_input.resolve(map_index, pull)
        return found[self.key]


class Literal:
    """`literal(value)`: an argument that is not rendered as a template."""

    def __init__(self, value: Any) -> None:
        self.value = value


def iter_outputs(value: Any, *, also_mapped: bool = True) -> Iterator[XComArg]:
    """All outputs in a value, however deep in lists, tuples, sets, dicts and objects with `template_fields`.

    `also_mapped`: with those that the arguments of a mapped group come from.
    """
    if isinstance(value, XComArg):
        yield from value.references()
    elif isinstance(value, MappedArgument):
        yield from value.references() if also_mapped else ()
    elif isinstance(value, (str, bytes, int, float, bool, type(None))):
        return
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from iter_outputs(item, also_mapped=also_mapped)
    elif isinstance(value, dict):
        for item in value.values():
            yield from iter_outputs(item, also_mapped=also_mapped)
    elif not isinstance(value, (type, Task)) and isinstance(getattr(value, "template_fields", None), (list, tuple)):
        for name in value.template_fields:
            yield from iter_outputs(getattr(value, name, None), also_mapped=also_mapped)
