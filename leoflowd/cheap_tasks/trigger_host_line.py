"""A conversation with one trigger host, wherever it runs: what it says, what it is told, whether it is alive.

JSON lines both ways. `trigger_host_process` has the hosts of this machine, `trigger_host_pod` those of a cluster, and
`trigger_hosts` decides what runs in them and what their end means (ADR 16, 65).
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Protocol

import msgspec
import trio

from leoflowd import supervision
from leoflowd.config import TriggerHostsConfig
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.waits import TriggerCall

READ_BYTES = 65_536
LINE_MAX_BYTES = 8 * 1024 * 1024
"""Events are at most 1 MiB; whoever sends more has taken the channel for something else."""
QUESTIONS_AT_ONCE = 16
UNSENDABLE = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)
"""What an encoder raises about a command."""
SECOND_LOOK_S = 1.0
"""Before a silent host is killed: after a stall of our own its beats may only be unread."""


# --- what a host says --------------------------------------------------------------------------------------------


class HostMessage(msgspec.Struct, frozen=True, kw_only=True, tag=str.lower, tag_field="type"):
    """Base; the tag is the class name in small letters."""


class Hello(HostMessage, frozen=True, kw_only=True):
    pid: int


class Beat(HostMessage, frozen=True, kw_only=True):
    """Each second, from the event loop itself."""

    rss_bytes: int
    triggers: int


class Event(HostMessage, frozen=True, kw_only=True):
    wait_id: str
    event: Any
    """In the XCom form; with `end`, the XComs that the task ends with."""
    end: str | None = None
    """`success`, `failed`, `skipped`: the trigger ends its task itself."""


class Ended(HostMessage, frozen=True, kw_only=True):
    """A trigger that repeats has nothing more to say."""

    wait_id: str


class Failed(HostMessage, frozen=True, kw_only=True):
    wait_id: str
    error: str
    traceback: tuple[str, ...]


class Log(HostMessage, frozen=True, kw_only=True):
    wait_id: str
    line: dict[str, Any]
    """In the shape of a task's log."""


class Ask(HostMessage, frozen=True, kw_only=True):
    request_id: int
    wait_id: str
    about: str
    """`connection`, `variable`, `counts`: fields of `contract.agent_messages` asks in `question`."""
    question: dict[str, Any]


class Stalled(HostMessage, frozen=True, kw_only=True):
    """The event loop does not run. `wait_id` is empty when no trigger's code is in the way."""

    wait_id: str
    blocked_s: float
    stack: tuple[str, ...]
    """`file.py:12 in run`, innermost first."""


FromHost = Hello | Beat | Event | Ended | Failed | Log | Ask | Stalled
_decoder = msgspec.json.Decoder(FromHost)


# --- how a host ends ---------------------------------------------------------------------------------------------


class EndKind(StrEnum):
    IDLE = "idle"
    MEMORY = "memory"
    SILENT = "silent"
    CRASHED = "crashed"
    NOT_STARTED = "not started"
    LOST = "lost"
    """Its pod or the way to it is gone, and no trigger is to blame."""


class HostEnd(msgspec.Struct, frozen=True, kw_only=True):
    kind: EndKind
    culprit: str
    """Id of the wait whose code was running when it died; empty when none was."""
    because: str


class HostKey(msgspec.Struct, frozen=True):
    """Waits with equal keys share one host."""

    python: str
    """The interpreter; in a cluster the image that it is in."""
    runtime: str
    """`shim` or `airflow`."""
    bundle: str
    """Digest of the project that the class comes from; empty for installed packages, and in a cluster, where the image
    has the code."""
    group: str = ""
    """Empty for the host that all begin in; else why it was parted from that."""

    @property
    def name(self) -> str:
        """Of its log file."""
        return f"{self.runtime}-{hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]}"


Heard = Callable[["FromHost"], None]
Answer = Callable[[Ask], Awaitable[dict[str, Any]]]


class HostPlaces(Protocol):
    """Where trigger hosts run: processes of this machine, or pods."""

    async def prepare(self, call: TriggerCall, environment: EnvironmentSpec) -> str:
        """`HostKey.python` for this trigger; building it may take minutes. Raises LeoflowError."""

    def bundle_of(self, call: TriggerCall) -> str:
        """`HostKey.bundle`. Raises OSError and ValueError for names that the file system does not take."""

    def make(self, key: HostKey, heard: Heard, answer: Answer) -> HostLine:
        """One that has not begun. `heard` gets every message but questions, in order; `answer` is asked those."""

    async def run(self) -> None:
        """Upkeep beside the hosts, for as long as there may be any."""


