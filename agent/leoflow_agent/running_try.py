"""One try on this host: its process group, its output, its limits, its outcome on disk.

`host` and `pod` make one and await `run`; `try_stream` reports what this object writes into the try's folder, and
waits on `changed`. Nothing here talks to the daemon, and nothing here needs it to be there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from leoflow_agent import framing
from leoflow_agent.fork_servers import CannotStart, Descriptors, Interpreters, Process, Warmth
from leoflow_agent.masking import Secrets
from leoflow_agent.outcomes import Exit, decide_outcome
from leoflow_agent.processes import boot_id, end_group, signal_group, start_ticks
from leoflow_agent.reports import fields
from leoflow_agent.spool import ProcessFacts, Stop, StoredOutcome, TryFolder
from leoflowd.contract.agent_messages import (
    ConnectionAsk,
    CountsAsk,
    DagRunAsk,
    OutcomeKind,
    PreviousRunAsk,
    TrySpec,
    XComPull,
)
from leoflowd.contract.agent_wire import fault_of

log = logging.getLogger(__name__)

LOG_CAP_BYTES = 100 * 1024 * 1024
STOP_GRACE_S = 5.0
LEFTOVER_GRACE_S = 1.0
"""What background children of a finished task get between TERM and KILL."""
_READ_BYTES = 64 * 1024
_RECORD_BYTES = 1024 * 1024
"""A longer record on the control socket did not come from the runner."""
_START_ATTEMPTS = 3

Ask = XComPull | PreviousRunAsk | ConnectionAsk | DagRunAsk | CountsAsk
_ASKS: dict[str, type[Ask]] = {
    "pull": XComPull,
    "previous": PreviousRunAsk,
    "connection": ConnectionAsk,
    "dag_run": DagRunAsk,
    "counts": CountsAsk,
}
"""How the runner names its questions on the control socket."""


class LogFile:
    """The try's log on disk; past the cap one line says so and the rest is dropped, so that the task never blocks."""

    def __init__(self, path: Path, cap_bytes: int) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._cap_bytes = cap_bytes
        self.size = os.fstat(self._descriptor).st_size
        self.is_full = False

    def write(self, lines: bytes) -> None:
        if self.is_full:
            return
        room = self._cap_bytes - self.size
        if len(lines) > room:
            self.is_full = True
            lines = lines[: lines.rfind(b"\n", 0, max(room, 0)) + 1] + framing.record_line(
                {
                    "event": f"The log of this try reached its limit of {self._cap_bytes} bytes; the rest is dropped. "
                    "Log less, or raise the agent's --log-cap-bytes.",
                    "level": "warning",
                    "logger": "leoflow.agent",
                },
                now=datetime.now(UTC),
            )
        try:
            written = os.write(self._descriptor, lines)
            if written < len(lines):  # the disk is full: half a line would break every line after it
                os.ftruncate(self._descriptor, self.size)
                raise OSError("short write")  # noqa: TRY301  handled two lines below, like the error of a full disk
            self.size += written
        except OSError as error:
            self.is_full = True
            log.error("log_lost", extra=fields(error=repr(error)))  # noqa: TRY400  no traceback needed

    def close(self) -> None:
        os.close(self._descriptor)


