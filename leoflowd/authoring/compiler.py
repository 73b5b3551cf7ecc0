"""A project folder -> its DAGs as artifacts. The CLI, the Lite watcher and CI call `compile_project`.

The DAG file is executed by `loader.py` in two processes at once, each with a deadline, limits and capped output, and
both answers must be equal: structure that depends on the clock, on chance or on the order of a set is an error.
Nothing here imports the file. Synchronous on purpose: it works without Trio, and in a worker thread.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from leoflowd.authoring.bundle import bundle_digest
from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.project import Project, ProjectConfig, airflow_packages, open_project, read_project
from leoflowd.authoring.reading import check_name, read_file
from leoflowd.authoring.yaml_lines import read_yaml
from leoflowd.contract import dag_spec
from leoflowd.contract.dag_spec import SOURCE_MAX, DagSpec, EnvironmentSpec
from leoflowd.contract.errors import Invalid
from leoflowd.contract.ready import ready
from leoflowd.core.simple_templates import is_simple

__all__ = ["DagCompileError", "compile_project"]

SHIM = Path(__file__).parent / "airflow_shim"
LOADER = Path(__file__).parent / "loader.py"
MAX_OUTPUT_BYTES = 8 * 1024 * 1024
"""What a DAG file may print; more is a loop that prints."""
KEPT_OUTPUT_BYTES = 32 * 1024
MAX_ANSWER_BYTES = 256 * 1024 * 1024
TRACE_WAIT_S = 3.0
"""How long we wait for the place where a stuck file is stuck."""
DEFAULT_MEMORY_BYTES = 4 * 1024**3
"""Address space, not resident memory: numeric libraries reserve gigabytes that they never touch."""
END_WAIT_S = 3.0
"""How long a loader's guard may need to end what the file has started."""
TRACE_END = b"loader.py"
"""Traces are written piece by piece, innermost frame first; the loader's own frames are the last."""
FRAME = re.compile(r'File "(?P<path>[^"]+)", line (?P<line>\d+)')


