"""One try on this host: its process group, its output, its limits, its outcome on disk.

`host` and `pod` make one and await `run`; `try_stream` reports what this object writes into the try's folder, and
waits on `changed`. Nothing here talks to the daemon, and nothing here needs it to be there.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from leoflow_agent import framing
from leoflow_agent.control_line import ControlLine
from leoflow_agent.ends import Ends
from leoflow_agent.fork_server import Process, Project
from leoflow_agent.fork_servers import CannotStart, Interpreters, Warmth
from leoflow_agent.masking import Secrets
from leoflow_agent.outcomes import Exit, decide_outcome
from leoflow_agent.processes import boot_id, end_group, is_group_frozen, leads_group, start_ticks
from leoflow_agent.reports import fields
from leoflow_agent.spool import ProcessFacts, Stop, StoredOutcome, TryFolder
from leoflowd.contract.agent_messages import (
    AssetEventsAsk,
    ConnectionAsk,
    CountsAsk,
    DagAsk,
    DagRunAsk,
    OutcomeKind,
    PreviousInstanceAsk,
    PreviousRunAsk,
    StatesAsk,
    TrySpec,
    VariableAsk,
    VariableWrite,
    XComPull,
)
from leoflowd.contract.agent_wire import fault_of

log = logging.getLogger(__name__)

LOG_CAP_BYTES = 100 * 1024 * 1024
STOP_GRACE_S = 5.0
LEFTOVER_GRACE_S = 1.0
"""What background children of a finished task get between TERM and KILL."""
FROZEN_AFTER_S = 60.0
"""A task whose processes have been stopped (SIGSTOP) for so long is ended; a debugger's breakpoint may stay."""
_READ_BYTES = 64 * 1024
_LOOKS_PER_FREEZE = 4
_START_ATTEMPTS = 3

_RESULT = b'{"outcome": {"outcome": '
"""How the runner's last line begins."""

UNCARRIED = (ValueError, TypeError, OverflowError, RecursionError)
"""What codecs raise for a message that they cannot carry; msgspec's own errors are ValueErrors."""

Ask = (
    XComPull
    | PreviousRunAsk
    | ConnectionAsk
    | VariableAsk
    | VariableWrite
    | DagRunAsk
    | CountsAsk
    | DagAsk
    | AssetEventsAsk
    | StatesAsk
    | PreviousInstanceAsk
)
_ASKS: dict[str, type[Ask]] = {
    "pull": XComPull,
    "previous": PreviousRunAsk,
    "connection": ConnectionAsk,
    "variable": VariableAsk,
    "write_variable": VariableWrite,
    "dag_run": DagRunAsk,
    "counts": CountsAsk,
    "dag": DagAsk,
    "asset_events": AssetEventsAsk,
    "states": StatesAsk,
    "previous_instance": PreviousInstanceAsk,
}
"""How the runner names its questions on the control socket."""


class LogFile:
    """The try's log on disk; past the cap one line says so and the rest is dropped, so that the task never blocks."""

    def __init__(self, path: Path, cap_bytes: int) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._cap_bytes = cap_bytes
        self.size = os.fstat(self._descriptor).st_size
        self.is_full = False
        self.fault: OSError | None = None
        """Why the disk did not take all of it."""

    def write(self, lines: bytes) -> None:
        """Whole lines. Never raises: see `fault`."""
        if self.is_full:
            return
        room = self._cap_bytes - self.size
        if len(lines) > room:
            self.is_full = True
            lines = lines[: lines.rfind(b"\n", 0, max(room, 0)) + 1] + _notice(
                f"The log of this try reached its limit of {self._cap_bytes} bytes; the rest is dropped. "
                "Log less, or raise the agent's --log-cap-bytes."
            )
        try:
            written = os.write(self._descriptor, lines)
            if written == len(lines):
                self.size += written
                return
            error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as refused:
            written, error = 0, refused
        self.is_full, self.fault = True, error
        self._end_with_notice(lines, written, error)

    def _end_with_notice(self, lines: bytes, written: int, error: OSError) -> None:
        """Half a line would break every line after it; and the room that is there is best used to say why it ends."""
        notice = _notice(f"The log of this try ends here: the disk did not take more ({error.strerror}).")
        whole = lines.rfind(b"\n", 0, max(written - len(notice), 0)) + 1
        try:
            os.ftruncate(self._descriptor, self.size + whole)
            self.size += whole
            said = os.write(self._descriptor, notice)
            if said < len(notice):
                os.ftruncate(self._descriptor, self.size)
            else:
                self.size += said
        except OSError:
            return  # no room for a word; the outcome says it

    def close(self) -> None:
        os.close(self._descriptor)


