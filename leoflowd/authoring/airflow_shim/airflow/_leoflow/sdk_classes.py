"""The shim's class for each operator class of the real SDK: ours where we have one, else one that knows its name.

A class of the author's own becomes one of the same name and methods over the shim's class of what it is derived from.
Its `__init__` has run already, on the real one.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterable, Iterator
from types import FunctionType
from typing import Any

from airflow._leoflow import finder, moved, old_names, provider_decorators
from airflow._leoflow.asset_decorator import _AssetMainOperator
from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.captured import capture_class
from airflow._leoflow.connectors import is_ours
from airflow._leoflow.decorators import MORE_DECORATORS
from airflow._leoflow.errors import ShimUnsupported
from airflow._leoflow.names import MODULES
from airflow._leoflow.operators import _BashDecoratedOperator, _PythonDecoratedOperator
from airflow._leoflow.sensors import DecoratedSensorOperator

AIRFLOW = "airflow."
PROVIDERS = "airflow.providers."
SDK_BASE = ("airflow.sdk.bases.operator", "BaseOperator")
ASSET_OPERATOR = ("airflow.sdk.definitions.asset.decorators", "_AssetMainOperator")
DECORATED = {cls.__name__: cls for cls in (_PythonDecoratedOperator, _BashDecoratedOperator, DecoratedSensorOperator)}
NOT_COPIED = (property, functools.cached_property)
"""They would be asked of the shim's object, and answer for the real one."""


@functools.cache
def shim_class(real: type) -> type[BaseOperator]:
    """Raises what importing its name from the shim raises."""
    if real.__module__.startswith(AIRFLOW):
        return _of_airflow(real)
    bases = tuple(dict.fromkeys(_bases(real))) or (BaseOperator,)
    members = {name: value for name, value in vars(real).items() if _is_copied(name, value)}
    members |= {"__module__": real.__module__, "leoflow_arguments": frozenset(_parameters(real.__mro__))}
    try:
        return type(bases[0])(real.__name__, bases, members)
    except TypeError:  # bases that cannot be combined without the real ones between them
        operators = tuple(base for base in bases if issubclass(base, BaseOperator))
        return type(operators[0])(real.__name__, operators[:1], members)


def is_known(real: type) -> bool:
    """Whether its `__init__` takes what the shim's class takes: it is not the author's."""
    return real.__module__.startswith(AIRFLOW)


def arguments(real: type) -> set[str]:
    """Names that the constructor of Airflow's class behind this one takes, beside those of every operator."""
    return _parameters(cls for cls in real.__mro__ if is_known(cls) and (cls.__module__, cls.__name__) != SDK_BASE)


def _parameters(classes: Iterable[type]) -> set[str]:
    return {
        name
        for cls in classes
        if "__init__" in vars(cls) and cls is not object
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and name != "self"
    }


def is_operator(cls: type) -> bool:
    return any((base.__module__, base.__name__) == SDK_BASE for base in cls.__mro__)


def _of_airflow(real: type) -> type[BaseOperator]:
    if "leoflow_old_name" in vars(real):
        old: tuple[str, str] = vars(real)["leoflow_old_name"]
        target = moved.resolve(*old)
        assert target is not None
        return old_names.stands_for(*old, target, finder.find_name)  # type: ignore[no-any-return]
    module, name = real.__module__, real.__name__
    if module.startswith("airflow.providers.standard.decorators.") and name in DECORATED:
        return DECORATED[name]
    for where in MORE_DECORATORS.values():
        if where.endswith(f":{name}") and module.startswith("airflow.providers.standard.decorators."):
            return getattr(importlib.import_module(f"airflow._leoflow.{where.partition(':')[0]}"), name)  # type: ignore[no-any-return]
    for decorator, made in provider_decorators.DECORATORS.items():
        if made == (module, name):
            return provider_decorators.operator_class(decorator)
    if (module, name) == ASSET_OPERATOR:
        return _AssetMainOperator
    if name.startswith("_") and not module.startswith(PROVIDERS):
        raise ShimUnsupported(f"{name} of {module} is used", "Leoflow does not run it yet", f"use {finder.SUPPORTED}")
    if name in MODULES.get(module, ()) or not module.startswith(PROVIDERS) or is_ours(module):
        return finder.find_name(module, name)  # type: ignore[no-any-return]
    return capture_class(module, name)  # type: ignore[return-value]


def _bases(real: type) -> Iterator[type]:
    for base in real.__bases__:
        if is_operator(base):
            yield shim_class(base)
        elif not base.__module__.startswith(AIRFLOW):
            yield base


def _is_copied(name: str, value: Any) -> bool:
    if name.startswith("__"):
        return False
    return isinstance(value, (FunctionType, classmethod, staticmethod)) or not (
        isinstance(value, NOT_COPIED) or hasattr(value, "__get__")
    )
