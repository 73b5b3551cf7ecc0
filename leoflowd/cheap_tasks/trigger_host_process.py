"""One trigger host process, from start to end: what it says, whether it is alive, in whose code it was when it died.

`trigger_hosts` decides what runs in it and what its end means. The process is the program
`agent/leoflow_agent/trigger_host/start.py` in the author's interpreter (ADR 16): JSON lines over a socket pair, and a
few bytes of shared memory, the marker, that name the wait whose code is running. The kernel ends it with the daemon.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import trio

from leoflowd import supervision
from leoflowd.config import TriggerHostsConfig
from leoflowd.contract.variable import OF_PEOPLE

MARKER_BYTES = 64
"""`leoflow_agent.trigger_host.marking.SIZE`; a unit test compares them."""
READ_BYTES = 65_536
LINE_MAX_BYTES = 8 * 1024 * 1024
"""Events are at most 1 MiB; whoever sends more has taken the channel for something else."""
QUESTIONS_AT_ONCE = 16
UNSENDABLE = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)
"""What an encoder raises about a command."""
SECOND_LOOK_S = 1.0
"""Before a silent host is killed: after a stall of our own its beats may only be unread."""
EXIT_S = 1.0
"""Between the end of the channel and the end of the process."""
REAP_S = 5.0
"""The kernel takes longer only for a process that is stuck in a device."""
KEPT_VARIABLES = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    )
)
"""Nothing of ours leaks into code of authors; what theirs reads variables and connections from passes."""


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


class HostEnd(msgspec.Struct, frozen=True, kw_only=True):
    kind: EndKind
    culprit: str
    """Id of the wait whose code was running when it died; empty when none was."""
    because: str


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """Which program to start."""

    python: str
    runtime: str
    """`shim` or `airflow`."""
    shim: Path
    bundle: Path | None
    log: Path


class HostProcess:
    """`run` once. `heard` gets every message but questions, in order; `answer` is asked those."""

    def __init__(
        self,
        launch: Launch,
        *,
        config: TriggerHostsConfig,
        heard: Callable[[FromHost], None],
        answer: Callable[[Ask], Awaitable[dict[str, Any]]],
    ) -> None:
        self.pid = 0
        self._launch = launch
        self._config = config
        self._heard = heard
        self._answer_of = answer
        # One entry for each wait that starts or ends: bounded by the waits.
        self._commands, self._outbox = trio.open_memory_channel[tuple[str, bytes]](math.inf)
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = trio.Event()
        self._beat_at = 0.0
        self._open_questions = 0
        self._questions = trio.CapacityLimiter(QUESTIONS_AT_ONCE)
        self._verdict: tuple[EndKind, str] | None = None

    def send(self, kind: str, **fields: Any) -> None:
        """Never waits; may be called before the process runs. Raises one of `UNSENDABLE`, and nothing is sent."""
        self._commands.send_nowait((kind, msgspec.json.encode({"type": kind, **fields}) + b"\n"))

    def stop(self, kind: EndKind, because: str) -> None:
        """Ask it to end, once; it is killed when it does not."""
        if self._verdict is None:
            self._verdict = (kind, because)
            self.send("stop")

    async def run(self) -> HostEnd:
        """Returns when the process has ended. Cancelling kills it."""
        ours, theirs = socket.socketpair()
        marker = os.memfd_create("leoflow-marker")
        try:
            os.ftruncate(marker, MARKER_BYTES)
            try:
                self._process = self._start(theirs.fileno(), marker)
            except OSError as error:
                ours.close()
                return HostEnd(kind=EndKind.NOT_STARTED, culprit="", because=f"{self._launch.python}: {error.strerror}")
            finally:
                theirs.close()
            self.pid = self._process.pid
            async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
                await self._serve(stream)
            return self._end(self._process.returncode, _marked(os.pread(marker, MARKER_BYTES, 0)))
        finally:
            os.close(marker)

    def _start(self, channel: int, marker: int) -> subprocess.Popen[bytes]:
        """On this very thread: the parent-death signal comes when the *thread* that started a process ends."""
        launch = self._launch
        command = [
            *(launch.python, "-I", "-B", str(host_program()), "--runtime", launch.runtime),
            *("--parent", str(os.getpid()), "--channel", str(channel), "--marker", str(marker)),
            *("--shim", str(launch.shim), "--bundle", str(launch.bundle or "")),
            *("--log", str(launch.log), "--log-bytes", str(self._config.log_max_bytes)),
        ]
        launch.log.parent.mkdir(parents=True, exist_ok=True)
        with launch.log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603  # our own program in the author's interpreter
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=launch.bundle or launch.log.parent,
                env=host_environment(launch.python),
                pass_fds=(channel, marker),
                start_new_session=True,
            )

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, stream)
                nursery.start_soon(self._watch_silence)
                await self._read(stream, nursery)
                nursery.cancel_scope.cancel()
            with trio.move_on_after(EXIT_S):  # how it ends by itself says more than our kill
                await self._exit()
        finally:
            self._kill()
            with trio.move_on_after(REAP_S, shield=True):
                await self._exit()
            assert self._process is not None
            self._process.poll()

    async def _write(self, stream: trio.SocketStream) -> None:
        async for kind, command in self._outbox:
            try:
                await stream.send_all(command)
            except trio.BrokenResourceError:
                return  # it died; the reader sees the end of what it said
            if kind == "stop":
                await trio.sleep(self._config.stop_grace_s)
                self._kill()

    async def _read(self, stream: trio.SocketStream, nursery: trio.Nursery) -> None:
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
        with trio.move_on_after(self._config.start_within_s):
            await self._ready.wait()
        if not self._ready.is_set():
            self._end_with(EndKind.NOT_STARTED, f"it was not ready within {self._config.start_within_s:g} s")
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

    def _end_with(self, kind: EndKind, because: str) -> None:
        self._verdict = (kind, because)
        self._kill()

    def _kill(self) -> None:
        """The whole group: a trigger may have started programs. Its leader is not reaped yet: the number is its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def _exit(self) -> None:
        descriptor = os.pidfd_open(self.pid)
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)

    def _end(self, code: int | None, culprit: str) -> HostEnd:
        if self._verdict is not None:
            kind, because = self._verdict
        else:
            kind = EndKind.CRASHED if self._ready.is_set() else EndKind.NOT_STARTED
            because = f"it ended with exit code {code}" if code is None or code >= 0 else f"signal {-code} ended it"
        return HostEnd(kind=kind, culprit=culprit, because=because)


def _marked(content: bytes) -> str:
    """The wait that the marker names; whatever else an author's code wrote there names nobody."""
    named = content.rstrip(b"\0")
    return named.decode() if named.isascii() and b"\0" not in named else ""


def host_program() -> Path:
    """The host's entry file; found, not imported: it belongs into the author's interpreter."""
    spec = find_spec("leoflow_agent")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(
            "the package leoflow_agent is not installed; install leoflow with its extra `lite` or `agent`"
        )
    return Path(spec.submodule_search_locations[0]) / "trigger_host" / "start.py"


def host_environment(python: str, source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What code of authors may know; as `leoflow_agent.environment.clean_environment` for tasks."""
    passed = (*OF_PEOPLE, "LC_")
    kept = {name: value for name, value in source.items() if name in KEPT_VARIABLES or name.startswith(passed)}
    kept["PATH"] = f"{Path(python).parent}:{kept.get('PATH', '/usr/bin:/bin')}"
    return kept
