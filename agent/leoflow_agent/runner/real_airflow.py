"""One try on Airflow's real packages: the environment has `apache-airflow-core`, the task SDK and the providers.

The same process that runs the task plays the SDK's supervisor (`airflow_supervisor`): it loads the DAG file with the
real `airflow.sdk`, lets the SDK run the task as it does in a worker, and makes an outcome of its last message. There is
no database, no API server and no Airflow process; `AIRFLOW_HOME` is a scratch folder. Airflow is imported inside
functions only: `start.py` must set its environment first.

What the SDK's own `task_runner.main` does between these steps (its socket, bundles, spans) has no counterpart here.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import logging
import os
import re
import signal
import sys
import uuid
from datetime import datetime
from typing import Any

from . import (
    airflow_assets,
    airflow_children,
    because,
    deferral,
    limits,
    module_path,
    old_spelling,
    real_callbacks,
    skips,
    templates,
    xcom,
)
from . import context as contexts
from .airflow_supervisor import Supervisor, dag_run
from .control import Control

MODULES = (
    "airflow.sdk",
    "airflow.sdk.execution_time.task_runner",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.log",
    "airflow.sdk.serde",
    "airflow.sdk.plugins_manager",
    "airflow.dag_processing.dagbag",
    "airflow.dag_processing.bundles.local",
    "airflow.decorators",
    "airflow.models",
    "airflow.exceptions",
    "airflow.providers.standard.operators.python",
    "airflow.providers.standard.operators.bash",
    "airflow.providers.standard.decorators.python",
)
"""What every try on the real packages needs; a warm interpreter imports it once."""
_BUNDLE = "leoflow"
_ASKS = "airflow.providers.standard.triggers.hitl.HITLTrigger"
_log = logging.getLogger("task")


def prepare_environment(shim: str) -> None:
    """Before the first import of `airflow`: a scratch home inside the environment, none of its examples, old names.

    `shim` is the folder of our own stand-in, which knows the old names.
    """
    old_spelling.install(shim)


def _import_quietly() -> None:
    """In a fresh interpreter; what the packages say while they are imported is not the task's log."""
    logging.disable(logging.INFO)
    for name in MODULES:
        importlib.import_module(name)
    carry_bytes()
    logging.disable(logging.NOTSET)


def carry_bytes() -> None:
    """`bytes` travel in the same form from and to tasks on our shim; Airflow has none for them."""
    serde = importlib.import_module("airflow.sdk.serde")
    serde._serializers["builtins.bytes"] = serde._deserializers["builtins.bytes"] = _Bytes  # noqa: SLF001
    serde._extra_allowed.add("builtins.bytes")  # noqa: SLF001


class _Bytes:
    """A module of serializers, as `airflow.sdk.serde` registers them."""

    @staticmethod
    def serialize(value: Any) -> tuple[Any, str, int, bool]:
        form = xcom.plain(value, "")
        return form["__data__"], form["__classname__"], form["__version__"], True

    @staticmethod
    def deserialize(kind: type, version: int, data: str) -> bytes:
        return base64.b64decode(data)


