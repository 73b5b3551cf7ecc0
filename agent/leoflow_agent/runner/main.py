"""Runs one try in this process: load the project, find the task, render, execute, leave the outcome in the folder.

`fork_server` calls `run_try` in a fresh fork, `start.py once` calls `run_once` in a fresh interpreter. Neither returns:
the process ends with `os._exit`, like Airflow's task process, so that no forgotten thread holds the try open.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Collection
from datetime import datetime, timedelta, timezone
from typing import Any

from . import (
    assets,
    backseat,
    because,
    callbacks,
    deferral,
    limits,
    linux,
    logs,
    mapped,
    old_spelling,
    operator_links,
    project,
    real_airflow,
    real_callbacks,
    secret_forms,
    skipped_sleep,
    skips,
    templates,
    xcom,
)
from . import context as contexts
from .control import AgentGone, Control

CONTROL = 3
_log = logging.getLogger("task")


def run_once(*, parent: int) -> None:
    os.setsid()
    linux.die_with_parent(parent)
    run_try()


def run_try() -> None:
    """Descriptors 0 to 3 are set, everything else is closed. Never returns."""
    exit_code = 70
    try:
        control = Control(CONTROL)
        _open_outputs(control)
        begun = control.begin()
        spec = begun["spec"]
        _prepare_process(spec, begun["work"], control)
        outcome = outcome_of(spec, control)
        # A dying agent breaks the pipes of its tries before it ends them: such a failure is not the task's.
        if outcome["kind"] == "success" or not control.is_agent_gone():
            control.send({"outcome": {"outcome": outcome, "has_children": linux.has_children()}})
            exit_code = 0
    except AgentGone:
        pass  # nobody is there to be told, and this process is about to be ended
    except BaseException:  # noqa: BLE001  the last word of this process; its stderr is the try's log
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(exit_code)


def outcome_of(spec: dict[str, Any], control: Control) -> dict[str, Any]:
    """Of the try that runs in this process, as the agent keeps it."""
    started = datetime.now(timezone.utc)
    skips_sleep = spec.get("skips_sleep", False) and spec["kind"] == "sensor"
    skipped = skipped_sleep.installed(spec.get("runtime", "shim")) if skips_sleep else None
    outcome = _body(spec)(spec, control, started).run()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the work is done, the outcome must get out
    ended = datetime.now(timezone.utc) + timedelta(seconds=skipped.slept_s if skipped else 0.0)
    if remedy := because.remedy(outcome["because"], spec["dag_run"]):
        _log.error("%s", remedy)
        outcome["because"] += f" ({remedy})"
    outcome["because"] = limits.shown(control.redact(outcome["because"]))
    return {"start_date": because.moment_text(started), "end_date": because.moment_text(ended), **outcome}


def _body(spec: dict[str, Any]) -> Any:
    """What runs here: a task, or what its end calls for; on our shim, or on the real packages."""
    is_real = spec.get("runtime") == "airflow"
    if spec.get("callback") is not None:
        return real_callbacks.OnAirflow if is_real else callbacks.OnShim
    return real_airflow.Try if is_real else _Try


def _open_outputs(control: Control) -> None:
    sys.stdout, sys.stderr = _unbuffered(1), _unbuffered(2)
    # Python's own fallbacks still are the fork server's; both write to the same descriptors.
    logs.set_up_logging(control)


def _prepare_process(spec: dict[str, Any], work: str, control: Control) -> None:
    if spec["dag_run"]["run_type"] == "backfill":
        backseat.take_it()
    limits.take_xcoms_of(spec.get("xcom_max_bytes"))
    os.environ.update(spec.get("env", {}))
    if spec.get("traceparent"):
        os.environ["TRACEPARENT"] = spec["traceparent"]
    control.hide(secret_forms.of_environment(os.environ))
    os.chdir(work)
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
    """One try on our shim, from spec to outcome."""

    def __init__(self, spec: dict[str, Any], control: Control, started: datetime) -> None:
        self._spec = spec
        self._control = control
        self._started = started
        self._pid = os.getpid()
        self._task: Any = None
        self._pull: Any = None
        self._fixed: Collection[int] = ()
        """Ids of arguments that come from outputs already: data, and no templates."""
        self._name: str | None = None
        """What was last told of `map_index_template`."""
        self._is_terminated = False

    def run(self) -> dict[str, Any]:
        """The outcome; catches whatever user code raises."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            return self._run()
        except BaseException as error:  # noqa: BLE001  user code; also sys.exit and our own termination
            try:
                return self._outcome_of(error)
            except Exception as fault:  # noqa: BLE001  a date beyond the calendar, a `__str__` that fails
                return {"kind": "failed", "because": because.sentence(fault)}

    def _run(self) -> dict[str, Any]:
        runtime = importlib.import_module("airflow._leoflow_runtime")  # the shim

        spec = self._spec
        ask = functools.partial(project.ask, self._control)
        runtime.set_supervisor(ask)  # the file may read variables while it is loaded
        dags = project.load(runtime, spec)
        try:
            task = runtime.find_task(dags, spec["dag_run"]["dag_id"], spec["task_id"])
        except Exception as error:
            raise because.CannotLoad(because.where(error, spec["bundle_path"])) from error
        xcoms = contexts.XComs(spec, self._control)
        dag = dags[spec["dag_run"]["dag_id"]]
        self._pull = mapped.puller(runtime, xcoms, dag, task)
        task, self._fixed = runtime.unmap(task, spec.get("map_index", -1), self._pull)
        self._task = task
        ti = contexts.TaskInstance(spec, task, xcoms, self._control, self._started)
        events = assets.Events(ask, contexts.moment, spec["dag_run"].get("run_type"))
        context = contexts.build(spec, dag, task, ti, events, dags.values())
        old_spelling.add_context_names(context, spec, self._control.ask)
        os.environ.update(contexts.environment_of(context))
        runtime.set_current_context(context)
        self._render(runtime, dag, context)
        self._tell_name_if_possible(dag, context)
        try:
            value = self._call(runtime, context)
        except runtime.Deferred as deferred:
            return self._deferred(deferral.of_task(deferred))
        except runtime.DownstreamTasksSkipped as skipped:
            self._tell_name(dag, context)
            _log.info("Skipping downstream tasks")
            return {**skips.success(skipped.tasks, xcoms.kept(), ti.map_index), "assets": events.outlets.records()}
        except Exception:
            self._tell_name_if_possible(dag, context)
            raise
        self._tell_name(dag, context)
        assets.tell_of_returned(value, context["outlets"])
        return {
            "kind": "success",
            "because": "The task returned.",
            "xcoms": [*self._xcoms_of(value), *xcoms.kept()],
            "assets": events.outlets.records(),
        }

    def _call(self, runtime: Any, context: dict[str, Any]) -> Any:
        try:
            return self._run_task(runtime, context)
        finally:
            if not self._is_terminated:
                operator_links.push(self._task, context["ti"])

    def _run_task(self, runtime: Any, context: dict[str, Any]) -> Any:
        if self._spec.get("resume") is not None:
            method, kwargs = deferral.resumed(self._spec["resume"])
            return runtime.resume(self._task, context, method, xcom.decode(kwargs), before=self._before_execute)
        if self._spec["kind"] == "wait" and self._task.kind == "wait":
            # A native sensor whose arguments only this process could render, or who wants to be told of before; the
            # cheap-task pool does the rest.
            self._before_execute(context)
            raise runtime.LeoflowDefer(self._task.leoflow_wait())
        return runtime.execute(self._task, context, before=self._before_execute)

    def _before_execute(self, context: dict[str, Any]) -> None:
        callbacks.before_execute(self._task, context)

    def _deferred(self, what: dict[str, Any]) -> dict[str, Any]:
        sentence = deferral.describe(what)
        _log.info("Pausing task as DEFERRED: %s", sentence)
        return {"kind": "deferred", "because": sentence, "deferral": deferral.text(what)}

    def _tell_name(self, dag: Any, context: dict[str, Any]) -> None:
        """As Airflow: before the task runs, if that is possible, and again when it has run."""
        name = mapped.named(self._task, dag, context, self._source)
        if name is not None and name != self._name:
            self._name = name
            self._control.show({"map_index": self._control.redact(name)})

    def _tell_name_if_possible(self, dag: Any, context: dict[str, Any]) -> None:
        """The template may need what the task makes of the context; of a task that failed its own error counts."""
        with contextlib.suppress(Exception):
            self._tell_name(dag, context)

    @property
    def _source(self) -> tuple[str, str]:
        """The bundle, and the source file in it."""
        return self._spec["bundle_path"], self._spec.get("source_path", "dag.py")

    def _render(self, runtime: Any, dag: Any, context: dict[str, Any]) -> None:
        task = self._task
        render = templates.renderer(dag, task, context, *self._source)
        runtime.set_renderer(render)
        resolve = functools.partial(runtime.resolve, pull=self._pull)
        runtime.set_templates(templates.Templates(dag, task, self._source, resolve))

        for field in task.template_fields:
            value = getattr(task, field)
            value = runtime.resolve(value, self._pull, text=render, context=context, as_they_are=self._fixed)
            setattr(task, field, value)
        context["templates_dict"] = getattr(task, "templates_dict", None)
        if task.template_fields:
            self._control.show({"rendered": json.dumps(templates.shown_fields(task, self._control.redact))})

    def _xcoms_of(self, value: Any) -> list[dict[str, str]]:
        """What the task returned, as XComs; None is not pushed, as in Airflow."""
        if value is None or not self._spec.get("do_xcom_push", True):
            return []
        items = {}
        if getattr(self._task, "multiple_outputs", False):
            if not isinstance(value, dict):
                raise TypeError(f"a task with multiple_outputs must return a dict, not {type(value).__name__}")
            items = {limits.checked_key(key): item for key, item in value.items()}
        items[xcom.RETURN_KEY] = value
        found = [{"key": key, "value": xcom.encode(item, key=key)} for key, item in items.items()]
        size = sum(len(item["value"]) for item in found)
        if size > limits.OUTCOME_MAX_BYTES:
            raise limits.TooLarge(f"the {len(found)} outputs are {size} bytes, more than {limits.OUTCOME_MAX_BYTES}")
        return found

    # --- ends that are no success --------------------------------------------------------------------------------

    def _outcome_of(self, error: BaseException) -> dict[str, Any]:
        if self._is_terminated:
            _log.error("Task was ended before it was done", exc_info=error)
            return {"kind": "terminated", "because": because.sentence(error)}
        if isinstance(error, because.CannotLoad):
            _log.error("Task could not be loaded: %s", error, exc_info=error.__cause__)
            return {"kind": "failed", "because": str(error)[: because.LENGTH]}
        if isinstance(error, SystemExit):
            _log.error("Task called sys.exit(%r)", error.code, exc_info=error)
            return {"kind": "failed", "because": f"The task called sys.exit({error.code!r}); return to succeed."}
        return self._outcome_of_airflow(error)

    def _outcome_of_airflow(self, error: BaseException) -> dict[str, Any]:
        exceptions = importlib.import_module("airflow.exceptions")

        if isinstance(error, exceptions.AirflowSkipException):
            _log.info("Task is skipped: %s", error)
            return {"kind": "skipped", "because": because.sentence(error)}
        if isinstance(error, exceptions.AirflowRescheduleException):
            when = error.reschedule_date
            _log.info("Task runs again at %s", when)
            at = because.moment_text(when)
            return {"kind": "reschedule", "because": because.sentence(error), "reschedule_at": at}
        _log.error("Task failed with exception", exc_info=error)
        for_good = (exceptions.AirflowFailException, exceptions.AirflowSensorTimeout)
        kind = "failed_for_good" if isinstance(error, for_good) else "failed"
        return {"kind": kind, "because": because.sentence(error)}

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

        kind, because = self._control.stop_reason() or ("terminated", "The task process got SIGTERM.")
        error: type[BaseException] = (
            exceptions.AirflowTaskTimeout if kind == "timed_out" else exceptions.AirflowTaskTerminated
        )
        return error(because)
