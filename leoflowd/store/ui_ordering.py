"""ORDER BY from a request: only columns of a module's own table of fragments, never text of the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def ordered(statement: bytes, order_by: Sequence[str], columns: Mapping[str, bytes], key: bytes) -> bytes:
    """`statement` with `{order_by}` filled in. `-name` is descending; `key` makes the order total.

    Raises `KeyError` for a name that is not in `columns`: routes check the names before they come here.
    """
    terms = [columns[name.removeprefix("-")] + _direction(name.startswith("-")) for name in order_by]
    falling = bool(order_by) and order_by[-1].startswith("-")
    return statement.replace(b"{order_by}", b", ".join([*terms, key + _direction(falling)]))


def _direction(falling: bool) -> bytes:
    return b" DESC" if falling else b""
