"""Makes the modules of `names.py`, and answers for every other `airflow.*` name with an error that helps.

What a provider package has and we do not is `captured.py`'s: operators of a provider that leoflow.yaml names run under
the real Airflow. An operator that nobody runs may be imported; making one is refused, with its task and line. Names of
Airflow 1.10 and 2 lead to today's (`old_names.py`), Airflow's insides to stand-ins (`internals.py`).
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, cast

from airflow._leoflow import connectors, internals, moved, old_names
from airflow._leoflow.errors import AuthoringError, ShimUnsupported, UnsupportedImport
from airflow._leoflow.names import MODULES, NAME_REMEDIES, REMEDIES, SUPPORTED

PREFIX = "airflow."
STANDARD_HOOKS = "airflow.providers.standard.hooks."
EXAMPLES = "airflow.example_dags"
FOR_USE = frozenset({"hooks", "triggers", "utils", "links", "notifications", "decorators"})


class AirflowFinder:
    """A meta-path finder and loader for `airflow.*`."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not name.startswith(PREFIX) or name.startswith("airflow._leoflow"):
            return None
        if name == EXAMPLES or name.startswith(EXAMPLES + "."):
            return _installed(name, path)
        _check_module(name)
        return ModuleSpec(name, AirflowFinder, is_package=True)  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType | None:
        is_unknown = spec.name not in MODULES and (_is_provider(spec.name) or internals.is_module(spec.name))
        return _UnknownModule(spec.name) if is_unknown else None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        names = MODULES.get(module.__name__, {})
        module.__all__ = list(names)  # type: ignore[attr-defined]
        module.__doc__ = "Made by Leoflow's shim for Apache Airflow."

        def __getattr__(name: str) -> Any:  # noqa: N807 - the module's own
            value = attribute(module.__name__, name)
            if not old_names.is_old(module.__name__, name):  # each import of an old one is a warning
                setattr(module, name, value)
            return value

        module.__getattr__ = __getattr__  # type: ignore[method-assign]


def _installed(name: str, path: Any) -> ModuleSpec:
    """A module of Airflow's own examples, which import each other: as the environment has it, on these names."""
    entries = path if name != EXAMPLES else [os.path.join(entry, "airflow") for entry in sys.path]
    found = PathFinder.find_spec(name, entries)
    if found is None:
        refused = UnsupportedImport(
            f"the module {name!r} is imported",
            "the DAG's environment does not have Airflow's examples",
            connectors.remedy(connectors.AIRFLOW_ITSELF),
        )
        raise connectors.helped_by(refused, connectors.AIRFLOW_ITSELF)
    return found


def attribute(module: str, name: str) -> Any:
    """`module.name`: as `find_name`, or a module inside it, which nobody needs to import in Airflow either."""
    try:
        return find_name(module, name)
    except AttributeError as error:
        if name.startswith("_") or isinstance(error, ShimUnsupported):
            raise
        return importlib.import_module(f"{module}.{name}")


def find_name(module: str, name: str) -> Any:
    """The object behind `from module import name`."""
    found = old_names.find(module, name, _today)
    if found is not None:
        return found
    target = MODULES.get(module, {}).get(name)
    if target is not None:
        return _ours(module, name, target)
    if name.startswith("_") or f"{module}.{name}" in MODULES or (name.islower() and _may_exist(f"{module}.{name}")):
        raise AttributeError(name)
    still_there = moved.resolve(module, name)
    if still_there is not None:
        return _today(still_there.module, still_there.name)
    if name not in NAME_REMEDIES and name[:1].isupper():
        if _is_provider(module):
            return _of_provider(module, name)
        if _has_operator_classes(module):
            return _unsupported_class(module, name)
    if name not in NAME_REMEDIES and (internals.is_module(module) or module.startswith(STANDARD_HOOKS)):
        return internals.stand_in(module, name)
    refused = UnsupportedImport(
        f"{name!r} is imported from {module!r}",
        "Leoflow does not provide it",
        NAME_REMEDIES.get(name) or f"remove it; supported are {SUPPORTED}",
    )
    raise refused if name in NAME_REMEDIES else connectors.helped_by(refused, connectors.AIRFLOW_ITSELF)


def _today(module: str, name: str) -> Any:
    """The object behind a name that an old one leads to; most are Airflow's."""
    if not module.startswith(PREFIX):
        return getattr(importlib.import_module(module), name)
    _check_module(module)
    return attribute(module, name)


