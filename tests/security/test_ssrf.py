"""Attack 24: nobody gets the daemon to connect where its operator did not allow it. Real sockets, our own DNS."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest
import trio

from leoflow_sensors import redis_key, sql
from leoflow_sensors.egress import EgressClient, Limits, TooManyRedirects
from leoflow_sensors.egress_policy import SETTING, EgressPolicy, EgressRefused, parse_policy
from leoflow_sensors.kinds import ProbeFailed, TargetDown
from leoflow_sensors.redis_key import RedisKeySpec
from leoflow_sensors.sql import SqlSpec, conninfo_of
from leoflowd.contract.connection import ConnectionFacts
from tests.conftest import PATIENCE_S
from tests.fakes.probe_context import Context, connection
from tests.fakes.scripted_server import ScriptedServer, answer, scripted_server

LIMITS = Limits(head_s=PATIENCE_S, total_s=PATIENCE_S)


class Dns:
    """A resolver that gives one set of addresses after the other, as an attacker's name server does."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def _client(server: ScriptedServer, dns: Dns | None = None) -> EgressClient:
    """One that may connect to this server and to nothing else of this machine."""
    policy = parse_policy(f"127.0.0.1:{server.port}")
    return EgressClient(policy) if dns is None else EgressClient(policy, resolve=dns.resolve)


def _redirecting_to(other: ScriptedServer) -> AbstractAsyncContextManager[ScriptedServer]:
    return scripted_server(answer("307 Temporary Redirect", b"", f"Location: {other.url}/"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.0.0.1.", "0.0.0.0"])
async def test_loopback_is_refused_by_default(host: str) -> None:
    async with scripted_server(answer()) as server:
        with pytest.raises(EgressRefused, match="LEOFLOW_EGRESS_ALLOW"):
            await EgressClient(EgressPolicy()).request("GET", f"http://{host}:{server.port}/", limits=LIMITS)
        assert server.connections == 0


@pytest.mark.parametrize(
    "name", ["kubernetes.default.svc", "postgres", "metadata.google.internal", "intranet.corp.example"]
)
async def test_a_name_inside_the_cluster_is_refused_for_its_address(name: str) -> None:
    with pytest.raises(EgressRefused, match=r"it leads to 10\.96\.0\.1, a private address"):
        await EgressClient(EgressPolicy(), resolve=Dns(["10.96.0.1"]).resolve).request("GET", f"https://{name}/")


async def test_dns_is_asked_once_and_its_second_answer_plays_no_role() -> None:
    dns = Dns(["127.0.0.1"], ["169.254.169.254"])
    async with scripted_server(answer(body=b"harmless")) as server:
        client = _client(server, dns)
        response = await client.request("GET", f"http://rebind.example:{server.port}/", limits=LIMITS)
        client.close()
    assert (response.body, dns.asked) == (b"harmless", ["rebind.example"])


async def test_the_name_stays_in_the_host_header_though_the_connection_goes_to_an_address() -> None:
    async with scripted_server(answer()) as server:
        client = _client(server, Dns(["127.0.0.1"]))
        await client.request("GET", f"http://rebind.example:{server.port}/", limits=LIMITS)
        client.close()
    assert f"\r\nHost: rebind.example:{server.port}\r\n".encode() in server.requests[0]


async def test_a_new_connection_is_a_new_decision() -> None:
    dns = Dns(["127.0.0.1"], ["169.254.169.254"])
    async with scripted_server(answer("200 OK", b"", "Connection: close")) as server:
        client = _client(server, dns)
        await client.request("GET", f"http://rebind.example:{server.port}/", limits=LIMITS)
        with pytest.raises(EgressRefused, match="metadata"):
            await client.request("GET", f"http://rebind.example:{server.port}/", limits=LIMITS)


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:169.254.169.254]/",
        "//169.254.169.254/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://127.0.0.1:1/",
        "http://user:pw@127.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
    ],
)
async def test_a_redirect_is_a_new_decision(location: str) -> None:
    async with scripted_server(answer("302 Found", b"", f"Location: {location}")) as server:
        client = _client(server)
        with pytest.raises(EgressRefused):
            await client.request("GET", server.url, limits=LIMITS)
        client.close()


