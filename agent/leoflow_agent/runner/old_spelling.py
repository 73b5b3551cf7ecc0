"""Airflow 1.10 and 2's spelling where a task runs: on the real packages what the shim's `beside_airflow.py` does, and
the context names on both runtimes.

That module of the shim is loaded by its path, since `airflow` is the real package in such a process.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from .context import Lazy, moment

_beside: Any = None


def install(shim: str) -> None:
    """Before `airflow` is imported, in a process of the real packages; `shim` is the folder of ours."""
    global _beside
    path = os.path.join(shim, "airflow", "_leoflow", "beside_airflow.py")
    spec = importlib.util.spec_from_file_location("leoflow_beside_airflow", path)
    assert spec is not None
    assert spec.loader is not None
    _beside = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(_beside)
    _beside.prepare()


def adapt() -> None:
    """Once the real packages are imported, and before the DAG file is: their classes take old arguments and names."""
    _beside.adapt()
    runner: Any = importlib.import_module("airflow.sdk.execution_time.task_runner")
    models: Any = importlib.import_module("airflow.sdk.api.datamodels._generated")
    runner.RuntimeTaskInstance.execution_date = property(lambda ti: ti.get_template_context()["dag_run"].execution_date)
    models.DagRun.execution_date = property(lambda run: moment(run.logical_date or run.run_after))
    models.DagRun.external_trigger = property(lambda run: str(getattr(run.run_type, "value", run.run_type)) == "manual")


def serve_plugin_macros(folder: str, import_paths: Sequence[str]) -> None:
    """Before the DAG file is loaded, on the real packages: what templates and files find under `macros`."""
    _beside.serve_plugin_macros(folder, import_paths)


# --- names of the context ----------------------------------------------------------------------------------------

_SCHEDULED = ("scheduled", "backfill")


def add_context_names(
    context: dict[str, Any], spec: dict[str, Any], ask: Callable[[str, dict[str, Any]], dict[str, Any]]
) -> None:
    """What Airflow 3 dropped, for templates, `context[...]` and parameters; names that the DAG uses otherwise aside."""
    names = {"conf": importlib.import_module("airflow.configuration").conf, **_dates(context, spec, ask)}
    taken = _taken(context["task"], context["dag"])
    context.update({name: value for name, value in names.items() if name not in taken})


def _dates(context: dict[str, Any], spec: dict[str, Any], ask: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    here = context.get("logical_date") or moment(spec["dag_run"]["run_after"])  # every run had a date then
    after = before = here
    if spec["dag_run"]["run_type"] in _SCHEDULED:  # for a run that somebody asked for both were its own date
        after = moment(spec.get("next_logical_date"))
        before = moment(spec.get("prev_logical_date"))

    def date_of_success() -> Any:
        run = ask("previous", {"only_success": True})["run"] or {}
        return moment(run.get("logical_date"))

    texts = {
        "next_ds": after,
        "prev_ds": before,
        "yesterday_ds": here - timedelta(days=1),
        "tomorrow_ds": here + timedelta(days=1),
    }
    found = {name: None if at is None else at.strftime("%Y-%m-%d") for name, at in texts.items()}
    return {
        "execution_date": here,
        "next_execution_date": after,
        "prev_execution_date": before,
        "prev_execution_date_success": Lazy(date_of_success),
        **found,
        **{f"{name}_nodash": None if text is None else text.replace("-", "") for name, text in found.items()},
    }


def _taken(task: Any, dag: Any) -> set[str]:
    """Macros of the DAG, and parameters that the call fills by their place: a name may be given once only."""
    macros = set(getattr(dag, "user_defined_macros", None) or ())
    function, args = getattr(task, "python_callable", None), getattr(task, "op_args", None)
    if function is None or not args:
        return macros
    try:
        parameters = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return macros
    return macros | set(parameters[: len(args)])
