"""The loads of a file: two at once, each with a deadline, limits and capped output, and both answers must be equal.

Each is a process that a server has forked (`loader_servers`). `compiler` calls `load_twice`. Structure that depends
on the clock, on chance or on the order of a set is an error (`differences`). Whatever the file does, its processes are
ended, and the error says what happened and where.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from leoflowd.authoring.differences import not_deterministic, reconcile
from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.loader_servers import Server, ServerGone, servers_of
from leoflowd.authoring.project import Project
from leoflowd.contract.loading import ReadKind
from leoflowd.contract.ready import ready

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
    by_sdk: bool = False
    """It was asked to use Airflow's own packages."""


ready(Answer)  # projects are compiled side by side


class Unanswered(Exception):
    """A load ended together with its server, which somebody else may have ended; `refusal` if it happens again."""

    def __init__(self, refusal: DagCompileError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


def load_twice(request: Mapping[str, Any], python: str, deadline_s: float, project: Project) -> Answer:
    """`request` is what `loader.py` takes. Raises `DagCompileError`."""
    with contextlib.suppress(Unanswered):
        return _load_twice(request, python, deadline_s, project)
    try:
        return _load_twice(request, python, deadline_s, project)
    except Unanswered as error:
        raise error.refusal from error


def _load_twice(request: Mapping[str, Any], python: str, deadline_s: float, project: Project) -> Answer:
    shown = project.source_path
    loadings: list[Loading] = []
    try:
        for spelling, server in enumerate(_servers(request, python, shown)):
            encoded = json.dumps({**request, "spelling": spelling}).encode()
            loadings.append(Loading(encoded, server, project.folder, shown))
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


def _servers(request: Mapping[str, Any], python: str, shown: str) -> tuple[Server, Server]:
    try:
        return servers_of(python, request["shim"], by_sdk=request["sdk"])
    except OSError as error:
        raise _not_started(python, shown, str(error)) from error


def _not_started(python: str, shown: str, why: str) -> DagCompileError:
    what = f"the interpreter {python!r} cannot be started"
    return DagCompileError(shown, 1, what, why, "check the project's environment")


class Loading:
    """One load and what it has said so far. Raises `Unanswered`."""

    def __init__(self, request: bytes, server: Server, folder: Path, shown: str) -> None:
        self.shown = shown
        self.folder = folder
        self.answer = bytearray()
        self.output = bytearray()
        self.output_bytes = 0
        self.answer_fd, answer_write = os.pipe()
        self.output_fd, output_write = os.pipe()
        try:
            self.process = server.load(request, answer_write, output_write)
        except ServerGone as error:
            os.close(self.answer_fd)
            os.close(self.output_fd)
            why = server.last_words().decode("utf-8", "replace").strip()
            raise Unanswered(_not_started(server.python, shown, why or "it ended at once")) from error
        finally:
            os.close(answer_write)
            os.close(output_write)
        self.open = {self.answer_fd, self.output_fd}

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
        self.process.wait(END_WAIT_S)
        self.process.kill()
        self.process.wait(END_WAIT_S)
        for fd in (self.answer_fd, self.output_fd):
            os.close(fd)
        self.process.close()

    def where(self) -> int:
        """The line of the DAG file that runs right now, as far as the process still tells."""
        before = len(self.answer)
        self.process.trace()
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
        if loading.is_done or loading.process.wait(0) is None:
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
    """The process ended, or closed our descriptor, without an answer. Raises `Unanswered` if its server did so too."""
    code = loading.process.wait(TRACE_WAIT_S) or 0
    how = "closed the descriptors of its interpreter"
    if code == -signal.SIGXCPU:
        how = "used too much CPU time"
    elif code < 0:
        how = f"ended its interpreter by signal {signal.Signals(-code).name}"
    elif code > 0:
        how = f"ended its interpreter with code {code}"
    said = bytes(loading.output) or loading.process.server.last_words()
    last = said.decode("utf-8", "replace").strip().splitlines()
    why = f"the last line it printed is {last[-1][:200]!r}" if last else "it printed nothing"
    refusal = DagCompileError(
        loading.shown, 1, f"loading it {how}", why, "a DAG file only describes the DAG: move everything else into tasks"
    )
    if loading.process.server.exit_code is not None:
        raise Unanswered(refusal)
    return refusal
