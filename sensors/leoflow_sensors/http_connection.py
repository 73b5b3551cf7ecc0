"""One HTTP/1.1 connection to an address that was checked: h11 over a Trio stream, for `egress.EgressClient`.

It knows nothing of policy, redirects or limits of time; it bounds what it keeps in memory. Why not httpx's: no async
generator is left half read when an answer turns out to be too long, and a request costs 60 % of the time (ADR 15).
"""

from __future__ import annotations

import h11
import httpx
import msgspec
import trio

HEAD_MAX_BYTES = 64 * 1024
"""Status line and headers of one answer: twice what the largest servers send by default."""
RECEIVE_BYTES = 64 * 1024
CLOSED_EARLY = "the server closed the connection before its answer was complete"
TOO_LONG = f"the answer's headers are longer than {HEAD_MAX_BYTES} bytes"


class ConnectionBroken(Exception):
    """The other side ended the conversation early, or what it sent is no HTTP."""


class Head(msgspec.Struct, frozen=True):
    status: int
    reason: str
    headers: httpx.Headers


class HttpConnection:
    """Strictly one question after the other: `ask`, `receive` until None, and again while `is_reusable`."""

    def __init__(
        self, socket: trio.SocketStream, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]
    ) -> None:
        self._socket = socket
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX_BYTES)
        self._has_ended = False
        self.idle_since: float | None = None
        """When the last answer was read to its end; None while an answer is open, and after `close`."""

    def is_reusable(self) -> bool:
        """Open, and the server sent nothing since: neither its end nor an answer to no question."""
        return self.idle_since is not None and not self._socket.socket.is_readable()

    def close(self) -> None:
        """At once and without waiting, so that any `finally` may call it."""
        self.idle_since = None
        self._socket.socket.close()

    async def ask(self, request: httpx.Request) -> Head:
        """Send all of `request` and wait for the head of its answer. Raises `ConnectionBroken`; then it is closed."""
        self.idle_since = None
        try:
            await self._send(request)
            return await self._receive_head()
        except BaseException:
            self.close()
            raise

    async def receive(self) -> bytes | None:
        """The next piece of the answer's body as it came, None at its end. Raises `ConnectionBroken`."""
        event = await self._next_event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            raise ConnectionBroken(CLOSED_EARLY)
        surplus, _ = self._http.trailing_data
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and not surplus:
            self._http.start_next_cycle()
            self.idle_since = trio.current_time()
        return None

    async def _send(self, request: httpx.Request) -> None:
        head = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
        body, end = h11.Data(data=request.content), h11.EndOfMessage()
        try:
            await self._stream.send_all(b"".join(self._http.send(event) for event in (head, body, end)))
        except trio.BrokenResourceError as error:
            raise ConnectionBroken("the server closed the connection before it had the request") from error

    async def _receive_head(self) -> Head:
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Response):
                break
            if not isinstance(event, h11.InformationalResponse):
                raise ConnectionBroken(CLOSED_EARLY)
        raw = event.headers.raw_items()
        if sum(len(name) + len(value) for name, value in raw) > HEAD_MAX_BYTES:
            raise ConnectionBroken(TOO_LONG)
        return Head(event.status_code, event.reason.decode("latin-1"), httpx.Headers(raw))

    async def _next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise ConnectionBroken(self._describe(error)) from error
            if event is not h11.NEED_DATA:
                return event
            try:
                piece = bytes(await self._stream.receive_some(RECEIVE_BYTES))
            except trio.BrokenResourceError as error:
                raise ConnectionBroken(f"the connection was lost: {error.__cause__ or error}") from error
            self._http.receive_data(piece)
            self._has_ended = not piece

    def _describe(self, error: h11.RemoteProtocolError) -> str:
        if error.error_status_hint == 431:
            return TOO_LONG
        return CLOSED_EARLY if self._has_ended else f"what the server sent is no HTTP: {error}"
