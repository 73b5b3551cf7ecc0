"""Reports between daemons: kept as rows by one that does not lead, decided in their order by the one that does.

Doing one twice is once: its try id fences it. So a leader may die between its commit and the row's deletion.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, get_args

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.scheduler.bell import Bell
from leoflowd.scheduler.inbox import Event, Inbox, Reply, Report, TryEnded, WaitsEnded
from leoflowd.store import reports
from leoflowd.store.content_errors import CONTENT_ERRORS
from leoflowd.store.database import Database
from leoflowd.store.reports import AT_ONCE, ReportRow
from leoflowd.supervision import contain

log = telemetry.get_logger(__name__)

SETTLED_S = 1.0
"""After the end of a term: what its outbox had handed on has reached the executor, or the agent."""


class KeptReports:
    """The inbox of a daemon that does not lead: what nobody says twice becomes a row, hints are dropped."""

    def __init__(self, *, db: Database, inbox: Inbox, now: Callable[[], datetime]) -> None:
        self._db = db
        self._inbox = inbox
        self._now = now
        self._kept = 0

    def statistics(self) -> dict[str, int]:
        return {"kept": self._kept}

    async def run(self) -> None:
        """Until cancelled; raises `StoreUnavailable`. What was not written is left to whoever told it."""
        while True:
            told = [await self._inbox.receive.receive()]
            while len(told) < AT_ONCE:
                try:
                    told.append(self._inbox.receive.receive_nowait())
                except trio.WouldBlock:
                    break
            left = [event for event in told if isinstance(event, get_args(Report))]
            try:
                await self._write(left)
                left = []
            finally:
                for event in left:
                    self._give_back(event)

    async def _write(self, events: Sequence[Event]) -> None:
        if not events:
            return
        try:
            await self._insert(events)
        except CONTENT_ERRORS as error:
            if len(events) > 1:
                for event in events:
                    await self._write([event])
                return
            log.error("report_refused", report=type(events[0]).__name__, error=str(error))  # noqa: TRY400
            _answer(events[0], f"Postgres refuses this report: {error}")
        else:
            self._kept += len(events)
            for event in events:
                _answer(event, None)

    async def _insert(self, events: Sequence[Event]) -> None:
        bodies = [_encode(event) for event in events]
        async with self._db.agents.transaction() as conn:
            await reports.insert_reports(conn, bodies, self._now())

    def _give_back(self, event: Event) -> None:
        """Whoever waits for an answer tells it again; the others are heard by whoever drains the inbox next."""
        if isinstance(event, TryEnded | WaitsEnded):
            event.reply.fail("this daemon neither leads nor could it write this down")
        else:
            self._inbox.hint(event)


async def follow(
    kept: KeptReports, tell_held: Callable[[datetime], Awaitable[None]], now: Callable[[], datetime]
) -> None:
    """What a daemon does between terms: keep reports, and tell once what its executor was given while it led.

    A launch that was committed in a term of ours and not handed over when that ended is nobody's: the next leader may
    not launch it, and our agent, which stays, has nothing to say of it.
    """
    ended_at = now()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kept.run)
        await trio.sleep(SETTLED_S)
        await tell_held(ended_at)


class OthersReports:
    """While leading: what other daemons were told. `came` is the hint; every so often it looks by itself."""

    def __init__(self, *, db: Database, inbox: Inbox, sweep_interval_s: float) -> None:
        self._db = db
        self._inbox = inbox
        self._sweep_interval_s = sweep_interval_s
        self._bell = Bell()
        self._decided = 0
        self._waiting = 0

    def statistics(self) -> dict[str, int]:
        return {"decided": self._decided, "waiting": self._waiting}

    def came(self) -> None:
        self._bell.ring()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await self._bell.answer(self._decide_all, every_s=self._sweep_interval_s)

    async def _decide_all(self) -> None:
        """What concerns a run that is set aside stays, and is offered again at the next sweep."""
        after, left = 0, 0
        while rows := await self._list(after):
            after = rows[-1].id
            done = await self._decide(rows)
            async with self._db.scheduler.connection() as conn:
                self._decided += await reports.delete_reports(conn, done)
            left += len(rows) - len(done)
        self._waiting = left

    async def _list(self, after: int) -> tuple[ReportRow, ...]:
        async with self._db.scheduler.connection() as conn:
            return await reports.list_reports(conn, after=after)

    async def _decide(self, rows: Sequence[ReportRow]) -> list[int]:
        """The ids of those that are committed, or were refused because their tries are no longer current."""
        told: list[tuple[int, Event]] = []
        for row in rows:
            async with contain(partial(_note_unreadable, row)):
                told.append((row.id, _decode(row.body)))
        for _, event in told:
            await self._inbox.put(event)
        done = []
        for row_id, event in told:
            if await _is_committed(event):
                done.append(row_id)
        return done


def _encode(event: Event) -> str:
    return msgspec.json.encode(event, enc_hook=_without_reply).decode()


def _decode(body: str) -> Event:
    found: Event = msgspec.json.decode(body, type=Report, dec_hook=_with_reply)
    return found


def _without_reply(value: Any) -> None:
    if not isinstance(value, Reply):
        raise NotImplementedError(f"a report holds a {type(value).__name__}")


def _with_reply(kind: type, _value: Any) -> Reply:
    assert kind is Reply, "only replies are no data"
    return Reply()


def _answer(event: Event, failed_because: str | None) -> None:
    if not isinstance(event, TryEnded | WaitsEnded):
        return
    if failed_because is None:
        event.reply.commit()
    else:
        event.reply.fail(failed_because)


async def _is_committed(event: Event) -> bool:
    if not isinstance(event, TryEnded | WaitsEnded):
        return True  # a start that is lost with its leader is told by its outcome
    try:
        return not await event.reply.wait()
    except StoreUnavailable:
        return False


async def _note_unreadable(row: ReportRow, failure: Exception) -> None:
    log.error("report_unreadable", report_id=row.id, error=str(failure))
    await trio.lowlevel.checkpoint()
