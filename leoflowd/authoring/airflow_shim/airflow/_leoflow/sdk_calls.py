"""How a file that the real SDK loads makes its DAGs and tasks: each call with its arguments as they are written.

`sdk_file.py` begins it once Airflow is imported; `sdk_objects.py` makes the same calls on the shim's classes.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from airflow._leoflow.errors import Location

POSITIONAL = ""
"""Under which name `Call.given` has the arguments without one."""


class Call(NamedTuple):
    made: Any
    """It is kept, so that its id stays its own."""
    location: Location
    given: dict[str, Any]
    """What the author wrote, by old or new names, without what defaults add."""
    after: dict[str, Any]
    """Its attributes when it was made: what is another value later was set by hand."""


class Expansion(NamedTuple):
    """`task.partial(...).expand(...)`: `decorator` is that of a @task function, else `given` went to `partial`."""

    location: Location
    given: dict[str, Any]
    decorator: Any
    strict: bool


TIMETABLES = {
    f"{package}.{module}": names
    for package in ("airflow.timetables", "airflow.sdk.definitions.timetables")
    for module, names in {
        "trigger": (
            *("CronTriggerTimetable", "DeltaTriggerTimetable", "MultipleCronTriggerTimetable"),
            "CronPartitionTimetable",
        ),
        "interval": ("CronDataIntervalTimetable", "DeltaDataIntervalTimetable"),
        "events": ("EventsTimetable",),
        "simple": ("NullTimetable", "OnceTimetable", "ContinuousTimetable"),
        "assets": ("AssetOrTimeSchedule", "PartitionedAssetTimetable"),
    }.items()
}
calls: dict[int, Call] = {}
"""By the id of the DAG, operator or timetable."""
expansions: dict[int, Expansion] = {}
"""By the id of the mapped operator."""
dags: list[Any] = []
"""In the order in which they were made."""
_partials: dict[int, tuple[Any, dict[str, Any]]] = {}
_folder = ""


def begin(folder: str) -> None:
    """Once, before the file runs, in a process of its own: Airflow's classes note their calls from now on."""
    global _folder
    _folder = folder + os.sep
    operators: Any = importlib.import_module("airflow.sdk.bases.operator")
    _note_calls(operators.BaseOperatorMeta, "__call__", _of_operator)
    _note_calls(importlib.import_module("airflow.sdk.definitions.dag").DAG, "__init__", _of_dag)
    descriptor = vars(operators.BaseOperator)["partial"]
    descriptor.class_method = classmethod(_noting_partial(descriptor.class_method.__func__))
    mapped: Any = importlib.import_module("airflow.sdk.definitions.mappedoperator")
    _note_calls(mapped.OperatorPartial, "_expand", _of_partial)
    _note_calls(importlib.import_module("airflow.sdk.bases.decorator")._TaskDecorator, "_expand", _of_function)
    for module, names in TIMETABLES.items():
        found = importlib.import_module(module)
        for name in names:
            if hasattr(found, name):  # older releases lack some
                _note_calls(getattr(found, name), "__init__", _of_timetable)


def place() -> Location:
    """The author's line that runs now: the innermost one of the project; ("", 0) when there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_folder):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return "", 0


def attributes(made: Any) -> dict[str, Any]:
    """A mapped operator keeps them as the arguments of its instances."""
    found = getattr(made, "partial_kwargs", None)
    return dict(vars(made) if found is None else found)


def _note_calls(cls: Any, name: str, note: Callable[..., None]) -> None:
    original = getattr(cls, name)

    @functools.wraps(original)
    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        note(result, self, args, kwargs)
        return result

    setattr(cls, name, noted)


def _of_operator(made: Any, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    calls[id(made)] = Call(made, place(), kwargs, attributes(made))


def _of_dag(result: None, dag: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    calls[id(dag)] = Call(dag, place(), {**kwargs, POSITIONAL: args}, attributes(dag))
    dags.append(dag)


def _of_timetable(result: None, made: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    calls.setdefault(id(made), Call(made, place(), {**kwargs, POSITIONAL: args}, {}))


def _noting_partial(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def partial(cls: Any, **kwargs: Any) -> Any:
        made = original(cls, **kwargs)
        _partials[id(made)] = (made, kwargs)
        return made

    return partial


def _of_partial(made: Any, partial: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    _, given = _partials[id(partial)]
    expansions[id(made)] = Expansion(place(), given, None, kwargs["strict"])
    calls[id(made)] = Call(made, place(), given, attributes(made))


def _of_function(output: Any, decorator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    made = output.operator
    expansions[id(made)] = Expansion(place(), dict(decorator.kwargs), decorator, kwargs["strict"])
    calls[id(made)] = Call(made, place(), {}, attributes(made))
