"""Loads a project's DAG file in the author's interpreter and writes it down as JSON.

`python -I loader.py SOCKET SHIM shim|sdk`, started by `loader_servers`, imports what every load needs and then forks
for each (ADR 102): a process of its own, because the file that it executes may do anything, below one that guards it
(`guard`), so that nothing the file has started outlives the compile. A load is asked for by four descriptors (`serve`).
The answer is one JSON document; everything the file prints goes to standard output and error, which the compiler reads,
caps and never parses. Standard library only, Python 3.10+.

There are two ways to load a file (ADR 40): against the shim, which needs no package; and by Airflow's own SDK, where
the interpreter has it, whose objects the shim then copies. One serializer writes both down.
"""

from __future__ import annotations

import builtins
import contextlib
import faulthandler
import gc
import importlib
import importlib.util
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

IDLE_S = 60.0
"""Without a load; then a server ends."""
DESCRIPTORS = 4
OUR_PID = os.getpid()
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
REALLY_EXIT = os._exit
WRITE_JSON = json.dumps
FIX_IT = "correct that line"
SHIM = f"{__file__.removesuffix('loader.py')}airflow_shim{os.sep}"
CALLERS_SHOWN = 3
CONNECTORS = "airflow._leoflow.connectors"
READS = "airflow._leoflow.loading"
REFERENCES = "airflow._leoflow.secret_references"
OLD_ARGUMENTS = "leoflow_moved"
CLOCK = "airflow._leoflow.custom_timetable"
SERIALIZE = "airflow._leoflow.serialize"
SDK_FILE = "airflow._leoflow.sdk_file"
BESIDE: Any = None
"""The module that leads old names of the real Airflow, where it is the one that loads."""


class Exited(BaseException):
    """The file called `os._exit`, which would take the answer with it."""


def main() -> None:
    asking = socket.socket(fileno=int(sys.argv[1]))
    shim, kind = sys.argv[2:]
    _prepare(shim, by_sdk=kind == "sdk")
    request, answer, output, told = serve(asking)
    _load_one(request, answer, output, told)