class Try:
    """One try on the real packages, from spec to outcome."""

    def __init__(self, spec: dict[str, Any], control: Control, started: datetime) -> None:
        self._spec = spec
        self._control = control
        self._started = started
        self._is_terminated = False
        self._supervisor: Supervisor | None = None
        self._outlets: list[Any] = []
        """Of the task, as its file has them."""

    def run(self) -> dict[str, Any]:
        """The outcome; catches whatever user code and Airflow raise."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            return self._run()
        except BaseException as error:  # noqa: BLE001  user code; also sys.exit and our own termination
            return self._outcome_of(error)

    def _run(self) -> dict[str, Any]:
        xcoms = contexts.XComs(self._spec, self._control)
        runner = self.prepare(xcoms)
        assert self._supervisor is not None
        task = self._load_task()
        airflow_children.serve(task, self._supervisor.send, _LogLines(self._control).write)
        log = importlib.import_module("structlog").get_logger(logger_name="task")
        real_callbacks.limit(task)
        ti = self.task_instance(runner, task)
        context = ti.get_template_context()
        old_spelling.add_context_names(context, self._spec, self._control.ask)
        state, _, error = runner.run(ti, context, log)
        context["exception"] = error
        # Links of operators are XComs, so they come before the outcome, which is the last message.
        real_callbacks.leave_to_the_daemon(ti.task)
        runner.finalize(ti, state, context, log, error)
        return self._outcome(error, xcoms)

    # --- before --------------------------------------------------------------------------------------------------

    def prepare(self, xcoms: contexts.XComs) -> Any:
        """The SDK's task runner, which asks us from now on."""
        _import_quietly()
        runner: Any = importlib.import_module("airflow.sdk.execution_time.task_runner")
        importlib.import_module("airflow.sdk.execution_time.supervisor").block_orm_access()
        _set_up_logging(self._control)
        old_spelling.adapt()
        self._supervisor = runner.SUPERVISOR_COMMS = Supervisor(self._spec, self._control, xcoms)
        return runner

    def load_dag(self) -> Any:
        folder, source = self._spec["bundle_path"], self._spec.get("source_path", "dag.py")
        if self._spec.get("import_paths"):  # else Airflow puts the folder itself there
            module_path.put(folder, self._spec["import_paths"])
            old_spelling.serve_plugin_macros(folder, self._spec["import_paths"])
            os.environ["AIRFLOW_HOME"] = (
                folder  # the packages have read theirs; this is what the author's files look at
            )
        dag_id, task_id = self._spec["dag_run"]["dag_id"], self._spec["task_id"]
        parsing = importlib.import_module("airflow.sdk.definitions._internal.dag_parsing_context")
        of_this_task = parsing._airflow_parsing_context_manager(dag_id=dag_id, task_id=task_id)  # noqa: SLF001  as the SDK
        with of_this_task, module_path.inside(folder):
            dags = _load_dags(folder, source)
        if dag_id not in dags:
            raise because.CannotLoad(f"{source} defines no dag {dag_id!r}; it defines {', '.join(dags) or 'none'}")
        if self._supervisor is not None:
            self._supervisor.events.know(dags.values())
        dags[dag_id].template_searchpath = templates.search_paths(dags[dag_id], folder)
        return dags[dag_id]

    def _load_task(self) -> Any:
        dag, task_id = self.load_dag(), self._spec["task_id"]
        dag_id, tasks = dag.dag_id, dag.task_dict
        if task_id not in tasks:
            raise because.CannotLoad(f"dag {dag_id!r} has no task {task_id!r}; it has {', '.join(tasks)}")
        if getattr(tasks[task_id], "run_as_user", None):
            raise because.CannotLoad(f"task {task_id!r} has run_as_user, and Leoflow runs all tasks as one user")
        self._outlets = list(tasks[task_id].outlets)
        return tasks[task_id]

    def task_instance(self, runner: Any, task: Any) -> Any:
        """As the SDK's `parse` builds it from its supervisor's first message."""
        assert self._supervisor is not None
        spec = self._spec
        local = importlib.import_module("airflow.dag_processing.bundles.local")
        models = importlib.import_module("airflow.sdk.api.datamodels._generated")
        resumed = deferral.resumed(spec["resume"]) if spec.get("resume") is not None else (None, None)
        return runner.RuntimeTaskInstance.model_construct(
            id=uuid.UUID(spec["try_id"]),
            task_id=spec["task_id"],
            dag_id=spec["dag_run"]["dag_id"],
            run_id=spec["dag_run"]["run_id"],
            try_number=spec["try_number"],
            map_index=spec.get("map_index", -1),
            dag_version_id=uuid.uuid5(uuid.NAMESPACE_OID, spec["bundle_digest"]),
            hostname=os.uname().nodename,
            context_carrier=None,
            task=task,
            bundle_instance=local.LocalDagBundle(name=_BUNDLE, path=spec["bundle_path"]),
            max_tries=spec["max_tries"],
            start_date=self._started,
            state=models.TaskInstanceState.RUNNING,
            _ti_context_from_server=models.TIRunContext(
                dag_run=dag_run(spec["dag_run"], self._supervisor.events.triggering_facts()),
                # Nobody counts beyond one; it makes the SDK ask when the try began.
                task_reschedule_count=int(spec.get("first_started_at") is not None),
                max_tries=spec["max_tries"],
                next_method=resumed[0],
                next_kwargs=resumed[1],
                should_retry=self._may_retry,
            ),
        )

    @property
    def _may_retry(self) -> bool:
        return bool(self._spec["try_number"] <= self._spec["max_tries"])

    # --- after ---------------------------------------------------------------------------------------------------

    def _outcome(self, error: BaseException | None, xcoms: contexts.XComs) -> dict[str, Any]:
        """What the task's last message means for the daemon."""
        assert self._supervisor is not None
        final = self._supervisor.final
        sentence = because.sentence(error) if error is not None else ""
        match type(final).__name__:
            case "SucceedTask":
                airflow_assets.tell_of_more(final.task_outlets or (), self._outlets)
                said = {"assets": airflow_assets.records(final.outlet_events or ())}
                text = self._supervisor.returned
                returned = [] if text is None else [{"key": xcom.RETURN_KEY, "value": text}]
                if self._supervisor.skips:
                    kept = [*returned, *xcoms.kept()]
                    return {**skips.success(self._supervisor.skips, kept, self._spec.get("map_index", -1)), **said}
                kept = [*returned, *xcoms.kept()]
                return {"kind": "success", "because": "The task returned.", "xcoms": kept, **said}
            case "DeferTask":
                return self._deferred(final)
            case "RescheduleTask":
                at = because.moment_text(final.reschedule_date)
                return {"kind": "reschedule", "because": f"The task runs again at {at}.", "reschedule_at": at}
            case "RetryTask":
                return {"kind": "failed", "because": sentence}
            case "TaskState" if final.state == "skipped":
                return {"kind": "skipped", "because": "The task was skipped; its log says why."}
            case "TaskState":
                # With tries left Airflow ends a task so only when another try must not be.
                kind = "failed_for_good" if self._may_retry else "failed"
                return {"kind": kind, "because": sentence or "The task failed; its log says why."}
            case _:
                return {"kind": "failed", "because": "Airflow's task runner ended without a word about the task."}

    def _deferred(self, final: Any) -> dict[str, Any]:
        kwargs = final.trigger_kwargs or {}
        if final.classpath == _ASKS and self._supervisor is not None and self._supervisor.question:
            kwargs = {**self._supervisor.question, "timeout_datetime": kwargs.get("timeout_datetime")}
        what = deferral.of_trigger(
            final.classpath,
            kwargs,
            next_method=final.next_method,
            next_kwargs=final.next_kwargs or {},
            timeout=final.trigger_timeout,
        )
        return {"kind": "deferred", "because": deferral.describe(what), "deferral": deferral.text(what)}

    def _outcome_of(self, error: BaseException) -> dict[str, Any]:
        if self._is_terminated:
            return {"kind": "terminated", "because": because.sentence(error)}
        _log.error("Task failed with exception", exc_info=error)
        if isinstance(error, because.CannotLoad):
            return {"kind": "failed", "because": str(error)[: because.LENGTH]}
        refusal = self._supervisor.refusal if self._supervisor is not None else ""
        # The SDK loses an error of ours in its own clean-up; ours says what to do.
        return {"kind": "failed", "because": (refusal or because.sentence(error))[: because.LENGTH]}

    def _on_sigterm(self, number: int, frame: Any) -> None:
        """Until the SDK's own handler replaces it, which calls `on_kill`; whoever stops us then kills us."""
        self._is_terminated = True
        stop = self._control.stop_reason()
        raise _Terminated("The task process got SIGTERM." if stop is None else stop[1])


