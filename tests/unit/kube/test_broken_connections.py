"""An API server that breaks connections off, at whichever moment, is one that does not answer: `KubeUnavailable`."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from leoflowd.config import KubernetesConfig
from leoflowd.contract.errors import KubeUnavailable
from leoflowd.kube.api import KubeApi, open_api
from leoflowd.kube.credentials import load_credentials
from tests.fakes.certificates import self_signed
from tests.fakes.kube.server import FakeApiServer

AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends a reset."""


async def _reset(stream: trio.SocketStream) -> None:
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    await stream.aclose()


async def _watch(api: KubeApi) -> None:
    async with api.watch_pods("x", "1", watch_s=5) as lines:
        async for _ in lines:
            pass


async def _list(api: KubeApi) -> None:
    await api.list_pods("x")


async def _create(api: KubeApi) -> None:
    await api.create_pod(b"{}")


@asynccontextmanager
async def broken(folder: Path, *, after_handshake: bool) -> AsyncIterator[KubeApi]:
    context, ca = self_signed(folder)
    (folder / "ca.crt").write_text(ca)

    async def handle(stream: trio.SocketStream) -> None:
        if after_handshake:
            tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
            await tls.do_handshake()
        await _reset(stream)

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    kubeconfig = FakeApiServer(port, folder / "ca.crt").kubeconfig(folder / "config")
    credentials = await load_credentials(KubernetesConfig(kubeconfig=kubeconfig))
    async with trio.open_nursery() as nursery, open_api(credentials, namespace="n", request_s=30) as api:
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield api
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("after_handshake", [False, True], ids=["in the handshake", "behind it"])
@pytest.mark.parametrize("call", [_watch, _list, _create])
async def test_a_connection_that_is_reset_is_an_api_server_that_is_away(
    tmp_path: Path, call: Callable[[KubeApi], Awaitable[None]], *, after_handshake: bool
) -> None:
    async with broken(tmp_path, after_handshake=after_handshake) as api:
        with pytest.raises(KubeUnavailable):
            await call(api)
