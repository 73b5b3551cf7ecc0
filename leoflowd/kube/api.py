"""The Kubernetes API over httpx: pods and claims of one namespace, no more than the Role in helm/rbac.yaml allows.

Every call stands under the one deadline of the settings. What the API server answers is a struct or one of two errors:
`KubeRefused`, which says so of this request, and `KubeUnavailable`, which says nothing of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import msgspec
import trio
from typing_extensions import override

from leoflowd.contract.errors import KubeUnavailable, LeoflowError
from leoflowd.contract.values import shown
from leoflowd.kube.claims import Claim, read_claim
from leoflowd.kube.credentials import Credentials
from leoflowd.kube.objects import OBJECT_MAX_BYTES, Pod, Unreadable, read_pod
from leoflowd.kube.streams import Answer, open_get

PAGE = 500
"""Pods of one answer to a list."""
PAGE_MAX_BYTES = 256 * 1024 * 1024
KEPT_ALIVE_S = 60.0
CLOSE_WITHIN_S = 2.0
WATCH_SLACK_S = 10.0
"""A watch whose end is this late is a connection that died."""


class KubeRefused(LeoflowError):
    """The API server's own no. `reason` is the machine's word (`AlreadyExists`), `retry_after_s` what it asks for."""

    def __init__(self, status: int, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {shown(message, 500)}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s


class PodList(msgspec.Struct, frozen=True):
    pods: tuple[Pod, ...]
    unreadable: tuple[Unreadable, ...]
    resource_version: str
    """A watch goes on from here."""


class Seen(msgspec.Struct, frozen=True):
    """A line of a watch about one pod."""

    type: str
    """ADDED, MODIFIED, or DELETED with the last state."""
    pod: Pod | Unreadable


class Bookmark(msgspec.Struct, frozen=True):
    """Nothing happened, and a watch may go on from here."""

    resource_version: str


class Expired(Exception):
    """410: what happened since is forgotten; list again."""


class KubeApi:
    """Open it with `open_api`. `request_s` is the deadline of each call but the watch."""

    def __init__(
        self, client: httpx.AsyncClient, credentials: Credentials, *, namespace: str, request_s: float
    ) -> None:
        self._client = client
        self._credentials = credentials
        self._pods = f"{credentials.host}/api/v1/namespaces/{namespace}/pods"
        self._claims = f"{credentials.host}/api/v1/namespaces/{namespace}/persistentvolumeclaims"
        self._request_s = request_s

    async def close(self) -> None:
        await self._client.aclose()

    async def create_pod(self, pod: bytes) -> None:
        await self._call("POST", self._pods, pod)

    async def fetch_pod(self, name: str) -> Pod | Unreadable | None:
        try:
            return read_pod((await self._call("GET", f"{self._pods}/{name}")).content)
        except KubeRefused as refused:
            if refused.status == 404:
                return None
            raise

    async def delete_pod(self, name: str, *, uid: str = "", grace_s: int | None = None) -> bool:
        """Only the pod with this uid; empty: whichever it is. False: it is gone, or another has its name."""
        options: dict[str, object] = {"preconditions": {"uid": uid}} if uid else {}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        try:
            await self._call("DELETE", f"{self._pods}/{name}", msgspec.json.encode(options))
        except KubeRefused as refused:
            if refused.status in (404, 409):
                return False
            raise
        return True

    async def list_pods(self, selector: str) -> PodList:
        """All of them, page by page; as of the first page's resource version."""
        found: list[Pod | Unreadable] = []
        params = {"labelSelector": selector, "limit": str(PAGE)}
        version = ""
        while True:
            page = _decode(_PAGE, (await self._call("GET", self._pods, params=params)).content)
            version = version or page.metadata.resource_version
            found += [read_pod(raw) for raw in page.items or ()]
            if not page.metadata.continue_:
                return PodList(
                    tuple(one for one in found if isinstance(one, Pod)),
                    tuple(one for one in found if isinstance(one, Unreadable)),
                    version,
                )
            params["continue"] = page.metadata.continue_

    # --- staging volumes ------------------------------------------------------------------------------------------

    async def keep_claim(self, name: str, claim: bytes) -> bool:
        """Make it, if it is not there. False: it is being deleted, and its name is not free yet."""
        try:
            found = read_claim((await self._call("GET", f"{self._claims}/{name}")).content)
        except KubeRefused as refused:
            if refused.status != 404:
                raise
        else:
            return found is not None and not found.is_leaving
        try:
            await self._call("POST", self._claims, claim)
        except KubeRefused as refused:
            if refused.reason != "AlreadyExists":
                raise
        return True

    async def list_claims(self, selector: str) -> tuple[Claim, ...]:
        """Those that can be read."""
        found: list[Claim | None] = []
        params = {"labelSelector": selector, "limit": str(PAGE)}
        while True:
            page = _decode(_PAGE, (await self._call("GET", self._claims, params=params)).content)
            found += [read_claim(raw) for raw in page.items or ()]
            if not page.metadata.continue_:
                return tuple(claim for claim in found if claim is not None)
            params["continue"] = page.metadata.continue_

    async def delete_claim(self, claim: Claim) -> None:
        """That one, not a later one of its name."""
        try:
            options = msgspec.json.encode({"preconditions": {"uid": claim.uid}})
            await self._call("DELETE", f"{self._claims}/{claim.name}", options)
        except KubeRefused as refused:
            if refused.status not in (404, 409):
                raise

    async def fetch_signing_keys(self) -> bytes:
        """JWKS: what the cluster signs the tokens of service accounts with."""
        return (await self._call("GET", f"{self._credentials.host}/openid/v1/jwks")).content

    @asynccontextmanager
    async def watch_pods(
        self, selector: str, resource_version: str, *, watch_s: int
    ) -> AsyncIterator[AsyncIterator[Seen | Bookmark]]:
        """What happens after that version, for at most so long. Iterating raises `Expired` when it is too old, and
        `KubeUnavailable` when the connection breaks."""
        params = {
            "watch": "true",
            "labelSelector": selector,
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(watch_s),
        }
        with _reaching():
            async with open_get(self._credentials, self._pods, params, within_s=self._request_s) as answer:
                lines = _Lines(answer, until=trio.current_time() + watch_s + WATCH_SLACK_S)
                if answer.status != 200:
                    self._refuse(answer.status, await lines.rest())
                yield lines

    async def _call(
        self, method: str, url: str, body: bytes = b"", params: dict[str, str] | None = None
    ) -> httpx.Response:
        headers = {"Content-Type": "application/json", **await self._credentials.headers()}
        request = self._client.build_request(method, url, content=body, params=params, headers=headers, timeout=None)
        request.stream = Body(body)
        with _reaching(), trio.fail_after(self._request_s):
            response = await self._client.send(request)
        if response.status_code >= 300:
            self._refuse(response.status_code, response.content, response.headers.get("retry-after", ""))
        return response

    def _refuse(self, code: int, content: bytes, retry_after: str = "") -> None:
        if code == 401:
            self._credentials.forget()
        try:
            status = _STATUS.decode(content)
        except (msgspec.MsgspecError, UnicodeError):
            status = _StatusObject(message=content[:300].decode(errors="replace"))
        details = status.details or _Details()
        if code == 410:
            raise Expired
        if code in (401, 408) or code >= 500:
            said = shown(f"{status.reason or ''} {status.message or ''}", 300)
            raise KubeUnavailable(f"the API server says {code} {said}")
        after = float(retry_after) if retry_after.isdecimal() else details.retry_after_seconds
        raise KubeRefused(code, status.reason or "", status.message or "", after)


