"""How an import path of an artifact is written: a folder of the bundle, or `name=.` for a package that is the bundle.

The second is for files that import from the repository by its own name (`from myrepo.dags.common import x`), which no
folder inside the bundle can answer. The shim (`put_on_path`) and the runner (`module_path`) read both.
"""

from __future__ import annotations

_IS_THE_BUNDLE = "=."


def path_of_package(name: str) -> str:
    """The import path by which the bundle itself is the package `name`."""
    return f"{name}{_IS_THE_BUNDLE}"


def package_of(import_path: str) -> str | None:
    """The package that the bundle is; None for a folder."""
    name = import_path.removesuffix(_IS_THE_BUNDLE)
    return None if name == import_path else name
