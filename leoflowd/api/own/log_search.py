"""A text in the logs of many runs, the newest first. Blueprint `own_log_search`.

There is no index: logs are read, for a moment. An answer has what that moment found, how far it came, and a cursor to
go on with; whoever searches asks again and again, and sees how far it is (ADR 110).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
import trio
from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import json_answer
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query
from leoflowd.api.public.logs import end_line
from leoflowd.contract.errors import Invalid
from leoflowd.contract.logs import TryLog
from leoflowd.contract.states import TaskInstanceState
from leoflowd.core.log_search import TEXT_MAX, Found, FoundLine, Wanted
from leoflowd.store.log_search import Place, TryRow, Where, is_last, list_tries

blueprint = Blueprint("own_log_search", __name__)

MOMENT_S = 0.5
LIMIT_MAX = 200
PIECE_BYTES = 1024 * 1024
LINES = 5
"""Of one try; what else it has is in its log."""
AT_ONCE = 8
"""Logs that are read together: an object store takes its time for each."""
STATES = frozenset(TaskInstanceState) - {TaskInstanceState.NONE}
_one_moment_at_a_time = trio.CapacityLimiter(1)


class Looked(msgspec.Struct, frozen=True):
    """What was seen of one try."""

    lines: tuple[FoundLine, ...]
    has_more: bool
    bytes: int
    goes_on_at: int | None
    """None: nothing is left to look at."""


@blueprint.get("/leoflow/api/logSearch")
async def search_logs() -> Response:
    """Tries whose log has a line with `text`, in any case of its letters, with the first of these lines.

    Of the DAGs that the caller may see; `dag_id`, `run_id`, `task_id`, `state` (of the try) and `since` (`run_after`)
    choose among them. It ends after `limit` tries (50, at most 200), or a moment: `cursor`, if there is one, goes on.
    """
    query = Query()
    text, cursor = query.text("text") or "", query.text("cursor")
    where = Where(
        dag_id=query.text("dag_id"),
        run_id=query.text("run_id"),
        task_id=query.text("task_id"),
        state=query.choice("state", STATES),
        since=query.moment("since"),
    )
    limit = query.integer("limit", 50, minimum=1)
    query.check()
    assert limit is not None
    if not text.strip() or len(text) > TEXT_MAX:
        raise Invalid(f"say what to look for, in at most {TEXT_MAX} characters", location=("query", "text"))
    place = Place() if cursor is None else _place(cursor)
    async with _one_moment_at_a_time:
        search = _Search(Wanted(text), place, min(limit, LIMIT_MAX))  # its moment begins when it is its turn
        await search.run(where)
    return json_answer(search.document())


def _place(cursor: str) -> Place:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=Place)
    except (binascii.Error, msgspec.DecodeError, UnicodeError, ValueError) as error:
        raise Invalid(
            "it is no cursor of a search: take the one of its last answer", location=("query", "cursor")
        ) from error


class _Search:
    """One moment of a search, from a place on."""

    def __init__(self, wanted: Wanted, place: Place, limit: int) -> None:
        self._wanted = wanted
        self._place: Place | None = place
        self._limit = limit
        self._found: list[dict[str, Any]] = []
        self._tries = self._bytes = 0
        self._reached: TryRow | None = None
        self._ends_at = trio.current_time() + MOMENT_S

    @property
    def _is_over(self) -> bool:
        return self._place is None or len(self._found) >= self._limit or trio.current_time() >= self._ends_at

    async def run(self, where: Where) -> None:
        while True:
            assert self._place is not None
            async with lane().connection() as conn:
                rows = await list_tries(conn, self._place, where, dags=auth.dags())
            for begin in range(0, len(rows), AT_ONCE):
                await self._look_at(rows[begin : begin + AT_ONCE])
                if self._is_over:
                    return
            if is_last(rows):
                self._place = None
                return

    def document(self) -> dict[str, Any]:
        at = self._reached
        return {
            "tries": self._found,
            "looked_at": {"tries": self._tries, "bytes": self._bytes},
            "reached": at and {"dag_id": at.dag_id, "dag_run_id": at.run_id, "run_after": at.run_after},
            "cursor": self._place and base64.urlsafe_b64encode(msgspec.json.encode(self._place)).decode(),
        }

    async def _look_at(self, rows: Sequence[TryRow]) -> None:
        """Some tries together; the first that could not be looked at to its end, or is one too many, ends this."""
        assert self._place is not None
        start = self._place
        looked: list[Looked | None] = [None] * len(rows)

        async def look(number: int) -> None:
            row = rows[number]
            looked[number] = await self._look(row, start.offset if _is_at(start, row) else 0)

        async with trio.open_nursery() as nursery:
            for number, row in enumerate(rows):
                if row.task_id is not None:
                    nursery.start_soon(look, number)
        for row, seen in zip(rows, looked, strict=True):
            self._reached = row
            if seen is None:
                self._place = Place(run_after=row.run_after, dag_run_id=row.dag_run_id - 1)
                continue
            self._tries += seen.goes_on_at is None
            self._bytes += seen.bytes
            if seen.lines:
                self._found.append(_shown(row, seen))
            self._place = _behind(row) if seen.goes_on_at is None else _inside(row, seen.goes_on_at)
            if seen.goes_on_at is not None or len(self._found) >= self._limit:
                return

    async def _look(self, row: TryRow, offset: int) -> Looked:
        """Its log piece by piece, then how it ended, which is no line of it and stands below it."""
        log, lines, at = _log(row), list[FoundLine](), offset
        while True:
            content = await context().logs.read(log, at, PIECE_BYTES)
            if not content:
                break
            found = await self._in(content, LINES + 1 - len(lines))
            lines += found.lines
            at += found.end
            if len(lines) > LINES:
                return Looked(tuple(lines[:LINES]), True, at - offset, None)
            if trio.current_time() >= self._ends_at:
                return Looked(tuple(lines), False, at - offset, at)
        ended = end_line(row.state, row.because, row.end_date) if row.is_over else b""
        if (end := self._wanted.in_line(ended)) is not None:
            lines.append(end)
        return Looked(tuple(lines[:LINES]), len(lines) > LINES, at - offset, None)

    async def _in(self, content: bytes, most: int) -> Found:
        if len(content) < PIECE_BYTES // 16:  # most logs are: a thread would cost more
            return self._wanted.search(content, most)
        return await trio.to_thread.run_sync(partial(self._wanted.search, content, most))


def _log(row: TryRow) -> TryLog:
    assert row.task_id is not None
    assert row.map_index is not None
    assert row.try_number is not None
    return TryLog(
        dag_id=row.dag_id,
        run_id=row.run_id,
        dag_run_id=row.dag_run_id,
        task_id=row.task_id,
        map_index=row.map_index,
        try_number=row.try_number,
    )


def _is_at(place: Place, row: TryRow) -> bool:
    key = place.dag_run_id, place.task_id, place.map_index, place.try_number
    return key == (row.dag_run_id, row.task_id, row.map_index, row.try_number)


def _inside(row: TryRow, offset: int) -> Place:
    log = _log(row)
    return Place(
        run_after=row.run_after,
        dag_run_id=row.dag_run_id,
        task_id=log.task_id,
        map_index=log.map_index,
        try_number=log.try_number,
        offset=offset,
    )


def _behind(row: TryRow) -> Place:
    return msgspec.structs.replace(_inside(row, 0), try_number=_log(row).try_number + 1)


def _shown(row: TryRow, seen: Looked) -> dict[str, Any]:
    return {
        "dag_id": row.dag_id,
        "dag_run_id": row.run_id,
        "run_after": row.run_after,
        "task_id": row.task_id,
        "map_index": row.map_index,
        "try_number": row.try_number,
        "state": row.state,
        "lines": seen.lines,
        "has_more": seen.has_more,
    }
