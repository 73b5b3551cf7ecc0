"""Connections to Postgres, in lanes that never wait for each other, and transactions over them.

`daemon.py` opens one `Database`; shells ask their own lane for a connection:

    async with db.api.transaction() as conn:
        await dag_runs.insert_dag_run(conn, ...)

A lane is a few connections: browser traffic cannot delay a task's report, because it holds other connections; and one
user's requests have half of the browsers' lane at most (`Lane.share_of`). Every statement has a deadline,
`LEOFLOW_STORE_STATEMENT_S`; `long_statement` names the few that may take longer (ADR 22).
Statements live in `queries/*.sql`, one file per module, each under a line `-- name: fetch_x`; `statements("file")`
reads them once. Every other module of `store` offers one function per statement and no logic.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import msgspec
import psycopg
import psycopg.types.json
import trio
from psycopg.rows import RowMaker, class_row

from leoflowd.config import StoreConfig
from leoflowd.contract.errors import LeoflowError, StoreUnavailable, TooManyRequests
from leoflowd.store.arrays import Arrays
from leoflowd.store.content_errors import LIMIT_ERRORS
from leoflowd.store.trio_connection import SessionLimits, TrioConnection
from leoflowd.store.value_places import NO_PLACES, ValuePlaces

Connection = TrioConnection
Row = TypeVar("Row")

ACQUIRE_TIMEOUT_S = 30.0
STORE = StoreConfig()

psycopg.types.json.set_json_dumps(msgspec.json.encode)
psycopg.types.json.set_json_loads(msgspec.json.decode)
psycopg.adapters.register_dumper(list, Arrays)


def lane_limits(config: StoreConfig) -> SessionLimits:
    """For a lane's connections."""
    return SessionLimits(
        connect_s=config.connect_s,
        statement_s=config.statement_s,
        long_statement_s=config.long_statement_s,
        idle_in_transaction_s=2 * config.silence_s,
    )


def migration_limits(config: StoreConfig) -> SessionLimits:
    """For the schema's own changes, which may copy a table, and for waiting until another process made them."""
    return SessionLimits(connect_s=config.connect_s, statement_s=config.migration_s)


def watching_limits(config: StoreConfig, *, speaks_every_s: float) -> SessionLimits:
    """For a connection whose life means something (leadership) or that mostly listens: it speaks so often itself, gets
    its answers at once or not at all, and the server ends it, and its locks with it, when it is heard no more."""
    return SessionLimits(
        connect_s=config.connect_s,
        statement_s=config.silence_s,
        idle_in_transaction_s=2 * config.silence_s,
        idle_session_s=2 * config.silence_s + speaks_every_s,
    )


class LaneStatistics(msgspec.Struct, frozen=True):
    name: str
    size: int
    open: int
    in_use: int
    waiting: int
    opened_total: int


