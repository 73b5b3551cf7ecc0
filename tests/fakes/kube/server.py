"""The fake API server's HTTP: h11 on Trio, TLS if wanted, one task a connection. Its faults are attributes of it."""

from __future__ import annotations

import json
import ssl
from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import h11
import trio

from tests.fakes.certificates import self_signed
from tests.fakes.kube.claims import Claims
from tests.fakes.kube.store import Event, Json, Pods, Refused, matches

SOME_TIME_S = 3600.0


class Fault:
    """What the next requests get instead of an answer. `status` 0: the connection is cut, before or after the deed."""

    def __init__(
        self, status: int, *, times: int = 1, method: str = "POST", reason: str = "", message: str = "no",
        retry_after_s: int | None = None, is_done: bool = False,
    ) -> None:  # fmt: skip
        self.status, self.times, self.method, self.reason, self.message = status, times, method, reason, message
        self.retry_after_s, self.is_done = retry_after_s, is_done


class FakeApiServer:
    def __init__(self, port: int, ca_file: Path | None) -> None:
        self.pods = Pods()
        self.claims = Claims()
        self.port = port
        self.ca_file = ca_file
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        """Method and path, in order."""
        self.is_away = False
        """Connections are closed before they are answered."""
        self.is_silent = False
        """Requests are read and never answered."""
        self.unanswered = 0
        self.token: str | None = None
        self.signing_keys: Json = {"keys": []}
        """What it says that it signs the tokens of service accounts with."""
        self._scopes: set[trio.CancelScope] = set()
        self._bookmarks = 0
        self._bookmark = trio.Event()

    @property
    def url(self) -> str:
        return f"{'http' if self.ca_file is None else 'https'}://127.0.0.1:{self.port}"

    def kubeconfig(self, path: Path, **user: Any) -> Path:
        cluster = {"server": self.url, **({} if self.ca_file is None else {"certificate-authority": str(self.ca_file)})}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "clusters": [{"name": "c", "cluster": cluster}],
                    "users": [{"name": "u", "user": user}],
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                }
            )
        )
        return path

    def cut(self) -> None:
        """Every open connection."""
        for scope in list(self._scopes):
            scope.cancel()

    def restart(self) -> None:
        """Watches break, and what happened before cannot be watched."""
        self.pods.forget()
        self.cut()

    def bookmark(self) -> None:
        """To every watch that allows it."""
        self._bookmarks += 1
        self._bookmark.set()
        self._bookmark = trio.Event()

    async def handle(self, stream: trio.abc.Stream) -> None:
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                if not self.is_away:
                    await _Connection(self, stream).run()
            except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError, ssl.SSLError):
                pass
            finally:
                self._scopes.discard(scope)
                with trio.move_on_after(0.5, shield=True):
                    await trio.aclose_forcefully(stream)

    def take_fault(self, method: str) -> Fault | None:
        for fault in self.faults:
            if fault.method == method:
                fault.times -= 1
                if fault.times == 0:
                    self.faults.remove(fault)
                return fault
        return None