async def test_a_chain_of_redirects_to_the_metadata_service_ends_before_it() -> None:
    hops = [answer("307 Temporary Redirect", b"", f"Location: /{n}") for n in range(3)]
    last = answer("302 Found", b"", "Location: http://169.254.169.254/")
    async with scripted_server(*hops, last) as server:
        client = _client(server)
        with pytest.raises(EgressRefused, match="metadata"):
            await client.request("GET", server.url, limits=LIMITS)
        client.close()
    assert len(server.requests) == 4


async def test_a_redirect_loop_ends() -> None:
    async with scripted_server(answer("302 Found", b"", "Location: /again")) as server:
        client = _client(server)
        with pytest.raises(TooManyRedirects, match="after 5 redirects"):
            await client.request("GET", server.url, limits=LIMITS)
        client.close()
    assert len(server.requests) == 6


async def test_credentials_do_not_follow_a_redirect_to_another_origin() -> None:
    async with scripted_server(answer()) as thief, _redirecting_to(thief) as server:
        client = EgressClient(parse_policy(f"127.0.0.1:{server.port},127.0.0.1:{thief.port}"))
        headers = {"X-Api-Key": "sesame", "Cookie": "c=sesame", "Accept": "text/plain"}
        await client.request("GET", server.url, headers=headers, auth=("me", "sesame"), limits=LIMITS)
        client.close()
    assert b"sesame" in server.requests[0]
    assert b"Authorization: Basic" in server.requests[0]
    assert b"sesame" not in thief.requests[0]
    assert b"authorization" not in thief.requests[0].lower()
    assert b"text/plain" in thief.requests[0]


async def test_credentials_follow_a_redirect_within_the_origin() -> None:
    async with scripted_server(answer("302 Found", b"", "Location: /there"), answer()) as server:
        client = _client(server)
        await client.request("GET", server.url, auth=("me", "sesame"), limits=LIMITS)
        client.close()
    assert b"authorization: basic" in server.requests[1].lower()


async def test_a_body_is_not_sent_on_to_another_origin() -> None:
    async with scripted_server(answer()) as thief, _redirecting_to(thief) as server:
        client = EgressClient(parse_policy(f"127.0.0.1:{server.port},127.0.0.1:{thief.port}"))
        with pytest.raises(EgressRefused, match="body is not sent to another origin"):
            await client.request("POST", server.url, content="secret", limits=LIMITS)
        client.close()
    assert thief.connections == 0


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "connection"])
async def test_a_caller_cannot_say_where_a_request_ends_or_goes(name: str) -> None:
    async with scripted_server(answer()) as server:
        with pytest.raises(Exception, match="cannot be set"):
            await _client(server).request("GET", server.url, headers={name: "1"}, limits=LIMITS)
        assert server.connections == 0


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00b"])
async def test_a_header_cannot_smuggle_another_one(value: str) -> None:
    async with scripted_server(answer()) as server:
        with pytest.raises(Exception, match="cannot ask"):
            await _client(server).request("GET", server.url, headers={"X-A": value}, limits=LIMITS)
        assert server.requests == []


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "GET / HTTP/1.1\r\nX: 1", "get", ""])
async def test_a_method_cannot_smuggle_a_request(method: str) -> None:
    async with scripted_server(answer()) as server:
        with pytest.raises(Exception, match="no HTTP method"):
            await _client(server).request(method, server.url, limits=LIMITS)
        assert server.connections == 0


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted_server(answer(body=b"direct")) as server, scripted_server(answer(body=b"proxied")) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        client = _client(server)
        assert (await client.request("GET", server.url, limits=LIMITS)).body == b"direct"
        client.close()