class _Terminated(BaseException):
    """Somebody ends this process."""


def _load_dags(folder: str, source: str) -> dict[str, Any]:
    """dag id -> DAG of one file, loaded by Airflow's own importer. Raises `CannotLoad` with the author's line."""
    from pathlib import Path

    bags = importlib.import_module("airflow.dag_processing.dagbag")
    bag = bags.BundleDagBag(
        dag_folder=os.path.join(folder, source),
        bundle_path=Path(folder),
        bundle_name=_BUNDLE,
        safe_mode=False,
        load_op_links=False,
    )
    for text in bag.import_errors.values():
        raise because.CannotLoad(_place_in(text, folder))
    return dict(bag.dags)


def _place_in(text: str, folder: str) -> str:
    """`dag.py:3: ImportError: ...` of a printed traceback."""
    _log.error("Task could not be loaded:\n%s", text)
    places = re.findall(rf'File "{re.escape(folder)}/([^"]+)", line (\d+)', text)
    last = text.strip().rpartition("\n")[2]
    return f"{places[-1][0]}:{places[-1][1]}: {last}" if places else last


# --- logging -----------------------------------------------------------------------------------------------------


def _set_up_logging(control: Control) -> None:
    """Airflow writes its log, structlog's and Python's, as JSON lines for its supervisor; they are ours to pass on."""
    sdk_log = importlib.import_module("airflow.sdk.log")
    sdk_log.configure_logging(json_output=True, output=_LogLines(control), sending_to_supervisor=True)


class _LogLines:
    """The binary stream of Airflow's logging."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def write(self, line: bytes) -> int:
        if not self._control.is_usable:
            sys.stderr.write(line.decode("utf-8", "replace"))  # a child that user code forked
            return len(line)
        with contextlib.suppress(OSError, ValueError):  # the task may have closed or replaced it
            sys.stdout.flush()
        entry = json.loads(line)
        if "exception" in entry:  # Airflow's supervisor gives it the name that the UI draws
            entry["error_detail"] = entry.pop("exception")
        self._control.send({"log": limits.shown_value(entry)})
        return len(line)

    def flush(self) -> None:
        """Nothing is held back."""
