"""The egress client against a real server on loopback: connections, requests, TLS."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from leoflow_sensors.egress import EgressClient, Limits, RequestInvalid, Tls, _ssl_context, build_request, redirected
from leoflow_sensors.egress_policy import parse_policy
from leoflow_sensors.kinds import TargetDown
from tests.fakes.scripted_server import Answer, ScriptedServer, Stream, answer, scripted_server

LIMITS = Limits(head_s=10, total_s=10)


@asynccontextmanager
async def _talk(
    *answers: Answer, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[ScriptedServer, EgressClient]]:
    async with scripted_server(*answers, tls=tls) as server:
        client = EgressClient(parse_policy("127.0.0.1, ::1"))
        try:
            yield server, client
        finally:
            client.close()


async def _close_at_once(stream: Stream) -> None:
    """The server's idle timeout, at the worst moment: the request has come, no answer goes out."""


# --- connections -------------------------------------------------------------------------------------------------


async def test_requests_to_one_origin_share_a_connection() -> None:
    async with _talk(answer(body=b"1"), answer(body=b"2")) as (server, client):
        bodies = [(await client.request("GET", server.url, limits=LIMITS)).body for _ in range(2)]
        assert (bodies, server.connections) == ([b"1", b"2"], 1)


async def test_an_answer_that_says_close_is_the_last_on_its_connection() -> None:
    async with _talk(answer("200 OK", b"", "Connection: close")) as (server, client):
        for _ in range(2):
            await client.request("GET", server.url, limits=LIMITS)
        assert server.connections == 2


async def test_a_kept_connection_that_the_server_closed_meanwhile_is_replaced() -> None:
    async with _talk(answer(), _close_at_once, answer(body=b"again")) as (server, client):
        await client.request("GET", server.url, limits=LIMITS)
        assert (await client.request("GET", server.url, limits=LIMITS)).body == b"again"
        assert len(server.requests) == 3


async def test_a_fresh_connection_that_breaks_is_not_tried_again() -> None:
    async with _talk(_close_at_once) as (server, client):
        with pytest.raises(TargetDown):
            await client.request("GET", server.url, limits=LIMITS)
        assert len(server.requests) == 1


async def test_a_post_never_risks_a_kept_connection() -> None:
    async with _talk(answer()) as (server, client):
        for method in ("GET", "POST"):
            await client.request(method, server.url, limits=LIMITS)
        assert server.connections == 2


async def test_a_connection_that_was_idle_for_long_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leoflow_sensors.egress.IDLE_S", 0.0)
    async with _talk(answer()) as (server, client):
        for _ in range(2):
            await client.request("GET", server.url, limits=LIMITS)
        assert server.connections == 2


async def test_the_longest_unused_connection_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leoflow_sensors.egress.IDLE_MAX", 1)
    async with _talk(answer()) as (first, client), scripted_server(answer()) as second:
        for server in (first, second, first):
            await client.request("GET", server.url, limits=LIMITS)
        assert (first.connections, second.connections) == (2, 1)


async def test_a_closed_client_has_no_connection_open() -> None:
    async with _talk(answer()) as (server, client):
        await client.request("GET", server.url, limits=LIMITS)
        client.close()
        await client.request("GET", server.url, limits=LIMITS)
        assert server.connections == 2


async def test_a_response_tells_what_came_and_from_where() -> None:
    async with _talk(answer("302 Found", b"", "Location: /there?x=1"), answer("418 Tea", b'{"a": 1}', "X-One: 1")) as (
        server,
        client,
    ):
        response = await client.request("GET", server.url, limits=LIMITS)
        assert (response.status, response.reason, response.url) == (418, "Tea", f"{server.url}/there?x=1")
        assert (response.headers["x-one"], response.json(), response.text()) == ("1", {"a": 1}, '{"a": 1}')


async def test_no_redirects_means_the_redirect_itself() -> None:
    async with _talk(answer("302 Found", b"", "Location: /there")) as (server, client):
        assert (await client.request("GET", server.url, redirects_max=0, limits=LIMITS)).status == 302


async def test_a_head_answer_has_a_length_but_no_body() -> None:
    async with _talk(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n") as (server, client):
        for _ in range(2):
            assert (await client.request("HEAD", server.url, limits=LIMITS)).body == b""
        assert server.connections == 1


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain; charset=iso-8859-1", b"\xe9", "é"),
        ("text/plain", "é".encode(), "é"),
        ("text/plain", b"\xff", "\ufffd"),
        ("text/plain; charset=nonsense", "é".encode(), "é"),
    ],
)
async def test_text_is_decoded_as_the_server_says(content_type: str, body: bytes, text: str) -> None:
    async with _talk(answer("200 OK", body, f"Content-Type: {content_type}")) as (server, client):
        assert (await client.request("GET", server.url, limits=LIMITS)).text() == text


# --- requests ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "target"),
    [
        ({"b": "x y", "c": ["1", "2"]}, b"/p?a=1&b=x%20y&c=1&c=2"),
        ("b=2", b"/p?a=1&b=2"),
        ({"a": "2"}, b"/p?a=1&a=2"),
        (None, b"/p?a=1"),
    ],
)
def test_params_join_the_query(params: Any, target: bytes) -> None:
    assert build_request("GET", "http://h/p?a=1", params=params).url.raw_path == target


