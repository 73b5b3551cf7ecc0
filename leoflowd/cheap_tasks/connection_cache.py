"""Connections as probes see them: looked up once for all probes of a few seconds, not once for each."""

from __future__ import annotations

from typing import Protocol

import trio

from leoflow_sensors.kinds import ProbeFailed, ProbeThrottled
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.errors import StoreUnavailable

KEPT_S = 10.0
"""A changed password counts after so long."""
STORE_PATIENCE_S = 5.0


class Connections(Protocol):
    """`store.connections.ConnectionBook`."""

    async def fetch(self, connection_id: str) -> ConnectionFacts | None:
        """None: there is none. Raises ValueError with a sentence when it cannot be opened, and `StoreUnavailable`."""


class ConnectionCache:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._known: dict[str, tuple[float, ConnectionFacts | None]] = {}
        self._asking: dict[str, trio.Event] = {}

    async def fetch(self, connection_id: str | None) -> ConnectionFacts | None:
        """The same object for as long as nothing changed. None: none was named, or there is none of that id.

        Raises `ProbeFailed` when it cannot be opened, `ProbeThrottled` when the store does not answer.
        """
        if connection_id is None:
            await trio.lowlevel.checkpoint()
            return None
        while connection_id in self._asking:
            await self._asking[connection_id].wait()
        before = self._known.get(connection_id)
        if before is not None and before[0] > trio.current_time():
            await trio.lowlevel.checkpoint()
            return before[1]
        self._asking[connection_id] = trio.Event()
        try:
            found = await self._connections.fetch(connection_id)
        except ValueError as error:
            raise ProbeFailed(str(error)) from error
        except StoreUnavailable as error:
            message = f"connection {connection_id!r} cannot be read now: {error}"
            raise ProbeThrottled(message, STORE_PATIENCE_S) from error
        finally:
            self._asking.pop(connection_id).set()
        if before is not None and before[1] == found:
            found = before[1]
        self._known[connection_id] = (trio.current_time() + KEPT_S, found)
        return found
