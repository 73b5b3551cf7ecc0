"""Macros that the plugins of a folder register, found when somebody first asks for one: `{{ macros.ours.twice(ds) }}`.

`main` and `real_airflow` call this with the module that templates see as `macros`. Airflow imports all plugins as it
starts; a try imports none for a name that Airflow itself has.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

PLUGINS = "plugins"
BASE = "AirflowPlugin"
DEFINES = re.compile(rf"^class\s+\w+\(.*\b{BASE}\b", re.MULTILINE)


def serve(macros: ModuleType, bundle: str, import_paths: Sequence[str]) -> None:
    """From now on `macros` has an attribute for the `name` of each plugin below `plugins/`."""
    folders = [os.path.join(bundle, path) for path in import_paths if os.path.basename(path) == PLUGINS]

    def find(asked: str) -> Any:
        """Raises AttributeError with the names that there are."""
        known: dict[str, Any] = {}
        for plugin in _plugins(folders) if not asked.startswith("_") else ():
            known.setdefault(str(plugin.name), SimpleNamespace()).__dict__.update(_functions(plugin))
        if asked in known:
            setattr(macros, asked, known[asked])
            return known[asked]
        told = f"; plugins register {', '.join(sorted(known))}" if known else ""
        raise AttributeError(f"there is no macro {asked!r}{told}")

    if folders:
        vars(macros)["__getattr__"] = find


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
