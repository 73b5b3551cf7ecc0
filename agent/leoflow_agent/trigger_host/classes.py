"""From a class path to the class: an installed package, a module of the project, or the DAG file itself.

Importing happens in threads: a provider package may take seconds, and the other triggers must not wait for it.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import re
from collections.abc import Sequence
from typing import Any

from ..runner import module_path
from .runtimes import Runtime


class TriggerClasses:
    """Each module is loaded once. `bundle` is the project's folder, or empty."""

    def __init__(self, runtime: Runtime, bundle: str) -> None:
        self._runtime = runtime
        self._bundle = bundle
        self._modules: dict[str, asyncio.Future[Any]] = {}

    async def find(self, classpath: str, source_path: str, import_paths: Sequence[str] = ()) -> Any:
        """Raises what importing raises, and AttributeError for a name that the module does not have."""
        if self._bundle:
            module_path.put(self._bundle, import_paths)
        module, _, name = classpath.rpartition(".")
        if module not in self._modules:
            self._modules[module] = asyncio.ensure_future(asyncio.to_thread(self._load, module, source_path))
        try:
            return getattr(await asyncio.shield(self._modules[module]), name)
        except Exception:
            self._modules.pop(module, None)  # the next one tries again
            raise

    def _load(self, module: str, source_path: str) -> Any:
        try:
            if self._bundle and names_dag_file(module, source_path):
                return self._runtime.load_dag_file(self._bundle, source_path, module)
            return importlib.import_module(module)
        except SystemExit as error:  # asyncio would end the process for it, and every other trigger with it
            raise ImportError(f"loading {module} called sys.exit({error.code!r})") from error


def names_dag_file(module: str, source_path: str) -> bool:
    """Is this what the module of that DAG file is called, by our loader (also when its name was taken) or Airflow's?"""
    stem = os.path.splitext(os.path.basename(source_path))[0]
    is_airflows = re.fullmatch(rf"unusual_prefix_[0-9a-f]+_{re.escape(stem)}", module) is not None
    return module in (stem, f"leoflow_dag_{stem}") or is_airflows
