"""Callbacks in their process: the author's functions for an end, and our own notices (ADR 48).

`main` runs `OnShim` or `real_callbacks.OnAirflow` when the spec has a `callback`: no task runs then. What fails is
logged, and the others still run; the outcome names what failed.
"""

# mypy: disable-error-code="explicit-override"
# `typing.override` may be newer than the author's interpreter.

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import inspect
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from . import assets, because, deadlines, mapped, notices, project, templates
from . import context as contexts
from .control import Control

BEFORE_EXECUTE_WITHIN_S = 60.0
"""For each `on_execute_callback`, which the task itself waits for; `LEOFLOW_BEFORE_EXECUTE_S` in its environment."""
_log = logging.getLogger("task.callback")


class _Stopped(BaseException):
    """The agent ends this process, or one function took too long: nothing that user code should catch."""


# --- calling ---------------------------------------------------------------------------------------------------------


def functions_of(owner: Any, event: str) -> list[Any]:
    """What the author gave as `on_<event>_callback`: one, or several."""
    given = getattr(owner, f"on_{event}_callback", None)
    if given is None:
        return []
    return list(given) if isinstance(given, (list, tuple, set)) else [given]


def name_of(function: Any) -> str:
    return str(getattr(function, "__name__", None) or type(function).__name__)


def call_one(what: str, function: Callable[[], Any]) -> str | None:
    """Why it failed; its fault is logged with its traceback. `sys.exit` leaves the function alone."""
    try:
        function()
    except (Exception, SystemExit) as error:  # noqa: BLE001  user code
        _log.error("%s failed", what, exc_info=error)
        return f"{what}: {because.sentence(error)}"
    return None


def before_execute(task: Any, context: Any) -> None:
    """`on_execute_callback`, in the task's own process: the task goes on, whatever they do."""
    for function in functions_of(task, "execute"):
        limited(function)(context)


def limited(function: Any) -> Callable[[Any], None]:
    """One that neither raises nor hangs the task. A generator is the SDK's to run, and left alone."""
    if inspect.isgeneratorfunction(function):
        return function  # type: ignore[no-any-return]

    @functools.wraps(function, updated=())
    def call(context: Any) -> None:
        what = f"on_execute_callback {name_of(function)}"
        limit_s = float(os.environ.get("LEOFLOW_BEFORE_EXECUTE_S") or BEFORE_EXECUTE_WITHIN_S)
        try:
            with _within(limit_s):
                call_one(what, lambda: function(context))
        except _Stopped:
            _log.error("%s took longer than %g s and was left; the task goes on", what, limit_s)

    return call


@contextlib.contextmanager
def _within(limit_s: float) -> Iterator[None]:
    """An alarm breaks into Python code that hangs; only the main thread can have one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def too_long(*_: Any) -> None:
        raise _Stopped

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- the process -----------------------------------------------------------------------------------------------------


class Callback:
    """One process of a callback; a runtime says how it gets at the author's functions and their context."""

    def __init__(self, spec: dict[str, Any], control: Control, started: datetime) -> None:
        self.spec = spec
        self.call = spec["callback"]
        self.control = control
        self.started = started
        self._pid = os.getpid()

    def begin(self) -> None:
        """Connections can be read afterwards."""
        raise NotImplementedError

    def load(self) -> tuple[Any, dict[str, Any]]:
        """The DAG or task that has the functions, and their context."""
        raise NotImplementedError

    def run(self) -> dict[str, Any]:
        """The outcome; catches whatever user code raises."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            faults = self._run()
        except _Stopped as stopped:
            _log.error("%s was ended: %s", self._title(), stopped)
            return {"kind": "failed", "because": f"{self._title()} was ended: {stopped}"[: because.LENGTH]}
        except BaseException as error:  # noqa: BLE001  user code; also sys.exit
            shown = str(error) if isinstance(error, because.CannotLoad) else because.sentence(error)
            _log.error("%s failed", self._title(), exc_info=error)
            return {"kind": "failed", "because": f"{self._title()}: {shown}"[: because.LENGTH]}
        if faults:
            return {"kind": "failed", "because": "; ".join(faults)[: because.LENGTH]}
        return {"kind": "success", "because": f"{self._title()} is done."}

    def _run(self) -> list[str]:
        """Our own notices first: they need none of the author's code, which may hang."""
        _log.info("::group::%s", self._title())  # behind the lines of the try: the UI draws it as a part of its own
        self.control.ask("mask", {"values": []})  # answered behind that line, so that nothing is printed before it
        self.begin()
        faults = [fault for what, send in notices.of(self.spec) if (fault := self._tell(what, send)) is not None]
        if self.call["calls_functions"]:
            faults += self._call_functions()
        _log.info("::endgroup::")
        return faults

    def _tell(self, what: str, send: Callable[[], Any]) -> str | None:
        fault = call_one(what, send)
        if fault is None:
            _log.info("%s is sent", what)
        return fault

    def _call_functions(self) -> list[str]:
        owner, context = self.load()
        if self.call["event"] == "deadline":
            return self._call_of_deadline(owner)
        functions = functions_of(owner, self.call["event"])
        if not functions:
            raise because.CannotLoad(f"{self.spec['source_path']} has no function for it any more")
        name = f"on_{self.call['event']}_callback"
        calls = ((f"{name} {name_of(one)}", functools.partial(one, context)) for one in functions)
        return [fault for what, call in calls if (fault := call_one(what, call)) is not None]

    def _call_of_deadline(self, dag: Any) -> list[str]:
        callback = deadlines.callback_of(dag, self.call["deadline"]["position"], self.spec["source_path"])
        call = deadlines.call_of(callback, self.call, self.spec["dag_run"])
        fault = call_one(f"deadline callback {callback.path.rpartition('.')[2]}", call)
        return [] if fault is None else [fault]

    def fill(self, context: dict[str, Any]) -> None:
        """What Airflow adds to the context for this event."""
        if self.call["of_dag"]:
            context["reason"] = self.call["reason"]
            run = context["dag_run"]
            run.state = contexts.member("utils.state", "DagRunState", self.call["state"])
            run.end_date = contexts.moment(self.call["end_date"])
        elif self.call["event"] in ("failure", "retry"):
            context["exception"] = exception_of(self.call["because"])

    def _title(self) -> str:
        whose = "the dag run" if self.call["of_dag"] else f"task {self.spec['task_id']!r}"
        return f"Callback of {whose} ({self.call['event']})"

    def _on_sigterm(self, number: int, frame: Any) -> None:
        if os.getpid() != self._pid:  # a child that user code forked
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        stop = self.control.stop_reason()
        raise _Stopped("its process got SIGTERM" if stop is None else stop[1])


