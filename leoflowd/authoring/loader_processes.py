"""The loader's processes: two at once, each with a deadline, limits and capped output, and both answers must be equal.

`compiler` calls `load_twice`. Structure that depends on the clock, on chance or on the order of a set is an error
(`differences`). Whatever the file does, its processes are ended, and the error says what happened and where.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from leoflowd.authoring.differences import not_deterministic, reconcile
from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.project import Project
from leoflowd.contract.loading import ReadKind
from leoflowd.contract.ready import ready

LOADER = Path(__file__).parent / "loader.py"
MAX_OUTPUT_BYTES = 8 * 1024 * 1024
"""What a DAG file may print; more is a loop that prints."""
KEPT_OUTPUT_BYTES = 32 * 1024
MAX_ANSWER_BYTES = 256 * 1024 * 1024
TRACE_WAIT_S = 3.0
"""How long we wait for the place where a stuck file is stuck."""
END_WAIT_S = 3.0
"""How long a loader's guard may need to end what the file has started."""
TRACE_END = b"loader.py"
"""Traces are written piece by piece, innermost frame first; the loader's own frames are the last."""
FRAME = re.compile(r'File "(?P<path>[^"]+)", line (?P<line>\d+)')


class Fault(msgspec.Struct):
    """Why the loader could not load the file."""

    path: str
    line: int
    what: str
    why: str
    remedy: str
    module: str = ""
    connector: str = ""
    needs_more: bool = False


class Answer(msgspec.Struct):
    """What the loader writes: DAGs or errors, and what was read either way."""

    dags: list[dict[str, Any]] = []
    preload: list[str] = []
    reads: list[tuple[ReadKind, str]] = []
    modules: list[str] = []
    """Files of the project that were imported, relative to its folder."""
    references: list[str] = []
    """What stands for secrets that were read, as in `{{ var.value.api_token }}`."""
    errors: list[Fault] = []


ready(Answer)  # projects are compiled side by side


def load_twice(request: Mapping[str, Any], python: str, deadline_s: float, project: Project) -> Answer:
    shown = project.source_path
    loadings: list[Loading] = []
    try:
        for spelling in range(2):
            encoded = json.dumps({**request, "spelling": spelling}).encode()
            loadings.append(Loading(encoded, python, project.folder, shown))
        _read_until_done(loadings, time.monotonic() + deadline_s, deadline_s)
        one, other = loadings
        if one.answer == other.answer:  # nearly always; reading both would be a third of our own work
            return _decode(one)
        first, second = _decode(one), _decode(other)
    finally:
        for loading in loadings:
            loading.end()
    try:
        reconcile(first.dags, second.dags)
        if first != second:
            raise not_deterministic(first.dags, second.dags, shown)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise odd_answer(shown, f"{type(error).__name__}: {error}") from error
    return first