class Lane:
    """At most `size` connections, opened on demand, given out one at a time per task."""

    def __init__(
        self, name: str, conninfo: str, size: int, config: StoreConfig = STORE, values: ValuePlaces = NO_PLACES
    ) -> None:
        self.name = name
        self._values = values
        self._conninfo = conninfo
        self._limits = lane_limits(config)
        self._silence_s = config.silence_s
        self._limiter = trio.CapacityLimiter(size)
        self._idle: list[tuple[Connection, float]] = []
        """With the moment of their last use, the latest last."""
        self._shares: WeakValueDictionary[str, trio.CapacityLimiter] = WeakValueDictionary()
        self._opened_total = 0
        self._open = 0

    def share_of(self, who: str) -> LaneShare:
        """Half of the lane, for all that `who` does at once: the other half is there for the others, and for probes."""
        limiter = self._shares.get(who)
        if limiter is None:
            limiter = self._shares[who] = trio.CapacityLimiter(max(1, int(self._limiter.total_tokens) // 2))
        return LaneShare(self, limiter)

    def statistics(self) -> LaneStatistics:
        s = self._limiter.statistics()
        return LaneStatistics(
            self.name, int(s.total_tokens), self._open, s.borrowed_tokens, s.tasks_waiting, self._opened_total
        )

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection in autocommit mode: every statement is its own transaction.

        Raises `StoreUnavailable` when Postgres does not answer or breaks off.
        """
        async with _turn(self._limiter, self._too_late):
            try:
                connection = await self._take()
                try:
                    yield connection
                finally:
                    self._give_back(connection)
            except LIMIT_ERRORS:
                raise  # of the content, not of the connection
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                self.close()  # what broke this connection broke those beside it, most likely
                raise StoreUnavailable(f"lost Postgres in lane {self.name!r}: {error}") from error

    def _too_late(self) -> StoreUnavailable:
        return StoreUnavailable(f"no free connection in lane {self.name!r} for {ACQUIRE_TIMEOUT_S:.0f} s")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection inside BEGIN ... COMMIT; an exception rolls back."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def pipelined_transaction(self) -> AsyncIterator[Connection]:
        """As `transaction`, but statements go out without waiting for each answer: one round trip in all."""
        async with self.connection() as connection, connection.pipeline(), connection.transaction():
            yield connection

    def close(self) -> None:
        """Those that nobody uses; the others close when they are given back broken."""
        for connection, _ in self._idle:
            connection.pgconn.finish()
        self._open -= len(self._idle)
        self._idle.clear()

    async def _take(self) -> Connection:
        while self._idle:
            connection, used_at = self._idle.pop()
            if await self._is_alive(connection, used_at):
                return connection
            connection.pgconn.finish()
            self._open -= 1
        connection = await TrioConnection.open(self._conninfo, self._limits)
        connection.values = self._values
        self._opened_total += 1
        self._open += 1
        return connection

    async def _is_alive(self, connection: Connection, used_at: float) -> bool:
        """One that rested may be half open, which only a question shows; better asked here than by a real statement."""
        if connection.broken or connection.closed:
            return False
        if trio.current_time() - used_at < self._silence_s:
            return True
        try:
            with trio.move_on_after(self._silence_s):
                await connection.execute(b"SELECT 1", prepare=False)
                return True
        except psycopg.Error:
            return False
        except trio.Cancelled:
            connection.pgconn.finish()  # also when it was cut off before it asked
            self._open -= 1
            raise
        return False

    def _give_back(self, connection: Connection) -> None:
        idle = psycopg.pq.TransactionStatus.IDLE
        if connection.closed or connection.pgconn.transaction_status != idle:
            connection.pgconn.finish()
            self._open -= 1
        else:
            self._idle.append((connection, trio.current_time()))


class LaneShare:
    """A lane as one of its users has it: `Lane.share_of`."""

    def __init__(self, lane: Lane, limiter: trio.CapacityLimiter) -> None:
        self._lane = lane
        self._limiter = limiter

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """As of the lane. Raises `TooManyRequests` when the others of this user take too long."""
        async with _turn(self._limiter, self._too_many), self._lane.connection() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self.connection() as connection, connection.transaction():
            yield connection

    def _too_many(self) -> TooManyRequests:
        most = int(self._limiter.total_tokens)
        return TooManyRequests(
            f"{most} requests of yours have kept the database busy for {ACQUIRE_TIMEOUT_S:.0f} s, no more go at once; "
            "this one was not carried out: ask for less at a time, or again later",
            retry_after_s=1,
        )


AnyLane = Lane | LaneShare


@asynccontextmanager
async def _turn(limiter: trio.CapacityLimiter, too_late: Callable[[], LeoflowError]) -> AsyncIterator[None]:
    with trio.move_on_after(ACQUIRE_TIMEOUT_S) as waiting:
        await limiter.acquire_on_behalf_of(token := object())
    if waiting.cancelled_caught:
        raise too_late()
    try:
        yield
    finally:
        limiter.release_on_behalf_of(token)


class Database:
    """The lanes of one daemon. Sizes: the scheduler commits one batch at a time and reads views beside it; agents,
    waits and browsers wait for Postgres, not for each other."""

    def __init__(
        self,
        conninfo: str,
        config: StoreConfig = STORE,
        *,
        scheduler: int = 2,
        agents: int = 4,
        pool: int = 3,
        api: int = 6,
        history: int = 1,
        values: ValuePlaces = NO_PLACES,
    ) -> None:
        self.conninfo = conninfo
        self.config = config
        self.values = values
        self.scheduler = Lane("scheduler", conninfo, scheduler, config, values)
        self.agents = Lane("agents", conninfo, agents, config, values)
        self.pool = Lane("pool", conninfo, pool, config, values)
        self.api = Lane("api", conninfo, api, config, values)
        self.history = Lane("history", conninfo, history, config, values)
        """Of retention, which nobody waits for, and which is to hold up nobody."""

    def _lanes(self) -> tuple[Lane, ...]:
        return self.scheduler, self.agents, self.pool, self.api, self.history

    def statistics(self) -> tuple[LaneStatistics, ...]:
        return tuple(lane.statistics() for lane in self._lanes())

    def close(self) -> None:
        for lane in self._lanes():
            lane.close()


@asynccontextmanager
async def long_statement(conn: Connection) -> AsyncIterator[None]:
    """A transaction whose statements may take `long_statement_s`: for those that touch a table's worth of rows. Each is
    planned for its own parameters."""
    usual_s = conn.statement_s
    async with conn.transaction():
        timeout = str(math.ceil(conn.long_statement_s * 1000))
        await conn.execute(
            b"SELECT set_config('statement_timeout', %(ms)s, true),"
            b" set_config('plan_cache_mode', 'force_custom_plan', true)",
            {"ms": timeout},
        )
        conn.statement_s = conn.long_statement_s
        try:
            yield
        finally:
            conn.statement_s = usual_s


# --- statements --------------------------------------------------------------------------------------------------


class Statements:
    """The named statements of one `.sql` file, as attributes."""

    def __init__(self, file: str, texts: dict[str, bytes]) -> None:
        self._file = file
        self._texts = texts

    def __getattr__(self, name: str) -> bytes:
        try:
            return self._texts[name]
        except KeyError:
            raise AttributeError(f"queries/{self._file}.sql has no statement named {name!r}") from None


@cache
def statements(file: str) -> Statements:
    """Read `queries/<file>.sql`; a statement is the text after its `-- name:` line."""
    text = files("leoflowd.store").joinpath("queries", f"{file}.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+).*$", text, flags=re.MULTILINE)
    return Statements(
        file, {name: body.strip().rstrip(";").encode() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    )


def _structs(kind: type[Row]) -> Callable[[Any], RowMaker[Row]]:
    """As psycopg's `class_row`, which makes a dictionary of each row; where the columns are the fields in their order
    there is no need for one, and a row costs a third."""
    by_name = class_row(kind)
    fields = getattr(kind, "__match_args__", ())

    def factory(cursor: Any) -> RowMaker[Row]:
        names = tuple(column.name for column in cursor.description or ())
        return (lambda values: kind(*values)) if names and names == fields else by_name(cursor)

    return factory


async def fetch_all(conn: Connection, statement: bytes, row: type[Row], **parameters: Any) -> tuple[Row, ...]:
    """All rows as structs; the statement's column names are the struct's field names."""
    return await _rows(conn, statement, row, parameters)


async def fetch_all_planned(conn: Connection, statement: bytes, row: type[Row], **parameters: Any) -> tuple[Row, ...]:
    """As `fetch_all`, of a statement whose best plan depends on its parameters: planned for these, never prepared."""
    return await _rows(conn, statement, row, parameters, prepare=False)


async def _rows(
    conn: Connection, statement: bytes, row: type[Row], parameters: dict[str, Any], *, prepare: bool | None = None
) -> tuple[Row, ...]:
    async with conn.cursor(row_factory=_structs(row)) as cursor:
        await cursor.execute(statement, parameters, prepare=prepare)
        return tuple(await cursor.fetchall())


async def fetch_one(conn: Connection, statement: bytes, row: type[Row], **parameters: Any) -> Row | None:
    async with conn.cursor(row_factory=_structs(row)) as cursor:
        await cursor.execute(statement, parameters)
        return await cursor.fetchone()


async def fetch_value(conn: Connection, statement: bytes, **parameters: Any) -> Any:
    """First column of the first row, or None."""
    cursor = await conn.execute(statement, parameters)
    found = await cursor.fetchone()
    return found[0] if found else None


async def fetch_planned(conn: Connection, statement: bytes, **parameters: Any) -> Any:
    """As `fetch_value`, of a statement whose best plan depends on its parameters: planned for these, never prepared."""
    cursor = await conn.execute(statement, parameters, prepare=False)
    found = await cursor.fetchone()
    return found[0] if found else None


async def execute(conn: Connection, statement: bytes, **parameters: Any) -> int:
    """Run a statement for its effect; how many rows it touched."""
    cursor = await conn.execute(statement, parameters)
    return cursor.rowcount
