"""What a try takes of the outputs of other tasks where mapping is involved: one item, one map index, or all of them.

`main` gives `puller` to the shim, which asks it for the outputs in arguments. Long lists are never fetched for one item
of them: of a list the daemon sends the item along, of a mapped task's outputs those that are read are asked for.
"""

# mypy: disable-error-code="explicit-override"
# `typing.override` may be newer than the author's interpreter.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import templates, xcom
from .context import XComs

PAGE = 32
"""Outputs that are asked for together: each may be 256 KiB, and a message holds 16 MiB."""


def puller(runtime: Any, xcoms: XComs, dag: Any, task: Any) -> Callable[[str, str], Any]:
    """`pull(task_id, key)`: the value of an output in an argument of `task`, or `runtime.MISSING`."""

    def pull(task_id: str, key: str) -> Any:
        relation = runtime.relation(task, dag.task_dict.get(task_id))
        if relation == "all":
            return Outputs(Pages(xcoms, task_id, key))
        if relation == "alike":
            return xcoms.of_own_index(task_id, key, runtime.MISSING)
        if relation == "inside":
            values = list(Outputs(Pages(xcoms, task_id, key)))
            # As Airflow's `xcom_pull` of one task.
            return values[0] if len(values) == 1 else values or runtime.MISSING
        return xcoms.of_reference(task_id, key, runtime.MISSING)

    return pull


class Pages:
    """The values of a task's instances in the order of their map indexes, in the XCom form; asked for in pages."""

    def __init__(self, xcoms: XComs, task_id: str, key: str) -> None:
        self.task_id = task_id
        self._key = key
        self._xcoms = xcoms
        self._values: dict[int, Any] = {}
        self._total: int | None = None
        known = xcoms.known(task_id, key)
        if known is not None:
            self._take(0, known, len(known))

    def total(self) -> int:
        if self._total is None:
            self._load(0, 1)
        assert self._total is not None
        return self._total

    def value(self, at: int) -> Any:
        """Raises `IndexError`. Whoever asked for the one before will ask for the next as well."""
        if at not in self._values and at < self.total():
            self._load(at, PAGE if at - 1 in self._values else 1)
        if at not in self._values:
            raise IndexError(at)
        return self._values[at]

    def _load(self, offset: int, limit: int) -> None:
        values, total = self._xcoms.page(self.task_id, self._key, offset=offset, limit=limit)
        # A daemon of the release before knows no pages: it answers with all.
        self._take(offset if total is not None else 0, values, len(values) if total is None else total)

    def _take(self, offset: int, values: Sequence[Any], total: int) -> None:
        self._total = total
        self._values.update((offset + at, value) for at, value in enumerate(values))


class Outputs(Sequence):  # type: ignore[type-arg]
    """What the instances of a mapped task returned, as a task sees it: a list that is fetched while it is read."""

    is_lazy = True

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def __len__(self) -> int:
        return self._pages.total()

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if at < 0:
            raise IndexError(index)
        return xcom.decode(self._pages.value(at))

    def __eq__(self, other: object) -> bool:
        is_alike = isinstance(other, Sequence) and not isinstance(other, (str, bytes))
        return is_alike and list(self) == list(other)  # type: ignore[call-overload]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<outputs of {self._pages.task_id}>"


def named(task: Any, dag: Any, context: dict[str, Any], source: tuple[str, str]) -> str | None:
    """`map_index_template`, rendered; None when the task has none."""
    template = getattr(task, "map_index_template", None)
    if not template:
        return None
    return str(templates.renderer(dag, _NoFiles(), context, *source)(template))


class _NoFiles:
    """The template is a text, however it ends."""

    template_ext = ()
    render_template_as_native_obj = False
