"""The warm interpreter: imports once what every try needs, then forks one process per try.

Speaks JSON messages over a SOCK_SEQPACKET socket with the agent: {"hello", "threads"}; a request {"fork"}
with three descriptors (stdout, stderr, control); {"forked"|"failed"}; {"exited"}. Single-threaded on purpose. It must
never import the author's own modules: those are imported fresh in every try, or once in a child that serves one version
of one source file (`loaded_server`), asked for by {"load"} with one descriptor, that child's own socket.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import os
import pkgutil
import selectors
import signal
import socket
import sys
from typing import Any

from . import linux, loaded_server, real_airflow, rehearsal
from . import main as runner

_SOCKET = 3
_REQUEST_BYTES = 65536
_SHIM_MODULES = (
    "airflow._leoflow_runtime",
    "airflow.sdk",
    "airflow.decorators",
    "airflow.configuration",
    "airflow.exceptions",
    "airflow.macros",
    "airflow.models",
    "airflow.operators.bash",
    "airflow.operators.empty",
    "airflow.operators.python",
    "airflow.providers.standard.operators.bash",
    "airflow.providers.standard.operators.empty",
    "airflow.providers.standard.operators.python",
    "airflow.utils.state",
    "airflow.utils.types",
    "leoflow",
)
_USUAL_MODULES = (
    *("jinja2", "jinja2.ext", "jinja2.sandbox", "jinja2.nativetypes", "pendulum", "dateutil", "dateutil.relativedelta"),
    *("asyncio", "csv", "dataclasses", "decimal", "hashlib", "pathlib", "random", "shutil", "ssl", "statistics"),
    *("encodings.ascii", "subprocess", "tempfile", "textwrap", "urllib.request", "uuid", "zoneinfo"),
)
"""What nearly every DAG file imports, or the runner for it."""


def serve(*, parent: int, runtime: str, preload: list[str]) -> None:
    linux.die_with_parent(parent)
    linux.adopt_orphans()
    ours = real_airflow.MODULES if runtime == "airflow" else (*_SHIM_MODULES, *_shim_internals())
    logging.disable(logging.INFO)  # what packages say while they are imported belongs to no task
    failures = _preload([*ours, *_USUAL_MODULES, *preload])
    not_rehearsed = rehearsal.rehearse(runner.outcome_of) if runtime == "shim" else "real packages"
    logging.disable(logging.NOTSET)
    threads = len(os.listdir("/proc/self/task"))
    connection = socket.socket(fileno=_SOCKET)
    connection.set_inheritable(False)
    hello = {"hello": os.getpid(), "threads": threads, "not_preloaded": failures, "not_rehearsed": not_rehearsed}
    connection.send(json.dumps(hello).encode())
    gc.collect()
    gc.freeze()  # shared pages stay shared: the collector of a try does not touch what was here before the fork
    Server(connection).run()


def _shim_internals() -> list[str]:
    """The shim loads its parts when a DAG file names them; here once, so that no try compiles them again."""
    parts = importlib.import_module("airflow._leoflow")
    return [f"airflow._leoflow.{part.name}" for part in pkgutil.iter_modules(parts.__path__)]


def _preload(names: list[str]) -> list[str]:
    """Names that could not be imported; the try that needs one will say so with a traceback of its own."""
    failures = []
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException:  # noqa: BLE001, PERF203  an import runs other people's code; sys.exit in it is no reason to end
            failures.append(name)
    return failures


class Server:
    """Forks tries on request, and says how they ended."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._tries: dict[int, int] = {}
        """Process id -> the number by which the agent asked for it."""
        self._loaded: set[int] = set()
        """Children that serve a source file."""
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        os.set_blocking(self._wake_reader, False)

    def run(self) -> None:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the agent's to handle
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(self._wake_reader, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fd == self._wake_reader:
                        self._reap()
                    elif not self._receive():
                        self._end_orphans(of_all=True)
                        return  # the agent is gone; the parent-death signal ends our tries

    def _receive(self) -> bool:
        try:
            body, descriptors, _, _ = socket.recv_fds(self._connection, _REQUEST_BYTES, 3)
        except ConnectionError:
            return False
        if not body:
            return False
        request = json.loads(body)
        if "load" in request:
            self._fork_loaded(request["load"], descriptors)
            return True
        try:
            if len(descriptors) != 3:  # the kernel drops what exceeds our limit
                raise OSError("no descriptors left")  # noqa: TRY301  answered like a fork that failed
            self._fork(request, descriptors)
        except OSError as error:
            self._say({"failed": request["fork"], "because": str(error)})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _fork(self, request: dict[str, int], descriptors: list[int]) -> None:
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _become_try(parent, descriptors)
        self._tries[pid] = request["fork"]
        self._say({"forked": request["fork"], "pid": pid})

    def _fork_loaded(self, project: dict[str, Any], descriptors: list[int]) -> None:
        """Without an answer: it says hello on its own socket, or that is closed."""
        parent = os.getpid()
        with contextlib.suppress(OSError):
            pid = os.fork()
            if pid == 0:
                loaded_server.become(parent, descriptors, project, serve_tries)
            self._loaded.add(pid)
        for descriptor in descriptors:
            os.close(descriptor)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_reader, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._loaded.discard(pid)
            fork = self._tries.pop(pid, None)
            self._end_orphans(of_group=pid)
            if fork is not None:
                code = os.waitstatus_to_exitcode(status)
                self._say(
                    {
                        "exited": fork,
                        "code": max(code, 0) if code >= 0 else None,
                        "signal": -code if code < 0 else None,
                    }
                )

    def _end_orphans(self, *, of_group: int | None = None, of_all: bool = False) -> None:
        """Each try adopts its own orphans, so whom we inherit has outlived its try, whatever session it hides in.

        The group of the try that just ended is the agent's to end, with its grace. The end of an orphan may give us its
        children: they are looked at when it is reaped.
        """
        for pid in _children():
            with contextlib.suppress(ProcessLookupError):
                ours = pid in self._tries or pid in self._loaded
                if of_all or (not ours and os.getpgid(pid) != of_group):
                    os.kill(pid, signal.SIGKILL)

    def _say(self, message: dict[str, object]) -> None:
        self._connection.send(json.dumps(message).encode())


def serve_tries(connection: socket.socket) -> None:
    """Until the agent closes its end."""
    gc.freeze()
    Server(connection).run()


def _children() -> list[int]:
    try:
        with open("/proc/thread-self/children", encoding="ascii") as children:
            return [int(pid) for pid in children.read().split()]
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        return []


def _become_try(parent: int, descriptors: list[int]) -> None:
    """In the child; never returns."""
    try:
        os.setsid()
        linux.die_with_parent(parent)
        linux.adopt_orphans()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stdout, stderr, control = descriptors
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.dup2(control, runner.CONTROL)  # replaces the server's own socket
        for name in os.listdir("/proc/self/fd"):
            if int(name) > runner.CONTROL:
                with contextlib.suppress(OSError):
                    os.close(int(name))
        runner.run_try()
    finally:
        os._exit(70)
