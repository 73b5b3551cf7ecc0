"""psycopg 3 driven by Trio itself (ADR 0003): its protocol core yields "wait for the socket", we wait with Trio.

Only three things in `AsyncConnection` know asyncio: the lock, `connect` and `wait`. This module replaces these and
nothing else; `tests/integration/store` runs with every psycopg release before the pin moves.
"""

from __future__ import annotations

import select
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import trio
from psycopg import AsyncConnection, errors, pq
from psycopg.abc import PQGen, PQGenConn
from psycopg.conninfo import make_conninfo
from psycopg.waiting import Ready, Wait
from typing_extensions import override

from leoflowd.contract.errors import StoreUnavailable

RV = TypeVar("RV")

CONNECT_TIMEOUT_S = 10.0


@contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Inside, a Postgres that does not answer or breaks off is `StoreUnavailable`.

    For single statements, not for nurseries: what comes out of those is a group.
    """
    try:
        yield
    except (errors.OperationalError, errors.InterfaceError) as error:
        raise StoreUnavailable(f"{doing}: {error}") from error


class TrioConnection(AsyncConnection[Any]):
    """An `AsyncConnection` for one Trio task at a time. A wait cut off by cancellation closes the connection."""

    def __init__(self, pgconn: pq.abc.PGconn, *args: Any, **kwargs: Any) -> None:
        super().__init__(pgconn, *args, **kwargs)
        self.lock = trio.Lock()  # type: ignore[assignment]  # same two methods as asyncio.Lock

    @classmethod
    async def open(cls, conninfo: str) -> Self:
        """Connect in autocommit mode. Raises `psycopg.OperationalError`; host names are resolved by libpq."""
        with trio.move_on_after(CONNECT_TIMEOUT_S):
            connection = await _drive_connect(cls._connect_gen(make_conninfo(conninfo)))
            connection._autocommit = True  # noqa: SLF001  # what AsyncConnection.connect does itself
            connection.prepare_threshold = 2
            return connection
        raise errors.ConnectionTimeout(f"no answer from Postgres within {CONNECT_TIMEOUT_S:.0f} s")

    @override
    async def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Run `gen` to its end. `timeout` is psycopg's own and unused here: deadlines belong to callers."""
        assert timeout is None
        fileno = self.pgconn.socket
        try:
            state = next(gen)
            while True:
                state = gen.send(await _wait_ready(fileno, state))
        except StopIteration as stop:
            result: RV = stop.value
            return result
        except trio.Cancelled:
            # The server may still be answering: nobody can use this connection any more.
            self.pgconn.finish()
            raise


async def _drive_connect(gen: PQGenConn[RV]) -> RV:
    """As `wait`, but while connecting libpq may change the descriptor."""
    try:
        fileno, state = next(gen)
        while True:
            fileno, state = gen.send(await _wait_ready(fileno, state))
    except StopIteration as stop:
        result: RV = stop.value
        return result


async def _wait_ready(fileno: int, state: Wait) -> Ready:
    if state == Wait.R:
        await trio.lowlevel.wait_readable(fileno)
        return Ready.R
    # A socket asked for writing is nearly always writable: one poll instead of a round through the event loop.
    readable, writable, _ = select.select([fileno] if state & Wait.R else [], [fileno], [], 0)
    if readable or writable:
        return Ready((Ready.R if readable else 0) | (Ready.W if writable else 0))
    if state == Wait.W:
        await trio.lowlevel.wait_writable(fileno)
        return Ready.W
    return await _wait_either(fileno)


async def _wait_either(fileno: int) -> Ready:
    ready = Ready.NONE

    async def note(wait: Callable[[int], Awaitable[None]], flag: Ready) -> None:
        nonlocal ready
        await wait(fileno)
        ready = Ready(ready | flag)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(note, trio.lowlevel.wait_readable, Ready.R)
        nursery.start_soon(note, trio.lowlevel.wait_writable, Ready.W)
    return ready
