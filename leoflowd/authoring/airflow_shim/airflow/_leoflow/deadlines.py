"""`DAG(deadline=DeadlineAlert(...))`: when a run is to have succeeded, and whom to tell when it has not (ADR 58).

The artifact gets the moments; the callback stays an object of the DAG file, whose process finds it by its position.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow._leoflow.checked_values import count, moment
from airflow._leoflow.errors import AuthoringError, Location, ShimUnsupported, describe, user_location
from airflow._leoflow.plugin_bases import BaseNotifier

AVERAGED = 10
"""Runs that an average looks back on, unless the author says how many."""


class BaseDeadlineReference:
    """What a deadline is reckoned from."""


class DagRunLogicalDateDeadline(BaseDeadlineReference):
    """The logical date; a run without one has no such deadline."""


class DagRunQueuedAtDeadline(BaseDeadlineReference):
    """When the run was queued, the last time."""


class FixedDatetimeDeadline(BaseDeadlineReference):
    """A moment, the same for every run."""

    def __init__(self, _datetime: datetime) -> None:
        self._datetime = _datetime


class AverageRuntimeDeadline(BaseDeadlineReference):
    """Now, when the run is made, and what the latest runs took on average; with fewer than `min_runs` there is none."""

    DEFAULT_LIMIT = AVERAGED

    def __init__(self, max_runs: int, min_runs: int | None = None) -> None:
        self.max_runs = max_runs
        self.min_runs = max_runs if min_runs is None else min_runs
        if self.min_runs < 1:
            raise ValueError("min_runs must be at least 1")


class DeadlineReference:
    """The references by Airflow's public names."""

    DAGRUN_LOGICAL_DATE = DagRunLogicalDateDeadline()
    DAGRUN_QUEUED_AT = DagRunQueuedAtDeadline()

    @classmethod
    def FIXED_DATETIME(cls, dt: datetime) -> BaseDeadlineReference:  # noqa: N802  Airflow's name
        return FixedDatetimeDeadline(dt)

    @classmethod
    def AVERAGE_RUNTIME(cls, max_runs: int = 0, min_runs: int | None = None) -> Any:  # noqa: N802  Airflow's name
        return AverageRuntimeDeadline(max_runs or AVERAGED, min_runs)

    @classmethod
    def register_custom_reference(cls, reference_class: type, deadline_reference_type: Any = None) -> type:
        raise _custom(reference_class.__name__)


def deadline_reference(deadline_reference_type: Any = None) -> Callable[[type], type]:
    return DeadlineReference.register_custom_reference


def _custom(name: str) -> ShimUnsupported:
    return ShimUnsupported(
        f"the deadline reference {name} is a class of your own",
        "Airflow runs it in its scheduler with a session of its database",
        "use one of DeadlineReference: DAGRUN_LOGICAL_DATE, DAGRUN_QUEUED_AT, FIXED_DATETIME, AVERAGE_RUNTIME",
    )


class Callback:
    """A function, or a notifier's class, that is called with `kwargs`, and with the context where it takes one."""

    def __init__(self, callback_callable: Any, kwargs: Mapping[str, Any] | None = None) -> None:
        if kwargs and "context" in kwargs:
            raise ValueError("a deadline's callback gets its context from the run: take 'context' out of kwargs")
        self.kwargs = dict(kwargs or {})
        self.function = callback_callable if callable(callback_callable) else None
        self.path = _path(callback_callable)
        if self.function is not None:
            self._check(self.function)

    def _check(self, function: Any) -> None:
        """Raises AttributeError, as Airflow does."""


class AsyncCallback(Callback):
    """It is awaited."""

    def _check(self, function: Any) -> None:
        if str(getattr(function, "__module__", "")).startswith("airflow.providers."):
            return  # a stand-in: its own package knows
        is_notifier = isinstance(function, type) and issubclass(function, BaseNotifier)
        if is_notifier and function.async_notify is BaseNotifier.async_notify:
            raise AttributeError(f"{describe(function)} has no async_notify(): write one, or use SyncCallback")
        if not (inspect.iscoroutinefunction(function) or hasattr(function, "__await__")):
            raise AttributeError(f"{describe(function)} cannot be awaited: write it `async def`, or use SyncCallback")


class SyncCallback(Callback):
    def __init__(self, callback_callable: Any, kwargs: Mapping[str, Any] | None = None, executor: Any = None) -> None:
        super().__init__(callback_callable, kwargs)
        if executor is not None:
            raise ShimUnsupported("a SyncCallback has an executor", "Leoflow chooses the executor", "remove it")


def _path(given: Any) -> str:
    if callable(given):
        return f"{given.__module__}.{getattr(given, '__qualname__', type(given).__qualname__)}"
    if not isinstance(given, str) or not all(part.isidentifier() for part in given.strip().split(".")):
        raise ImportError(f"{describe(given)} is neither a function nor the dotted path of one")
    return given.strip()


class DeadlineAlert:
    def __init__(self, reference: Any, interval: timedelta, callback: Any) -> None:
        self._location = user_location()
        if not isinstance(callback, (AsyncCallback, SyncCallback)):
            raise AuthoringError(
                f"a DeadlineAlert has callback={describe(callback)}",
                "Airflow takes an AsyncCallback or a SyncCallback",
                "write callback=SyncCallback(function), or AsyncCallback for an `async def`",
                self._location,
            )
        self.reference = reference
        self.interval = interval
        self.callback = callback


def deadlines_of(dag: Any) -> list[dict[str, Any]]:
    """`DeadlineSpec`s as plain data, in the order of the list. Raises `AuthoringError`."""
    given = dag.deadline
    alerts = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    return [_spec(alert, dag) for alert in alerts]


def _spec(alert: Any, dag: Any) -> dict[str, Any]:
    if not isinstance(alert, DeadlineAlert):
        raise AuthoringError(
            f"dag {dag.dag_id!r} has deadline={describe(alert)}",
            "it must be a DeadlineAlert",
            "write DeadlineAlert(reference=..., interval=..., callback=...), or a list of them",
            dag._location,
        )
    where = alert._location
    if not isinstance(alert.interval, timedelta):
        raise AuthoringError(
            f"a DeadlineAlert has interval={describe(alert.interval)}", "it must be a timedelta", "correct it", where
        )
    return {"interval_s": alert.interval.total_seconds(), **_reference(alert.reference, where)}


def _reference(reference: Any, where: Location) -> dict[str, Any]:
    if isinstance(reference, DagRunLogicalDateDeadline):
        return {"reference": "logical_date"}
    if isinstance(reference, DagRunQueuedAtDeadline):
        return {"reference": "queued_at"}
    if isinstance(reference, FixedDatetimeDeadline):
        return {"reference": "fixed", "at": moment(reference._datetime, "a deadline", where)}
    if isinstance(reference, AverageRuntimeDeadline):
        return {
            "reference": "average_runtime",
            "max_runs": count(reference.max_runs, "max_runs", 1, where),
            "min_runs": count(reference.min_runs, "min_runs", 1, where),
        }
    if isinstance(reference, BaseDeadlineReference):
        raise _custom(type(reference).__name__)
    raise AuthoringError(
        f"a DeadlineAlert has reference={describe(reference)}",
        "it must be one of DeadlineReference",
        "correct it",
        where,
    )
