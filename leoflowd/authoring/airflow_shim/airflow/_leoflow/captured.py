"""Whatever a provider package has and we do not: operators that the real package runs, and stand-ins for the rest.

While a file is compiled, nothing of the provider is imported. An operator of it becomes a class made on demand, which
takes its place in the DAG and keeps its arguments; the task's process loads the file again, with the real package.
"""

from __future__ import annotations

import inspect
from abc import ABCMeta
from typing import Any, NoReturn

from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.connectors import connector_of, is_named, remedy
from airflow._leoflow.errors import AuthoringError, ShimUnsupported
from airflow._leoflow.sensors import BaseSensorOperator

_OWN_ARGUMENTS = frozenset(inspect.signature(BaseOperator.__init__).parameters) - {"self", "kwargs"}
_SENSOR_ARGUMENTS = frozenset(inspect.signature(BaseSensorOperator.__init__).parameters) - {"self", "kwargs"}


class CapturedOperator(BaseOperator):
    """An operator of a provider: each argument that is not every operator's is kept under its own name."""

    kind = "operator"
    captured_from = ""

    def __init__(self, **kwargs: Any) -> None:
        check_capture(type(self), kwargs)
        known = {name: kwargs.pop(name) for name in tuple(kwargs) if name in self._arguments()}
        super().__init__(**known)
        for name, value in kwargs.items():
            setattr(self, name, value)
        # Which of them are templates only the real class knows; outputs of tasks may stand in any.
        self.template_fields = (
            *type(self).template_fields,
            *(n for n in kwargs if n not in type(self).template_fields),
        )

    @classmethod
    def _arguments(cls) -> frozenset[str]:
        return _OWN_ARGUMENTS

    def execute(self, context: Any) -> Any:
        raise RuntimeError(
            f"{self.task_type} runs under Apache Airflow, whose package {self.captured_from} is not here"
        )


class CapturedSensor(CapturedOperator, BaseSensorOperator):
    """A sensor of a provider."""

    kind = "operator"

    @classmethod
    def _arguments(cls) -> frozenset[str]:
        return _OWN_ARGUMENTS | _SENSOR_ARGUMENTS


def check_capture(cls: type[CapturedOperator], kwargs: dict[str, Any]) -> None:
    name = cls.__name__
    written = next(base.__name__ for base in cls.__mro__ if "captured_from" in vars(base))
    shown = name if name == written else f"{name} (a {written})"
    if "task_id" not in kwargs:
        raise AuthoringError(
            f"{shown} of {cls.captured_from} is made without a task_id",
            "while the file is loaded only operators are known of a provider, and an operator needs one",
            "pass task_id=..., or make the object inside a @task function",
        )
    if not is_named(cls.captured_from):
        raise ShimUnsupported(
            f"task {kwargs['task_id']!r} uses {shown} of {cls.captured_from}",
            "the DAG's environment does not have this provider",
            remedy(connector_of(cls.captured_from)),
        )


def capture_class(module: str, name: str) -> type:
    """The operator or sensor class `name` of a provider's module."""
    base = CapturedSensor if ".sensors" in module else CapturedOperator
    return type(name, (base,), {"__module__": module, "captured_from": module})


class StandIn(ABCMeta):
    """A hook, trigger or function of a provider: it may be imported and derived from, not used while compiling."""

    def __call__(cls, *_: Any, **__: Any) -> NoReturn:
        raise _used(cls)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _used(cls)


class UsedTooEarly(ShimUnsupported, AttributeError):
    """An AttributeError too, so that `getattr(value, name, default)` works on whatever stands in an argument."""


def _used(cls: type) -> UsedTooEarly:
    origin = next(base for base in cls.__mro__ if getattr(base, "__module__", "").startswith("airflow.providers"))
    return UsedTooEarly(
        f"{cls.__name__} of {origin.__module__} is used while the file is loaded",
        "a provider's code is only there when a task runs",
        "use it inside a @task function, or in a method of your operator",
    )


class CapturedValue:
    """An object that describes an argument (`Secret(...)`): kept as written, made for real when the task runs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.leoflow_arguments = (args, kwargs)

    def __repr__(self) -> str:
        args, kwargs = self.leoflow_arguments
        written = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
        return f"{type(self).__name__}({', '.join(written)})"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise _used(type(self))


def capture_value(module: str, name: str) -> type:
    return type(name, (CapturedValue,), {"__module__": module})


def stand_in(module: str, name: str) -> type:
    return StandIn(name, (), {"__module__": module})
