"""How the shim's own modules hang together."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter

from leoflowd.authoring.compiler import SHIM

PACKAGE = "airflow._leoflow"


def test_no_two_modules_of_the_shim_import_each_other() -> None:
    files = (SHIM / "airflow" / "_leoflow").glob("*.py")
    imports = {file.stem: imports_at_the_top(file.read_text()) for file in files}
    assert "task" in imports["xcom_arg"]
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the cycle


def imports_at_the_top(source: str) -> set[str]:
    """Not those for type checkers, nor those inside functions: neither runs when the module is imported."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{PACKAGE}."):
            found.add(node.module.removeprefix(f"{PACKAGE}."))
    return found