def compile_project(
    folder: Path,
    *,
    python: str | None = None,
    dag_id: str | None = None,
    deadline_s: float = 30,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> tuple[DagSpec, ...]:
    """All DAGs of the project (a folder, or a bare DAG file), sorted by id; `dag_id` picks one of several.

    `python` is the interpreter of the project's environment, by default this one. Raises `DagCompileError`.
    """
    return compile_opened(
        open_project(folder), python=python, dag_id=dag_id, deadline_s=deadline_s, memory_bytes=memory_bytes
    )


def compile_opened(
    project: Project,
    *,
    python: str | None = None,
    dag_id: str | None = None,
    deadline_s: float = 30,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> tuple[DagSpec, ...]:
    """`compile_project` for a project that `discover` has found."""
    check_name(f"{project.folder}/{project.source_path}")
    config = ProjectConfig() if project.single_file else read_project(project.folder)
    source = _read_source(project)
    request = {
        "shim": str(SHIM),
        "folder": str(project.folder),
        "source_path": project.source_path,
        "declarative": _declarative(project, config),
        "packages": airflow_packages(config),
        "memory_bytes": memory_bytes,
        "cpu_s": int(deadline_s) + 5,
    }
    answer = _load_twice(request, python or sys.executable, deadline_s, project)
    common = {
        "environment": EnvironmentSpec(
            python_version=config.python_version,
            dependencies=config.dependencies,
            connectors=config.connectors,
            system_packages=config.system_packages,
            warm=config.warm,
            preload=tuple(answer.preload),
        ),
        "staging": config.staging,
        "source_path": project.source_path,
        "source": source,
        "bundle_digest": digest_of(project, config),
    }
    try:
        chosen = _choose(answer.dags, dag_id, config, project)
        return tuple(_finish(raw, config, common, project) for raw in sorted(chosen, key=lambda raw: raw["dag_id"]))
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise _odd_answer(project.source_path, f"{type(error).__name__}: {error}") from error


def digest_of(project: Project, config: ProjectConfig) -> str:
    """The digest of the files that a version of this project is made of."""
    return bundle_digest(
        project.folder, config.include_paths, excluded_of(project, config), is_shared=project.single_file
    )


def excluded_of(project: Project, config: ProjectConfig) -> tuple[str, ...]:
    """Patterns: the author's, and the names of neighbours as they are."""
    return (*config.exclude_paths, *map(glob.escape, project.excluded))


def _read_source(project: Project) -> str:
    content = read_file(project.folder / project.source_path, project.source_path, SOURCE_MAX)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DagCompileError(
            project.source_path, 1, "the file is not UTF-8 text", str(error), "save it as UTF-8"
        ) from error


def _declarative(project: Project, config: ProjectConfig) -> tuple[Any, dict[str, int]] | None:
    """`dag.yaml` as data; its id is by default the one of leoflow.yaml, else the folder's name."""
    if not project.source_path.endswith((".yaml", ".yml")):
        return None
    document = read_yaml(project.folder / project.source_path)
    content = document.content
    if isinstance(content, dict) and "dag_id" not in content:
        content = {"dag_id": config.dag_id or project.folder.name, **content}
    return content, document.lines


# --- running the loader ------------------------------------------------------------------------------------------


class _Loading:
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


def _load_twice(request: Mapping[str, Any], python: str, deadline_s: float, project: Project) -> _Answer:
    encoded = json.dumps(request).encode()
    shown = project.source_path
    loadings: list[_Loading] = []
    try:
        for _ in range(2):
            loadings.append(_Loading(encoded, python, project.folder, shown))  # noqa: PERF401 - ended if the second fails
        _read_until_done(loadings, time.monotonic() + deadline_s, deadline_s)
        one, other = loadings
        if one.answer == other.answer:  # nearly always; reading both would be a third of our own work
            return _decode(one)
        first, second = _decode(one), _decode(other)
    finally:
        for loading in loadings:
            loading.end()
    try:
        _leave_to_processes(first, second)
        if first != second:
            raise _not_deterministic(first.dags, second.dags, shown)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _odd_answer(shown, f"{type(error).__name__}: {error}") from error
    return first


def _read_until_done(loadings: list[_Loading], until: float, deadline_s: float) -> None:
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


def _notice_the_dead(loadings: list[_Loading], selector: selectors.BaseSelector) -> None:
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


def _check_size(loading: _Loading) -> None:
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


class _Fault(msgspec.Struct):
    """Why the loader could not load the file."""

    path: str
    line: int
    what: str
    why: str
    remedy: str


class _Answer(msgspec.Struct):
    """What the loader writes: one of the two."""

    dags: list[dict[str, Any]] = []
    preload: list[str] = []
    error: _Fault | None = None


ready(_Answer)  # projects are compiled side by side


def _decode(loading: _Loading) -> _Answer:
    """Raises `DagCompileError`. The descriptor is open to the file too, so that anything may stand there."""
    try:
        written = json.loads(loading.answer, parse_constant=partial(_refuse_constant, loading.shown))
        answer = msgspec.convert(written, _Answer)
    except msgspec.ValidationError as error:
        raise _odd_answer(loading.shown, str(error)) from error
    except (ValueError, RecursionError):
        raise _no_answer(loading) from None
    if answer.error is not None:
        fault = answer.error
        raise DagCompileError(fault.path, fault.line, fault.what, fault.why, fault.remedy)
    return answer


def _odd_answer(shown: str, how: str) -> DagCompileError:
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


def _no_answer(loading: _Loading) -> DagCompileError:
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


# --- comparing the two loads -------------------------------------------------------------------------------------


def _leave_to_processes(first: _Answer, second: _Answer) -> None:
    """Arguments of a wait or a call may differ, as in `TimeSensor(target_time=datetime.now().time())`.

    The task's process evaluates them, as Airflow would. Structure that differs is left as it is, and an error.
    """
    for one_dag, other_dag in zip(first.dags, second.dags, strict=False):
        for one, other in zip(one_dag["tasks"], other_dag["tasks"], strict=False):
            is_inline = {one["kind"], other["kind"]} in ({"wait"}, {"http"})
            if is_inline and any(one.get(key) != other.get(key) for key in ("wait", "http", "template_values")):
                _prepare_in_process(one)
                _prepare_in_process(other)


def _prepare_in_process(task: dict[str, Any]) -> None:
    """What the artifact would say of its arguments holds for one load only."""
    task["template_values"] = {}
    _drop_arguments(task)


def _drop_arguments(task: dict[str, Any]) -> None:
    """A wait gets its spec from a short process; a call is made by a process."""
    if task["kind"] == "wait":
        task["wait"], task["prepare"] = None, "process"
    else:
        task["kind"], task["http"] = task["process_kind"], None


def _not_deterministic(first: Any, second: Any, shown: str) -> DagCompileError:
    where, line = _first_difference(first, second)
    return DagCompileError(
        shown,
        line,
        f"loading the file twice gave two different DAGs (first difference: {where})",
        "a version must mean the same each time it is loaded",
        "do not use the clock, random values, or the order of a set at the top of the file; sort sets",
    )


def _first_difference(first: Any, second: Any, path: str = "", line: int = 1) -> tuple[str, int]:
    if isinstance(first, dict) and isinstance(second, dict):
        line = first.get("line", line)
        name = first.get("task_id") or first.get("dag_id")
        path = f"{path} ({name})" if name else path
        for key in sorted(first.keys() | second.keys()):
            if first.get(key) != second.get(key):
                return _first_difference(first.get(key), second.get(key), f"{path}.{key}".lstrip("."), line)
    if isinstance(first, list) and isinstance(second, list):
        for index, (one, other) in enumerate(zip(first, second, strict=False)):
            if one != other:
                return _first_difference(one, other, f"{path}[{index}]", line)
        return f"{path} has {len(first)} and {len(second)} entries", line
    return f"{path}: {str(first)[:80]!r} and {str(second)[:80]!r}", line


# --- project settings over the loaded DAG ------------------------------------------------------------------------


def _choose(
    dags: list[dict[str, Any]], dag_id: str | None, config: ProjectConfig, project: Project
) -> list[dict[str, Any]]:
    found = sorted(dag["dag_id"] for dag in dags)
    if not found:
        raise DagCompileError(
            project.source_path,
            1,
            "the file defines no DAG",
            "only DAGs at the top of the file, entered with `with`, or made by calling a @dag function count",
            "create one; for a @dag function, call it at the end of the file",
        )
    for wanted, complain in ((dag_id, None), (config.dag_id, config)):
        if wanted is None:
            continue
        if wanted not in found:
            what = f"dag_id is {wanted!r}"
            why = f"{project.source_path} defines {', '.join(map(repr, found))}"
            if complain is not None:
                raise complain.error("dag_id", what, why, "use the same id in both files, or remove `dag_id:`")
            raise DagCompileError(project.source_path, 1, what, why, "ask for one of these")
        return [dag for dag in dags if dag["dag_id"] == wanted]
    return dags


def _finish(raw: dict[str, Any], config: ProjectConfig, common: Mapping[str, Any], project: Project) -> DagSpec:
    if not raw["tasks"]:
        raise DagCompileError(
            project.source_path,
            1,
            f"dag {raw['dag_id']!r} has no tasks",
            "there would be nothing to run",
            "add a task inside the DAG; a @task function becomes one when it is called",
        )
    _check_task_ids(raw, config)
    places = _places(raw, project)
    timetable = dict(raw["timetable"])
    if timetable.pop("from_text", False):
        timetable["data_interval"] = config.cron_data_intervals
    overrides: dict[str, Any] = {"timetable": timetable, "tasks": [_finish_task(task, config) for task in raw["tasks"]]}
    if config.description is not None:
        overrides["description"] = config.description
    if config.tags is not None:
        overrides["tags"] = sorted(set(config.tags))
    if config.max_active_tasks is not None:
        overrides["max_active_tasks"] = config.max_active_tasks
    try:
        return dag_spec.checked(msgspec.convert({**raw, **overrides, **common}, DagSpec))
    except Invalid as error:
        path, line = places.get(error.location, places["dag",])
        raise DagCompileError(path, line, str(error), "it could not be stored or run", "correct it") from error
    except msgspec.ValidationError as error:
        named = re.search(r"\$\.tasks\[(\d+)\]", str(error))
        path, line = places["tasks", raw["tasks"][int(named[1])]["task_id"]] if named else places["dag",]
        raise DagCompileError(
            path,
            line,
            f"dag {raw['dag_id']!r} does not fit the artifact",
            str(error),
            "correct that argument",
        ) from error


def _places(raw: dict[str, Any], project: Project) -> dict[tuple[str | int, ...], tuple[str, int]]:
    """Where the file makes the DAG and each of its tasks, by the locations of `dag_spec.checked`."""

    def place(node: dict[str, Any]) -> tuple[str, int]:
        file = str(node.pop("file")).removeprefix(f"{project.folder}{os.sep}")
        return file or project.source_path, max(1, int(node.pop("line")))

    return {("dag",): place(raw), **{("tasks", task["task_id"]): place(task) for task in raw["tasks"]}}


def _check_task_ids(raw: Mapping[str, Any], config: ProjectConfig) -> None:
    known = sorted(task["task_id"] for task in raw["tasks"])
    for task_id in config.tasks:
        if task_id not in known:
            raise config.error(
                f"tasks.{task_id}",
                f"tasks.{task_id} is no task of dag {raw['dag_id']!r}",
                f"its tasks are {', '.join(known)}",
                "correct the id",
            )


def _finish_task(task: dict[str, Any], config: ProjectConfig) -> dict[str, Any]:
    """`tasks.<id>` of leoflow.yaml wins over the code, the code over `defaults`, those over Airflow's defaults."""
    given = set(task.pop("given"))
    own = config.tasks.get(task["task_id"], {})
    _place(task, own.get("execution"), config)
    for name, key, field in (
        ("retries", "retries", "retries"),
        ("retry_delay", "retry_delay_seconds", "retry_delay_s"),
        ("execution_timeout", "execution_timeout_seconds", "execution_timeout_s"),
    ):
        if key in own:
            task[field] = own[key]
        elif name not in given and key in config.defaults:
            task[field] = config.defaults[key]
    if config.owner is not None and "owner" not in given:
        task["owner"] = config.owner
    if "pool" in own or (config.pool is not None and "pool" not in given):
        task["pool"] = own.get("pool", config.pool)
    task["env"] = own.get("env", {})
    task["resources"] = own.get("resources", _both(config.defaults.get("resources")))
    placement = own.get("execution")
    task["execution"] = placement if isinstance(placement, dict) else _selector(config.defaults.get("node_selector"))
    return task


def _place(task: dict[str, Any], wanted: Any, config: ProjectConfig) -> None:
    """Who runs it, and who renders it; `execution: inline` or `process` of leoflow.yaml decides where both would do."""
    inline_kind = task["kind"] in {"wait", "http"}
    if inline_kind and not is_simple(task.get("wait") or task.get("http")):
        _drop_arguments(task)
    process_kind = task.pop("process_kind")
    if wanted == "process" and inline_kind:
        if process_kind is None:
            raise _cannot_place(task, config, "Leoflow has no code for it that a process could run", "remove it")
        task |= {"kind": process_kind, "wait": None, "http": None, "prepare": "daemon"}
    elif wanted == "process" and process_kind is None:
        raise _cannot_place(task, config, "it has nothing to run", "remove it")
    elif wanted == "inline" and task["kind"] not in {"wait", "http", "empty"}:
        why = "it runs code of yours, and the daemon runs none"
        remedy = "remove it, or use a native sensor or HttpOperator with plain data and simple templates"
        raise _cannot_place(task, config, why, remedy)


def _cannot_place(task: Mapping[str, Any], config: ProjectConfig, why: str, remedy: str) -> DagCompileError:
    at = f"tasks.{task['task_id']}.execution"
    shown = task["operator_name"] or task["operator"]
    return config.error(at, f"{at} is {config.tasks[task['task_id']]['execution']}, and it is a {shown}", why, remedy)


def _both(amounts: Mapping[str, str] | None) -> dict[str, Any]:
    return {"requests": dict(amounts), "limits": dict(amounts)} if amounts else {}


def _selector(labels: Mapping[str, str] | None) -> dict[str, Any]:
    return {"node_selector": dict(labels)} if labels else {}
