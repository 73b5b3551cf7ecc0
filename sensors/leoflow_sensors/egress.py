"""The only way out for probes and inline HTTP tasks: HTTP requests under the egress policy and within limits (ADR 15).

Kinds that speak another protocol ask `EgressClient.addresses` where they may connect to (ADR 24).

Each worker of the cheap-task pool has a client of its own, which keeps one connection per origin open. A name is
resolved once per connection, every address is checked, and the connection goes to an address that was checked: there
is no second look at DNS that could answer otherwise. Each redirect is a new decision. Proxies, cookies, `.netrc` and
the environment have no say here.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

import certifi
import h11
import httpx
import msgspec
import trio

from leoflow_sensors.egress_policy import (
    Destination,
    EgressPolicy,
    EgressRefused,
    check_addresses,
    destination,
)
from leoflow_sensors.http_connection import ConnectionBroken, Head, HttpConnection
from leoflow_sensors.kinds import ProbeFailed, TargetDown

CONNECT_S = 5.0
"""For each address of a name: one that swallows packets must not use up the time of the next."""
ADDRESSES_MAX = 8
IDLE_MAX = 8
"""Kept-alive connections of one client; the longest unused goes first."""
IDLE_S = 90.0
"""Longer than the usual poke interval of 60 s; what the server closed earlier is seen before it is used."""
REDIRECTS_MAX = 5
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""RFC 9110, 9.2.2: asking again is no second act."""
DEFAULT_HEADERS = {"Accept": "*/*", "Accept-Encoding": "gzip", "User-Agent": "leoflow"}

_METHOD = re.compile(r"[A-Z]{1,20}")
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})
"""They say where the request goes and where it ends, which is ours to say."""
_CONTENT_HEADERS = frozenset({"content-type", "content-encoding", "content-language"})
_HARMLESS_HEADERS = frozenset({"accept", "accept-encoding", "accept-language", "user-agent"})
"""What another origin gets to see after a redirect; API keys come under any name."""
_CHARSET = re.compile(r"charset=\"?([A-Za-z0-9._-]{1,40})", re.IGNORECASE)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) -> its addresses as text, best first; raises OSError."""


class ResponseTooLarge(ProbeFailed):
    """More bytes than `Limits.max_body_bytes`, as sent or after decompression."""


class ResponseUnreadable(ProbeFailed):
    """The body is not what its headers say."""


class TooManyRedirects(ProbeFailed):
    """The chain did not end after `REDIRECTS_MAX`."""


class RequestInvalid(ProbeFailed):
    """The request itself is malformed: its URL, method or a header. Asking again is pointless."""


class AnswerTooSlow(TargetDown):
    """No answer, or not all of it, within the limits of time."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one request may cost, over all its redirects."""

    max_body_bytes: int = 1024 * 1024
    head_s: float = 30.0
    """From the look at DNS to the end of the headers, for each redirect anew."""
    total_s: float = 60.0
    """From the first byte sent to the last one received: a server that drips is cut off, whatever its pace."""


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """How the server of an https URL proves who it is: by the system's and certifi's authorities."""

    verify: bool = True
    """False trusts anybody; only for a connection that says so in its extra."""
    ca_pem: str | None = None
    """Authorities to trust instead, as PEM text."""


LIMITS = Limits()
TLS = Tls()


