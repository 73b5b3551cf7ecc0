"""psycopg 3 driven by Trio itself (ADR 0003): its protocol core yields "wait for the socket", we wait with Trio.

Only three things in `AsyncConnection` know asyncio: the lock, `connect` and `wait`. This module replaces these and
nothing else; `tests/integration/store` runs with every psycopg release before the pin moves.

No wait is without an end: each connection has `SessionLimits`, on our side and, where we may, on the server's (ADR 22).
"""

from __future__ import annotations

import math
import select
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import msgspec
import trio
from psycopg import AsyncConnection, errors, pq
from psycopg.abc import PQGen, PQGenConn
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.waiting import Ready, Wait
from typing_extensions import override

from leoflowd.contract.errors import StoreUnavailable
from leoflowd.store.value_places import NO_PLACES, ValuePlaces

RV = TypeVar("RV")

KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT = 5, 2, 3
"""TCP asks after 5 s of quiet whether the other machine is still there, and gives up 6 s later."""
UNACKNOWLEDGED_MS = 10_000
"""The same for data that the other machine does not acknowledge."""


class SessionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long one connection waits for what. Seconds; 0 on the server's side = not asked for."""

    connect_s: float
    statement_s: float
    """For each answer; then the connection is closed. The server cancels the statement by itself after as long."""
    long_statement_s: float = math.inf
    """The same inside `database.long_statement`."""
    idle_in_transaction_s: float = 0.0
    """The server ends a session that holds locks and says nothing: we may be gone without its knowing."""
    idle_session_s: float = 0.0
    is_ours: bool = True
    """False: a stranger's server, which is not told anything."""


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

    values: ValuePlaces = NO_PLACES
    """Where XCom values are kept beside this database."""

    def __init__(self, pgconn: pq.abc.PGconn, *args: Any, **kwargs: Any) -> None:
        super().__init__(pgconn, *args, **kwargs)
        self.lock = trio.Lock()  # type: ignore[assignment]  # same two methods as asyncio.Lock
        self.statement_s = self.long_statement_s = math.inf

    @classmethod
    async def open(cls, conninfo: str, limits: SessionLimits) -> Self:
        """Connect in autocommit mode. Raises `psycopg.OperationalError`."""
        with trio.move_on_after(limits.connect_s):
            connection = await _drive_connect(cls._connect_gen(await _complete(conninfo, limits)))
            connection._autocommit = True  # noqa: SLF001  # what AsyncConnection.connect does itself
            connection.prepare_threshold = 2
            connection.statement_s, connection.long_statement_s = limits.statement_s, limits.long_statement_s
            return connection
        raise errors.ConnectionTimeout(f"no answer from Postgres within {limits.connect_s:g} s")

    @override
    async def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Run `gen` to its end, within `statement_s`. `timeout` is psycopg's own and unused here."""
        assert timeout is None
        with trio.move_on_after(self.statement_s):
            return await self._drive(gen)
        raise errors.OperationalError(
            f"no answer from Postgres within {self.statement_s:g} s; the connection is closed"
        )

    async def wait_heard(self) -> None:
        """Until the server says something by itself (NOTIFY, or its end), however long that takes."""
        await trio.lowlevel.wait_readable(self.pgconn.socket)

    async def _drive(self, gen: PQGen[RV]) -> RV:
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


async def _complete(conninfo: str, limits: SessionLimits) -> str:
    """With keepalives, the server's side of the limits, and addresses for names: libpq would block in DNS."""
    given = conninfo_to_dict(conninfo)
    ours = {
        "keepalives_idle": KEEPALIVE_IDLE_S,
        "keepalives_interval": KEEPALIVE_INTERVAL_S,
        "keepalives_count": KEEPALIVE_COUNT,
        "tcp_user_timeout": UNACKNOWLEDGED_MS,
    }
    complete: dict[str, Any] = ours | given | await _addresses(given)
    if limits.is_ours:
        complete["options"] = f"{_server_side(limits)} {given.get('options') or ''}".strip()
    return make_conninfo(**complete)


def _server_side(limits: SessionLimits) -> str:
    settings = {
        "statement_timeout": limits.statement_s,
        "idle_in_transaction_session_timeout": limits.idle_in_transaction_s,
        "idle_session_timeout": limits.idle_session_s,
    }
    return " ".join(f"-c {name}={math.ceil(seconds * 1000)}" for name, seconds in settings.items() if seconds)


async def _addresses(given: dict[str, Any]) -> dict[str, str]:
    """`hostaddr` for the hosts that are names, resolved in a thread."""
    hosts = str(given.get("host") or "").split(",")
    if given.get("hostaddr") or any(not host or host.startswith(("/", "@")) for host in hosts):
        return {}
    ports = str(given.get("port") or "").split(",")
    found: list[tuple[str, str, str]] = []
    for number, host in enumerate(hosts):
        port = ports[number] if len(ports) == len(hosts) else ports[0]
        try:
            resolved = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise errors.OperationalError(f"the host {host!r} of Postgres cannot be resolved: {error}") from error
        found += [(host, address, port) for address in dict.fromkeys(str(entry[4][0]) for entry in resolved)]
    names, addresses, their_ports = zip(*found, strict=True)
    return {"host": ",".join(names), "hostaddr": ",".join(addresses), "port": ",".join(their_ports)}


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
    # Not select(), which knows no descriptor above 1,023.
    poll = select.poll()
    poll.register(fileno, (select.POLLIN if state & Wait.R else 0) | select.POLLOUT)
    events = poll.poll(0)
    if events:
        return _ready(events[0][1], state)
    if state == Wait.W:
        await trio.lowlevel.wait_writable(fileno)
        return Ready.W
    return await _wait_either(fileno)


def _ready(event: int, state: Wait) -> Ready:
    broken = event & (select.POLLERR | select.POLLHUP | select.POLLNVAL)  # libpq finds out what it is
    readable = state & Wait.R and (broken or event & select.POLLIN)
    return Ready((Ready.R if readable else 0) | (Ready.W if broken or event & select.POLLOUT else 0))


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
