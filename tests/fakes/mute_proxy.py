"""A TCP proxy in front of an API server that takes every request and loses every answer, watches among them."""

from __future__ import annotations

import trio


class MuteProxy:
    """On loopback, to `server` there. A connection that lost an answer breaks; none is made while it is mute."""

    def __init__(self, server: int) -> None:
        self.port = 0
        self._server = server
        self._open: set[trio.CancelScope] = set()
        self._is_mute = False

    def mute(self) -> None:
        self._is_mute = True

    def speak_again(self) -> None:
        """To those who connect from now on."""
        self._is_mute = False
        for scope in self._open:
            scope.cancel()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            self.port = listener.socket.getsockname()[1]
            task_status.started()
            await trio.serve_listeners(self._serve, [listener], handler_nursery=nursery)

    async def _serve(self, client: trio.SocketStream) -> None:
        async with client:
            if self._is_mute:
                return
            with trio.CancelScope() as scope:
                self._open.add(scope)
                try:
                    server = await trio.open_tcp_stream("127.0.0.1", self._server)
                    async with server, trio.open_nursery() as nursery:
                        nursery.start_soon(self._ask, client, server, nursery.cancel_scope)
                        nursery.start_soon(self._answer, server, client, nursery.cancel_scope)
                finally:
                    self._open.discard(scope)

    async def _ask(self, client: trio.SocketStream, server: trio.SocketStream, ended: trio.CancelScope) -> None:
        try:
            async for piece in client:
                await server.send_all(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        ended.cancel()

    async def _answer(self, server: trio.SocketStream, client: trio.SocketStream, ended: trio.CancelScope) -> None:
        try:
            async for piece in server:
                if self._is_mute:
                    break
                await client.send_all(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        ended.cancel()
