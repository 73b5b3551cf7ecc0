"""Callbacks on Airflow's real packages: the author's functions get the SDK's own task instance and context.

The SDK would call them in the task's process, behind its end; they are taken away from it there, so that each is called
once, by one rule, on both runtimes (ADR 48).
"""

# mypy: disable-error-code="explicit-override"
# `typing.override` may be newer than the author's interpreter.

from __future__ import annotations

from typing import Any

from . import airflow_supervisor, because, old_spelling
from . import context as contexts
from .callbacks import Callback, EndedXComs, functions_of, limited

_AFTER = ("failure", "retry", "skipped", "success")


def limit(task: Any) -> None:
    """What is called before `execute` neither fails nor hangs the task."""
    given = functions_of(task, "execute")
    if given:
        task.on_execute_callback = [limited(function) for function in given]


def leave_to_the_daemon(task: Any) -> None:
    """The SDK's `finalize` finds none of them, and no address to mail to."""
    for event in _AFTER:
        if functions_of(task, event):
            setattr(task, f"on_{event}_callback", [])
    if getattr(task, "email", None):
        task.email = None


class OnAirflow(Callback):
    """With the packages of the DAG's environment."""

    def begin(self) -> None:
        from . import real_airflow  # it names us too

        self._try = real_airflow.Try(self.spec, self.control, self.started)
        self._runner = self._try.prepare(EndedXComs(self.spec, self.control))

    def load(self) -> tuple[Any, dict[str, Any]]:
        dag = self._try.load_dag()
        task_id = self.spec["task_id"]
        if not task_id:
            run = airflow_supervisor.dag_run(self.spec["dag_run"])
            context = {"dag": dag, "dag_run": run, "run_id": self.spec["dag_run"]["run_id"]}
            self.fill(context)
            return dag, context
        if task_id not in dag.task_dict:
            raise because.CannotLoad(f"dag {dag.dag_id!r} has no task {task_id!r} any more")
        task = dag.task_dict[task_id]
        ti = self._try.task_instance(self._runner, task)
        contexts.end_as(ti, self.call)
        context = ti.get_template_context()
        old_spelling.add_context_names(context, self.spec, self.control.ask)
        self.fill(context)
        return (dag if self.call["of_dag"] else task), context
