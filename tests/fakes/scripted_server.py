"""A real HTTP server on loopback that answers with the very bytes a test wants, well-formed or not."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import trio

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
Answer = bytes | Callable[[Stream], Awaitable[None]]
"""What is sent for one request; a function does as it likes and the connection ends after it."""


@dataclass
class ScriptedServer:
    """Gives `answers` one after the other, the last one for ever; `requests` are heads and bodies as they came."""

    answers: list[Answer]
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def serve(self, socket: trio.SocketStream) -> None:
        self.connections += 1
        stream: Stream = socket
        try:
            if self.tls is not None:
                stream = trio.SSLStream(socket, self.tls, server_side=True, https_compatible=True)
            while (request := await _read_request(stream)) is not None:
                self.requests.append(request)
                answer = self.next_answer()
                if not isinstance(answer, bytes):
                    await answer(stream)
                    break
                await stream.send_all(answer)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client is right to leave
        finally:
            await trio.aclose_forcefully(stream)


async def _read_request(stream: Stream) -> bytes | None:
    request = bytearray()
    while b"\r\n\r\n" not in request:
        piece = await stream.receive_some(65_536)
        if not piece:
            return None
        request += piece
    head, _, body = bytes(request).partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    missing = (int(lengths[0].split(b":")[1]) if lengths else 0) - len(body)
    while missing > 0:
        piece = await stream.receive_some(missing)
        request += piece
        missing -= len(piece)
    return bytes(request)


@asynccontextmanager
async def scripted_server(*answers: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer(list(answers), tls=tls)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        server.port = listener.socket.getsockname()[1]
        try:
            yield server
        except Exception as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure  # as the test raised it, not in the nursery's group


def answer(status: str = "200 OK", body: bytes = b"", *headers: str) -> bytes:
    """A complete answer with its Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