class Loading:
    """One loader process and what it has said so far."""

    def __init__(self, request: bytes, python: str, folder: Path, shown: str) -> None:
        self.shown = shown
        self.folder = folder
        self.answer = bytearray()
        self.output = bytearray()
        self.output_bytes = 0
        answer_read, answer_write = os.pipe()
        output_read, output_write = os.pipe()
        try:
            self.process = subprocess.Popen(  # noqa: S603 - running the author's interpreter is the point
                [python, "-I", str(LOADER), str(answer_write)],
                stdin=subprocess.PIPE,
                stdout=output_write,
                stderr=output_write,
                pass_fds=(answer_write,),
                cwd=folder,
                env={name: value for name, value in os.environ.items() if not name.startswith("LEOFLOW_")},
                start_new_session=True,
            )
        except OSError as error:
            os.close(answer_read)
            os.close(output_read)
            raise DagCompileError(
                shown, 1, f"the interpreter {python!r} cannot be started", str(error), "check the project's environment"
            ) from error
        finally:
            os.close(answer_write)
            os.close(output_write)
        self.answer_fd, self.output_fd = answer_read, output_read
        self.open = {answer_read, output_read}
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(request)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def read(self, fd: int) -> bool:
        """Take what is there; False at the end of that stream."""
        chunk = os.read(fd, 1 << 16)
        if fd == self.answer_fd:
            self.answer += chunk
        else:
            self.output_bytes += len(chunk)
            self.output = (self.output + chunk)[-KEPT_OUTPUT_BYTES:]
        return bool(chunk)

    @property
    def is_done(self) -> bool:
        """The answer's end is closed: children that the file forked may keep the output open for ever."""
        return self.answer_fd not in self.open

    def end(self) -> None:
        """The guard ends what the file has started, and itself; by force if it is stopped or was killed."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_WAIT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for fd in (self.answer_fd, self.output_fd):
            with contextlib.suppress(OSError):
                os.close(fd)

    def where(self) -> int:
        """The line of the DAG file that runs right now, as far as the process still tells."""
        before = len(self.answer)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGUSR1)
        limit = time.monotonic() + TRACE_WAIT_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.answer_fd, selectors.EVENT_READ)
            while time.monotonic() < limit and TRACE_END not in self.answer[before:]:
                if selector.select(TRACE_WAIT_S / 10) and not self.read(self.answer_fd):
                    break
        frames = FRAME.finditer(self.answer[before:].decode("utf-8", "replace"))
        source = str(self.folder / self.shown)
        return next((int(frame["line"]) for frame in frames if frame["path"] == source), 1)


def _read_until_done(loadings: list[Loading], until: float, deadline_s: float) -> None:
    with selectors.DefaultSelector() as selector:
        for loading in loadings:
            for fd in loading.open:
                selector.register(fd, selectors.EVENT_READ, loading)
        while not all(loading.is_done for loading in loadings):
            left = until - time.monotonic()
            if left <= 0:
                stuck = next(loading for loading in loadings if not loading.is_done)
                raise DagCompileError(
                    stuck.shown,
                    stuck.where(),
                    f"loading it took longer than {deadline_s:g} s",
                    "a DAG file only describes the DAG",
                    "move waiting, downloads and computations into tasks",
                )
            for key, _ in selector.select(min(left, 0.2)):
                loading = key.data
                if not loading.read(key.fd):
                    selector.unregister(key.fd)
                    loading.open.discard(key.fd)
                _check_size(loading)
            _notice_the_dead(loadings, selector)


def _notice_the_dead(loadings: list[Loading], selector: selectors.BaseSelector) -> None:
    """A dead loader whose forked children hold the answer's descriptor open: take what is there, and stop reading."""
    for loading in loadings:
        if loading.is_done or loading.process.poll() is None:
            continue
        for fd in tuple(loading.open):
            os.set_blocking(fd, False)
            with contextlib.suppress(BlockingIOError):
                while loading.read(fd):
                    _check_size(loading)
            selector.unregister(fd)
            loading.open.discard(fd)


def _check_size(loading: Loading) -> None:
    if loading.output_bytes > MAX_OUTPUT_BYTES:
        raise DagCompileError(
            loading.shown,
            loading.where(),
            f"loading it printed more than {MAX_OUTPUT_BYTES // 2**20} MiB",
            "a DAG file only describes the DAG",
            "remove the printing, or move it into a task",
        )
    if len(loading.answer) > MAX_ANSWER_BYTES:
        raise DagCompileError(
            loading.shown, 1, "the DAG is too large", "it would not fit into the database", "split it into several DAGs"
        )


def _decode(loading: Loading) -> Answer:
    """Raises `DagCompileError`. The descriptor is open to the file too, so that anything may stand there."""
    try:
        written = json.loads(loading.answer, parse_constant=partial(_refuse_constant, loading.shown))
        answer = msgspec.convert(written, Answer)
    except msgspec.ValidationError as error:
        raise odd_answer(loading.shown, str(error)) from error
    except (ValueError, RecursionError):
        raise _no_answer(loading) from None
    if answer.errors:
        first, *others = (DagCompileError(**msgspec.structs.asdict(fault)) for fault in answer.errors)
        first.asked = tuple(answer.reads)
        raise first.with_others(others)
    return answer


def odd_answer(shown: str, how: str) -> DagCompileError:
    return DagCompileError(
        shown,
        1,
        f"what loading it gave is no DAG: {how}",
        "the file wrote on a descriptor of its interpreter, replaced a part of Python, or met a fault of leoflow",
        "a DAG file only describes the DAG: move everything else into tasks",
    )


def _refuse_constant(shown: str, number: str) -> NoReturn:
    raise DagCompileError(
        shown, 1, f"the DAG has the number {number}", "the artifact is JSON, which has none", "use a finite number"
    )


def _no_answer(loading: Loading) -> DagCompileError:
    """The process ended, or closed our descriptor, without an answer."""
    try:
        code = loading.process.wait(timeout=TRACE_WAIT_S)
    except subprocess.TimeoutExpired:
        code = 0
    how = "closed the descriptors of its interpreter"
    if code == -signal.SIGXCPU:
        how = "used too much CPU time"
    elif code < 0:
        how = f"ended its interpreter by signal {signal.Signals(-code).name}"
    elif code > 0:
        how = f"ended its interpreter with code {code}"
    last = bytes(loading.output).decode("utf-8", "replace").strip().splitlines()
    why = f"the last line it printed is {last[-1][:200]!r}" if last else "it printed nothing"
    return DagCompileError(
        loading.shown, 1, f"loading it {how}", why, "a DAG file only describes the DAG: move everything else into tasks"
    )