class RunningTry:
    """A try between its folder and its outcome."""

    def __init__(
        self,
        folder: TryFolder,
        spec: TrySpec,
        *,
        interpreters: Interpreters,
        python: str,
        log_cap_bytes: int = LOG_CAP_BYTES,
    ) -> None:
        self.folder = folder
        self.spec = spec
        self.pid: int | None = None
        self.started_at = datetime.now(UTC)
        self.outcome: StoredOutcome | None = None
        self.changed = asyncio.Event()
        """Set whenever there may be something new to report; the reporter clears it."""
        self.urgent = asyncio.Event()
        """Set when somebody waits for the report: the outcome is there, or the task asks."""
        self.asks: dict[int, Ask] = {}
        """Questions of the task that wait for the daemon."""
        self.secrets = Secrets()
        """What must not be seen in its log."""
        self.is_over = asyncio.Event()
        """Set when the process and its group are gone; the outcome may be known before."""
        self._told = asyncio.Event()
        """The process ended; or it has no child, and its outcome and all it printed and logged are there to be read."""
        self._interpreters = interpreters
        self._python = python
        self._log_cap_bytes = log_cap_bytes
        self._stop: Stop | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._control: socket.socket | None = None
        self._answers: set[asyncio.Task[None]] = set()

    # --- the life of the try -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From fork to an outcome on disk; raises only on bugs, and then there is an outcome too."""
        exit_ = Exit(lost="Lost: the agent failed while it ran this try; its log says why.")
        try:
            exit_ = await self._run_process()
        except CannotStart as error:
            self._stop = Stop(kind=OutcomeKind.FAILED_FOR_GOOD, because=f"The task did not start: {error}.")
        except (ConnectionError, RuntimeError, OSError) as error:
            log.warning("try_not_started", extra=fields(try_id=self.spec.try_id, error=repr(error)))
            exit_ = Exit(lost=f"Lost: the task did not start: {error}.")
        finally:
            if self.outcome is None:
                self._finish(exit_)
            self.is_over.set()

    async def _run_process(self) -> Exit:
        output = _Output(LogFile(self.folder.log_path, self._log_cap_bytes), self)
        try:
            process = await self._start(output)
            if self._stop is not None:  # asked to stop while it was being started
                self._stopping = asyncio.create_task(self._end_group(STOP_GRACE_S))
            limit = asyncio.create_task(self._enforce_execution_timeout())
            try:
                process.ended.add_done_callback(lambda _: self._told.set())
                await self._told.wait()
                if not process.ended.done() and self._may_finish_early():
                    # Nobody need wait for the interpreter to end and be reaped.
                    output.settle()
                    self._finish(Exit(code=0))
                exit_ = await process.ended
            finally:
                limit.cancel()
            if self._stopping is not None:
                self._stopping.cancel()
            # Children in the background must not hold the try open, nor outlive it.
            await end_group(process.pid, LEFTOVER_GRACE_S if exit_.lost is None else None)
            return exit_
        finally:
            output.finish()
            self._control = None

    def _may_finish_early(self) -> bool:
        """A try that somebody is ending is judged when it has ended."""
        runner = self.folder.read_outcome()
        return self._stop is None and runner is not None and runner.kind is not OutcomeKind.TERMINATED

    async def _start(self, output: _Output) -> Process:
        for attempt in range(1, _START_ATTEMPTS + 1):
            descriptors = output.open()
            try:
                process = await self._interpreters.start_try(
                    try_id=self.spec.try_id,
                    folder=self.folder.path,
                    warmth=Warmth(self._python, self.spec.runtime, self.spec.preload),
                    warm=self.spec.warm,
                    descriptors=descriptors,
                )
                break
            except ConnectionError:
                # The fork server died before it said that it had forked. If it had, the parent-death signal ended
                # the child, but user code may have begun; the runner marks that, and then there is no second start.
                if attempt == _START_ATTEMPTS or self.folder.has_begun():
                    raise
            finally:
                for end in (descriptors.stdout, descriptors.stderr, descriptors.control):
                    os.close(end)
        self.pid = process.pid
        self.started_at = datetime.now(UTC)
        self._control = output.control
        self.folder.write_process(
            ProcessFacts(
                pid=process.pid, started_ticks=start_ticks(process.pid), boot_id=boot_id(), started_at=self.started_at
            )
        )
        self.changed.set()
        return process

    def _finish(self, exit_: Exit) -> None:
        runner = self.folder.read_outcome()
        self.outcome = decide_outcome(
            runner=runner,
            stop=self._stop,
            exit_=exit_,
            started_at=self.started_at,
            now=datetime.now(UTC),
        )
        if runner is None or runner.kind is not self.outcome.kind:
            self.folder.write_outcome(self.outcome)  # else the runner's own says it all
            self._log_last_word(self.outcome)
        self.asks.clear()
        self.changed.set()
        self.urgent.set()
        log.info(
            "try_ended", extra=fields(try_id=self.spec.try_id, kind=self.outcome.kind, because=self.outcome.because)
        )

    def _log_last_word(self, outcome: StoredOutcome) -> None:
        """The runner could not say why it ended; whoever reads the log should not have to look elsewhere."""
        log_file = LogFile(self.folder.log_path, self._log_cap_bytes)
        record = {"event": outcome.because, "level": "error", "logger": "leoflow.agent"}
        log_file.write(framing.record_line(record, now=datetime.now(UTC)))
        log_file.close()

    # --- ending it early -----------------------------------------------------------------------------------------

    def stop(self, kind: OutcomeKind, because: str, *, grace_s: float = STOP_GRACE_S) -> None:
        """End the try and report it as `kind`; the first reason counts, and a result that is written counts more."""
        if self._stop is not None or self.outcome is not None or self.folder.has_outcome():
            return
        self._stop = Stop(kind=kind, because=because)
        self.folder.write_stop(self._stop)
        if self.pid is not None:
            self._stopping = asyncio.create_task(self._end_group(grace_s))

    def kill(self) -> None:
        """No grace: the try is stale, nothing of it will be kept."""
        self._stop = self._stop or Stop(kind=OutcomeKind.TERMINATED, because="The try is stale.")
        if self.pid is not None and not self.is_over.is_set():
            signal_group(self.pid, signal.SIGKILL)

    async def _end_group(self, grace_s: float) -> None:
        assert self.pid is not None
        await end_group(self.pid, grace_s)

    async def _enforce_execution_timeout(self) -> None:
        limit_s = self.spec.execution_timeout_s
        if limit_s is None:
            return
        await asyncio.sleep(limit_s)
        self.stop(OutcomeKind.TIMED_OUT, f"The task ran longer than its execution_timeout of {limit_s:g} s.")

    # --- the runner's words --------------------------------------------------------------------------------------

    def heard(self, line: bytes, log_file: LogFile) -> None:
        """One line from the control socket."""
        try:
            match msgspec.json.decode(line):
                case {"log": dict(record)}:
                    log_file.write(framing.record_line(self.secrets.in_record(record), now=datetime.now(UTC)))
                case {"mask": {"request_id": int(request_id), "values": list(values)}}:
                    self.secrets.hide(msgspec.convert(values, list[str]))
                    self._send({"request_id": request_id})
                case {"outcome": {"has_children": has_children}}:
                    if not has_children:
                        self._told.set()
                case {"events": _}:
                    pass  # something was appended to events.ndjson
                case dict(message) if len(message) == 1 and (kind := next(iter(message))) in _ASKS:
                    self._asked(kind, message[kind])
                case _:
                    raise msgspec.ValidationError("unknown record")
        except (msgspec.MsgspecError, ValueError, RecursionError):
            # User code wrote on our descriptor; what it said is output, no more.
            shown = self.secrets.in_output(line[: framing.LINE_BYTES])
            log_file.write(framing.output_line(shown, stream="stderr", now=datetime.now(UTC)))

    def _asked(self, kind: str, question: object) -> None:
        """A question that the daemon could not even be asked is answered here: the task waits for its answer."""
        try:
            ask = msgspec.convert(question, _ASKS[kind])
            fault = fault_of(ask)
        except msgspec.ValidationError as error:
            request_id = question.get("request_id") if isinstance(question, dict) else None
            if not isinstance(request_id, int):
                raise
            self._send({"request_id": request_id, "refused": f"the question cannot be understood: {error}"})
            return
        if fault is not None:
            self._send({"request_id": ask.request_id, "refused": f"the question cannot be asked: {fault}"})
            return
        self.asks[ask.request_id] = ask
        self.urgent.set()

    def answer(self, request_id: int, answer: object) -> None:
        """The daemon's answer to a question; ignored if nobody waits for it any more."""
        if self.asks.pop(request_id, None) is not None:
            self._send(answer)

    def _send(self, answer: object) -> None:
        if self._control is None:
            return
        body = msgspec.json.encode(answer) + b"\n"
        sending = asyncio.create_task(_send_all(self._control, body))
        self._answers.add(sending)
        sending.add_done_callback(self._answers.discard)