def _notice(event: str, level: str = "warning") -> bytes:
    return framing.record_line({"event": event, "level": level, "logger": "leoflow.agent"}, now=datetime.now(UTC))


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
        frozen_after_s: float = FROZEN_AFTER_S,
    ) -> None:
        """Raises what `msgspec` raises for a spec that JSON cannot carry."""
        self.folder = folder
        self.spec = spec
        self.pid: int | None = None
        self.started_at = datetime.now(UTC)
        self.outcome: StoredOutcome | None = None
        self.is_kept = True
        """False while the outcome is only in memory, because the disk did not take it."""
        self.is_log_lost = False
        """The disk did not take the log; it ends with the reason."""
        self.changed = asyncio.Event()
        """Set whenever there may be something new to report; the reporter clears it."""
        self.urgent = asyncio.Event()
        """Set when somebody waits for the report: the outcome is there, or the task asks."""
        self.asks: dict[int, Ask] = {}
        """Questions of the task that wait for the daemon."""
        self.secrets = Secrets()
        """What must not be seen in its log."""
        self.has_spoken = asyncio.Event()
        """Set with the first word of its runner, which is there then; or it is over."""
        self.is_over = asyncio.Event()
        """Set when the process and its group are gone; the outcome may be known before."""
        self._told = asyncio.Event()
        """The process ended; or it has no child, and its outcome and all it printed and logged are there to be read."""
        self._begin = msgspec.json.encode({"spec": spec, "work": str(folder.work)})
        self._interpreters = interpreters
        self._python = python
        self._log_cap_bytes = log_cap_bytes
        self._frozen_after_s = frozen_after_s
        self._result: StoredOutcome | None = None
        """What the runner said."""
        self._stop: Stop | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._output: _Output | None = None

    # --- the life of the try -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From fork to an outcome; raises only on bugs, and then there is an outcome too."""
        exit_ = Exit(lost="Lost: the agent failed while it ran this try; its log says why.")
        self.started_at = datetime.now(UTC)  # it may have waited for its turn
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
            self.has_spoken.set()
            self.is_over.set()
        if not self.folder.remove_empty_work():
            await asyncio.to_thread(self.folder.remove_work)

    async def _run_process(self) -> Exit:
        if self._stop is not None:  # while it waited for its turn
            return Exit(lost="Lost: it was ended before it began.")
        output = self._output = _Output(LogFile(self.folder.log_path, self._log_cap_bytes), self)
        try:
            process = await self._start(output)
            if self._stop is None:
                output.say(self._begin)  # from here on user code may run
            else:  # asked to stop while it was being started
                self._stopping = asyncio.create_task(self._end_group(STOP_GRACE_S))
            limits = [asyncio.create_task(limit) for limit in (self._enforce_execution_timeout(), self._watch_frozen())]
            try:
                process.ended.add_done_callback(lambda _: self._told.set())
                await self._told.wait()
                if not process.ended.done() and self._may_finish_early():
                    # Nobody need wait for the interpreter to end and be reaped.
                    output.settle()
                    self._finish(Exit(code=0))
                exit_ = await process.ended
                if not self.has_spoken.is_set() and output.was_left_unread():
                    exit_ = Exit(lost="Lost: its process ended before it began, and no code of the task ran.")
            finally:
                for limit in limits:
                    limit.cancel()
            if self._stopping is not None:
                self._stopping.cancel()
            # Children in the background must not hold the try open, nor outlive it.
            await end_group(process.pid, LEFTOVER_GRACE_S if exit_.lost is None else None)
            return exit_
        finally:
            output.finish()
            self._output = None

    def _may_finish_early(self) -> bool:
        """A try that somebody is ending is judged when it has ended."""
        return self._stop is None and self._result is not None and self._result.kind is not OutcomeKind.TERMINATED

    def _project(self) -> Project:
        spec = self.spec
        return Project(spec.bundle_path, spec.source_path, spec.import_paths, tuple(sorted(spec.env.items())))

    async def _start(self, output: _Output) -> Process:
        for attempt in range(1, _START_ATTEMPTS + 1):
            try:
                process = await self._interpreters.start_try(
                    warmth=Warmth(self._python, self.spec.runtime, self.spec.preload),
                    project=self._project(),
                    warm=self.spec.warm,
                )
                break
            except ConnectionError:
                # The fork server died before it said that it had forked. If it had, the parent-death signal ends the
                # child; and it was never given the try, so that no user code has begun.
                if attempt == _START_ATTEMPTS:
                    raise
        output.read_from(process.ends)
        self.pid, self._process = process.pid, process
        self.started_at = datetime.now(UTC)
        facts = ProcessFacts(
            pid=process.pid, started_ticks=start_ticks(process.pid), boot_id=boot_id(), started_at=self.started_at
        )
        try:
            self.folder.write_process(facts)
        except OSError as error:
            self.fail(f"The task did not start: the agent cannot write to its spool ({error.strerror}).")
        self.changed.set()
        return process

    def _finish(self, exit_: Exit) -> None:
        self.outcome = decide_outcome(
            runner=self._result,
            stop=self._stop,
            exit_=exit_,
            started_at=self.started_at,
            now=datetime.now(UTC),
        )
        if self._result is None or self._result.kind is not self.outcome.kind:
            self.keep(self.outcome)  # else the runner's own says it all
            self._log_last_word(self.outcome)
        self.asks.clear()
        self.changed.set()
        self.urgent.set()
        log.info(
            "try_ended", extra=fields(try_id=self.spec.try_id, kind=self.outcome.kind, because=self.outcome.because)
        )

    def keep(self, outcome: StoredOutcome) -> None:
        """On disk, for the next agent. Where the disk takes nothing, memory is enough as long as this agent lives."""
        try:
            self.folder.write_outcome(outcome)
        except OSError as error:
            if self.is_kept:
                log.error("outcome_not_on_disk", extra=fields(try_id=self.spec.try_id, error=repr(error)))  # noqa: TRY400
            self.is_kept = False
        else:
            self.is_kept = True

    def _log_last_word(self, outcome: StoredOutcome) -> None:
        """The runner could not say why it ended; whoever reads the log should not have to look elsewhere."""
        if self.is_log_lost:
            return
        try:
            log_file = LogFile(self.folder.log_path, self._log_cap_bytes)
        except OSError:
            return  # the outcome carries the same sentence
        log_file.write(_notice(outcome.because, "error"))
        log_file.close()

    # --- ending it early -----------------------------------------------------------------------------------------

    def stop(self, kind: OutcomeKind, because: str, *, grace_s: float = STOP_GRACE_S) -> None:
        """End the try and report it as `kind`; the first reason counts, and a result that is known counts more."""
        if self._stop is not None or self.outcome is not None or self._result is not None:
            return
        self._stop = Stop(kind=kind, because=because)
        try:
            self.folder.write_stop(self._stop)
        except OSError as error:  # only a next agent would miss it
            log.warning("stop_not_on_disk", extra=fields(try_id=self.spec.try_id, error=repr(error)))
        if self._output is not None:
            self._output.say(msgspec.json.encode({"stop": self._stop}))
        if self.pid is not None:
            self._stopping = asyncio.create_task(self._end_group(grace_s))

    def fail(self, because: str) -> None:
        """End the try because something outside of its code is broken."""
        log.error("try_fails", extra=fields(try_id=self.spec.try_id, because=because))
        self.stop(OutcomeKind.FAILED, because)

    def kill(self) -> None:
        """No grace: the try is stale, nothing of it will be kept."""
        self._stop = self._stop or Stop(kind=OutcomeKind.TERMINATED, because="The try is stale.")
        if self._stopping is not None:
            self._stopping.cancel()
        if self.pid is not None and not self.is_over.is_set():
            self._stopping = asyncio.create_task(self._end_group(None))

    async def _end_group(self, grace_s: float | None) -> None:
        process = self._process
        assert process is not None
        # Forked a moment ago, it may not lead its group yet: the only signal would reach nobody.
        while not process.ended.done() and not leads_group(process.pid):  # noqa: ASYNC110  another process does it
            await asyncio.sleep(0.005)
        await end_group(process.pid, grace_s)

    async def _enforce_execution_timeout(self) -> None:
        limit_s = self.spec.execution_timeout_s
        if limit_s is None:
            return
        began = self.spec.first_started_at or self.started_at  # it may have deferred or been rescheduled since then
        await asyncio.sleep(limit_s - (datetime.now(UTC) - began).total_seconds())
        because = f"The task ran longer than its execution_timeout of {limit_s:g} s."
        if self.spec.callback is not None:
            because = (
                f"The callback took longer than {limit_s:g} s; callback_timeout_seconds in leoflow.yaml may be more."
            )
        self.stop(OutcomeKind.TIMED_OUT, because)

    async def _watch_frozen(self) -> None:
        """SIGSTOP (or a terminal's Ctrl-Z) leaves no trace but the state of the process; nobody else would end this."""
        frozen_looks = 0
        while True:
            await asyncio.sleep(self._frozen_after_s / _LOOKS_PER_FREEZE)
            assert self.pid is not None
            frozen_looks = frozen_looks + 1 if is_group_frozen(self.pid) else 0
            if frozen_looks > _LOOKS_PER_FREEZE:
                self.fail(
                    f"The task's processes were stopped (SIGSTOP) for {self._frozen_after_s:g} s and nothing "
                    "continued them; look for what sent the signal."
                )
                return

    # --- the runner's words --------------------------------------------------------------------------------------

    def heard(self, line: bytes, log_file: LogFile) -> None:
        """One line from the control socket. Whatever it is, a question in it gets an answer."""
        self.has_spoken.set()
        try:
            message = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            ((kind, body),) = message.items()
            self._hear(kind, body, log_file)
        except UNCARRIED as error:
            if (request_id := _request_id_in(line)) is not None:
                self._answer(request_id, {"error": f"this question cannot be asked: {error}"})
                return
            if line.startswith(_RESULT) and self._result is None:  # too deep, or no JSON: the end of this process tells
                self._result = self._unreadable(error)
                self.keep(self._result)
                return
            # User code wrote on our descriptor; what it said is output, no more.
            shown = self.secrets.in_output(line)[: framing.LINE_BYTES]
            log_file.write(framing.output_line(shown, stream="stderr", now=datetime.now(UTC)))

    def _hear(self, kind: str, body: msgspec.Raw, log_file: LogFile) -> None:
        match kind:
            case "log":
                record = msgspec.json.decode(body, type=dict[str, Any])
                log_file.write(framing.record_line(self.secrets.in_record(record), now=datetime.now(UTC)))
            case "mask":
                mask = msgspec.json.decode(body, type=_Mask)
                self.secrets.hide(mask.values)
                self._answer(mask.request_id, {})
            case "event":
                event = msgspec.json.decode(body, type=_Event)
                self._answer(event.request_id, self._keep_event(event.event))
            case "show":
                self._keep_event(body)
            case "outcome":
                self._hear_outcome(body)
            case _ if kind in _ASKS:
                ask = msgspec.json.decode(body, type=_ASKS[kind])
                if (fault := fault_of(ask)) is not None:
                    raise ValueError(fault)
                self.asks[ask.request_id] = ask
                self.urgent.set()
            case _:
                raise ValueError("unknown record")

    def _hear_outcome(self, body: msgspec.Raw) -> None:
        if self._result is not None:
            raise ValueError("the try has an outcome already")
        heard = msgspec.json.decode(body, type=_HeardOutcome)
        try:
            self._result = msgspec.json.decode(heard.outcome, type=StoredOutcome)
        except UNCARRIED as error:
            self._result = self._unreadable(error)
        self.keep(self._result)
        if not heard.has_children:
            self._told.set()

    def _unreadable(self, error: Exception) -> StoredOutcome:
        because = f"The task ended, but its result cannot be read: {error}."
        now = datetime.now(UTC)
        return StoredOutcome(kind=OutcomeKind.FAILED, because=because, start_date=self.started_at, end_date=now)

    def _keep_event(self, event: msgspec.Raw) -> dict[str, str]:
        try:
            self.folder.add_event(bytes(event))
        except OSError as error:
            return {"error": f"the agent cannot write to its spool ({error.strerror}); make room on its disk"}
        return {}

    def answer(self, request_id: int, answer: dict[str, Any]) -> None:
        """The daemon's answer to a question; ignored if nobody waits for it any more."""
        if self.asks.pop(request_id, None) is not None:
            self._answer(request_id, answer)

    def _answer(self, request_id: int, answer: dict[str, Any]) -> None:
        if self._output is not None:
            self._output.say(_encoded_answer(request_id, answer))


