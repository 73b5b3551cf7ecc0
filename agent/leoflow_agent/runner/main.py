"""Runs one try in this process: load the project, find the task, render, execute, leave the outcome in the folder.

`fork_server` calls `run_try` in a fresh fork, `start.py once` calls `run_once` in a fresh interpreter. Neither returns:
the process ends with `os._exit`, like Airflow's task process, so that no forgotten thread holds the try open.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import logging
import os
import signal
import sys
import traceback
from datetime import datetime, timezone
from typing import Any

from . import context as contexts
from . import linux, logs, templates, xcom
from .control import Control
from .files import TryFiles

CONTROL = 3
_BECAUSE_LENGTH = 500
_log = logging.getLogger("task")


def run_once(*, parent: int, folder: str) -> None:
    os.setsid()
    linux.die_with_parent(parent)
    run_try(folder)


def run_try(folder: str) -> None:
    """Descriptors 0 to 3 are set, everything else is closed. Never returns."""
    exit_code = 70
    try:
        files = TryFiles(folder)
        if files.begin():
            spec = files.read_spec()
            control = Control(CONTROL)
            _prepare_process(spec, control)
            outcome = _Try(spec, control, files).run()
            # A dying agent breaks the pipes of its tries before it ends them: such a failure is not the task's.
            if outcome["kind"] == "success" or not control.is_agent_gone():
                files.write_outcome(outcome)
                exit_code = 0
                control.send({"outcome": {"has_children": linux.has_children()}})
    except BaseException:  # noqa: BLE001  the last word of this process; its stderr is the try's log
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(exit_code)


def _prepare_process(spec: dict[str, Any], control: Control) -> None:
    sys.stdout, sys.stderr = _unbuffered(1), _unbuffered(2)
    # Python's own fallbacks still are the fork server's; both write to the same descriptors.
    logs.set_up_logging(control)
    os.environ.update(spec.get("env", {}))
    os.chdir(spec["bundle_path"])
    sys.argv = [spec.get("source_path", "dag.py")]
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        # Preloaded before the fork: without this every try would draw the same numbers. Python's own does this itself.
        numpy_random.seed()


def _unbuffered(descriptor: int) -> io.TextIOWrapper:
    """As `python -u`: what the task printed is with the agent even when the next instruction kills it."""
    raw = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)


class _Try:
    """One try, from spec to outcome."""

    def __init__(self, spec: dict[str, Any], control: Control, files: TryFiles) -> None:
        self._spec = spec
        self._control = control
        self._files = files
        self._started = datetime.now(timezone.utc)
        self._pid = os.getpid()
        self._task: Any = None
        self._is_terminated = False

    def run(self) -> dict[str, Any]:
        """The outcome; catches whatever user code raises."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            outcome = self._run()
        except BaseException as error:  # noqa: BLE001  user code; also sys.exit and our own termination
            outcome = self._outcome_of(error)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the work is done, the outcome must get out
        return {"start_date": _text(self._started), "end_date": _text(datetime.now(timezone.utc)), **outcome}

    def _run(self) -> dict[str, Any]:
        runtime = importlib.import_module("airflow._leoflow_runtime")  # the shim

        spec = self._spec
        gc.disable()  # a large DAG is thousands of objects, none of them garbage
        try:
            dags = runtime.load_project(spec["bundle_path"], spec.get("source_path", "dag.py"))
            task = runtime.find_task(dags, spec["dag_run"]["dag_id"], spec["task_id"])
        except BaseException as error:
            raise _CannotLoad(_where(error, spec["bundle_path"])) from error
        finally:
            gc.freeze()
            gc.enable()
        self._task = task
        dag = dags[spec["dag_run"]["dag_id"]]
        xcoms = contexts.XComs(spec, self._control, self._files)
        ti = contexts.TaskInstance(spec, task, xcoms, self._control, self._started)
        context = contexts.build(spec, dag, task, ti)
        os.environ.update(contexts.environment_of(context))
        runtime.set_current_context(context)
        self._render(runtime, dag, context, xcoms)
        value = runtime.execute(task, context)
        return {"kind": "success", "because": "The task returned.", "xcoms": self._xcoms_of(value)}

    def _render(self, runtime: Any, dag: Any, context: dict[str, Any], xcoms: contexts.XComs) -> None:
        task = self._task
        folder = os.path.dirname(os.path.join(self._spec["bundle_path"], self._spec.get("source_path", "dag.py")))
        render = templates.renderer(dag, task, context, folder)
        runtime.set_renderer(render)

        def pull(task_id: str, key: str) -> Any:
            return xcoms.of_reference(task_id, key, runtime.MISSING)

        for field in task.template_fields:
            setattr(task, field, runtime.resolve(getattr(task, field), pull, text=render, context=context))
        context["templates_dict"] = getattr(task, "templates_dict", None)
        if task.template_fields:
            self._files.add_event({"rendered": templates.shown_fields(task)})
            self._control.send({"events": 1})

    def _xcoms_of(self, value: Any) -> list[dict[str, str]]:
        """What the task returned, as XComs; None is not pushed, as in Airflow."""
        if value is None or not self._spec.get("do_xcom_push", True):
            return []
        items = {}
        if getattr(self._task, "multiple_outputs", False):
            if not isinstance(value, dict):
                raise TypeError(f"a task with multiple_outputs must return a dict, not {type(value).__name__}")
            for key in value:
                if not isinstance(key, str):
                    raise TypeError(f"the keys of multiple_outputs must be text; {key!r} is {type(key).__name__}")
            items = dict(value)
        items[xcom.RETURN_KEY] = value
        return [{"key": key, "value": xcom.encode(item, key=key)} for key, item in items.items()]

    # --- ends that are no success --------------------------------------------------------------------------------

    def _outcome_of(self, error: BaseException) -> dict[str, Any]:
        if self._is_terminated:
            _log.error("Task was ended before it was done", exc_info=error)
            return {"kind": "terminated", "because": _sentence(error)}
        if isinstance(error, _CannotLoad):
            _log.error("Task could not be loaded: %s", error, exc_info=error.__cause__)
            return {"kind": "failed", "because": str(error)[:_BECAUSE_LENGTH]}
        if isinstance(error, SystemExit):
            _log.error("Task called sys.exit(%r)", error.code, exc_info=error)
            return {"kind": "failed", "because": f"The task called sys.exit({error.code!r}); return to succeed."}
        return self._outcome_of_airflow(error)

    def _outcome_of_airflow(self, error: BaseException) -> dict[str, Any]:
        exceptions = importlib.import_module("airflow.exceptions")

        if isinstance(error, exceptions.AirflowSkipException):
            _log.info("Task is skipped: %s", error)
            return {"kind": "skipped", "because": _sentence(error)}
        if isinstance(error, exceptions.AirflowRescheduleException):
            when = error.reschedule_date
            _log.info("Task runs again at %s", when)
            aware = when if when.tzinfo is not None else when.replace(tzinfo=timezone.utc)
            return {"kind": "reschedule", "because": _sentence(error), "reschedule_at": _text(aware)}
        _log.error("Task failed with exception", exc_info=error)
        for_good = (exceptions.AirflowFailException, exceptions.AirflowSensorTimeout)
        return {"kind": "failed_for_good" if isinstance(error, for_good) else "failed", "because": _sentence(error)}

    def _on_sigterm(self, number: int, frame: Any) -> None:
        if os.getpid() != self._pid:
            # A child that user code forked inherited this handler; it just ends, as it would have without us.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if self._is_terminated:
            return
        self._is_terminated = True
        try:
            if self._task is not None:
                self._task.on_kill()
        except Exception:  # noqa: BLE001  user code; the task ends either way
            _log.exception("on_kill failed")
        raise self._termination()

    def _termination(self) -> BaseException:
        """What user code sees: Airflow's own exceptions, so that its `except` clauses fit."""
        exceptions = importlib.import_module("airflow.exceptions")

        kind, because = self._files.stop_reason() or ("terminated", "The task process got SIGTERM.")
        error: type[BaseException] = (
            exceptions.AirflowTaskTimeout if kind == "timed_out" else exceptions.AirflowTaskTerminated
        )
        return error(because)


class _CannotLoad(Exception):
    """The project or the task in it cannot be loaded; the message says where."""


def _where(error: BaseException, folder: str) -> str:
    """`dag.py:3: ImportError: ...`: the innermost line of the author's own files."""
    file, line = "", 0
    if isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno or 0
    elif isinstance(location := getattr(error, "location", None), tuple):  # what the shim refuses knows its place
        file, line = location
    else:
        for frame, number in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename.startswith(folder):
                file, line = frame.f_code.co_filename, number
    place = f"{os.path.relpath(file, folder)}:{line}: " if file else ""
    return f"{place}{_sentence(error)}"


def _sentence(error: BaseException) -> str:
    text = logs.safe_text(error).strip()
    if isinstance(error, KeyError) and error.args:
        text = logs.clean(str(error.args[0]))
    return f"{type(error).__name__}: {text}"[:_BECAUSE_LENGTH] if text else type(error).__name__


def _text(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
