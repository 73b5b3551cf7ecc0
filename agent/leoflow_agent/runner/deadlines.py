"""What a missed deadline calls: the function, coroutine function or notifier of its `DeadlineAlert` (ADR 58).

The context is the small one that Airflow gives here, on both runtimes: the dag run as a dict, and the deadline.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

from . import because
from . import context as contexts


def callback_of(dag: Any, position: int, source_path: str) -> Any:
    """The `AsyncCallback` or `SyncCallback` of the DAG file. Raises `CannotLoad` when it is gone."""
    given = getattr(dag, "deadline", None) or []
    alerts = list(given) if isinstance(given, (list, tuple)) else [given]
    if position >= len(alerts):
        raise because.CannotLoad(f"{source_path} gives dag {dag.dag_id!r} no deadline number {position + 1} any more")
    return alerts[position].callback


def call_of(callback: Any, call: dict[str, Any], run: dict[str, Any]) -> Callable[[], Any]:
    """What is to be called, without arguments; `run` is `DagRunFacts`. Raises `CannotLoad`."""
    function = getattr(callback, "function", None) or _imported(callback.path)
    context = _context(call, run)
    given = {**callback.kwargs, **({"context": context} if _takes_context(function) else {})}
    if type(callback).__name__ == "AsyncCallback":
        return lambda: asyncio.run(_awaited(function, given))
    return lambda: _called(function, given, context)


async def _awaited(function: Any, given: dict[str, Any]) -> None:
    """A notifier's class makes one that can be awaited."""
    await function(**given)


def _called(function: Any, given: dict[str, Any], context: dict[str, Any]) -> None:
    """A notifier's class makes one that is called with the context."""
    result = function(**given)
    if callable(result):
        result(context)


def _takes_context(function: Any) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True
    return "context" in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def _imported(path: str) -> Any:
    """Of a module, or of the DAG file itself, which is loaded under a name of its own."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(sys.modules.get(module) or importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise because.CannotLoad(f"the deadline's callback {path} cannot be imported: {error}") from error


def _context(call: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Dates of the run are texts, as in an answer of the API."""
    missed = call["deadline"]
    dag_run = {
        **run,
        "dag_run_id": run["run_id"],
        "conf": json.loads(run.get("conf") or "{}"),
        "state": call["state"],
        "start_date": call.get("start_date"),
        "end_date": call.get("end_date"),
    }
    deadline = {"id": missed["id"], "deadline_time": contexts.moment(missed["deadline_time"])}
    return {"dag_run": dag_run, "deadline": deadline}
