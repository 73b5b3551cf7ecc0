"""`order_by` of a request against the columns that a list may be sorted by."""

from __future__ import annotations

from collections.abc import Mapping

from leoflowd.api.paging import Query
from leoflowd.api.problems import BadRequest


def read_order(query: Query, columns: Mapping[str, bytes], default: str) -> tuple[str, ...]:
    """The names, each known, `-` for descending. Raises `BadRequest` with Airflow's sentence, as its UI expects."""
    names = tuple(query.order_by()) or (default,)
    for name in names:
        if name.removeprefix("-") not in columns:
            raise BadRequest(f"Ordering with '{name}' is disallowed or the attribute does not exist on the model")
    return names