class Body(httpx.AsyncByteStream):
    """Given once, without an async generator: httpx leaves its own unfinished when a connection breaks."""

    def __init__(self, content: bytes) -> None:
        self._pieces = iter((content,) if content else ())

    @override
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


class _Lines:
    """The lines of a watch, one object each."""

    def __init__(self, answer: Answer, *, until: float) -> None:
        self._answer = answer
        self._until = until
        self._rest = bytearray()

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> Seen | Bookmark:
        while True:
            line = await self._line()
            if line.strip():
                return _read_line(line)

    async def _line(self) -> bytes:
        while (end := self._rest.find(b"\n")) < 0:
            if len(self._rest) > 2 * OBJECT_MAX_BYTES:
                raise KubeUnavailable(f"a watch sends a line of more than {2 * OBJECT_MAX_BYTES} bytes")
            chunk = await self._receive()
            if not chunk:
                if self._rest.strip():
                    raise KubeUnavailable("a watch ended within a line")
                raise StopAsyncIteration
            self._rest += chunk
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return line

    async def rest(self) -> bytes:
        """All there is to come, of an answer that is no watch."""
        while (chunk := await self._receive()) and len(self._rest) <= OBJECT_MAX_BYTES:
            self._rest += chunk
        return bytes(self._rest)

    async def _receive(self) -> bytes:
        with _reaching():
            try:
                with trio.fail_at(self._until):
                    return await self._answer.receive()
            except trio.TooSlowError:
                raise KubeUnavailable("a watch did not end when its time was over; its connection is dead") from None


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _PageMeta(msgspec.Struct):
    resource_version: str = msgspec.field(name="resourceVersion", default="")
    continue_: str = msgspec.field(name="continue", default="")


