"""A child of the warm interpreter that has loaded one source file, and forks that file's tries: loading costs once.

Only where no try could tell the difference. Loading in here must leave nothing behind but modules and objects: whoever
draws random numbers, starts a thread or a process, opens a file or a socket, asks the daemon, writes a word, or sets up
signals, logging or the working directory while loading is loaded afresh in every try, as ever. What loading computed
from the clock is as old as this process, whose age the agent bounds.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import os
import random
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from . import linux, module_path
from . import project as projects

LOAD_WITHIN_S = 30
_SOCKET = 3


class NotAlike(Exception):
    """A try that is forked from here could differ from one that loads the file itself."""


def become(
    parent: int, descriptors: list[int], project: dict[str, Any], serve: Callable[[socket.socket], None]
) -> NoReturn:
    """In the child; `project` is {bundle_path, source_path, import_paths, env}."""
    try:
        os.setsid()
        linux.die_with_parent(parent)
        linux.adopt_orphans()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(descriptors[0], _SOCKET)  # replaces the server's own socket
        for name in os.listdir("/proc/self/fd"):
            if int(name) > _SOCKET:
                with contextlib.suppress(OSError):
                    os.close(int(name))
        connection = socket.socket(fileno=_SOCKET)
        connection.set_inheritable(False)
        signal.alarm(LOAD_WITHIN_S)  # ends this process; nobody waits for it
        projects.loaded, because = _load(project)
        signal.alarm(0)
        threads = len(os.listdir("/proc/self/task"))
        connection.send(json.dumps({"hello": os.getpid(), "threads": threads, "not_alike": because}).encode())
        if not because:
            serve(connection)
    finally:
        os._exit(0)


def _load(project: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The DAGs; or why they are better loaded in every try."""
    os.environ.update(project["env"])
    sys.argv = [project["source_path"]]
    runtime = importlib.import_module("airflow._leoflow_runtime")
    gc.disable()
    try:
        with module_path.inside(project["bundle_path"]), _unseen(runtime):
            return runtime.load_project(project["bundle_path"], project["source_path"], project["import_paths"]), ""
    except BaseException as error:  # noqa: BLE001  other people's code, also sys.exit
        return None, f"{type(error).__name__}: {error}"[:500]
    finally:
        gc.enable()


@contextlib.contextmanager
def _unseen(runtime: Any) -> Iterator[None]:
    """Raises `NotAlike` when what happens inside left more than modules and objects."""
    seen: list[str] = []
    before = _surroundings()
    with _said_nothing(seen), _noted(seen, runtime):
        yield
    after = _surroundings()
    seen += [what for what, value in before.items() if after[what] != value]
    if linux.has_children():
        seen.append("starts a process")
    if seen:
        raise NotAlike(f"loading {', '.join(sorted(set(seen)))}")


def _surroundings() -> dict[str, object]:
    """What a try starts from, by what was done to it."""
    root = logging.getLogger()
    return {
        "starts a thread": len(os.listdir("/proc/self/task")),
        "opens a file or socket": set(os.listdir("/proc/self/fd")),
        "changes the working directory": os.getcwd(),
        "handles signals": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "sets up logging": (root.level, list(root.handlers), logging.root.manager.disable),
        "replaces sys.stdout or sys.stderr": (id(sys.stdout), id(sys.stderr)),
        "draws random numbers": random.getstate(),
    }


@contextlib.contextmanager
def _said_nothing(seen: list[str]) -> Iterator[None]:
    """Descriptors 1 and 2 are the agent's log here, and a try's log in a try: what is said must be said there."""
    sys.stdout.flush()
    sys.stderr.flush()
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: seen.append("logs")  # type: ignore[method-assign]  # one line instead of a class
    root = logging.getLogger()
    kept, level = list(root.handlers), root.level
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    with tempfile.TemporaryFile() as said:
        outputs = [os.dup(1), os.dup(2)]
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            for number, output in enumerate(outputs, start=1):
                os.dup2(output, number)
                os.close(output)
            if os.fstat(said.fileno()).st_size:
                seen.append("prints")
            if root.handlers != [handler] or root.level != logging.INFO:
                seen.append("sets up logging")
            root.handlers[:], root.level = kept, level


@contextlib.contextmanager
def _noted(seen: list[str], runtime: Any) -> Iterator[None]:
    """What each try must find out for itself: names and keys that are equal in all tries would meet somewhere."""
    kept = os.urandom, os.getpid, os.getcwd, random.Random.seed

    def urandom(size: int) -> bytes:
        seen.append("draws random numbers")
        return kept[0](size)

    def getpid() -> int:
        seen.append("asks for its process id")
        return kept[1]()

    def getcwd() -> str:
        seen.append("asks for its working directory")
        return kept[2]()

    def seed(generator: random.Random, *arguments: Any, **named: Any) -> None:
        if (*arguments, *named.values())[:1] in ((), (None,)):
            seen.append("draws random numbers")
        kept[3](generator, *arguments, **named)

    def ask(kind: str, question: dict[str, Any]) -> dict[str, Any]:
        seen.append("asks the daemon")
        raise NotAlike(f"loading asks for a {kind}")

    def put(*functions: Any) -> None:
        os.urandom, os.getpid, os.getcwd, random.Random.seed = functions  # type: ignore[method-assign]
        random._urandom = functions[0]  # type: ignore[attr-defined]  # noqa: SLF001  what SystemRandom draws from

    put(urandom, getpid, getcwd, seed)
    runtime.set_supervisor(ask)
    try:
        yield
    finally:
        put(*kept)
        runtime.set_supervisor(None)
