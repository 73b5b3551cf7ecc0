"""Object stores on loopback: as much of S3 and of Google Cloud Storage as decides what a sensor sees.

The S3 one refuses what is not signed for the very path, query and host that arrived.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qs, quote_plus, unquote
from xml.sax.saxutils import escape

import msgspec
import trio
from typing_extensions import override

from leoflow_sensors.aws_signature import AwsKey, signed_headers
from tests.fakes.scripted_server import Answer, ScriptedServer, answer

KEY = AwsKey(key_id="AKIDEXAMPLE", secret="wJalrXUtnFEMI")
REGION = "eu-central-1"


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    target: str
    body: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Request:
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        path, _, query = target.partition("?")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        values = {name: some[0] for name, some in parse_qs(query, keep_blank_values=True).items()}
        return cls(method, unquote(path), values, headers, target, body)


@dataclass
class FakeStore(ScriptedServer):
    """Answers from `objects`; `refuse` may answer in their place."""

    answers: list[Answer] = field(default_factory=list)
    objects: set[str] = field(default_factory=set)
    refuse: Callable[[Request], bytes | None] = lambda _request: None
    page_size: int = 1000

    @override
    def next_answer(self) -> Answer:
        request = Request.parse(self.requests[-1])
        return self.refuse(request) or self.respond(request)

    def respond(self, request: Request) -> bytes:
        raise NotImplementedError

    @property
    def asked(self) -> list[str]:
        """`HEAD /bucket/key` of each request so far."""
        return [f"{r.method} {r.path}" for r in map(Request.parse, self.requests)]

    def page(self, prefix: str, after: str, at_most: int) -> tuple[list[str], str | None]:
        names = sorted(name for name in self.objects if name.startswith(prefix) and name > after)
        size = min(at_most, self.page_size)
        return names[:size], names[size - 1] if len(names) > size else None


@dataclass
class FakeS3(FakeStore):
    bucket: str = "landing"

    @override
    def respond(self, request: Request) -> bytes:
        if not _is_signed(request):
            return answer(
                "403 Forbidden", b"<Error><Code>SignatureDoesNotMatch</Code></Error>" * (request.method != "HEAD")
            )
        key = request.path.removeprefix(f"/{self.bucket}/")
        if request.method == "HEAD":
            return answer("200 OK" if key in self.objects else "404 Not Found")
        names, last = self.page(
            request.query["prefix"], request.query.get("continuation-token", ""), int(request.query["max-keys"])
        )
        contents = "".join(f"<Contents><Key>{escape(quote_plus(name))}</Key></Contents>" for name in names)
        more = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if last else ""
        document = (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{'true' if last else 'false'}</IsTruncated>{contents}{more}</ListBucketResult>"
        )
        return answer("200 OK", document.encode())


def _is_signed(request: Request) -> bool:
    now = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    url = f"http://{request.headers['host']}{request.target}"
    expected = signed_headers(request.method, url, key=KEY, region=REGION, now=now)
    return request.headers.get("authorization") == expected["Authorization"]


@dataclass
class FakeGoogle(FakeStore):
    """Logs anybody in, and then wants the token of the last login."""

    logins: list[dict[str, str]] = field(default_factory=list)

    @override
    def respond(self, request: Request) -> bytes:
        if request.path == "/token":
            self.logins.append({name: some[0] for name, some in parse_qs(request.body.decode()).items()})
            return _json({"access_token": f"token-{len(self.logins)}", "expires_in": 3600})
        if request.headers.get("authorization", "") != (f"Bearer token-{len(self.logins)}" if self.logins else ""):
            return answer("401 Unauthorized")
        _, _, key = request.path.partition("/storage/v1/b/landing/o/")
        if key:
            return _json({"name": key}) if key in self.objects else answer("404 Not Found")
        if "matchGlob" in request.query:
            return _json({"items": [{"name": name} for name in self.objects if name == "in/a.csv"]})
        names, last = self.page(
            request.query.get("prefix", ""), request.query.get("pageToken", ""), int(request.query["maxResults"])
        )
        return _json({"items": [{"name": name} for name in names], **({"nextPageToken": last} if last else {})})


def _json(document: Any) -> bytes:
    return answer("200 OK", msgspec.json.encode(document))


@asynccontextmanager
async def serving(server: ScriptedServer) -> AsyncIterator[None]:
    """The server's life, on a free port of loopback."""
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        server.port = listener.socket.getsockname()[1]
        yield
        nursery.cancel_scope.cancel()