def exception_of(sentence: str) -> BaseException:
    """`ValueError: text` as such an error; what is no error of Python's or Airflow's, as an AirflowException."""
    exceptions = importlib.import_module("airflow.exceptions")
    name, colon, text = sentence.partition(": ")
    if colon and name.isidentifier():
        with contextlib.suppress(Exception):  # no such name, or one that wants more than a text
            kind = getattr(builtins, name, None) or getattr(exceptions, name)
            if issubclass(kind, Exception):
                return kind(text)  # type: ignore[no-any-return]
    return exceptions.AirflowException(sentence)  # type: ignore[no-any-return]


class EndedXComs(contexts.XComs):
    """Reads only: the task has ended."""

    def push_text(self, key: str, text: str) -> None:
        raise RuntimeError(f"a callback cannot push XCom {key!r}: its task has ended; push it in the task")


class OnShim(Callback):
    """On our own stand-in for Airflow."""

    def begin(self) -> None:
        self._runtime: Any = importlib.import_module("airflow._leoflow_runtime")
        self._runtime.set_supervisor(functools.partial(project.ask, self.control))

    def load(self) -> tuple[Any, dict[str, Any]]:
        runtime, spec = self._runtime, self.spec
        dags = project.load(runtime, spec)
        dag_id = spec["dag_run"]["dag_id"]
        if dag_id not in dags:
            raise because.CannotLoad(f"{spec['source_path']} defines no dag {dag_id!r} any more")
        dag = dags[dag_id]
        task = runtime.find_task(dags, dag_id, spec["task_id"]) if spec["task_id"] else None
        context = self._context(dags, dag, task)
        self.fill(context)
        resolve = functools.partial(
            runtime.resolve, pull=mapped.puller(runtime, self._xcoms, dag, task) if task else None
        )
        source = (spec["bundle_path"], spec.get("source_path", "dag.py"))
        runtime.set_templates(templates.Templates(dag, task or dag, source, resolve))
        runtime.set_current_context(context)
        return (dag if self.call["of_dag"] else task), context

    def _context(self, dags: dict[str, Any], dag: Any, task: Any) -> dict[str, Any]:
        self._xcoms = EndedXComs(self.spec, self.control)
        if task is None:
            run = contexts.DagRun(self.spec["dag_run"])
            return {"dag": dag, "dag_run": run, "run_id": self.spec["dag_run"]["run_id"]}
        ti = contexts.TaskInstance(self.spec, task, self._xcoms, self.control, self.started)
        contexts.end_as(ti, self.call)
        ask = functools.partial(project.ask, self.control)
        events = assets.Events(ask, contexts.moment, self.spec["dag_run"].get("run_type"))
        return contexts.build(self.spec, dag, task, ti, events, dags.values())
