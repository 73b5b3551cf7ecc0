"""A Postgres that says nothing, in every way in which it can: the store notices, and comes back by itself."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import trio

from leoflowd.config import SchedulerConfig, StoreConfig
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.scheduler.leadership import Leadership
from leoflowd.store.database import Database, fetch_value, lane_limits, long_statement
from leoflowd.store.hints import Hint, HintListener, send_hint
from leoflowd.store.trio_connection import TrioConnection
from leoflowd.supervision import Node, start_restarting
from tests.fakes.silent_proxy import SilentProxy, silent_proxy

IMPATIENT = StoreConfig(connect_s=0.5, statement_s=0.5, silence_s=0.3)
SOON_S = 30.0
"""Far more than it takes, far less than for ever."""


@pytest.fixture
async def proxy(database: Database) -> AsyncIterator[SilentProxy]:
    async with silent_proxy(database.conninfo) as proxy:
        with trio.fail_after(SOON_S):
            yield proxy


@pytest.fixture
async def distant(proxy: SilentProxy) -> AsyncIterator[Database]:
    """The test's database, through the proxy."""
    distant = Database(proxy.conninfo, IMPATIENT)
    yield distant
    distant.close()


# --- lanes --------------------------------------------------------------------------------------------------------


async def test_a_statement_that_is_not_answered_is_store_unavailable(proxy: SilentProxy, distant: Database) -> None:
    with pytest.raises(StoreUnavailable, match=r"no answer from Postgres within 0\.5 s"):
        async with distant.api.connection() as conn:
            proxy.fall_silent()
            await conn.execute(b"SELECT 1")
    assert distant.api.statistics().open == 0


async def test_a_pipeline_that_is_not_answered_is_store_unavailable(proxy: SilentProxy, distant: Database) -> None:
    with pytest.raises(StoreUnavailable):
        async with distant.api.pipelined_transaction() as conn:
            proxy.fall_silent()
            await conn.execute(b"SELECT 1")
    assert distant.api.statistics().open == 0


async def test_a_connection_that_is_not_accepted_is_store_unavailable(proxy: SilentProxy, distant: Database) -> None:
    proxy.fall_silent()
    with pytest.raises(StoreUnavailable, match=r"within 0\.5 s"):
        async with distant.api.connection():
            pass


async def test_after_one_silent_connection_those_beside_it_are_not_trusted(
    proxy: SilentProxy, distant: Database
) -> None:
    async with distant.api.connection(), distant.api.connection(), distant.api.connection():
        pass
    with pytest.raises(StoreUnavailable):
        async with distant.api.connection() as conn:
            proxy.fall_silent()
            await conn.execute(b"SELECT 1")
    proxy.speak_again()
    async with distant.api.connection() as conn:
        assert await fetch_value(conn, b"SELECT 1") == 1


async def test_a_connection_that_rested_is_asked_before_it_is_used(proxy: SilentProxy) -> None:
    lane = Database(proxy.conninfo, StoreConfig(statement_s=SOON_S, silence_s=0.3)).api
    async with lane.connection() as conn:
        resting = conn.info.backend_pid
    proxy.fall_silent()
    proxy.speak_again()
    lane._idle = [(connection, used_at - 0.3) for connection, used_at in lane._idle]
    async with lane.connection() as conn:
        assert await fetch_value(conn, b"SELECT pg_backend_pid()") != resting
    lane.close()


async def test_the_server_ends_a_transaction_of_ours_that_it_hears_no_more(
    database: Database, proxy: SilentProxy, distant: Database
) -> None:
    """Else the rows that it locked stay locked until somebody logs in and looks."""
    async with database.api.connection() as conn:
        with pytest.raises(StoreUnavailable):
            async with distant.api.transaction() as lost:
                await lost.execute(b"SELECT * FROM leadership FOR UPDATE")
                proxy.fall_silent()
                await lost.execute(b"SELECT 1")
        await conn.execute(b"SELECT * FROM leadership FOR UPDATE")


async def test_the_server_stops_a_statement_of_ours_that_takes_too_long(database: Database) -> None:
    lane = Database(database.conninfo, IMPATIENT).api
    async with database.api.connection() as watcher:
        with pytest.raises(StoreUnavailable):
            async with lane.connection() as conn:
                pid = conn.info.backend_pid
                await conn.execute(b"SELECT pg_sleep(1000)")
        with trio.fail_after(SOON_S):
            while await fetch_value(
                watcher,
                b"SELECT count(*) FROM pg_stat_activity WHERE pid = %(pid)s AND state = 'active'",
                pid=pid,
            ):
                await trio.lowlevel.checkpoint()
    lane.close()


async def test_a_statement_that_is_named_as_long_may_take_longer(database: Database) -> None:
    lane = Database(database.conninfo, StoreConfig(statement_s=0.1, long_statement_s=60.0)).api
    async with lane.connection() as conn:
        async with long_statement(conn):
            await conn.execute(b"SELECT pg_sleep(0.3)")
        with pytest.raises(psycopg.OperationalError):
            await conn.execute(b"SELECT pg_sleep(60)")
    lane.close()


# --- over a Unix socket -------------------------------------------------------------------------------------------


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_server_process_that_is_frozen_is_store_unavailable(database: Database) -> None:
    lane = Database(database.conninfo, IMPATIENT).api
    with ExitStack() as frozen:
        with trio.fail_after(SOON_S), pytest.raises(StoreUnavailable):
            async with lane.connection() as conn:
                frozen.enter_context(stopped(conn.info.backend_pid))
                await conn.execute(b"SELECT 1")
        async with lane.connection() as conn:
            assert await fetch_value(conn, b"SELECT 1") == 1
    lane.close()


