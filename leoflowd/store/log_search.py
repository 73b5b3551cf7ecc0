"""Tries whose logs are looked at, from a place in the order of a search: the newest runs first. Reads only."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from leoflowd.contract.values import INTEGER_MAX, checked_text
from leoflowd.core.rights import Dags
from leoflowd.store.database import Connection, fetch_all_planned, statements

_SQL = statements("log_search")

RUNS = 50
TRIES = 400
"""At most, for one look."""
END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a search goes on: at this try, or what comes behind it, and there at this byte."""

    run_after: Annotated[datetime, msgspec.Meta(tz=True)] = END_OF_TIME
    dag_run_id: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 2**63 - 1
    task_id: str = ""
    map_index: Annotated[int, msgspec.Meta(ge=-1, le=INTEGER_MAX)] = -1
    try_number: Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)] = 0
    offset: Annotated[int, msgspec.Meta(ge=0, le=2**62)] = 0

    def __post_init__(self) -> None:
        """It comes back from outside. Raises `Invalid`."""
        checked_text(self.task_id, "the task_id of the cursor", max_length=len(self.task_id), allow_empty=True)


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """What the logs are of; None: whatever there is."""

    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    state: str | None = None
    since: datetime | None = None
    """Of runs from this moment on (`run_after`)."""


class TryRow(msgspec.Struct, frozen=True, kw_only=True):
    dag_run_id: int
    dag_id: str
    run_id: str
    run_after: datetime
    task_id: str | None
    """None: of this run there is none."""
    map_index: int | None
    try_number: int | None
    state: str | None
    is_over: bool | None
    because: str | None
    end_date: datetime | None


async def list_tries(conn: Connection, place: Place, where: Where, *, dags: Dags) -> tuple[TryRow, ...]:
    """Those that began, from `place` on; fewer than `TRIES`, of fewer than `RUNS` runs: there are no more."""
    return await fetch_all_planned(
        conn,
        _SQL.list_tries,
        TryRow,
        before=place.run_after,
        dag_run_id=place.dag_run_id,
        from_task=place.task_id,
        from_index=place.map_index,
        from_try=place.try_number,
        visible=dags.parameter(),
        runs=RUNS,
        tries=TRIES,
        **msgspec.structs.asdict(where),
    )


def is_last(rows: tuple[TryRow, ...]) -> bool:
    return len(rows) < TRIES and len({row.dag_run_id for row in rows}) < RUNS