@pytest.mark.parametrize(
    ("body", "content", "content_type"),
    [
        ({"content": "raw"}, b"raw", None),
        ({"data": {"a": ["1", "2"], "b": "x y"}}, b"a=1&a=2&b=x+y", "application/x-www-form-urlencoded"),
        ({"json": {"a": None}}, b'{"a":null}', "application/json"),
    ],
)
def test_a_body_has_one_of_three_forms(body: dict[str, Any], content: bytes, content_type: str | None) -> None:
    request = build_request("POST", "http://h/", **body)
    assert (request.content, request.headers.get("Content-Type")) == (content, content_type)


def test_the_callers_content_type_stands() -> None:
    request = build_request("POST", "http://h/", json={}, headers={"content-type": "application/merge-patch+json"})
    assert request.headers.get_list("Content-Type") == ["application/merge-patch+json"]


def test_the_callers_authorization_stands() -> None:
    request = build_request("GET", "http://h/", auth=("a", "b"), headers={"Authorization": "Bearer x"})
    assert request.headers["Authorization"] == "Bearer x"


@pytest.mark.parametrize("arguments", [{"content": "a", "json": {}}, {"headers": {"X": "☃"}}, {"headers": {"X": 1}}])
def test_what_is_no_request_is_said_so(arguments: dict[str, Any]) -> None:
    with pytest.raises(RequestInvalid):
        build_request("POST", "http://h/?token=hunter2", **arguments)


def test_the_message_about_a_url_hides_its_query() -> None:
    with pytest.raises(RequestInvalid) as invalid:
        build_request("GET", "http://h:port/?token=hunter2")
    assert "hunter2" not in str(invalid.value)


@pytest.mark.parametrize(
    ("method", "status", "becomes", "content"),
    [
        ("POST", 301, "GET", b""),
        ("POST", 302, "GET", b""),
        ("PUT", 302, "PUT", b"x"),
        ("PUT", 303, "GET", b""),
        ("HEAD", 303, "HEAD", b"x"),
        ("POST", 307, "POST", b"x"),
        ("POST", 308, "POST", b"x"),
    ],
)
def test_redirects_change_the_method_as_browsers_do(method: str, status: int, becomes: str, content: bytes) -> None:
    request = redirected(build_request(method, "http://h/", content="x"), status, "/next")
    assert (request.method, request.content) == (becomes, content)


# --- TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate of 127.0.0.1, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leoflow test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    pem, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password) + certificate.public_bytes(pem)
    )
    return file


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def ca_pem(certificate: Path) -> str:
    return certificate.read_text().partition("-----END PRIVATE KEY-----\n")[2]


def test_certifi_vouches_where_the_system_has_no_authorities(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, certificate: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert len(_ssl_context.__wrapped__(Tls()).get_ca_certs()) > 50


async def test_a_certificate_that_nobody_vouches_for_is_refused(server_tls: ssl.SSLContext) -> None:
    async with _talk(answer(), tls=server_tls) as (server, client):
        with pytest.raises(TargetDown, match="CERTIFICATE_VERIFY_FAILED"):
            await client.request("GET", server.url, limits=LIMITS)
        assert server.requests == []


async def test_an_authority_of_ones_own_is_trusted(server_tls: ssl.SSLContext, ca_pem: str) -> None:
    async with _talk(answer(body=b"secure"), tls=server_tls) as (server, client):
        tls = Tls(ca_pem=ca_pem)
        assert (await client.request("GET", server.url, tls=tls, limits=LIMITS)).body == b"secure"


async def test_a_certificate_of_another_name_is_refused(server_tls: ssl.SSLContext, ca_pem: str) -> None:
    async with _talk(answer(), tls=server_tls) as (server, client):
        tls = Tls(ca_pem=ca_pem)
        with pytest.raises(TargetDown, match="CERTIFICATE_VERIFY_FAILED"):
            await client.request("GET", server.url.replace("127.0.0.1", "localhost"), tls=tls, limits=LIMITS)


async def test_verification_can_be_switched_off(server_tls: ssl.SSLContext) -> None:
    async with _talk(answer(body=b"whoever"), tls=server_tls) as (server, client):
        response = await client.request("GET", server.url, tls=Tls(verify=False), limits=LIMITS)
        assert response.body == b"whoever"


async def test_a_connection_without_verification_is_not_reused_with_it(server_tls: ssl.SSLContext) -> None:
    async with _talk(answer(), tls=server_tls) as (server, client):
        await client.request("GET", server.url, tls=Tls(verify=False), limits=LIMITS)
        with pytest.raises(TargetDown, match="CERTIFICATE_VERIFY_FAILED"):
            await client.request("GET", server.url, limits=LIMITS)


async def test_a_redirect_from_https_to_http_is_refused(server_tls: ssl.SSLContext) -> None:
    async with _talk(answer("302 Found", b"", "Location: http://127.0.0.1:1/"), tls=server_tls) as (server, client):
        with pytest.raises(Exception, match="from https to http"):
            await client.request("GET", server.url, tls=Tls(verify=False), limits=LIMITS)
