"""Attack 24: nobody gets the daemon to connect where its operator did not allow it. Real sockets, our own DNS."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from leoflow_sensors.egress import EgressClient, Limits, TooManyRedirects
from leoflow_sensors.egress_policy import EgressPolicy, EgressRefused, parse_policy
from leoflow_sensors.kinds import TargetDown
from tests.conftest import PATIENCE_S
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
