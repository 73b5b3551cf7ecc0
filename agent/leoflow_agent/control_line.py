"""Our end of a try's control socket: JSON lines both ways, each of them whole, in order, and never dropped.

`running_try` makes one per process that it starts, of a socket that is older than that process (`ends`).
What the socket does not take at once waits here; the event loop writes on when the task reads.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

RECORD_BYTES = 64 * 1024 * 1024
"""A longer line did not come from the runner: the largest is a result with many XComs."""
UNREAD_BYTES = 64 * 1024 * 1024
"""A task that leaves so much unread does not listen."""
_READ_BYTES = 256 * 1024


class ControlLine:
    """Of a socket that does not block, which is its own from now on."""

    def __init__(self, ours: socket.socket, woken: Callable[[], object]) -> None:
        """`woken` is called by the event loop when there is something to `read`."""
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._unsent = bytearray()
        self._socket = ours
        self.was_left_unread = False
        """The task's end was closed before all that we had said was read there."""
        self._loop.add_reader(self._socket.fileno(), woken)

    @property
    def is_open(self) -> bool:
        return self._socket.fileno() >= 0

    def say(self, line: bytes) -> None:
        """One line; nothing is lost unless the task has closed its end or is gone."""
        if not self.is_open:
            return
        self._unsent += line + b"\n"
        self._write()

    def read(self) -> list[bytes] | None:
        """The lines that are complete by now; None when there was nothing to read."""
        if not self.is_open:
            return None
        try:
            piece = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            self.was_left_unread = isinstance(error, ConnectionResetError)
            piece = b""
        if not piece:
            self.close()
            return None
        self._received += piece
        if b"\n" not in piece:
            if len(self._received) > RECORD_BYTES:
                self._received.clear()
            return []
        *lines, self._received = self._received.split(b"\n")
        return [bytes(line) for line in lines]

    def close(self) -> None:
        if self.is_open:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._unsent.clear()

    def _write(self) -> None:
        """All writing is here, so that no two lines mix."""
        while self._unsent and self.is_open:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                self._wait_to_write()
                return
            except OSError:  # the task has closed its end; what it says may still be read
                self._unsent.clear()
            else:
                del self._unsent[:sent]
        if self.is_open:
            self._loop.remove_writer(self._socket.fileno())

    def _wait_to_write(self) -> None:
        if len(self._unsent) > UNREAD_BYTES:
            self.close()
        else:
            self._loop.add_writer(self._socket.fileno(), self._write)
