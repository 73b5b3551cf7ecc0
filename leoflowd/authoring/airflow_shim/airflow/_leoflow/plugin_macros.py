"""Macros that the plugins of a folder register, found when somebody first asks for one.

`{{ macros.ours.twice(ds) }}` in a template, and `from airflow.macros.ours import twice`, as DAG files of Airflow 2 have
it. Airflow imports all plugins as it starts; here none is imported for a name that Airflow itself has. Standard library
only: a process of the real packages loads this file by its path (`beside_airflow.py`).
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

PLUGINS = "plugins"
BASE = "AirflowPlugin"
MACROS = "airflow.macros"
DEFINES = re.compile(rf"^class\s+\w+\(.*\b{BASE}\b", re.MULTILINE)


def begin(folder: str, import_paths: Sequence[str], modules: Sequence[str] = (MACROS,)) -> None:
    """Before a DAG file of `folder` is loaded: `modules` have an attribute for the `name` of each plugin below
    `plugins/`, which can be imported from `airflow.macros` too."""
    folders = [os.path.join(folder, path) for path in import_paths if os.path.basename(path) == PLUGINS]
    if not folders or any(isinstance(one, _Finder) and one.folders == folders for one in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder(folders))  # type: ignore[arg-type]  # before the one that explains what is missing
    for name in modules:
        _serve(importlib.import_module(name), folders)


def _serve(macros: ModuleType, folders: Sequence[str]) -> None:
    own = vars(macros).get("__getattr__")

    def find(asked: str) -> Any:
        """Raises AttributeError with the names that there are."""
        try:
            if own is not None:
                return own(asked)
        except (AttributeError, ImportError):
            pass
        known = {} if asked.startswith("_") else _known(folders)
        if asked in known:
            setattr(macros, asked, known[asked])
            return known[asked]
        told = f"; plugins register {', '.join(sorted(known))}" if known else ""
        raise AttributeError(f"there is no macro {asked!r}{told}")

    vars(macros)["__getattr__"] = find


class _Finder:
    """Finds `airflow.macros.<plugin>`, whose functions are the plugin's macros."""

    def __init__(self, folders: Sequence[str]) -> None:
        self.folders = folders
        self._is_looking = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, plugin = name.rpartition(".")
        if package != MACROS or self._is_looking:  # a plugin that imports macros itself
            return None
        self._is_looking = True
        try:
            found = _known(self.folders).get(plugin)
        finally:
            self._is_looking = False
        return None if found is None else ModuleSpec(name, _Loader(found))  # type: ignore[arg-type]


class _Loader:
    def __init__(self, macros: SimpleNamespace) -> None:
        self._macros = macros

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(vars(self._macros))


def _known(folders: Sequence[str]) -> dict[str, SimpleNamespace]:
    known: dict[str, SimpleNamespace] = {}
    for plugin in _plugins(folders):
        known.setdefault(str(plugin.name), SimpleNamespace()).__dict__.update(_functions(plugin))
    return known


def _plugins(folders: Sequence[str]) -> Iterator[Any]:
    """Classes that register macros, in the order of their files."""
    for folder in folders:
        for module in map(importlib.import_module, _modules(folder)):
            classes = [value for value in vars(module).values() if isinstance(value, type)]
            own = [one for one in classes if one.__module__ == module.__name__]
            yield from (one for one in own if BASE in {base.__name__ for base in one.__mro__[1:]} and _functions(one))


def _functions(plugin: Any) -> dict[str, Any]:
    return {function.__name__: function for function in getattr(plugin, "macros", None) or ()}


def _modules(folder: str) -> list[str]:
    """Of files below it that define a plugin."""
    found = []
    for top, _, names in os.walk(folder):
        for file in (os.path.join(top, name) for name in names if name.endswith(".py")):
            with open(file, encoding="utf-8", errors="replace") as opened:
                if DEFINES.search(opened.read()):
                    inside = os.path.relpath(file, folder).removesuffix(".py").removesuffix(f"{os.sep}__init__")
                    found.append(inside.replace(os.sep, "."))
    return sorted(found)
