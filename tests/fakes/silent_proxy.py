"""A TCP proxy in front of a Unix socket that can fall silent: everything stays open, and nothing comes through.

That is what a machine that vanished, a firewall that forgot a connection or a frozen load balancer look like.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo


class SilentProxy:
    """`conninfo` leads through it. What was connected when it fell silent stays silent for ever."""

    def __init__(self, conninfo: str) -> None:
        self._server = Path(str(conninfo_to_dict(conninfo)["host"])) / ".s.PGSQL.5432"
        self._given = conninfo
        self._is_silent = False
        self._lost = trio.Event()

    @property
    def conninfo(self) -> str:
        return make_conninfo(self._given, host="127.0.0.1", port=self._port)

    def fall_silent(self) -> None:
        self._is_silent = True
        self._lost.set()
        self._lost = trio.Event()

    def speak_again(self) -> None:
        """To those who connect from now on."""
        self._is_silent = False

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            self._port = listener.socket.getsockname()[1]
            task_status.started()
            await trio.serve_listeners(self._serve, [listener], handler_nursery=nursery)

    async def _serve(self, client: trio.SocketStream) -> None:
        if self._is_silent:
            await trio.sleep_forever()
        lost = self._lost
        server = await trio.open_unix_socket(str(self._server))
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(_pass_on, client, server, lost, nursery.cancel_scope)
            nursery.start_soon(_pass_on, server, client, lost, nursery.cancel_scope)


async def _pass_on(
    source: trio.SocketStream, sink: trio.SocketStream, lost: trio.Event, ended: trio.CancelScope
) -> None:
    try:
        async for piece in source:
            if lost.is_set():
                await trio.sleep_forever()
            await sink.send_all(piece)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    if lost.is_set():
        await trio.sleep_forever()
    ended.cancel()


@asynccontextmanager
async def silent_proxy(conninfo: str) -> AsyncIterator[SilentProxy]:
    proxy = SilentProxy(conninfo)
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        yield proxy
        nursery.cancel_scope.cancel()
