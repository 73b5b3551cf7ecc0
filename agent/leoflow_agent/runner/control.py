"""The line to the agent: JSON lines over a socket. Log records go out; questions about XComs and runs come back."""

from __future__ import annotations

import json
import os
import select
import socket
import threading
from collections.abc import Iterable
from datetime import date
from typing import Any

from . import limits

_ANSWERED_BY_CALLER = frozenset({"connection", "dag_run"})
_DEATH_TAKES_MS = 1000
_MIN_HIDDEN_LENGTH = 5
"""`leoflow_agent.masking.MIN_LENGTH`; a unit test compares them."""


class AgentGone(RuntimeError):
    """The agent does not answer; the kernel is about to end this process too."""


class Refused(RuntimeError):
    """The daemon's answer to a question is no; the message says why."""


class Control:
    """Shared by all threads of the task process; a forked child of it must not use it."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        self._lock = threading.RLock()  # a signal handler may log while its own thread is sending
        self._owner = os.getpid()
        self._asked = 0
        self._received = b""
        self._hidden: list[str] = []

    @property
    def is_usable(self) -> bool:
        """False in a process that user code forked: two writers would mix their lines."""
        return os.getpid() == self._owner

    def send(self, message: dict[str, Any]) -> None:
        line = json.dumps(message, default=_moment_text, allow_nan=False).encode() + b"\n"
        with self._lock:
            self._socket.sendall(line)

    def hide(self, secrets: Iterable[str]) -> None:
        """Returns when these texts cannot reach the log any more."""
        texts = [text for text in secrets if len(text) >= _MIN_HIDDEN_LENGTH]
        if texts:
            self._hidden = sorted({*self._hidden, *texts}, key=len, reverse=True)
            self.ask("mask", {"values": texts})

    def redact(self, text: str) -> str:
        """The text without the secrets that this process knows, for what does not go through the log."""
        for secret in self._hidden:
            text = text.replace(secret, "***")
        return text

    def ask(self, kind: str, question: dict[str, Any]) -> dict[str, Any]:
        """Send a question and wait for its answer; as long as the daemon is away, this waits.

        Raises `NotSerializable` and `TooLarge` for a question that nobody beyond this process could read, and `Refused`
        when there is no answer. Kinds whose answer may be no are left to the caller: `refused` is in the answer.
        """
        _check_question(kind, question)
        if not self.is_usable:
            raise AgentGone(f"cannot {kind} in a process that the task forked; do it in the task's own process")
        with self._lock:
            self._asked += 1
            request_id = self._asked
            self.send({kind: {**question, "request_id": request_id}})
            while True:
                answer = json.loads(self._line())
                # An answer to a question that an exception cut off may still arrive.
                if answer.get("request_id") == request_id:
                    if answer.get("refused") and kind not in _ANSWERED_BY_CALLER:
                        raise Refused(f"the question ({kind}) is refused: {answer['refused']}")
                    return dict(answer)

    def is_agent_gone(self) -> bool:
        """Whether the agent was killed. The kernel closes its descriptors one by one and kills us only after that, so
        when an output pipe is broken already, this waits a moment for the control socket to follow."""
        broken = select.poll()
        for output in (1, 2):
            broken.register(output, 0)  # POLLERR always counts: nobody reads this pipe any more
        is_broken = any(event & select.POLLERR for _, event in broken.poll(0))
        control = select.poll()
        control.register(self._socket, 0)
        # POLLNVAL: the task closed our descriptor itself, which says nothing about the agent.
        return any(not event & select.POLLNVAL for _, event in control.poll(_DEATH_TAKES_MS if is_broken else 0))

    def _line(self) -> bytes:
        while b"\n" not in self._received:
            piece = self._socket.recv(65536)
            if not piece:
                raise AgentGone("the agent closed the connection of this task")
            self._received += piece
        line, _, self._received = self._received.partition(b"\n")
        return line


def _check_question(kind: str, question: dict[str, Any]) -> None:
    """The agent and MessagePack, which it speaks, know integers of 64 bits."""
    text = json.dumps(question, default=_moment_text)
    if len(text) > limits.QUESTION_MAX_BYTES:
        raise limits.TooLarge(f"the question ({kind}) takes {len(text)} bytes, more than {limits.QUESTION_MAX_BYTES}")
    plain = limits.check(json.loads(text), f"the question ({kind})")
    for name, value in plain.items():
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, int) and not -(2**63) <= item < 2**63:
                raise limits.NotSerializable(f"{name} of the question ({kind}) is an integer of more than 64 bits")


def _moment_text(value: Any) -> str:
    """Questions carry moments as RFC 3339 text."""
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"a question to the daemon holds {value!r}, which is no JSON")