class _Page(msgspec.Struct):
    metadata: _PageMeta
    items: list[msgspec.Raw] | None = None


class _Details(msgspec.Struct, rename="camel"):
    retry_after_seconds: float | None = None


class _StatusObject(msgspec.Struct):
    code: int = 0
    reason: str | None = None
    message: str | None = None
    details: _Details | None = None


class _BookmarkObject(msgspec.Struct):
    metadata: _PageMeta


_LINE = msgspec.json.Decoder(_Line)
_PAGE = msgspec.json.Decoder(_Page)
_STATUS = msgspec.json.Decoder(_StatusObject)
_BOOKMARK = msgspec.json.Decoder(_BookmarkObject)


def _read_line(line: bytes) -> Seen | Bookmark:
    found = _decode(_LINE, line)
    match found.type:
        case "BOOKMARK":
            return Bookmark(_decode(_BOOKMARK, found.object).metadata.resource_version)
        case "ERROR":
            status = _decode(_STATUS, found.object)
            if status.code == 410:
                raise Expired
            raise KubeUnavailable(f"a watch ended with {status.code}: {shown(status.message or '', 300)}")
        case _:
            return Seen(found.type, read_pod(found.object))


def _decode(decoder: Any, content: Any) -> Any:
    try:
        return decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise KubeUnavailable(f"the API server's answer cannot be read: {error}") from error


@contextmanager
def _reaching() -> Iterator[None]:
    """What httpx, Trio's streams and a deadline raise, as `KubeUnavailable`."""
    try:
        yield
    except trio.TooSlowError as error:
        raise KubeUnavailable("the API server does not answer in time") from error
    except (httpx.HTTPError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise KubeUnavailable(f"the API server cannot be reached: {str(error) or type(error).__name__}") from error


def make_api(credentials: Credentials, *, namespace: str, request_s: float) -> KubeApi:
    """HTTP/1.1: a connection per call in flight, kept for the next. No proxy of the environment: it is our cluster.
    Nothing is opened before the first call; `KubeApi.close` ends what is."""
    verify = credentials.tls if credentials.tls is not None else False
    extensions = {"sni_hostname": credentials.server_name} if credentials.server_name else {}
    # a handshake costs more than the request: pods come minutes apart, too
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=KEPT_ALIVE_S)

    async def name_server(request: httpx.Request) -> None:
        request.extensions.update(extensions)
        await trio.lowlevel.checkpoint()

    client = httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(verify=verify, limits=limits, retries=0),
        trust_env=False,
        event_hooks={"request": [name_server]},
    )
    return KubeApi(client, credentials, namespace=namespace, request_s=request_s)


@asynccontextmanager
async def open_api(credentials: Credentials, *, namespace: str, request_s: float) -> AsyncIterator[KubeApi]:
    api = make_api(credentials, namespace=namespace, request_s=request_s)
    try:
        yield api
    finally:
        with trio.move_on_after(CLOSE_WITHIN_S, shield=True):
            await api.close()
