"""Whatever a provider package has and we do not: operators that the real package runs, and stand-ins for the rest.

While a file is compiled, nothing of the provider is imported. An operator of it becomes a class made on demand, which
takes its place in the DAG and keeps its arguments; the task's process loads the file again, with the real package.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
from abc import ABCMeta
from typing import Any, NoReturn

from airflow._leoflow import moved
from airflow._leoflow.base_operator import BaseOperator, OperatorMeta
from airflow._leoflow.connectors import connector_of, helped_by, is_named, package_folder, remedy
from airflow._leoflow.errors import AuthoringError, ShimUnsupported, UnsupportedImport
from airflow._leoflow.old_names import modern
from airflow._leoflow.provider_constants import Constant, used
from airflow._leoflow.sensors import BaseSensorOperator

_OWN_ARGUMENTS = frozenset(inspect.signature(BaseOperator.__init__).parameters) - {"self", "kwargs"}
_OWN_ARGUMENTS |= {*moved.TASK_RULES.rename, *moved.TASK_RULES.drop}
_SENSOR_ARGUMENTS = frozenset(inspect.signature(BaseSensorOperator.__init__).parameters) - {"self", "kwargs"}


class CapturedMeta(OperatorMeta):
    """A class of which only the name is known: whatever else is asked of it, only the real one has."""

    def __getattr__(cls, name: str) -> Any:  # noqa: N805 - a metaclass, which ruff does not see
        return _of_class(cls, name)


class CapturedOperator(BaseOperator, metaclass=CapturedMeta):
    """An operator of a provider: each argument that is not every operator's is kept under its own name."""

    kind = "operator"
    captured_from = ""

    def __init__(self, **kwargs: Any) -> None:
        check_capture(type(self), kwargs)
        kwargs = modern(self, kwargs, self.leoflow_rules)
        known = {name: kwargs.pop(name) for name in tuple(kwargs) if name in self._arguments()}
        super().__init__(**known)
        for name, value in kwargs.items():
            setattr(self, name, value)
        # Which of them are templates only the real class knows; outputs of tasks may stand in any.
        self.template_fields = (
            *type(self).template_fields,
            *(n for n in kwargs if n not in type(self).template_fields),
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_") or "task_id" not in vars(self):
            raise AttributeError(name)
        raise used(f"{name} of task {self.task_id!r}, a {type(self).__name__},", type(self))

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
    check_provider(cls.captured_from, f"task {kwargs['task_id']!r} uses {shown}")


def check_provider(module: str, what: str) -> None:
    """Raises `ShimUnsupported`, which names the provider, where the environment does not have it."""
    if not is_named(module):
        connector = connector_of(module)
        refused = ShimUnsupported(
            f"{what} of {module}", "the DAG's environment does not have this provider", remedy(connector)
        )
        raise helped_by(refused, connector)


def capture_class(module: str, name: str) -> type:
    """The operator or sensor class `name` of a provider's module."""
    base = CapturedSensor if ".sensors" in module else CapturedOperator
    rules = moved.rules_of(module, name)
    return type(name, (base,), {"__module__": module, "captured_from": module, "leoflow_rules": rules})


def check_name(module: str, name: str) -> None:
    """Raises `UnsupportedImport` for what the provider does not have, as far as its package is in this environment."""
    text = _text_of(module)
    if text is None or "import *" in text or "def __getattr__" in text or re.search(rf"\b{re.escape(name)}\b", text):
        return
    raise UnsupportedImport(
        f"{name!r} is imported from {module!r}",
        "the provider in the DAG's environment has no such name" if text else "the provider has no such module",
        "correct the name, or name the version of the provider that has it in `dependencies:`",
    )


@functools.lru_cache(maxsize=64)
def _text_of(module: str) -> str | None:
    """The source of a provider's module, which is read, not run; "" = there is none; None = the package is not here."""
    inside = module.split(".")
    for entry in sys.path:
        if not os.path.isdir(os.path.join(entry, *package_folder(module))):
            continue
        base = os.path.join(entry, *inside)
        file = base + ".py" if os.path.exists(base + ".py") else os.path.join(base, "__init__.py")
        try:
            with open(file, encoding="utf-8", errors="replace") as source:
                return source.read() or "# empty"
        except OSError:
            return ""
    return None


class StandIn(ABCMeta):
    """A hook, trigger or function of a provider: it may be imported and derived from, not used while compiling."""

    def __call__(cls, *_: Any, **__: Any) -> NoReturn:
        raise used(cls.__name__, cls)

    def __getattr__(cls, name: str) -> Any:
        return _of_class(cls, name)


def _of_class(cls: type, name: str) -> Any:
    """A constant, as enumerations have them, may be passed on; whatever else a class has is not known here."""
    if name.startswith("_"):
        raise AttributeError(name)
    if name.isupper():
        return Constant(f"{cls.__name__}.{name}", cls)
    raise used(f"{cls.__name__}.{name}", cls)


class _Described(type):
    """The class of such an object; an enumeration may be one."""

    def __getattr__(cls, name: str) -> Any:
        return _of_class(cls, name)


class CapturedValue(metaclass=_Described):
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
        raise used(f"{type(self).__name__}(...).{name}", type(self))


def capture_value(module: str, name: str) -> type:
    return type(name, (CapturedValue,), {"__module__": module})


def stand_in(module: str, name: str) -> type:
    return StandIn(name, (), {"__module__": module})