async def test_a_name_that_does_not_resolve_is_a_target_that_is_down() -> None:
    async def nowhere(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    with pytest.raises(TargetDown, match="cannot be resolved"):
        await EgressClient(EgressPolicy(), resolve=nowhere).request("GET", "http://nowhere.example/")


# --- kinds that speak other protocols -----------------------------------------------------------------------------

SQL = SqlSpec(sql="SELECT 1")


def asked(kind: Any, spec: Any, facts: ConnectionFacts, *, allow: str = "", leads_to: str | None = None) -> Any:
    """A probe whose connection's name leads to that address."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return [leads_to or host]

    client = EgressClient(parse_policy(allow), resolve=resolve)
    return kind.poke(spec, Context(facts, http=client))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "[::1]", "::ffff:127.0.0.1", "0.0.0.0", "fd00::1"]
)
@pytest.mark.parametrize(("kind", "spec"), [(sql, SQL), (redis_key, RedisKeySpec(key="k"))])
async def test_sql_and_redis_reach_no_address_that_is_not_open(kind: Any, spec: Any, host: str) -> None:
    conn_type = "postgres" if kind is sql else "redis"
    with pytest.raises(EgressRefused, match=SETTING):
        await asked(kind, spec, connection(conn_type, host=host))


@pytest.mark.parametrize(("kind", "spec"), [(sql, SQL), (redis_key, RedisKeySpec(key="k"))])
async def test_sql_and_redis_are_told_by_where_the_name_leads(kind: Any, spec: Any) -> None:
    conn_type = "postgres" if kind is sql else "redis"
    facts = connection(conn_type, host="harmless.example")
    with pytest.raises(EgressRefused, match=r"leads to 127\.0\.0\.1"):
        await asked(kind, spec, facts, leads_to="127.0.0.1")


@pytest.mark.parametrize(("kind", "spec"), [(sql, SQL), (redis_key, RedisKeySpec(key="k"))])
async def test_the_connection_goes_to_the_address_that_was_checked(kind: Any, spec: Any) -> None:
    """A server there is called, and nobody looks the name up a second time: it has no address but ours."""
    called = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        called.set()
        await stream.aclose()

    conn_type = "postgres" if kind is sql else "redis"
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        facts = connection(conn_type, host="only-here.invalid", port=port)
        with pytest.raises(TargetDown):
            await asked(kind, spec, facts, allow=f"127.0.0.1:{port}", leads_to="127.0.0.1")
        nursery.cancel_scope.cancel()
    assert called.is_set()


@pytest.mark.parametrize(
    "host",
    ["/var/run/postgresql", "@abstract", "a,b", "db.example,127.0.0.1", "127.1", "2130706433", "0x7f000001",
     "host=127.0.0.1", "db.example dbname=x", "db.example/../x", "db%2fx", "fe80::1%eth0", "postgresql://127.0.0.1/x",
     "%2Fvar%2Frun"],
)  # fmt: skip
@pytest.mark.parametrize(("kind", "spec"), [(sql, SQL), (redis_key, RedisKeySpec(key="k"))])
async def test_a_host_is_one_host(kind: Any, spec: Any, host: str) -> None:
    conn_type = "postgres" if kind is sql else "redis"
    with pytest.raises(EgressRefused):
        await asked(kind, spec, connection(conn_type, host=host), allow="0.0.0.0/0,::/0", leads_to="127.0.0.1")


@pytest.mark.parametrize(
    "name",
    ["host", "hostaddr", "port", "service", "servicefile", "passfile", "sslrootcert", "sslcert", "sslkey", "sslcrl",
     "sslkeylogfile", "user", "password", "dbname", "requirepeer", "krbsrvname", "gssdelegation", "replication",
     "load_balance_hosts", "oauth_issuer", "conninfo"],
)  # fmt: skip
def test_a_connections_extra_cannot_say_where_to_or_as_whom(name: str) -> None:
    with pytest.raises(ProbeFailed, match=f"has '{name}', which the daemon does not pass on"):
        conninfo_of(connection("postgres", host="db.example", extra={name: "/etc/passwd"}), None)


@pytest.mark.parametrize("options", ["-c x=1 -W", "-f /etc/passwd", "-c", "--x", "; -c a=b", "-p 1"])
def test_options_set_parameters_and_nothing_else(options: str) -> None:
    with pytest.raises(ProbeFailed, match="may only set parameters"):
        conninfo_of(connection("postgres", host="db.example", extra={"options": options}), None)


def test_a_sensor_brings_none_of_the_daemons_own_secrets() -> None:
    told = conninfo_of(connection("postgres", host="db.example"), None)
    assert (told["passfile"], told["sslcertmode"], told["gssencmode"]) == ("", "disable", "disable")


@pytest.mark.parametrize("host", [None, ""])
async def test_without_a_host_libpq_would_take_a_socket_of_this_machine(host: str | None) -> None:
    with pytest.raises(EgressRefused, match="must be one host name"):
        await asked(sql, SQL, connection("postgres", host=host), allow="0.0.0.0/0,::/0", leads_to="127.0.0.1")
