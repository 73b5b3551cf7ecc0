"""How long a mapped task is: from the lengths of what it maps over to the number of its instances.

Pure. `run_view` asks for the length of a node, `dag_run_plan` what an output that is mapped over counts, `try_spec`
which item of it a map index takes. As Airflow 3.2: the instances of `expand(a=..., b=...)` are the product of the
lengths, the last argument varying first; those of a mapped task that returned nothing do not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from leoflowd.contract.dag_spec import MapInput, MappedItem, MappedSpec

MAX_MAP_LENGTH = 1024
"""Airflow's default of `[core] max_map_length`: items of one output that may be mapped over."""

LengthOf = Callable[[str], int | None]
"""Task id -> what its output counts: items, or of a mapped task the instances that returned something."""

_CLASS, _DATA = "__classname__", "__data__"
_TUPLE = "builtins.tuple"


def total_length(mapped: MappedSpec, length_of: LengthOf) -> int | None:
    """The number of instances; None while something that counts for it is not known."""
    lengths = [input_length(one, length_of) for one in mapped.inputs]
    return None if None in lengths else math.prod(length for length in lengths if length is not None)


def input_length(one: MapInput, length_of: LengthOf) -> int | None:
    if one.task_id is not None:
        return length_of(one.task_id)
    if one.length is not None:
        return one.length
    lengths = [input_length(part, length_of) for part in one.parts]
    known = [length for length in lengths if length is not None]
    if len(known) < len(lengths):
        return None
    match one.combine:
        case "concat":
            return sum(known)
        case "zip":
            return min(known, default=0)
        case "zip_longest":
            return max(known, default=0)


def wanted_items(mapped: MappedSpec, length_of: LengthOf, map_index: int) -> dict[str, set[int]] | None:
    """Task id -> which of the items that its output counts this map index takes; None when a length is not known.

    A task of which it takes none (the shorter side of a zip) is there with an empty set.
    """
    lengths = [input_length(one, length_of) for one in mapped.inputs]
    wanted: dict[str, set[int]] = {task_id: set() for task_id in mapped.needs}
    rest = map_index
    for one, length in zip(reversed(mapped.inputs), reversed(lengths), strict=True):
        if not length:
            return None
        _note_items(one, length_of, rest % length, wanted)
        rest //= length
    return wanted


def _note_items(one: MapInput, length_of: LengthOf, item: int, wanted: dict[str, set[int]]) -> None:
    if one.task_id is not None:
        if item < (length_of(one.task_id) or 0):
            wanted[one.task_id].add(item)
        return
    for part in one.parts:
        if one.combine != "concat":
            _note_items(part, length_of, item, wanted)
            continue
        length = input_length(part, length_of) or 0
        if 0 <= item < length:
            _note_items(part, length_of, item, wanted)
        item -= length


def places_of_items(mapped: MappedSpec, length_of: LengthOf, map_index: int) -> dict[str, tuple[str, int]] | None:
    """Argument -> (task id, item of its output), where every argument is mapped over one output; else None."""
    places: dict[str, tuple[str, int]] = {}
    rest = map_index
    for one in reversed(mapped.inputs):
        length = None if one.task_id is None else length_of(one.task_id)
        if not length or one.task_id is None:
            return None
        places[one.name] = one.task_id, rest % length
        rest //= length
    return places


# --- what an output counts ---------------------------------------------------------------------------------------


class Unmappable(Exception):
    """What a task returned cannot be mapped over; the message says why, in Airflow's words."""


class Items(msgspec.Struct, frozen=True):
    """The items of a value, as JSON text that nobody has opened; of a dict each is a pair (a list of two)."""

    texts: tuple[str, ...]
    is_dict: bool = False


@lru_cache(maxsize=8)
def split_items(value: str) -> Items | None:
    """None for what is no list, tuple or dict: texts and sets have no items in an order that anyone could rely on."""
    try:
        found = msgspec.json.decode(value, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return None
    if isinstance(found, list):
        return Items(tuple(map(_text, found)))
    if _CLASS in found and _DATA in found:
        is_tuple = msgspec.json.decode(found[_CLASS]) == _TUPLE
        return split_items(_text(found[_DATA])) if is_tuple else None
    pairs = (f"[{msgspec.json.encode(key).decode()},{_text(item)}]" for key, item in found.items())
    return Items(tuple(pairs), is_dict=True)


def _text(raw: msgspec.Raw) -> str:
    return bytes(raw).decode()


def returned_length(value: str | None, *, at_most: int = MAX_MAP_LENGTH) -> int:
    """The items of what a task returned (JSON text in the XCom form), for others to map over. Raises `Unmappable`."""
    if value is None or value.strip() == "null":
        raise Unmappable("did not push XCom for task mapping: it returned nothing")
    items = split_items(value)
    if items is None:
        raise Unmappable("unmappable return type: only lists, tuples and dicts can be mapped over")
    if len(items.texts) > at_most:
        raise Unmappable(
            f"unmappable return value length: {len(items.texts)} > {at_most}; "
            "return less, or raise LEOFLOW_SCHEDULER_MAX_MAP_LENGTH"
        )
    return len(items.texts)


# --- items that the daemon takes ---------------------------------------------------------------------------------

ITEMS_MAX_BYTES = 1024 * 1024
"""Of one output: a longer one is not kept in memory, and processes ask for it."""


def kept_items(value: str | None) -> tuple[str, ...]:
    """The items of an output as JSON texts, to be kept while its dag run is; none when it is too long."""
    if value is None or len(value) > ITEMS_MAX_BYTES:
        return ()
    items = split_items(value)
    return () if items is None or items.is_dict else items.texts


def plain_item(text: str, takes: MappedItem) -> str | dict[str, Any] | None:
    """The item, if the daemon may put it into a wait or a call as it is: a text, or an object of plain JSON. None for
    anything else, and for what is empty, which constructors replace: their class says what becomes of it."""
    value = msgspec.json.decode(text)
    if isinstance(value, str):
        return value or None
    return value if takes.takes_objects and isinstance(value, dict) and value and _is_plain(value) else None


def _is_plain(value: Any) -> bool:
    """Without what stands for an object of Python, in the form that XComs have."""
    if isinstance(value, dict):
        return all(not key.startswith("__") and _is_plain(one) for key, one in value.items())
    return all(map(_is_plain, value)) if isinstance(value, list) else True