def _ours(module: str, name: str, target: str) -> Any:
    where, colon, attribute = target.partition(":")
    found = importlib.import_module(where)
    if colon and not attribute:
        return found
    value = getattr(found, attribute or name)
    rules = moved.rules_of(re.sub(r"^airflow\.(operators|sensors)\.", r"airflow.providers.standard.\1.", module), name)
    if rules and isinstance(value, type):
        value.leoflow_rules = rules  # type: ignore[attr-defined]
    return value


class _UnknownModule(ModuleType):
    """`from airflow.providers.x.y import function` finds a module of that name, as nobody knows what x.y has."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        if not _is_provider(self.__name__):
            raise internals.used(self.__name__)
        raise ShimUnsupported(
            f"{self.__name__} is called while the file is loaded",
            "a provider's code is only there when a task runs",
            "call it inside a @task function, or in a method of your operator",
        )


def _check_module(name: str) -> None:
    if name in MODULES:
        if MODULES[name] and _is_provider(name) and connectors.is_missing(name):
            raise _not_named(name)
    elif not _may_exist(name):
        raise _not_named(name) if _is_provider(name) else _unknown_module(name)


def _is_provider(module: str) -> bool:
    return module.startswith("airflow.providers.") and not connectors.is_ours(module)


def _may_exist(module: str) -> bool:
    """Modules that may be imported: of a named provider all, of others those whose operators are refused when made."""
    if module in moved.MODULES or module in moved.PACKAGES or module in moved.REMOVED:
        return True
    if _is_provider(module):
        return connectors.is_named(module) or not _is_for_use(module)
    if internals.is_module(module):
        return True
    parts = [*module.split("."), ""]
    if parts[1] in {"operators", "sensors"}:
        return len(parts) <= 4
    return module.startswith("airflow.providers.standard.")


def _is_for_use(module: str) -> bool:
    """Modules whose classes do something when they are made or called; those of others only describe an argument."""
    return not FOR_USE.isdisjoint(module.split("."))


def _has_operator_classes(module: str) -> bool:
    return _may_exist(module) and not {"operators", "sensors", "transfers"}.isdisjoint(module.split("."))


def _of_provider(module: str, name: str) -> type:
    from airflow._leoflow import captured  # it needs the operators, which few files' imports do

    if connectors.is_named(module):
        captured.check_name(module, name)
    if name.endswith("TaskGroup"):
        groups: Any = importlib.import_module("airflow._leoflow.provider_groups")
        return cast(type, groups.group_class(module, name))
    if _has_operator_classes(module):
        return captured.capture_class(module, name)
    if not connectors.is_named(module):
        raise _not_named(module)
    return captured.stand_in(module, name) if _is_for_use(module) else captured.capture_value(module, name)


def _not_named(module: str) -> AuthoringError:
    connector = connectors.connector_of(module)
    refused = UnsupportedImport(
        f"the module {module!r} is imported",
        f"the DAG's environment does not have Airflow's provider {connector!r}",
        connectors.remedy(connector),
    )
    return connectors.helped_by(refused, connector)


def _unknown_module(name: str) -> UnsupportedImport:
    known = [remedy for module, remedy in REMEDIES.items() if name == module or name.startswith(module + ".")]
    removed = moved.remedy_of(name)
    refused = UnsupportedImport(
        f"the module {name!r} is imported",
        "Leoflow runs DAGs without Airflow and does not provide this part of it",
        removed or (known[0] if known else f"import from airflow.sdk; supported are {SUPPORTED}"),
    )
    connectors.helped_by(refused, "" if removed else connectors.AIRFLOW_ITSELF)
    return refused


def _unsupported_class(module: str, name: str) -> type:
    def refuse(cls: type, *_: Any, **kwargs: Any) -> Any:
        task = f"task {kwargs['task_id']!r}" if "task_id" in kwargs else "a task"
        written = name if cls.__name__ == name else f"{cls.__name__} (a {name})"
        raise ShimUnsupported(
            f"{task} uses {written} of {module}",
            "Leoflow does not run this operator yet",
            f"use a @task function with the client library; supported are {SUPPORTED}",
        )

    return type(name, (), {"__module__": module, "__new__": refuse, "partial": classmethod(refuse)})


def install() -> None:
    if not any(finder is AirflowFinder for finder in sys.meta_path):
        sys.meta_path.insert(0, AirflowFinder)  # type: ignore[arg-type]