async def test_a_frozen_server_does_not_hold_up_a_connection_for_ever(database: Database) -> None:
    async with database.api.connection() as conn:
        postmaster = _parent_of(conn.info.backend_pid)
    with stopped(postmaster), trio.fail_after(SOON_S), pytest.raises(psycopg.errors.ConnectionTimeout):
        await TrioConnection.open(database.conninfo, lane_limits(IMPATIENT))


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_a_process_with_thousands_of_descriptors_talks_to_postgres(database: Database) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 4096, hard))
    null = os.open(os.devnull, os.O_RDONLY)
    others = [os.dup(null) for _ in range(1100)]
    lane = Database(database.conninfo).api
    try:
        async with lane.connection() as conn:
            assert conn.fileno() > 1024
            assert await fetch_value(conn, b"SELECT length(%(t)s::text)", t="x" * 3_000_000) == 3_000_000
    finally:
        lane.close()
        for descriptor in (null, *others):
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_host_that_has_no_address_is_an_error_and_not_a_stall(database: Database) -> None:
    lane = Database("host=no-such-host.invalid dbname=x user=x", IMPATIENT).api
    with pytest.raises(StoreUnavailable, match=r"no-such-host.invalid|no answer"):
        async with lane.connection():
            pass


# --- hints and leadership ------------------------------------------------------------------------------------------


async def test_a_listener_that_hears_nothing_asks_and_starts_again(proxy: SilentProxy, database: Database) -> None:
    listener = HintListener(proxy.conninfo, IMPATIENT)
    heard = listener.subscribe()
    async with trio.open_nursery() as nursery:
        await start_restarting(nursery, Node("listener"), listener.run, StoreUnavailable)
        assert await heard.receive() == Hint("all", "")
        proxy.fall_silent()
        proxy.speak_again()
        assert await heard.receive() == Hint("all", "")
        async with database.api.connection() as conn:
            await send_hint(conn, "run", 1)
        assert await heard.receive() == Hint("run", "1")
        nursery.cancel_scope.cancel()


async def test_a_listener_that_hears_all_the_time_speaks_too(database: Database) -> None:
    """The server ends a session that says nothing, whatever it is told: under load each listener was cut off four
    times a minute."""
    listener = HintListener(database.conninfo, IMPATIENT)
    heard = listener.subscribe()
    spoke = b"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = 'SELECT 1'"
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.run)
        with trio.fail_after(SOON_S):
            async with database.api.connection() as conn:
                while not await fetch_value(conn, spoke):
                    await send_hint(conn, "run", 1)
                    await heard.receive()
        nursery.cancel_scope.cancel()


async def test_a_leader_behind_a_silent_proxy_stops_and_leads_again(proxy: SilentProxy) -> None:
    terms = _Terms()
    leadership = Leadership(
        conninfo=proxy.conninfo,
        holder="test",
        config=SchedulerConfig(leader_heartbeat_s=0.1, leader_retry_s=0.05),
        store=IMPATIENT,
        now=lambda: datetime.now(UTC),
        follow=trio.sleep_forever,
        lead=terms.lead,
    )
    async with trio.open_nursery() as nursery:
        await start_restarting(nursery, Node("leadership"), leadership.run, StoreUnavailable)
        first = await terms.begun()
        proxy.fall_silent()
        await terms.ended()
        proxy.speak_again()
        # The old session still has the lock, until the server has not heard it for too long.
        assert await terms.begun() == first + 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_leading", [False, True], ids=["before the term", "during the term"])
async def test_a_process_that_stops_within_a_pipeline_holds_up_no_leader(
    proxy: SilentProxy, distant: Database, database: Database, is_leading: bool
) -> None:
    """Its session is active to the server: no limit on idle transactions, nor on statements, ends it. Found by freezing
    leaders under load: of one that was frozen within a batch nobody took over until it went on."""
    terms = _Terms()
    leadership = Leadership(
        conninfo=database.conninfo,
        holder="test",
        config=SchedulerConfig(leader_heartbeat_s=0.1, leader_retry_s=0.05),
        store=IMPATIENT,
        now=lambda: datetime.now(UTC),
        follow=trio.sleep_forever,
        lead=terms.lead,
    )
    async with trio.open_nursery() as nursery:
        if is_leading:
            await start_restarting(nursery, Node("leadership"), leadership.run, StoreUnavailable)
            await terms.begun()
        with pytest.raises(StoreUnavailable):
            async with distant.api.pipelined_transaction() as batch:
                cursor = await batch.execute(b"SELECT term FROM leadership FOR KEY SHARE")
                await cursor.fetchone()
                await batch.execute(b"SELECT 1 FROM dag FOR UPDATE")
                proxy.fall_silent()
        if not is_leading:
            await start_restarting(nursery, Node("leadership"), leadership.run, StoreUnavailable)
            await terms.begun()
        async with database.api.transaction() as conn:
            await conn.execute(b"SELECT term FROM leadership FOR UPDATE")
        nursery.cancel_scope.cancel()


class _Terms:
    def __init__(self) -> None:
        self._begin, self._begun = trio.open_memory_channel[int](10)
        self._end, self._ended = trio.open_memory_channel[int](10)

    async def lead(self, term: int) -> None:
        self._begin.send_nowait(term)
        try:
            await trio.sleep_forever()
        finally:
            self._end.send_nowait(term)

    async def begun(self) -> int:
        return await self._begun.receive()

    async def ended(self) -> int:
        return await self._ended.receive()