class Response(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    reason: str
    headers: httpx.Headers
    """Names in any case."""
    body: bytes
    """After decompression."""
    url: str
    """Where the answer came from, after redirects."""
    elapsed_s: float

    def text(self) -> str:
        """In the charset of Content-Type, else UTF-8; what it cannot decode becomes U+FFFD."""
        found = _CHARSET.search(self.headers.get("Content-Type", ""))
        try:
            return self.body.decode(found[1] if found else "utf-8", "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Raises `ResponseUnreadable` when the body is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ResponseUnreadable(f"the answer of {self.url} is no JSON: {error}") from error


async def resolve_name(host: str, port: int) -> Sequence[str]:
    """The system's resolver; addresses pass through."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


class EgressClient:
    """For one task at a time. `close` it, or its kept connections stay open."""

    def __init__(self, policy: EgressPolicy, *, resolve: Resolve = resolve_name) -> None:
        self._policy = policy
        self._resolve = resolve
        self._idle: OrderedDict[tuple[Destination, Tls], HttpConnection] = OrderedDict()

    def close(self) -> None:
        while self._idle:
            self._idle.popitem()[1].close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | str | None = None,
        content: str | bytes | None = None,
        data: Mapping[str, Any] | None = None,
        json: Any = None,
        auth: tuple[str, str] | None = None,
        limits: Limits = LIMITS,
        tls: Tls = TLS,
        redirects_max: int = REDIRECTS_MAX,
    ) -> Response:
        """Ask, follow redirects (0: give back the redirect itself), and read all of the answer, whatever its status.

        `params` (a mapping, whose values may be lists, or encoded text) join the URL's query; at most one of `content`
        (raw), `data` (a form) and `json` is the body; `auth` is (login, password).

        Raises `EgressRefused`, `RequestInvalid`, `ResponseTooLarge`, `ResponseUnreadable`, `TooManyRedirects` (all of
        them `ProbeFailed`), `AnswerTooSlow` and `TargetDown`.
        """
        request = build_request(
            method, url, headers=headers, params=params, content=content, data=data, json=json, auth=auth
        )
        started = trio.current_time()
        with trio.move_on_after(limits.total_s):
            head, body, final = await self._follow(request, limits, tls, min(redirects_max, REDIRECTS_MAX))
            return Response(
                status=head.status,
                reason=head.reason,
                headers=head.headers,
                body=body,
                url=str(final.url),
                elapsed_s=trio.current_time() - started,
            )
        raise AnswerTooSlow(f"{destination(request.url)} did not complete its answer within {limits.total_s:g} s")

    async def _follow(
        self, request: httpx.Request, limits: Limits, tls: Tls, redirects_max: int
    ) -> tuple[Head, bytes, httpx.Request]:
        for hop in range(REDIRECTS_MAX + 1):
            target = destination(request.url)
            head, body = await self._exchange(target, request, limits, tls)
            location = head.headers.get("Location")
            if head.status not in (301, 302, 303, 307, 308) or location is None or redirects_max == 0:
                return head, body, request
            if hop == redirects_max:
                break
            request = redirected(request, head.status, location)
        raise TooManyRedirects(f"{target} redirects again after {redirects_max} redirects; is it a loop?")

    async def _exchange(
        self, target: Destination, request: httpx.Request, limits: Limits, tls: Tls
    ) -> tuple[Head, bytes]:
        answered = None
        with trio.move_on_after(limits.head_s):
            answered = await self._ask(target, request, tls)
        if answered is None:
            raise AnswerTooSlow(f"{target} did not answer within {limits.head_s:g} s")
        connection, head = answered
        try:
            return head, await _read_body(connection, head, target, limits.max_body_bytes)
        finally:
            self._keep((target, tls), connection)

    async def _ask(self, target: Destination, request: httpx.Request, tls: Tls) -> tuple[HttpConnection, Head]:
        # The server may close a kept connection while the request is on its way: only what may be asked twice uses one.
        kept = self._take((target, tls)) if request.method in IDEMPOTENT else None
        try:
            if kept is not None:
                try:
                    return kept, await kept.ask(request)
                except ConnectionBroken:
                    pass  # ask again below, on a new one
            connection = await self._connect(target, tls)
            return connection, await connection.ask(request)
        except ConnectionBroken as error:
            raise TargetDown(f"{target}: {error}") from error
        except h11.LocalProtocolError as error:
            raise RequestInvalid(f"cannot ask {target}: {error}") from error

    def _take(self, key: tuple[Destination, Tls]) -> HttpConnection | None:
        kept = self._idle.pop(key, None)
        if kept is None:
            return None
        fresh = kept.idle_since is not None and trio.current_time() - kept.idle_since < IDLE_S
        if fresh and kept.is_reusable():
            return kept
        kept.close()
        return None

    def _keep(self, key: tuple[Destination, Tls], connection: HttpConnection) -> None:
        if connection.idle_since is None:
            connection.close()
            return
        replaced = self._idle.pop(key, None)
        if replaced is not None:
            replaced.close()
        self._idle[key] = connection
        if len(self._idle) > IDLE_MAX:
            self._idle.popitem(last=False)[1].close()

    async def addresses(self, target: Destination) -> Sequence[str]:
        """All that the name leads to, every one of them checked: whoever connects to these needs no second look at DNS.

        For kinds that speak other protocols. Raises `EgressRefused` and `TargetDown`.
        """
        try:
            found = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError) as error:
            raise TargetDown(f"{target}: the name {target.host!r} cannot be resolved: {error}") from error
        if not found:
            raise TargetDown(f"{target}: the name {target.host!r} has no address")
        check_addresses(self._policy, target, found)
        return found[:ADDRESSES_MAX]

    async def _connect(self, target: Destination, tls: Tls) -> HttpConnection:
        stream = await _open_first(target, await self.addresses(target))
        if target.scheme == "http":
            return HttpConnection(stream, stream)
        secure = trio.SSLStream(stream, _ssl_context(tls), server_hostname=target.host, https_compatible=True)
        try:
            await secure.do_handshake()
        except trio.BrokenResourceError as error:
            stream.socket.close()
            raise TargetDown(f"{target}: no secure connection: {error.__cause__ or error}") from error
        except BaseException:
            stream.socket.close()
            raise
        return HttpConnection(stream, secure)


async def _open_first(target: Destination, addresses: Sequence[str]) -> trio.SocketStream:
    """A connection to the first of these addresses that answers; they are numbers, so nothing is resolved any more."""
    failure: OSError = TimeoutError(f"no connection within {CONNECT_S:g} s")
    for address in addresses:
        with trio.move_on_after(CONNECT_S):
            try:
                return await trio.open_tcp_stream(address, target.port)
            except OSError as error:
                failure = error
    raise TargetDown(f"{target}: cannot connect to {', '.join(addresses) or 'any address'}: {failure}") from failure


@lru_cache(maxsize=64)
def _ssl_context(tls: Tls) -> ssl.SSLContext:
    """Reading the authorities takes some 20 ms, so once per way to trust."""
    try:
        context = ssl.create_default_context(cadata=tls.ca_pem)
    except ssl.SSLError as error:
        raise RequestInvalid(f"the connection's certificate authority is no PEM certificate: {error}") from error
    if tls.ca_pem is None:
        context.load_verify_locations(certifi.where())
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


# --- the body of an answer ---------------------------------------------------------------------------------------


async def _read_body(connection: HttpConnection, head: Head, target: Destination, max_bytes: int) -> bytes:
    decoder = _decoder(head, target)
    body = bytearray()
    received = 0
    try:
        while (piece := await connection.receive()) is not None:
            received += len(piece)
            # One byte more than fits shows that it does not fit; a bomb is never unpacked further.
            body += piece if decoder is None else decoder.decompress(piece, max_bytes - len(body) + 1)
            if max(received, len(body)) > max_bytes:
                raise ResponseTooLarge(f"the answer of {target} is larger than {max_bytes} bytes, which is the limit")
    except ConnectionBroken as error:
        raise TargetDown(f"{target}: {error}") from error
    except zlib.error as error:
        raise ResponseUnreadable(f"the answer of {target} is no gzip, as its Content-Encoding says: {error}") from error
    if decoder is not None and received and (not decoder.eof or decoder.unused_data):
        raise ResponseUnreadable(f"the answer of {target} does not end where its gzip does")
    return bytes(body)


def _decoder(head: Head, target: Destination) -> zlib._Decompress | None:
    encoding = head.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "identity":
        return None
    if encoding not in ("gzip", "x-gzip"):
        raise ResponseUnreadable(
            f"the answer of {target} has the Content-Encoding {encoding!r}; we asked for gzip only"
        )
    return zlib.decompressobj(wbits=31)  # 31: gzip only, largest window


# --- requests ----------------------------------------------------------------------------------------------------


def build_request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, Any] | str | None = None,
    content: str | bytes | None = None,
    data: Mapping[str, Any] | None = None,
    json: Any = None,
    auth: tuple[str, str] | None = None,
) -> httpx.Request:
    """The request as it goes out; arguments as for `EgressClient.request`. Raises `RequestInvalid`."""
    if not _METHOD.fullmatch(method) or method in _REFUSED_METHODS:
        raise RequestInvalid(f"{method!r} is no HTTP method that may be asked for")
    if sum(body is not None for body in (content, data, json)) > 1:
        raise RequestInvalid("a request has one body: raw content, a form or JSON")
    fields = {**DEFAULT_HEADERS, **(headers or {})}
    for name in fields:
        if name.lower() in _OWN_HEADERS:
            raise RequestInvalid(f"the header {name!r} cannot be set: it follows from the URL and the body")
    try:
        address = httpx.URL(url)
        if params:
            more = params if isinstance(params, str) else urlencode(params, doseq=True, quote_via=quote)
            address = address.copy_with(query=b"&".join(part for part in (address.query, more.encode()) if part))
        merged = httpx.Headers(fields)
        if auth is not None:
            merged.setdefault("Authorization", _basic(auth))
        if data is not None:
            content = urlencode(data, doseq=True)
            merged.setdefault("Content-Type", "application/x-www-form-urlencoded")
        if json is not None:
            content = msgspec.json.encode(json)
            merged.setdefault("Content-Type", "application/json")
        return httpx.Request(method, address, headers=merged, content=content)
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        raise RequestInvalid(f"{method} {url.partition('?')[0]!r} is no request: {error}") from error


def _basic(auth: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(auth).encode()).decode("ascii")


def redirected(request: httpx.Request, status: int, location: str) -> httpx.Request:
    """The request that follows a redirect, as browsers and `requests` do it but warier of other origins.

    Raises `EgressRefused`, also for the step from https to http.
    """
    old = destination(request.url)
    try:
        url = request.url.join(location)
    except httpx.InvalidURL as error:
        raise RequestInvalid(f"{old} redirects to {location!r}, which is no URL: {error}") from error
    new = destination(url)
    if old.scheme == "https" and new.scheme == "http":
        raise EgressRefused(f"{old} redirects to {new}: a redirect from https to http is refused")
    loses_body = (status == 303 and request.method != "HEAD") or (status in (301, 302) and request.method == "POST")
    dropped = _OWN_HEADERS | _CONTENT_HEADERS if loses_body else _OWN_HEADERS
    headers = {name: value for name, value in request.headers.items() if name not in dropped}
    content = b"" if loses_body else request.content
    if new != old:
        if content:
            raise EgressRefused(f"{old} redirects to {new}: the request's body is not sent to another origin")
        headers = {name: value for name, value in headers.items() if name in _HARMLESS_HEADERS}
    return httpx.Request("GET" if loses_body else request.method, url, headers=headers, content=content or None)
