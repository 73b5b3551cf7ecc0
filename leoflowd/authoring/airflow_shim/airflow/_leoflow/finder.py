"""Makes the modules of `names.py`, and answers for every other `airflow.*` name with an error that helps.

An operator or sensor of a provider may be imported; making one is refused, with its task and line. (Capturing such
operators generically will replace `_unsupported_class`.)
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from airflow._leoflow.errors import ShimUnsupported, UnsupportedImport
from airflow._leoflow.names import MODULES, NAME_REMEDIES, REMEDIES, SUPPORTED

PREFIX = "airflow."


class AirflowFinder:
    """A meta-path finder and loader for `airflow.*`."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not name.startswith(PREFIX) or name.startswith("airflow._leoflow"):
            return None
        if name not in MODULES and not _holds_operators(name):
            raise _unknown_module(name)
        return ModuleSpec(name, AirflowFinder, is_package=True)  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType | None:
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        names = MODULES.get(module.__name__, {})
        module.__all__ = list(names)  # type: ignore[attr-defined]
        module.__doc__ = "Made by Leoflow's shim for Apache Airflow."

        def __getattr__(name: str) -> Any:  # noqa: N807 - the module's own
            value = find_name(module.__name__, name)
            setattr(module, name, value)
            return value

        module.__getattr__ = __getattr__  # type: ignore[method-assign]


def find_name(module: str, name: str) -> Any:
    """The object behind `from module import name`."""
    target = MODULES.get(module, {}).get(name)
    if target is not None:
        where, colon, attribute = target.partition(":")
        found = importlib.import_module(where)
        return found if colon and not attribute else getattr(found, attribute or name)
    if (
        name.startswith("_")
        or f"{module}.{name}" in MODULES
        or (name.islower() and _holds_operators(f"{module}.{name}"))
    ):
        raise AttributeError(name)
    if name[:1].isupper() and name not in NAME_REMEDIES and _has_operator_classes(module):
        return _unsupported_class(module, name)
    raise UnsupportedImport(
        f"{name!r} is imported from {module!r}",
        "Leoflow does not provide it",
        NAME_REMEDIES.get(name) or f"remove it; supported are {SUPPORTED}",
    )


def _holds_operators(module: str) -> bool:
    """Modules whose classes may be imported and are refused when one is made: operators, sensors and transfers."""
    parts = [*module.split("."), ""]
    if parts[1] in {"operators", "sensors"}:
        return len(parts) <= 4
    if parts[1] != "providers":
        return False
    return "hooks" not in parts


def _has_operator_classes(module: str) -> bool:
    return _holds_operators(module) and not {"operators", "sensors", "transfers"}.isdisjoint(module.split("."))


def _unknown_module(name: str) -> UnsupportedImport:
    if ".hooks" in name:
        return UnsupportedImport(
            f"the hook module {name!r} is imported",
            "Airflow's provider packages are not part of the environment yet",
            "use the client library itself inside a @task, and name it in `dependencies:` of leoflow.yaml",
        )
    known = [remedy for module, remedy in REMEDIES.items() if name == module or name.startswith(module + ".")]
    return UnsupportedImport(
        f"the module {name!r} is imported",
        "Leoflow runs DAGs without Airflow and does not provide this part of it",
        known[0] if known else f"import from airflow.sdk; supported are {SUPPORTED}",
    )


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
