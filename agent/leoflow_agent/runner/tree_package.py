"""A package that is the tree itself: `from myrepo.dags.common import x`, where the clone is called `myrepo`.

The shim has the same for its processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType


def put(name: str, folder: str) -> None:
    """From now on `name` is the package in `folder`, unless one that is installed or on the path has this name."""
    if not any(isinstance(one, _TreePackage) and one.name == name for one in sys.meta_path):
        sys.meta_path.append(_TreePackage(name, folder))


class _TreePackage:
    def __init__(self, name: str, folder: str) -> None:
        self.name = name
        self._folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        init = os.path.join(self._folder, "__init__.py")
        if os.path.isfile(init):
            return spec_from_file_location(fullname, init, submodule_search_locations=[self._folder])
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [self._folder]
        return spec
