"""The real application behind the real server, on a socket, for attacks whose bytes on the wire matter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from leoflowd.api.server import ApiServer
from tests.integration.api.api_client import PASSWORD
from tests.integration.api.test_server import ApiContext, _with_config

LOGIN_BODY = b'{"username":"admin","password":"' + PASSWORD.encode() + b'"}'
WITHIN_S = 30.0


class Door:
    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    async def open(self) -> trio.SocketStream:
        return await trio.open_tcp_stream(self._host, self._port)

    async def answer(self, request: bytes) -> bytes:
        """All that comes back until the server closes; `request` asks for that, or leaves it no choice."""
        async with await self.open() as stream:
            with suppress(trio.BrokenResourceError):  # refused before all was read; an answer may be there
                await stream.send_all(request)
            return await received(stream)

    async def status(self, request: bytes) -> int:
        line = (await self.answer(request)).partition(b"\r\n")[0]
        return int(line.split()[1]) if line else 0


async def end_of_answer(stream: trio.SocketStream) -> None:
    """Returns when the last chunk of a streamed answer is there, whether or not the connection stays open."""
    tail = b""
    while not tail.endswith(b"0\r\n\r\n"):
        tail = tail[-100:] + await stream.receive_some()


async def received(stream: trio.SocketStream) -> bytes:
    parts = []
    with suppress(trio.BrokenResourceError):
        async for part in stream:
            parts.append(part)  # noqa: PERF401  # what came before the break counts
    return b"".join(parts)


@asynccontextmanager
async def listening(context: ApiContext) -> AsyncIterator[Door]:
    with trio.fail_after(WITHIN_S):
        async with trio.open_nursery() as nursery:
            address = await nursery.start(ApiServer(_with_config(context, port=0)).run)
            host, port = address.removeprefix("http://").split(":")
            yield Door(host, int(port))
            nursery.cancel_scope.cancel()


def head(method: str, path: str, **headers: str) -> bytes:
    fields = {"Host": "localhost", "Connection": "close", **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {text}" for name, text in fields.items())]
    return "\r\n".join(lines).encode("latin1") + b"\r\n\r\n"


def login(body: bytes = LOGIN_BODY, path: str = "/auth/token", **headers: str) -> bytes:
    fields = {"Content_Type": "application/json", "Content_Length": str(len(body)), **headers}
    return head("POST", path, **fields) + body
