"""The component that listens: hypercorn's Trio worker around the application.

`daemon.py` starts it with `await nursery.start(ApiServer(context, shutdown=draining.wait).run)` and gets the address.
It returns when `shutdown` returned and the open requests are answered, or after `config.drain_s`.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.config import ApiConfig, ConfigRefused

KEEP_ALIVE_S = 75.0
"""Longer than a browser's pause between two polls, so that it need not connect again."""
BACKLOG = 256


class ApiServer:
    def __init__(self, context: ApiContext, *, shutdown: Callable[[], Awaitable[None]] = trio.sleep_forever) -> None:
        self._context = context
        self._shutdown = shutdown

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve; `task_status` gets the URL, e.g. `http://127.0.0.1:8088`. Raises `ConfigRefused`."""
        config = self._context.config
        # It imports all routes, which takes half a second of a laptop.
        app = await trio.to_thread.run_sync(create_app, self._context)
        listener = _listen(config)
        host, port = listener.getsockname()[:2]
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(serve, app, _hypercorn(config, listener), shutdown_trigger=self._shutdown, mode="asgi")
            )
            task_status.started(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def _listen(config: ApiConfig) -> socket.socket:
    """Bound and listening before anything else runs, so that a taken port is one clear message."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigRefused(
            f"cannot listen on {config.host}:{config.port}: {error.strerror or error}; stop what uses the port, "
            "or choose another one (--port)"
        ) from error


def _hypercorn(config: ApiConfig, listener: socket.socket) -> Config:
    hypercorn = Config()
    hypercorn.bind = [f"fd://{listener.detach()}"]
    hypercorn.root_path = config.base_path.rstrip("/")
    hypercorn.accesslog = None
    hypercorn.errorlog = logging.getLogger("leoflowd.api.hypercorn")
    hypercorn.include_server_header = False
    hypercorn.keep_alive_timeout = KEEP_ALIVE_S
    hypercorn.graceful_timeout = config.drain_s
    return hypercorn
