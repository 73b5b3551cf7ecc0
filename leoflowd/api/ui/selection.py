"""Which runs and which part of a DAG a grid or graph request is about, read from its query."""

from __future__ import annotations

import msgspec

from leoflowd.api.paging import Query, like_anywhere, like_prefix
from leoflowd.api.ui.ordering import read_order
from leoflowd.contract.dag_spec import DagSpec
from leoflowd.core.dag_subset import select_subset
from leoflowd.store.ui_grid import ORDERINGS, RunPage


class Subset(msgspec.Struct, frozen=True, kw_only=True):
    """`root` and what belongs to it."""

    root: str
    include_upstream: bool
    include_downstream: bool
    depth: int | None

    def of(self, spec: DagSpec) -> DagSpec:
        return select_subset(
            spec,
            self.root,
            include_upstream=self.include_upstream,
            include_downstream=self.include_downstream,
            depth=self.depth,
        )


def read_subset(query: Query) -> Subset | None:
    """None for the whole DAG. Faults are raised by the caller's `query.check()` or `query.page()`."""
    include_upstream = query.boolean("include_upstream", False)
    include_downstream = query.boolean("include_downstream", False)
    depth = query.integer("depth", minimum=0)
    root = query.text("root")
    if not root:
        return None
    return Subset(
        root=root,
        include_upstream=bool(include_upstream),
        include_downstream=bool(include_downstream),
        depth=depth,
    )


def read_page(query: Query) -> RunPage:
    """Filters, order and page of runs; raises what any parameter got wrong."""
    order_by = read_order(query, ORDERINGS, "id")
    filters = {
        "run_type": query.texts("run_type"),
        "state": query.texts("state"),
        **query.range("run_after"),
        "triggering_user_ilike": like_anywhere(query.text("triggering_user")),
        "triggering_user_like": like_prefix(query.text("triggering_user_prefix")),
    }
    limit, offset = query.page()
    return RunPage(order_by=order_by, limit=limit, offset=offset, filters=filters)
