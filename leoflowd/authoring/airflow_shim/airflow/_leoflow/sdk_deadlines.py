"""Deadlines that the real SDK has made, made again of the shim's classes (ADR 40)."""

from __future__ import annotations

from typing import Any

from airflow._leoflow import deadlines

MODULE = "airflow.sdk.definitions.deadline"


def shim_alert(real: Any) -> deadlines.DeadlineAlert:
    """Raises `AuthoringError` for what the shim refuses."""
    return deadlines.DeadlineAlert(_reference(real.reference), real.interval, _callback(real.callback))


def _reference(real: Any) -> Any:
    match type(real).__name__ if type(real).__module__ == MODULE else "":
        case "DagRunLogicalDateDeadline":
            return deadlines.DagRunLogicalDateDeadline()
        case "DagRunQueuedAtDeadline":
            return deadlines.DagRunQueuedAtDeadline()
        case "FixedDatetimeDeadline":
            return deadlines.FixedDatetimeDeadline(real._datetime)
        case "AverageRuntimeDeadline":
            return deadlines.AverageRuntimeDeadline(real.max_runs, real.min_runs)
        case _:
            raise deadlines._custom(type(real).__name__)


def _callback(real: Any) -> deadlines.Callback:
    """By its path: what can be called was checked when the real one was made."""
    if type(real).__name__ == "AsyncCallback":
        return deadlines.AsyncCallback(real.path, real.kwargs)
    return deadlines.SyncCallback(real.path, real.kwargs, real.executor)