class HostLine(ABC):
    """`run` once."""

    def __init__(self, *, config: TriggerHostsConfig, start_within_s: float, heard: Heard, answer: Answer) -> None:
        self.pid = 0
        self._config = config
        self._start_within_s = start_within_s
        self._heard = heard
        self._answer_of = answer
        # One entry for each wait that starts or ends: bounded by the waits.
        self._commands, self._outbox = trio.open_memory_channel[tuple[str, bytes]](math.inf)
        self._ready = trio.Event()
        self._beat_at = 0.0
        self._open_questions = 0
        self._questions = trio.CapacityLimiter(QUESTIONS_AT_ONCE)
        self._verdict: tuple[EndKind, str] | None = None

    @abstractmethod
    async def run(self) -> HostEnd:
        """Returns when the host has ended. Cancelling ends it."""

    @property
    @abstractmethod
    def where(self) -> str:
        """For people: `with process id 7`."""

    @abstractmethod
    def log_tail(self) -> str:
        """What it wrote last, for people."""

    @abstractmethod
    def _kill(self) -> None:
        """Now, or at least so that nothing of it is heard any more."""

    def send(self, kind: str, **fields: Any) -> None:
        """Never waits; may be called before the process runs. Raises one of `UNSENDABLE`, and nothing is sent."""
        self._commands.send_nowait((kind, msgspec.json.encode({"type": kind, **fields}) + b"\n"))

    def stop(self, kind: EndKind, because: str) -> None:
        """Ask it to end, once; it is killed when it does not."""
        if self._verdict is None:
            self._verdict = (kind, because)
            self.send("stop")

    async def _converse(self, stream: trio.abc.Stream) -> None:
        """Until the other end is closed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, stream)
            nursery.start_soon(self._watch_silence)
            await self._read(stream, nursery)
            nursery.cancel_scope.cancel()

    async def _write(self, stream: trio.abc.Stream) -> None:
        async for kind, command in self._outbox:
            try:
                await stream.send_all(command)
            except trio.BrokenResourceError:
                return  # it died; the reader sees the end of what it said
            if kind == "stop":
                await trio.sleep(self._config.stop_grace_s)
                self._kill()

    async def _read(self, stream: trio.abc.Stream, nursery: trio.Nursery) -> None:
        """What a dying host said last is still in the socket, and counts."""
        received = bytearray()
        while True:  # noqa: ASYNC913  # `receive_some` is one
            try:
                piece = await stream.receive_some(READ_BYTES)
            except trio.BrokenResourceError:
                return
            received += piece
            if not piece or len(received) > LINE_MAX_BYTES:
                return
            *lines, rest = received.split(b"\n")
            received = bytearray(rest)
            try:
                for line in lines:
                    self._take(line, nursery)
            except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
                self._verdict = (EndKind.CRASHED, f"what it wrote into its channel is no message: {error}")
                return

    def _take(self, line: bytes | bytearray, nursery: trio.Nursery) -> None:
        message: FromHost = _decoder.decode(line)
        match message:
            case Ask():
                self._open_questions += 1
                nursery.start_soon(self._answer, message)
                return
            case Hello():
                self._beat_at = trio.current_time()
                self._ready.set()
            case Beat():
                self._beat_at = trio.current_time()
            case Event() | Ended() | Failed() | Log() | Stalled():
                pass
        self._heard(message)

    async def _answer(self, ask: Ask) -> None:
        answer: dict[str, Any] = {}

        async def refuse(failure: Exception) -> None:
            answer.update(refused=f"the daemon could not answer: {failure}")
            await trio.lowlevel.checkpoint()

        try:
            async with self._questions, supervision.contain(refuse):
                answer = await self._answer_of(ask)
            try:
                self.send("answer", request_id=ask.request_id, answer=answer)
            except UNSENDABLE as error:
                self.send("answer", request_id=ask.request_id, answer={"refused": f"it cannot be sent: {error!r}"})
        finally:
            self._open_questions -= 1

    async def _watch_silence(self) -> None:
        with trio.move_on_after(self._start_within_s):
            await self._ready.wait()
        if not self._ready.is_set():
            self._end_with(EndKind.NOT_STARTED, f"it was not ready within {self._start_within_s:g} s{self._why_not()}")
            return
        while True:
            seen = self._beat_at
            await trio.sleep_until(seen + self._config.host_silence_s)
            await trio.sleep(SECOND_LOOK_S)
            if self._open_questions:
                # A trigger that asks synchronously holds its loop until we answer: that silence is ours.
                self._beat_at = trio.current_time()
            elif self._beat_at == seen:
                break
        self._end_with(EndKind.SILENT, f"its event loop did not run for {self._config.host_silence_s:g} s")

    def _why_not(self) -> str:
        """What is known of a host that does not begin."""
        return ""

    def _end_with(self, kind: EndKind, because: str) -> None:
        self._verdict = (kind, because)
        self._kill()
