"""The line to the daemon: JSON lines over a socket pair. Reports and questions go out, commands and answers come in.

A thread of its own reads, so that a question may be asked from everywhere: from a coroutine, from another thread, and
even synchronously from the event loop's own thread, where waiting for the loop to read would never end.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import os
import socket
import threading
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

from ..runner import limits

ASK_WITHIN_S = 60.0
"""A question that the daemon does not answer in this time fails; its store may be away."""
_READ_BYTES = 65_536
_MIN_HIDDEN_LENGTH = 5
"""Shorter secrets would turn half of a log into asterisks; `leoflow_agent.runner.control` has the same figure."""


class DaemonSilent(RuntimeError):
    """The daemon did not answer."""


class Channel:
    """Shared by all threads of the host."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()
        self._numbers = itertools.count(1)
        self._open: dict[int, concurrent.futures.Future[dict[str, Any]]] = {}
        self._hidden: tuple[str, ...] = ()

    def send(self, kind: str, **fields: Any) -> None:
        """Raises TypeError and ValueError for what is no JSON; then nothing was sent."""
        text = json.dumps({"type": kind, **fields}, allow_nan=False, default=_moment_text)
        if "\\ud" in text:  # a pair is one character, a lone half would end this host: the daemon cannot read it
            limits.check(json.loads(text), f"a message ({kind}) to the daemon")
        line = text.encode() + b"\n"
        with self._sending:
            self._socket.sendall(line)

    def ask(self, kind: str, question: dict[str, Any], wait_id: str) -> dict[str, Any]:
        """The daemon's answer; blocks this thread. Raises `DaemonSilent`."""
        try:
            return self.asking(kind, question, wait_id).result(ASK_WITHIN_S)
        except concurrent.futures.TimeoutError:
            raise DaemonSilent(f"the daemon did not answer the question for a {kind} in {ASK_WITHIN_S:.0f} s") from None

    def asking(self, kind: str, question: dict[str, Any], wait_id: str) -> concurrent.futures.Future[dict[str, Any]]:
        number = next(self._numbers)
        answer = self._open[number] = concurrent.futures.Future()
        self.send("ask", about=kind, question=question, wait_id=wait_id, request_id=number)
        return answer

    def listen(self, command: Callable[[dict[str, Any]], object]) -> None:
        """Read until the daemon is gone, and end the process then. `command` is called in the reading thread."""

        def read() -> None:
            received = b""
            while piece := self._socket.recv(_READ_BYTES):
                *lines, received = (received + piece).split(b"\n")
                for line in lines:
                    self._take(json.loads(line), command)
            os._exit(0)  # nobody is left to report to

        threading.Thread(target=read, name="leoflow-channel", daemon=True).start()

    def _take(self, message: dict[str, Any], command: Callable[[dict[str, Any]], object]) -> None:
        if message["type"] != "answer":
            command(message)
            return
        waiting = self._open.pop(message["request_id"])
        if waiting.set_running_or_notify_cancel():  # False: who asked was cancelled meanwhile
            waiting.set_result(message["answer"])

    # --- secrets -------------------------------------------------------------------------------------------------

    def hide(self, secrets: Iterable[str]) -> None:
        """From now on these texts are `***` in logs and errors."""
        found = {text for text in secrets if len(text) >= _MIN_HIDDEN_LENGTH}
        self._hidden = tuple(sorted({*self._hidden, *found}, key=len, reverse=True))

    def redact(self, text: str) -> str:
        for secret in self._hidden:
            text = text.replace(secret, "***")
        return text


def _moment_text(value: Any) -> str:
    """Questions carry moments as RFC 3339 text."""
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"a message to the daemon holds {value!r}, which is no JSON")