class _Mask(msgspec.Struct):
    request_id: int
    values: list[str]


class _Event(msgspec.Struct):
    request_id: int
    event: msgspec.Raw


class _HeardOutcome(msgspec.Struct):
    outcome: msgspec.Raw
    has_children: bool


class _AnyQuestion(msgspec.Struct):
    request_id: int


def _request_id_in(line: bytes) -> int | None:
    """Who waits for an answer to this line, which is no good otherwise."""
    try:
        ((_, question),) = msgspec.json.decode(line, type=dict[str, _AnyQuestion]).items()
    except UNCARRIED:
        return None
    return question.request_id


def _encoded_answer(request_id: int, answer: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode({**answer, "request_id": request_id})
    except UNCARRIED as error:
        return msgspec.json.encode({"request_id": request_id, "error": f"the answer cannot be given: {error}"})


class _Output:
    """stdout, stderr and the control socket of one try, read as they come and never left unread."""

    def __init__(self, log_file: LogFile, owner: RunningTry) -> None:
        self._log = log_file
        self._owner = owner
        self._control: ControlLine | None = None
        self._pipes: dict[str, int] = {}
        self._splitters = {name: framing.LineSplitter(owner.secrets) for name in ("stdout", "stderr")}
        self._is_settled = False

    def read_from(self, ends: Ends) -> None:
        """They are ours to close from now on."""
        self._pipes = {"stdout": ends.stdout, "stderr": ends.stderr}
        for name, pipe in self._pipes.items():
            asyncio.get_running_loop().add_reader(pipe, self._read_pipe, name)
        self._control = ControlLine(ends.control, self._read_control)

    def was_left_unread(self) -> bool:
        """Of a process that has ended: had it not even read its try?"""
        while self._read_control():
            pass
        return self._control is not None and self._control.was_left_unread and not self._owner.has_spoken.is_set()

    def say(self, line: bytes) -> None:
        if self._control is not None:
            self._control.say(line)

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
        block = b"".join(framing.output_line(line, stream=name, now=now) for line in lines)
        if block:
            self._log.write(block)
            self._look_at_log()
            self._owner.changed.set()

    def _read_control(self) -> bool:
        """True if there was something."""
        lines = self._control.read() if self._control is not None else None
        if lines is None:
            return False
        # print() flushed before this record was sent: what it wrote comes first in the log too.
        for name in list(self._pipes):
            self._read_pipe(name)
        for line in () if self._is_settled else lines:
            self._owner.heard(line, self._log)
            self._look_at_log()  # each time: what is lost before the outcome counts, however the lines come
        self._owner.changed.set()
        return True

    def _look_at_log(self) -> None:
        if self._log.fault is not None and not self._owner.is_log_lost:
            self._owner.is_log_lost = True
            self._owner.fail(
                f"The disk is full or broken: it did not take the log of this try ({self._log.fault.strerror}). "
                "Make room on the agent's disk, or log less."
            )

    def _close_pipe(self, name: str) -> None:
        pipe = self._pipes.pop(name)
        asyncio.get_running_loop().remove_reader(pipe)
        os.close(pipe)

    def _close_readers(self) -> None:
        for name in list(self._pipes):
            self._close_pipe(name)
        if self._control is not None:
            self._control.close()
            self._control = None
