"""Which address of this machine a cluster sees: the one that packets to its API server leave by. Blocking."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from leoflowd.config import ConfigRefused


def address_towards(server: str) -> str:
    """`server` is a URL; nothing is sent. Raises `ConfigRefused` when its name cannot be found."""
    parts = urlsplit(server)
    try:
        family, _, _, _, where = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(where)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise ConfigRefused(f"no way to the API server {server}: {error}; give --agent-address") from error
