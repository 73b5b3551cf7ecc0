"""What meets a connection before any route does: which requests are taken at all, and how answers go out. ADR 23.

`app.create_app` puts both classes around the application. Nothing here knows of logins: a body is left on the socket
until a route asks for it (`bodies`), and that happens after the login was checked.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import trio
from quart import Response
from quart_trio.asgi import TrioASGIHTTPConnection
from typing_extensions import override

from leoflowd.api.bodies import AskedBody
from leoflowd.api.rights import SAFE_METHODS

SEND_TIMEOUT_S = 60.0
"""How long a client may take to read an answer that is complete already."""


class HttpConnection(TrioASGIHTTPConnection):
    """Reads a body when it is asked for; sends a complete answer inside a shield with a deadline.

    quart-trio 0.12 cancels the request's nursery as soon as the answer is out. That cancellation lands in hypercorn's
    bookkeeping after the last byte: `Connection: close` is then not honoured and idle connections never time out. A
    streamed answer is not shielded, because a client that leaves must end it.
    """

    @override
    async def __call__(self, receive: Any, send: Any) -> None:
        if not _is_readable_target(self.scope["path"]):
            await send({"type": "http.response.start", "status": 400, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await super().__call__(receive, send)

    @override
    async def handle_messages(self, nursery: trio.Nursery, request: Any, receive: Any) -> None:  # type: ignore[override]
        # What only reads has no body, and a stream of ours ends when its client is heard to leave.
        if request.method not in SAFE_METHODS:
            assert isinstance(request.body, AskedBody)
            await request.body.asked.wait()
        await super().handle_messages(nursery, request, receive)

    @override
    async def handle_request(self, nursery: trio.Nursery, request: Any, send: Any) -> None:  # type: ignore[override]
        response = await self.app.handle_request(request)
        if isinstance(response, Response) and response.timeout is None:
            await self._send_response(send, response)
        else:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + SEND_TIMEOUT_S):
                await self._send_response(send, response)
        nursery.cancel_scope.cancel()


class RefusedWebsocket:
    """No route here is a WebSocket: the upgrade is answered with 403, and nothing is logged."""

    def __init__(self, app: object, scope: object) -> None:
        pass

    async def __call__(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close"})


def _is_readable_target(path: str) -> bool:
    """`/path` or a whole URL; Quart's own look at anything else ends in a traceback."""
    try:
        return path.startswith("/") or urlsplit(path).path.startswith("/")
    except ValueError:
        return False
