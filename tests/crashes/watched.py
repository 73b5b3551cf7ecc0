"""Connections that can be watched and broken: every statement that a daemon sends, and every hint that it hears.

`Watch` counts what passes and lets one `Fault` happen. The product knows nothing of it: `watched_connections` puts a
subclass in the place of `TrioConnection.open`, for connections whose `application_name` is that of a watch.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from importlib.resources import files
from typing import Any

import msgspec
import psycopg
from psycopg import AsyncCursor
from psycopg.conninfo import conninfo_to_dict

from leoflowd.store.database import statements
from leoflowd.store.trio_connection import SessionLimits, TrioConnection

WRITES = re.compile(rb"INSERT INTO|DELETE FROM|(?<!FOR )(?<!KEY )(?<!DO )UPDATE \w+")
COMMIT = "COMMIT"
STANDBY = "standby"
"""How the names of those daemons begin that only follow at first."""


class Way(StrEnum):
    """What happens at a point."""

    ERROR = "error before it"
    ANSWER_LOST = "connection lost after it"
    """It happened, and the client does not know."""
    KILLED = "process killed before it"
    KILLED_AFTER = "process killed after it"
    DROPPED = "hint dropped"
    TWICE = "hint twice"
    LATE = "hint late"


STATEMENT_WAYS = (Way.ERROR, Way.KILLED)
WRITE_WAYS = (Way.ERROR, Way.ANSWER_LOST, Way.KILLED, Way.KILLED_AFTER)
HINT_WAYS = (Way.DROPPED, Way.TWICE, Way.LATE)
LATE_S = 7.0
"""By the world's clock: behind the next sweep."""


class Point(msgspec.Struct, frozen=True, order=True):
    """Where something may happen: the first time that this is sent or heard after so many commits."""

    commits: int
    name: str
    is_write: bool = False
    """It is a commit, or one by itself: its answer may be lost."""
    is_hint: bool = False

    @property
    def ways(self) -> tuple[Way, ...]:
        if self.is_hint:
            return HINT_WAYS
        return WRITE_WAYS if self.is_write else STATEMENT_WAYS


class Fault(msgspec.Struct, frozen=True, order=True):
    point: Point
    way: Way

    def __str__(self) -> str:
        return f"{self.point.name} (after {self.point.commits} commits): {self.way}"


class Watch:
    """The daemons' connections and hints, as seen from outside. `kill(name)` ends that daemon and never returns."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.points: dict[Point, None] = {}
        self.happened = False
        self.is_on = False
        """Off while a daemon starts, but where starting is the journey."""
        self.kill: Callable[[str], Awaitable[None]] = _nobody_to_kill
        self._fault = fault
        self._commits = 0

    async def before(self, connection: WatchedConnection, name: str, *, is_write: bool) -> None:
        match self._meet(name, is_write=is_write, ways=(Way.ERROR, Way.KILLED)):
            case Way.ERROR:
                connection.break_off(f"injected before {name}")
            case Way.KILLED:
                await self.kill(connection.owner)

    async def after(self, connection: WatchedConnection, name: str) -> None:
        """A commit, or a statement that is one."""
        way = self._meet(name, is_write=True, ways=(Way.ANSWER_LOST, Way.KILLED_AFTER))
        if self.is_on and "leadership" not in name:
            self._commits += 1
        match way:
            case Way.ANSWER_LOST:
                connection.break_off(f"injected after {name}")
            case Way.KILLED_AFTER:
                await self.kill(connection.owner)

    def hear(self, name: str) -> Way | None:
        return self._meet(name, is_hint=True, ways=HINT_WAYS)

    def _meet(self, name: str, *, ways: tuple[Way, ...], is_write: bool = False, is_hint: bool = False) -> Way | None:
        if not self.is_on:
            return None
        self.points.setdefault(Point(self._commits, name, is_write, is_hint))
        fault = self._fault
        if (
            fault is None
            or self.happened
            or fault.way not in ways
            or fault.point.name != name
            or fault.point.is_write != is_write
            or self._commits < fault.point.commits
        ):
            return None
        self.happened = True
        return fault.way


async def _nobody_to_kill(name: str) -> None:
    raise AssertionError(f"{name} is no daemon of this world")


class WatchedCursor(AsyncCursor[Any]):
    async def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        connection: WatchedConnection = self.connection  # type: ignore[assignment]
        text = query if isinstance(query, bytes) else str(query).encode()
        name, alone = connection.told(name_of(text)), not connection.in_transaction
        is_write = alone and WRITES.search(text) is not None
        connection.wrote = connection.wrote or WRITES.search(text) is not None
        await connection.watch.before(connection, name, is_write=is_write)
        result = await super().execute(query, *args, **kwargs)
        if is_write:
            await connection.watch.after(connection, name)
        return result


class WatchedConnection(TrioConnection):
    watch: Watch
    owner: str
    """The daemon that it belongs to."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cursor_factory = WatchedCursor
        self.in_transaction = False
        self.wrote = False

    def told(self, what: str) -> str:
        return told_by(self.owner, what)

    def break_off(self, because: str) -> None:
        self.pgconn.finish()
        raise psycopg.OperationalError(because)

    @asynccontextmanager
    async def transaction(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        if self.in_transaction:
            async with super().transaction(*args, **kwargs) as inner:
                yield inner
            return
        self.in_transaction, self.wrote = True, False
        try:
            async with super().transaction(*args, **kwargs) as transaction:
                yield transaction
                if self.wrote:
                    await self.watch.before(self, self.told(COMMIT), is_write=True)
        finally:
            self.in_transaction = False
        if self.wrote:
            await self.watch.after(self, self.told(COMMIT))


def told_by(owner: str, what: str) -> str:
    """The name of a point: one of the standby is not the same one of the daemon that led first."""
    return f"{STANDBY} {what}" if owner.startswith(STANDBY) else what


_names: dict[bytes, str] = {}


def name_of(text: bytes) -> str:
    """`file.statement` for what lies in `queries/`, else how it begins."""
    if not _names:
        for file in files("leoflowd.store").joinpath("queries").iterdir():
            stem = file.name.removesuffix(".sql")
            _names.update({body: f"{stem}.{name}" for name, body in statements(stem)._texts.items()})
    return _names.get(text) or " ".join(text.decode().split())[:60]


@contextmanager
def watched_connections(find: Callable[[str], Watch | None]) -> Iterator[None]:
    """Inside, `find(application_name)` says which watch a new connection belongs to; None = nobody's."""
    original = TrioConnection.open.__func__  # type: ignore[attr-defined]

    async def open_watched(cls: type[TrioConnection], conninfo: str, limits: SessionLimits) -> TrioConnection:
        owner = str(conninfo_to_dict(conninfo).get("application_name") or "")
        watch = find(owner)
        if watch is None:
            connection: TrioConnection = await original(cls, conninfo, limits)
            return connection
        watched: WatchedConnection = await original(WatchedConnection, conninfo, limits)
        watched.watch, watched.owner = watch, owner
        return watched

    TrioConnection.open = classmethod(open_watched)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        TrioConnection.open = classmethod(original)  # type: ignore[method-assign,assignment]
