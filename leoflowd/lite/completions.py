"""What the web editor completes: names of `airflow` and `leoflow` modules and the arguments of what they make.

Read from the stubs that editors elsewhere use (ADR 69), so both know the same. Parsed, never imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

PACKAGES = ("airflow-stubs", "leoflow-stubs")
HOME = "airflow._leoflow"
"""Where all classes and functions of the stubs are defined."""


class Argument(msgspec.Struct, frozen=True):
    name: str
    type: str
    default: str
    """As written; empty: it must be given."""


class Callable(msgspec.Struct, frozen=True):
    doc: str
    arguments: tuple[Argument, ...]
    members: tuple[str, ...] = ()
    """What follows a dot, for values such as `task`."""


class Completions(msgspec.Struct, frozen=True):
    modules: Mapping[str, Mapping[str, str]]
    """Module -> name in it -> key of `callables`, or empty."""
    callables: Mapping[str, Callable]


def completions_of(stubs: Mapping[str, str]) -> Completions:
    """`stubs`: the text of each stub by the name of its module."""
    callables = _callables(ast.parse(stubs[HOME]).body)
    modules = {
        module: dict(sorted(_names(ast.parse(text).body, callables).items()))
        for module, text in stubs.items()
        if not module.rpartition(".")[2].startswith("_")
    }
    return Completions(modules=dict(sorted(modules.items())), callables=callables)


def read_stubs() -> dict[str, str]:
    """All stubs that came with Leoflow, by module: beside the code in a checkout, on the path where it is installed."""
    package = Path(__file__).resolve().parents[1]
    found = {}
    for home in (package / "authoring" / "stubs", package.parent):
        for folder in (home / name for name in PACKAGES if name not in found and (home / name).is_dir()):
            for path in folder.rglob("*.pyi"):
                parts = path.relative_to(folder).with_suffix("").parts
                module = (folder.name.removesuffix("-stubs"), *(parts[:-1] if parts[-1] == "__init__" else parts))
                found[".".join(module)] = path.read_text(encoding="utf-8")
        if found:
            return found
    return found


def _callables(body: Iterable[ast.stmt]) -> dict[str, Callable]:
    found: dict[str, Callable] = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            made = [
                one for one in node.body if isinstance(one, ast.FunctionDef) and one.name in ("__init__", "__call__")
            ]
            arguments = max((_arguments(one)[1:] for one in made), key=len, default=())
            found[node.name] = Callable(ast.get_docstring(node) or "", arguments, _members(node))
        elif isinstance(node, ast.FunctionDef):
            known = found.get(node.name, Callable("", ()))
            # of overloads the one with most: the other is the decorator without parentheses
            arguments = max(_arguments(node), known.arguments, key=len)
            found[node.name] = Callable(ast.get_docstring(node) or known.doc, arguments)
    return found


def _members(node: ast.ClassDef) -> tuple[str, ...]:
    methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
    values = {one.target.id for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)}
    return tuple(sorted(name for name in methods | values if not name.startswith("_")))


def _arguments(function: ast.FunctionDef) -> tuple[Argument, ...]:
    given = function.args
    plain = [*given.posonlyargs, *given.args]
    defaults = [*[None] * (len(plain) - len(given.defaults)), *given.defaults]
    pairs = [*zip(plain, defaults, strict=True), *zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    return tuple(
        Argument(
            one.arg,
            "" if one.annotation is None else ast.unparse(one.annotation),
            "" if default is None else ast.unparse(default),
        )
        for one, default in pairs
    )


def _names(body: Iterable[ast.stmt], callables: Mapping[str, Callable]) -> dict[str, str]:
    """Public names of a module -> what they make."""
    found: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.asname is not None:  # `import X as X` is how a stub hands on a name
                    found[alias.asname] = alias.name if alias.name in callables else ""
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            kind = ast.unparse(node.annotation)
            found[node.target.id] = kind if kind in callables else ""
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = node.name if node.name in callables else ""
    return {name: made for name, made in found.items() if not name.startswith("_")}