def serve(asking: socket.socket) -> tuple[int, ...]:
    """Fork for each message until nobody asks; returns in the children, with the descriptors of the message.

    They are: the request as JSON, the answer, what the file prints, and what `told` says: the process id of the guard,
    then how the loader ended, as an exit code. No message but an end: the compiler is gone.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    begun_with = _packages_now()
    gc.freeze()
    while True:
        if not select.select([asking], [], [], IDLE_S)[0]:
            if _has_children():
                continue
            REALLY_EXIT(0)
        if _packages_now() != begun_with:  # the message stays where it is
            os.set_inheritable(asking.fileno(), True)
            os.execv(sys.executable, [sys.executable, "-I", *sys.argv])  # noqa: S606 - this very program
        _, descriptors, _, _ = socket.recv_fds(asking, 1, DESCRIPTORS)
        if not descriptors:
            REALLY_EXIT(0)  # and the guards end what is loaded
        if os.fork() == 0:
            asking.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return tuple(descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _has_children() -> bool:
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(-1, os.WNOHANG) == (0, 0)
    return False


def _packages_now() -> list[int]:
    """Another number where a package came or went: what was imported before may be another one now."""
    return [folder.stat().st_mtime_ns for folder in map(Path, sys.path) if folder.is_dir()]


def _load_one(request_fd: int, answer_fd: int, output_fd: int, told_fd: int) -> NoReturn:
    global OUR_PID
    OUR_PID = os.getpid()
    os.setsid()
    os.write(told_fd, b"%d\n" % OUR_PID)
    for fd, source in enumerate((request_fd, output_fd, output_fd)):
        os.dup2(source, fd)
    os.close(request_fd)
    os.close(output_fd)
    request = json.load(sys.stdin)
    os.chdir(request["folder"])
    prctl = _load_prctl()
    child = os.fork()
    if child:
        os.close(answer_fd)
        guard(child, prctl, told_fd)
    os.close(told_fd)
    OUR_PID = os.getpid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # it may kill the guard, its parent
    _contain(request, answer_fd)
    sys.argv = [request["source_path"]]
    try:
        answer = _load(request)
    except BaseException as error:  # noqa: BLE001 - whatever the file raised, SystemExit too, is our answer
        if os.getpid() != OUR_PID:
            REALLY_EXIT(1)
        faults = error.faults if isinstance(error, Refused) else [_of_file(error, request)]
        answer = {"errors": faults, **_reads()}
    if os.getpid() == OUR_PID:
        _send(answer_fd, _written(answer).encode())
    # not sys.exit: threads and atexit handlers of the file must not keep us
    REALLY_EXIT(0)


def _written(answer: dict[str, Any]) -> str:
    """As JSON, with references to secrets in the spelling that artifacts have."""
    given = _references()
    text = WRITE_JSON({**answer, "references": sorted(given.values())}, sort_keys=True)
    for spelled, canonical in given.items():
        text = text.replace(WRITE_JSON(spelled)[1:-1], WRITE_JSON(canonical)[1:-1])
    return text


def guard(child: int, prctl: Callable[..., int], told_fd: int) -> NoReturn:
    """Wait for `child`, end whatever it left behind, and tell how it ended. Also when the compiler says so, or is gone.

    As subreaper this process is the parent of all orphans below it: `setsid` and a second fork hide nobody.
    """
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: _send_signal(child, signal.SIGKILL))
    signal.signal(signal.SIGUSR1, lambda *_: _send_signal(child, signal.SIGUSR1))
    for fd in (0, 1, 2):  # else we would hold the output of the file open
        os.dup2(os.open(os.devnull, os.O_RDWR), fd)
    ended, status = os.wait()
    while ended != child:
        ended, status = os.wait()
    _end_descendants()
    os.write(told_fd, b"%d\n" % os.waitstatus_to_exitcode(status))
    REALLY_EXIT(0)


def _load_prctl() -> Callable[..., int]:
    """Linux has it; elsewhere the compiler still ends our process group."""
    try:
        import ctypes

        return ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return lambda *_: -1


def _send_signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _end_descendants() -> None:
    """Again and again, since the children of those that end become ours."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        for pid in _children():
            _send_signal(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def _children() -> list[int]:
    found = []
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(entry.name)
            stat = Path(f"/proc/{pid}/stat").read_bytes()
            parent = int(stat.rpartition(b")")[2].split()[1])  # pid (name) state parent; names hold anything
            if parent == OUR_PID:
                found.append(pid)
    return found


def _contain(request: dict[str, Any], answer_fd: int) -> None:
    """Memory and CPU limits, no exit by the back door, and a way for the compiler to ask where we are stuck."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    resource.setrlimit(resource.RLIMIT_AS, (request["memory_bytes"], request["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_CPU, (request["cpu_s"], request["cpu_s"] + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.register(signal.SIGUSR1, file=answer_fd, all_threads=False)

    def exit_instead(status: int = 0) -> None:
        if os.getpid() != OUR_PID:
            REALLY_EXIT(status)
        raise Exited(status)

    os._exit = exit_instead  # type: ignore[assignment]


def _prepare(shim: str, *, by_sdk: bool) -> None:
    """Import what every load needs. What is missing here is missing in each load as well, which tells of it."""
    with contextlib.suppress(ImportError):
        _import_ours(shim, by_sdk=by_sdk)
        for name in (CONNECTORS, READS, REFERENCES, CLOCK, SERIALIZE, *([SDK_FILE] if by_sdk else ())):
            importlib.import_module(name)


def _import_ours(shim: str, *, by_sdk: bool) -> Any:
    """Gives the runtime. By name, because it is on this process's path only: no part of what type checkers see."""
    global BESIDE
    if by_sdk:
        BESIDE = BESIDE or _begin_sdk(shim)
    elif shim not in sys.path:
        sys.path.insert(0, shim)
    return importlib.import_module("airflow._leoflow_runtime")


def _load(request: dict[str, Any]) -> dict[str, Any]:
    by_sdk = request["sdk"]
    runtime = _import_ours(request["shim"], by_sdk=by_sdk)
    importlib.import_module(CONNECTORS).allow(request["packages"])
    importlib.import_module(READS).begin(request["loadable"])
    importlib.import_module(REFERENCES).begin(request["folder"], request["spelling"])
    importlib.import_module(CLOCK).begin(request["now"])
    sys.dont_write_bytecode = True  # only the author's own modules are imported from here on
    folder, source_path = request["folder"], request["source_path"]
    preload: set[str] = set()
    builtins.__import__ = _recording_import(folder, preload)
    if by_sdk:
        sdk_file: Any = importlib.import_module(SDK_FILE)
        sdk_file.begin(folder, BESIDE)
        dags = sdk_file.load_project(folder, source_path, request["import_paths"])
    elif request["declarative"] is not None:
        build_dags = importlib.import_module("airflow._leoflow.declarative").build_dags
        document, lines = request["declarative"]
        runtime.put_on_path(folder, request["import_paths"])
        dags = {dag.dag_id: dag for dag in build_dags(document, lines, f"{folder}/{source_path}")}
    else:
        dags = runtime.load_project(folder, source_path, request["import_paths"])
    found = _serialized(
        [dags[dag_id] for dag_id in sorted(dags)], request
    )  # a file may make them in the order of a set
    return {"dags": found, "preload": sorted(preload), "modules": _own_modules(folder), **_reads()}


def _begin_sdk(shim: str) -> Any:
    """Import the real Airflow and put the shim's modules into its package; gives `beside_airflow`.

    Raises ModuleNotFoundError where there is no Airflow.
    """
    inside = Path(shim) / "airflow"
    path = inside / "_leoflow" / "beside_airflow.py"
    spec = importlib.util.spec_from_file_location("leoflow_beside_airflow", path)
    assert spec is not None
    assert spec.loader is not None
    beside = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(beside)
    beside.prepare(_tell_of_old_name)
    importlib.import_module("airflow.sdk")
    sys.modules["airflow"].__path__.append(str(inside))
    return beside


def _tell_of_old_name(module: str, name: str) -> None:
    by_sdk: Any = sys.modules.get(SDK_FILE)
    if by_sdk is not None:
        by_sdk.old_name(module, name)


def _reads() -> dict[str, Any]:
    """What was read so far, whether loading succeeds or not: a change of it calls for another try."""
    module: Any = sys.modules.get(READS)
    return {} if module is None else {"reads": module.reads()}


def _references() -> dict[str, str]:
    """What was given in the place of secrets, as it is spelled here and in artifacts."""
    module: Any = sys.modules.get(REFERENCES)
    return {} if module is None else module.given()


class Refused(Exception):
    """DAGs that cannot be written down; `faults` are all that was found, as `_place` gives them."""

    def __init__(self, faults: list[dict[str, Any]]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


def _serialized(dags: Iterable[Any], request: dict[str, Any]) -> list[dict[str, Any]]:
    """Raises `Refused` with the faults of all tasks."""
    serialize = importlib.import_module(SERIALIZE)
    found: list[dict[str, Any]] = []
    faults: list[dict[str, Any]] = []
    for dag in dags:
        try:
            found.append(serialize.serialize_dag(dag, request["folder"]))
        except Exception as error:  # noqa: BLE001 - what the file's objects raise is our answer
            faults += [_explained(error, request), *_faults_of_tasks(dag, serialize, request)]
    if faults:
        raise Refused([fault for at, fault in enumerate(faults) if fault not in faults[:at]])
    return found


def _faults_of_tasks(dag: Any, serialize: Any, request: dict[str, Any]) -> list[dict[str, Any]]:
    faults = []
    for task in dag.tasks:
        try:
            serialize.serialize_task(task, request["folder"])
        except Exception as error:  # noqa: BLE001 - as above
            faults.append(_explained(error, request))
    return faults


def _own_modules(folder: str) -> list[str]:
    """Files of the project that were imported, relative to its folder."""
    files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    return sorted(
        os.path.relpath(file, folder)
        for file in files
        if isinstance(file, str) and file.startswith(folder + os.sep) and "site-packages" not in file
    )


def _recording_import(folder: str, preload: set[str]) -> Callable[..., Any]:
    """`__import__` that notes which third-party modules the project's own files import."""
    original = builtins.__import__

    def record(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:  # noqa: A002
        module = original(name, globals, locals, fromlist, level)
        importer = (globals or {}).get("__file__") or ""
        if level == 0 and importer.startswith(folder + os.sep) and "site-packages" not in importer:
            candidates = [name, *(f"{name}.{item}" for item in fromlist or ())]
            preload.update(found for found in candidates if found in sys.modules and _is_third_party(found, folder))
        return module

    return record


def _is_third_party(name: str, folder: str) -> bool:
    root = name.partition(".")[0]
    if root in sys.stdlib_module_names or root in {"airflow", "leoflow", "__main__"}:
        return False
    origin = getattr(sys.modules[name], "__file__", None) or ""
    return not origin.startswith(folder + os.sep) or "site-packages" in origin


def _send(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]


# --- errors ------------------------------------------------------------------------------------------------------


def _of_file(error: BaseException, request: dict[str, Any]) -> dict[str, Any]:
    """What stopped the file; `needs_more` if it may be what the shim does not model, and the real SDK has."""
    final = SyntaxError | SystemExit | Exited | MemoryError | KeyboardInterrupt
    is_elsewhere = isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("airflow")
    is_final = isinstance(error, final) or is_elsewhere or getattr(error, "holds_for_both", False)
    return {**_explained(error, request), "needs_more": not is_final}


def _explained(error: BaseException, request: dict[str, Any]) -> dict[str, Any]:
    """`explain`; an exception whose own methods fail, or do worse, is explained without them."""
    try:
        return explain(error, request["folder"], request["source_path"])
    except BaseException:  # noqa: BLE001 - the author's `__str__` may do what the file may do
        what = f"loading it raised {type(error).__name__}, which cannot be shown"
        path, line = _innermost_line(error.__traceback__, request["folder"]) or (request["source_path"], 1)
        return _place(path, line, request["folder"], what, "the file must load without errors", "correct that line")


def explain(error: BaseException, folder: str, source_path: str) -> dict[str, Any]:
    """path, line, what, why, remedy of anything a DAG file may raise."""
    path, line = _innermost_line(error.__traceback__, folder) or (f"{folder}/{source_path}", 1)
    location = getattr(error, "location", None)
    what, why, remedy = (
        f"loading it raised {type(error).__name__}: {error}",
        "the file must load without errors",
        FIX_IT + _way_to_it(error.__traceback__, folder),
    )
    if location is not None and hasattr(error, "remedy"):
        what, why, remedy = error.what, error.why, error.remedy  # type: ignore[attr-defined]
        path, line = location if location[0] else (path, line)
        return {**_place(path, line, folder, what, why, remedy), "connector": getattr(error, "connector", "")}
    if isinstance(error, SyntaxError):
        path, line = error.filename or path, error.lineno or 1
        what, why = f"the file is not valid Python: {error.msg}", f"Python {_here()} cannot read it"
        remedy = (
            "correct that line, or install the Python that it is written for: Lite takes it then (for images name it "
            "as `python_version:` in leoflow.yaml)"
        )
    elif isinstance(error, SystemExit | Exited):
        call = "sys.exit()" if isinstance(error, SystemExit) else "os._exit()"
        what, why = f"loading it called {call}", "a DAG file only describes the DAG and must load to its end"
        remedy = "remove the call, or move it into a task"
    elif isinstance(error, MemoryError):
        what, why = "loading it needs more memory than allowed", "a DAG file only describes the DAG"
        remedy = "move the work into a task"
    elif isinstance(error, ModuleNotFoundError):
        what, why = f"the module {error.name!r} is imported", "it is not installed in the DAG's environment"
        remedy = "name its package in requirements.txt or in `dependencies:` of leoflow.yaml, or correct the name"
    elif isinstance(error, ImportError) and (error.name or "").partition(".")[0] in sys.stdlib_module_names:
        what, why = str(error).removesuffix(" (unknown location)"), f"Python {_here()} has no such name there"
        remedy = "name the Python that it is written for as `python_version:` in leoflow.yaml, or correct the name"
    elif type(error).__module__ == OLD_ARGUMENTS and hasattr(error, "argument") and hasattr(error, "remedy"):
        what, why, remedy = f"{error.argument} is given", "there is no such argument any more", error.remedy
    elif isinstance(error, KeyError) and _is_of_environment(error):
        what, why = f"the environment variable {error.args[0]!r} is read", "it is not set where the file is loaded"
        remedy = f"start Leoflow with it, as in `{error.args[0]}=... leoflow lite`, or read it with a default"
    elif isinstance(error, FileNotFoundError) and error.filename == f"{folder}/{source_path}":
        what, why, remedy = "the file does not exist", "there is nothing to load", "create it, or correct `dag_source`"
    elif isinstance(error, KeyboardInterrupt):
        what, why, remedy = "loading it was interrupted", "someone pressed Ctrl-C", "compile again"
    elif _references():
        secrets = ", ".join(sorted(_references().values()))
        remedy += f"; a secret that it reads is known in tasks only, and text or JSON of this form here: {secrets}"
    module = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    return {**_place(path, line, folder, what, why, remedy), "module": module}


def _here() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _is_of_environment(error: KeyError) -> bool:
    """Raised by `os.environ[...]` itself."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    return tb is not None and tb.tb_frame.f_locals.get("self") is os.environ


def _innermost_line(tb: TracebackType | None, folder: str) -> tuple[str, int] | None:
    """The deepest frame that is in the project: what the author can change."""
    found = [frame[:2] for frame in _frames(tb) if _is_of_project(frame[0], folder)]
    return found[-1] if found else None


def _way_to_it(tb: TracebackType | None, folder: str) -> str:
    """What a traceback says beyond the innermost line of the project: who called it, and what raised below it."""
    frames = _frames(tb)
    own = [f"{os.path.relpath(path, folder)}:{line}" for path, line, _ in frames if _is_of_project(path, folder)]
    callers = list(dict.fromkeys(reversed(own)))[1 : CALLERS_SHOWN + 1]
    way = f"; it was called from {', from '.join(callers)}" if callers else ""
    if own and not _is_of_project(frames[-1][0], folder) and not frames[-1][0].startswith(SHIM):
        path, line, name = frames[-1]
        way += f"; raised in {path.rpartition('site-packages/')[2]}:{line}, in {name}"
    return way


def _frames(tb: TracebackType | None) -> list[tuple[str, int, str]]:
    """File, line, function; outermost first."""
    found = []
    while tb is not None:
        found.append((tb.tb_frame.f_code.co_filename, tb.tb_lineno, tb.tb_frame.f_code.co_name))
        tb = tb.tb_next
    return found


def _is_of_project(path: str, folder: str) -> bool:
    return path.startswith(folder + os.sep) and "site-packages" not in path


def _place(path: str, line: int, folder: str, what: str, why: str, remedy: str) -> dict[str, Any]:
    shown = os.path.relpath(path, folder) if path.startswith(folder + os.sep) else path
    return {"path": shown, "line": line, "what": what[:2000], "why": why, "remedy": remedy}


if __name__ == "__main__":
    main()