class _Connection:
    def __init__(self, server: FakeApiServer, stream: trio.abc.Stream) -> None:
        self._server = server
        self._pods = server.pods
        self._stream = stream
        self._http = h11.Connection(h11.SERVER)

    async def run(self) -> None:
        while True:
            request, body = await self._receive()
            if request is None:
                return
            if self._server.is_silent:
                self._server.unanswered += 1
                await trio.sleep_forever()
            await self._respond(request, body)
            if self._http.our_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _receive(self) -> tuple[h11.Request | None, bytes]:
        request, body = None, b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._stream.receive_some(65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return request, body
            else:
                return None, b""

    async def _respond(self, request: h11.Request, body: bytes) -> None:
        method, url = request.method.decode(), urlsplit(request.target.decode())
        query = dict(parse_qsl(url.query))
        self._server.requests.append((method, url.path))
        fault = self._server.take_fault(method)
        try:
            self._check_token(dict(request.headers).get(b"authorization", b"").decode())
            if fault is not None and not fault.is_done:
                self._fail(fault)
            parts = url.path.strip("/").split("/")
            if query.get("watch") in ("1", "true"):
                await self._watch(parts[3], query)
                return
            answer = self._answer(method, parts, query, json.loads(body) if body else {})
            if fault is not None:
                self._fail(fault)
            await self._send(201 if method == "POST" else 200, answer)
        except Refused as refused:
            after = refused.details.get("retryAfterSeconds")
            await self._send(refused.code, refused.status, [] if after is None else [("Retry-After", str(after))])

    def _fail(self, fault: Fault) -> None:
        if fault.status == 0:
            raise trio.BrokenResourceError
        details = {} if fault.retry_after_s is None else {"retryAfterSeconds": fault.retry_after_s}
        raise Refused(fault.status, fault.reason, fault.message, **details)

    def _check_token(self, authorization: str) -> None:
        if self._server.token is not None and authorization != f"Bearer {self._server.token}":
            raise Refused(401, "Unauthorized", "Unauthorized")

    def _answer(self, method: str, parts: list[str], query: dict[str, str], body: Json) -> Json:
        match method, parts:
            case "GET", ["readyz"]:
                return {}
            case "GET", ["openid", "v1", "jwks"]:
                return self._server.signing_keys
            case "GET", ["api", "v1", "namespaces", namespace, "pods"]:
                return self._list(namespace, query)
            case "GET", ["api", "v1", "namespaces", _, "persistentvolumeclaims"]:
                return self._server.claims.list(query.get("labelSelector", ""))
            case "POST", ["api", "v1", "namespaces", _, "persistentvolumeclaims"]:
                return self._server.claims.create(body)
            case "GET", ["api", "v1", "namespaces", _, "persistentvolumeclaims", name]:
                return self._server.claims.get(name)
            case "DELETE", ["api", "v1", "namespaces", _, "persistentvolumeclaims", name]:
                return self._server.claims.delete(name, body)
            case "POST", ["api", "v1", "namespaces", namespace, "pods"]:
                return self._pods.create(namespace, body)
            case "GET", ["api", "v1", "namespaces", namespace, "pods", name]:
                return self._pods.get(namespace, name)
            case "DELETE", ["api", "v1", "namespaces", namespace, "pods", name]:
                return self._pods.delete(namespace, name, body)
            case "PATCH", ["api", "v1", "namespaces", namespace, "pods", name]:
                return self._pods.patch(namespace, name, body, is_status=False)
            case "PATCH", ["api", "v1", "namespaces", namespace, "pods", name, "status"]:
                return self._pods.patch(namespace, name, body, is_status=True)
            case "POST", ["api", "v1", "namespaces", namespace, "pods", name, "binding"]:
                self._pods.bind(namespace, name, body["target"]["name"])
                return {"kind": "Status", "status": "Success", "code": 201}
            case "POST", ["api", "v1", "namespaces", namespace, "pods", name, "eviction"]:
                self._pods.delete(namespace, name, {})
                return {"kind": "Status", "status": "Success", "code": 201}
            case _:
                raise Refused(404, "NotFound", "the server could not find the requested resource")

    def _list(self, namespace: str, query: dict[str, str]) -> Json:
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        found = [pod for pod in self._pods.list(namespace) if matches(pod, labels, fields)]
        meta: Json = {"resourceVersion": str(self._pods.version)}
        begin, limit = query.get("continue", "0"), int(query.get("limit", "0"))
        if not begin.isdecimal():
            raise Refused(400, "BadRequest", "continue key is not valid")
        page = found[int(begin) :]
        if limit and len(page) > limit:
            meta |= {"continue": str(int(begin) + limit), "remainingItemCount": len(page) - limit}
            page = page[:limit]
        items = [{key: value for key, value in pod.items() if key not in ("kind", "apiVersion")} for pod in page]
        return {"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": items}

    async def _watch(self, namespace: str, query: dict[str, str]) -> None:
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        since = query.get("resourceVersion") or "0"
        if not since.isdecimal():
            raise Refused(500, "", f"strconv.ParseUint: parsing {since!r}: invalid syntax")
        await self._start(200, [("Transfer-Encoding", "chunked"), ("Content-Type", "application/json")])
        if int(since) == 0:
            for pod in self._pods.list(namespace):
                if matches(pod, labels, fields):
                    await self._line({"type": "ADDED", "object": pod})
            since = str(self._pods.version)
        if int(since) < self._pods.forgotten:
            message = f"too old resource version: {since} ({self._pods.forgotten})"
            await self._line({"type": "ERROR", "object": Refused(410, "Expired", message).status})
        else:
            with trio.move_on_after(float(query.get("timeoutSeconds", SOME_TIME_S))):
                await self._follow(namespace, int(since), labels, fields, "allowWatchBookmarks" in query)
        await self._end()

    async def _follow(self, namespace: str, at: int, labels: str, fields: str, has_bookmarks: bool) -> None:
        bookmarks = self._server._bookmarks
        while True:
            changed, bookmark = self._pods.changed, self._server._bookmark
            history = self._pods.history
            for event in history[bisect_right(history, at, key=lambda one: one.version) :]:
                at = event.version
                if event.pod["metadata"].get("namespace", namespace) == namespace:
                    line = _as_seen(event, labels, fields)
                    if line is not None:
                        await self._line(line)
            if has_bookmarks and self._server._bookmarks > bookmarks:
                bookmarks = self._server._bookmarks
                meta = {"resourceVersion": str(self._pods.version), "creationTimestamp": None}
                await self._line({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": meta}})
            await _either(changed, bookmark)

    async def _line(self, line: Json) -> None:
        await self._write(h11.Data(data=json.dumps(line).encode() + b"\n"))

    async def _send(self, status: int, body: Json, headers: list[tuple[str, str]] | None = None) -> None:
        content = json.dumps(body).encode()
        await self._start(
            status, [("Content-Type", "application/json"), ("Content-Length", str(len(content))), *(headers or [])]
        )
        await self._write(h11.Data(data=content))
        await self._end()

    async def _start(self, status: int, headers: list[tuple[str, str]]) -> None:
        await self._write(h11.Response(status_code=status, headers=headers, reason=b"OK"))

    async def _end(self) -> None:
        await self._write(h11.EndOfMessage())

    async def _write(self, event: Any) -> None:
        data = self._http.send(event)
        if data:
            await self._stream.send_all(data)


def _as_seen(event: Event, labels: str, fields: str) -> Json | None:
    """Through a selector: a change that takes an object out arrives as DELETED, one that brings it in as ADDED."""
    now = matches(event.pod, labels, fields) and event.type != "DELETED"
    before = event.before is not None and matches(event.before, labels, fields)
    if now:
        return {"type": "MODIFIED" if before else "ADDED", "object": event.pod}
    return {"type": "DELETED", "object": event.pod} if before else None


async def _either(*events: trio.Event) -> None:
    async with trio.open_nursery() as nursery:
        for event in events:

            async def wait(one: trio.Event = event) -> None:
                await one.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait)


@asynccontextmanager
async def serve_kube(folder: Path, *, has_tls: bool = True) -> AsyncIterator[FakeApiServer]:
    """On loopback, until the block ends; certificates go into `folder`."""
    context, ca_file = None, None
    if has_tls:
        context, pem = self_signed(folder)
        ca_file = folder / "ca.crt"
        ca_file.write_text(pem)
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = FakeApiServer(listener.socket.getsockname()[1], ca_file)
    listeners = [listener if context is None else trio.SSLListener(listener, context, https_compatible=True)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, server.handle, listeners)
        yield server
        nursery.cancel_scope.cancel()