async def _send_all(control: socket.socket, body: bytes) -> None:
    try:
        await asyncio.get_running_loop().sock_sendall(control, body)
    except OSError:
        return  # the task ended meanwhile


class _Output:
    """stdout, stderr and the control socket of one try, read as they come and never left unread."""

    def __init__(self, log_file: LogFile, owner: RunningTry) -> None:
        self.control: socket.socket | None = None
        self._log = log_file
        self._owner = owner
        self._pipes: dict[str, int] = {}
        self._splitters = {"stdout": framing.LineSplitter(), "stderr": framing.LineSplitter()}
        self._heard = b""
        self._is_settled = False

    def open(self) -> Descriptors:
        """New pipes; the ends for the child are the caller's to close."""
        self._close_readers()
        loop = asyncio.get_running_loop()
        ends = {}
        for name in ("stdout", "stderr"):
            self._pipes[name], ends[name] = os.pipe()
            os.set_blocking(self._pipes[name], False)
            loop.add_reader(self._pipes[name], self._read_pipe, name)
        self.control, theirs = socket.socketpair()
        self.control.setblocking(False)
        loop.add_reader(self.control.fileno(), self._read_control)
        return Descriptors(ends["stdout"], ends["stderr"], theirs.detach())

    def settle(self) -> None:
        """The log is complete: read what is still there; whatever comes later is read and dropped."""
        self._drain()
        while self._read_control():
            pass
        for name, splitter in self._splitters.items():
            self._write(name, splitter.end())
        self._is_settled = True

    def finish(self) -> None:
        """Nobody writes any more, or has a right to: settle, and close."""
        if not self._is_settled:
            self.settle()
        self._close_readers()
        self._log.close()

    def _drain(self) -> None:
        # An escaped child (its own session) may write for ever: what it adds from now on is not waited for.
        for name in list(self._pipes):
            for _ in range(64):
                if not self._read_pipe(name):
                    break

    def _read_pipe(self, name: str) -> bool:
        """True if there was something."""
        pipe = self._pipes.get(name)
        if pipe is None:
            return False
        try:
            piece = os.read(pipe, _READ_BYTES)
        except BlockingIOError:
            return False
        if not piece:  # the task closed it; that says nothing about the task
            self._close_pipe(name)
            return False
        if self._log.is_full or self._is_settled:
            return True
        self._write(name, self._splitters[name].feed(piece))
        return True

    def _write(self, name: str, lines: Iterable[bytes]) -> None:
        now = datetime.now(UTC)
        secrets = self._owner.secrets
        block = b"".join(framing.output_line(secrets.in_output(line), stream=name, now=now) for line in lines)
        if block:
            self._log.write(block)
            self._owner.changed.set()

    def _read_control(self) -> bool:
        if self.control is None:
            return False
        try:
            piece = self.control.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            piece = b""
        if not piece:
            asyncio.get_running_loop().remove_reader(self.control.fileno())
            self.control.close()
            self.control = None
            return False
        # print() flushed before this record was sent: what it wrote comes first in the log too.
        for name in list(self._pipes):
            self._read_pipe(name)
        *lines, self._heard = (self._heard + piece).split(b"\n")
        for line in () if self._is_settled else lines:
            self._owner.heard(line, self._log)
        if len(self._heard) > _RECORD_BYTES:
            self._heard = b""
        self._owner.changed.set()
        return True

    def _close_pipe(self, name: str) -> None:
        pipe = self._pipes.pop(name)
        asyncio.get_running_loop().remove_reader(pipe)
        os.close(pipe)

    def _close_readers(self) -> None:
        for name in list(self._pipes):
            self._close_pipe(name)
        if self.control is not None:
            asyncio.get_running_loop().remove_reader(self.control.fileno())
            self.control.close()
            self.control = None
