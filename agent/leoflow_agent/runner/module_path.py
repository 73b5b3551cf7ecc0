"""Where a DAG file is loaded: with which folders on the path of modules, and in which folder."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

from . import tree_package


@contextlib.contextmanager
def inside(bundle: str) -> Iterator[None]:
    """As for the compiler, and in Airflow's home: `open("include/x.json")` means the same there and in a try."""
    before = os.getcwd()
    os.chdir(bundle)
    try:
        yield
    finally:
        os.chdir(before)


def put(bundle: str, import_paths: Sequence[str]) -> None:
    """In processes without the shim, whose `put_on_path` does the same: the bundle itself before what is installed; or
    its `import_paths` behind that, as in Airflow.
    """
    if not import_paths and bundle not in sys.path:
        sys.path.insert(1, bundle)
    for path in import_paths:
        name, is_package, _ = path.partition("=.")
        if is_package:
            tree_package.put(name, bundle)
            continue
        folder = os.path.normpath(os.path.join(bundle, path))
        if folder not in sys.path:
            sys.path.append(folder)
