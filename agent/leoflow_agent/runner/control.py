"""The line to the agent: JSON lines over a socket, both ways. The only way out of this process to Leoflow.

First the agent sends the try (`begin`): until that line is here no user code may run. Out go log records, questions and
at last the outcome; back come answers, and the reason when the agent ends this try. The agent alone writes to disk.

A signal handler of the task may log or ask at any moment, and any thread may ask: both sections that touch the socket
hold the lock with all signals blocked, and are short. Whoever reads keeps the answers that others wait for.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

from . import limits, secret_forms

ANSWER_WITHIN_S = 120.0
"""Longer than a restart of the daemon; a task that hangs longer for an answer is better told so."""
_LOOK_AGAIN_S = 0.05
"""Another thread may have read the answer just before this one began to wait."""
_ANSWERED_BY_CALLER = frozenset({"connection", "variable", "write_variable", "dag_run"})
"""Kinds whose caller makes something of `refused`."""
_EVENT = "event"
_DEATH_TAKES_MS = 1000
_ALL_SIGNALS = frozenset(signal.valid_signals())
_sigmask = getattr(signal, "_signal", signal).pthread_sigmask
"""Without an enum for each of 64 signals, twice for every line that a task says: a millisecond of its ten."""


class AgentGone(RuntimeError):
    """The agent does not answer; the kernel is about to end this process too."""


class NoAnswer(RuntimeError):
    """The question could not be answered; the message says why."""


class Control:
    """Shared by all threads of the task process; a forked child of it must not use it."""

    def __init__(self, descriptor: int, *, answer_within_s: float = ANSWER_WITHIN_S) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        self._answer_within_s = answer_within_s
        self._lock = threading.RLock()
        self._owner = os.getpid()
        self._asked = 0
        self._received = b""
        self._awaited: dict[int, dict[str, Any] | None] = {}
        """Request id -> the answer, once it is here."""
        self._try: dict[str, Any] | None = None
        self._stop: tuple[str, str] | None = None
        self._is_ended = False
        self._secrets = secret_forms.Hidden()

    @property
    def is_usable(self) -> bool:
        """False in a process that user code forked: two writers would mix their lines."""
        return os.getpid() == self._owner

    def close(self) -> None:
        self._socket.close()

    # --- the life of the try -------------------------------------------------------------------------------------

    def begin(self) -> dict[str, Any]:
        """{"spec": ..., "work": folder}. Raises `AgentGone` when this process is not to run the try after all."""
        while self._try is None:
            self._wait(None)
            self._read()
        return self._try

    def stop_reason(self) -> tuple[str, str] | None:
        """(kind, because) when the agent decided to end this try."""
        with contextlib.suppress(AgentGone, OSError):
            self._read()
        return self._stop

    def keep(self, event: dict[str, Any]) -> None:
        """Returns when the agent has this event on its disk. Raises `NoAnswer` if it cannot write."""
        self.ask(_EVENT, {"event": event})

    def show(self, event: dict[str, Any]) -> None:
        """The agent keeps this if it can: it is for people to look at, and the task does not wait for the disk."""
        self.send({"show": event})

    # --- out -----------------------------------------------------------------------------------------------------

    def send(self, message: dict[str, Any]) -> None:
        line = json.dumps(message, default=_moment_text, allow_nan=False).encode() + b"\n"
        with self._undisturbed():
            self._socket.sendall(line)

    def hide(self, secrets: Iterable[str]) -> None:
        """Returns when these texts cannot reach the log any more."""
        # What is no UTF-8 (bytes of the environment) cannot be sent, nor shown as it is.
        texts = [text for text in self._secrets.hide(secrets) if text.isascii() or _is_unicode(text)]
        if texts:
            self.ask("mask", {"values": texts})

    def redact(self, text: str) -> str:
        """The text without the secrets that this process knows, for what is cut or does not go through the log."""
        return self._secrets.in_text(text)

    # --- questions -----------------------------------------------------------------------------------------------

    def ask(self, kind: str, question: dict[str, Any]) -> dict[str, Any]:
        """Send a question and wait for its answer, also while the daemon is being restarted.

        Raises `NoAnswer`, and `NotSerializable` and `TooLarge` for a question that nobody beyond this process could
        read. Kinds whose answer may be no are left to the caller: `refused` is in the answer.
        """
        if kind != _EVENT:  # what it holds was checked, and is for the agent's disk
            _check_question(kind, question)
        if not self.is_usable:
            raise AgentGone(f"cannot {kind} in a process that the task forked; do it in the task's own process")
        with self._undisturbed():
            self._asked += 1
            request_id = self._asked
            self._awaited[request_id] = None
        try:
            self.send({kind: {**question, "request_id": request_id}})
            answer = self._answer_to(request_id)
        finally:
            self._awaited.pop(request_id, None)
        if answer is None:
            raise NoAnswer(
                f"no answer to the question {kind!r} within {self._answer_within_s:g} s: the daemon is away or busy; "
                "look at its log, and let the task retry"
            )
        if answer.get("error") is not None:
            raise NoAnswer(str(answer["error"]))
        if answer.get("refused") and kind not in _ANSWERED_BY_CALLER:
            raise NoAnswer(f"the question ({kind}) is refused: {answer['refused']}")
        return answer

    def _answer_to(self, request_id: int) -> dict[str, Any] | None:
        deadline = time.monotonic() + self._answer_within_s
        while (answer := self._awaited[request_id]) is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return None
            self._wait(min(left_s, _LOOK_AGAIN_S) if threading.active_count() > 1 else left_s)
            self._read()
        return answer

    # --- in ------------------------------------------------------------------------------------------------------

    def _wait(self, within_s: float | None) -> None:
        ready = select.poll()
        ready.register(self._socket, select.POLLIN)
        ready.poll(None if within_s is None else max(1, int(within_s * 1000)))

    def _read(self) -> None:
        """Take in what is there, without waiting. Raises `AgentGone`."""
        with self._undisturbed():
            if self._is_ended:
                raise AgentGone("the agent closed the connection of this task")
            while True:
                try:
                    piece = self._socket.recv(262_144, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    return
                if not piece:
                    self._is_ended = True
                    return
                *lines, self._received = (self._received + piece).split(b"\n")
                for line in lines:
                    self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        if "spec" in message:
            self._try = message
        elif "stop" in message:
            self._stop = (str(message["stop"]["kind"]), str(message["stop"]["because"]))
        elif message.get("request_id") in self._awaited:  # else nobody waits for it any more
            self._awaited[message["request_id"]] = message

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """No other thread, and no signal handler in the middle, which would mix its bytes with ours."""
        blocked = _sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)
        try:
            with self._lock:
                yield
        finally:
            _sigmask(signal.SIG_SETMASK, blocked)

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


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


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
