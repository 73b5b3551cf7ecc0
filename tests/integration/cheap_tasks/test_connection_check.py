"""Trying a connection: real servers on loopback, and a policy that must be asked first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict

from leoflow_sensors.egress_policy import EgressPolicy, parse_policy
from leoflowd.cheap_tasks.connection_check import ConnectionCheck
from leoflowd.contract.connection import ConnectionFacts

LOOPBACK = parse_policy("127.0.0.1")


async def loopback(host: str, port: int) -> Sequence[str]:
    """Every name is this machine."""
    await trio.lowlevel.checkpoint()
    return ("127.0.0.1",)


async def nowhere(host: str, port: int) -> Sequence[str]:
    await trio.lowlevel.checkpoint()
    raise OSError("no such name")


async def listen(nursery: trio.Nursery, serve: Callable[[trio.SocketStream], Awaitable[None]]) -> int:
    """The port of a new server on loopback."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, serve, [listener])
    port: int = listener.socket.getsockname()[1]
    return port


class Target:
    """Answers every HTTP request with `status`; remembers what it was asked."""

    def __init__(self) -> None:
        self.status = "200 OK"
        self.requests: list[bytes] = []
        self.port = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            self.requests.append(await stream.receive_some(65536))
            await stream.send_all(f"HTTP/1.1 {self.status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    target = Target()
    async with trio.open_nursery() as nursery:
        target.port = await listen(nursery, target.serve)
        yield target
        nursery.cancel_scope.cancel()


def http(target: Target, **fields: str) -> ConnectionFacts:
    return ConnectionFacts(connection_id="api", conn_type="http", host="api.example", port=target.port, **fields)


class TestHttp:
    @pytest.mark.parametrize(
        ("status", "works"),
        [
            ("200 OK", True),
            ("404 Not Found", True),
            ("405 Method Not Allowed", True),
            ("401 Unauthorized", False),
            ("500 Oops", False),
        ],
    )
    async def test_the_status_decides(self, target: Target, status: str, works: bool) -> None:
        target.status = status
        result, message = await ConnectionCheck(LOOPBACK, resolve=loopback).check(http(target))
        assert result is works
        assert f"answered HTTP {status}" in message

    async def test_the_login_is_sent_and_not_shown(self, target: Target) -> None:
        check = ConnectionCheck(LOOPBACK, resolve=loopback)
        _, message = await check.check(http(target, login="ana", password="hunter2"))
        assert b"\r\nauthorization: basic " in target.requests[0].lower()
        assert "hunter2" not in message

    async def test_the_policy_comes_first(self, target: Target) -> None:
        works, message = await ConnectionCheck(EgressPolicy(), resolve=loopback).check(http(target))
        assert not works
        assert "LEOFLOW_EGRESS_ALLOW" in message
        assert target.requests == []


class TestPostgres:
    @pytest.fixture
    async def server(self, postgres_conninfo: str) -> AsyncIterator[ConnectionFacts]:
        """The session's real server, whose own socket is a Unix one, behind a TCP port."""
        own = {name: str(value) for name, value in conninfo_to_dict(postgres_conninfo).items()}

        async def relay(client: trio.SocketStream) -> None:
            upstream = await trio.open_unix_socket(f"{own['host']}/.s.PGSQL.{own.get('port', '5432')}")
            async with client, upstream, trio.open_nursery() as pumps:
                pumps.start_soon(pump, client, upstream)
                await pump(upstream, client)
                pumps.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            yield ConnectionFacts(
                connection_id="pg",
                conn_type="postgres",
                host="db.example",
                port=await listen(nursery, relay),
                login=own["user"],
                password=own.get("password"),
                schema=own["dbname"],
            )
            nursery.cancel_scope.cancel()

    async def test_a_login_works(self, server: ConnectionFacts) -> None:
        works, message = await ConnectionCheck(LOOPBACK, resolve=loopback).check(server)
        assert works, message
        assert "it is PostgreSQL" in message

    async def test_an_unknown_database_is_said(self, server: ConnectionFacts) -> None:
        facts = msgspec.structs.replace(server, schema="nope")
        works, message = await ConnectionCheck(LOOPBACK, resolve=loopback).check(facts)
        assert (works, 'database "nope" does not exist' in message) == (False, True)

    async def test_a_server_of_another_kind_is_said(self, target: Target) -> None:
        facts = ConnectionFacts(connection_id="pg", conn_type="postgres", host="db.example", port=target.port)
        works, message = await ConnectionCheck(LOOPBACK, resolve=loopback).check(facts)
        assert not works
        assert message

    async def test_the_policy_comes_first(self, target: Target) -> None:
        facts = ConnectionFacts(connection_id="pg", conn_type="postgres", host="db.example", port=target.port)
        works, message = await ConnectionCheck(EgressPolicy(), resolve=loopback).check(facts)
        assert not works
        assert "LEOFLOW_EGRESS_ALLOW" in message
        assert target.requests == []

    @pytest.mark.parametrize("host", [None, "/var/run/postgresql", "a,b"])
    async def test_sockets_and_lists_of_hosts_are_refused(self, host: str | None) -> None:
        facts = ConnectionFacts(connection_id="pg", conn_type="postgres", host=host)
        works, message = await ConnectionCheck(LOOPBACK, resolve=loopback).check(facts)
        assert (works, "one host name" in message) == (False, True)

    async def test_an_unknown_name_is_said(self) -> None:
        facts = ConnectionFacts(connection_id="pg", conn_type="postgres", host="nope.example")
        works, message = await ConnectionCheck(LOOPBACK, resolve=nowhere).check(facts)
        assert (works, "cannot be resolved" in message) == (False, True)


async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    async for piece in source:
        await sink.send_all(piece)


async def test_other_types_are_said_to_be_untested() -> None:
    works, message = await ConnectionCheck(LOOPBACK).check(ConnectionFacts(connection_id="k", conn_type="kafka"))
    assert not works
    assert "'kafka' cannot be tested here" in message
