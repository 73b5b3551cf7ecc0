"""An answer of the API server that has no end: one connection, read as it comes. For watches.

By hand over h11, because httpx reads bodies through async generators that are not closed when a reader leaves (Trio
says so with a ResourceWarning), and a watch is left all the time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode, urlsplit

import h11
import trio

from leoflowd.kube.credentials import Credentials

READ_BYTES = 64 * 1024


class Answer:
    """`status`, then the body piece by piece."""

    def __init__(self, stream: trio.abc.Stream, http: h11.Connection, status: int) -> None:
        self.status = status
        self._stream = stream
        self._http = http

    async def receive(self) -> bytes:
        """The next piece; empty at the end. Raises `OSError` and `ValueError` for a connection that breaks."""
        while True:
            event = await next_event(self._stream, self._http)
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return b""


@asynccontextmanager
async def open_get(
    credentials: Credentials, url: str, params: dict[str, str], *, within_s: float
) -> AsyncIterator[Answer]:
    """GET, up to the status line within so long; the connection is closed when the block ends."""
    headers = await credentials.headers()
    parts = urlsplit(url)
    with trio.fail_after(within_s):
        stream = await _connect(credentials, parts.hostname or "", parts.port)
    try:
        http = h11.Connection(h11.CLIENT)
        target = f"{parts.path}?{urlencode(params)}"
        request = h11.Request(method="GET", target=target, headers=[("Host", parts.netloc), *headers.items()])
        with trio.fail_after(within_s):
            await stream.send_all((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
            while not isinstance(event := await next_event(stream, http), h11.Response):
                if isinstance(event, h11.ConnectionClosed):
                    raise ConnectionError("the connection was closed before an answer came")
        yield Answer(stream, http, event.status_code)
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)


async def _connect(credentials: Credentials, host: str, port: int | None) -> trio.abc.Stream:
    if credentials.tls is None:
        return await trio.open_tcp_stream(host, port or 80)
    tcp = await trio.open_tcp_stream(host, port or 443)
    name = credentials.server_name or host
    stream = trio.SSLStream(tcp, credentials.tls, server_hostname=name, https_compatible=True)
    try:
        await stream.do_handshake()
    except BaseException:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(tcp)
        raise
    return stream


async def next_event(stream: trio.abc.Stream, http: h11.Connection) -> h11.Event:
    """Raises `OSError`; h11's and Trio's own errors become one."""
    try:
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(READ_BYTES)))
    except (h11.RemoteProtocolError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise ConnectionError(f"the connection broke: {str(error) or type(error).__name__}") from error
    assert isinstance(event, h11.Event), "nothing is paused here"
    return event
