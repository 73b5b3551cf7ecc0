"""Modules of Airflow's providers that import another provider's, which their package does not require: the lines of
`import_names.BESIDE_PROVIDERS`, by `python -m tests.corpus.provider_imports FOLDER`.

The folder holds the wheels of all providers, as `pip download --no-deps` puts them there. What a module imports in a
`try` or with `suppress` it does without.
"""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from leoflowd.authoring.packages import ALWAYS_THERE, PREFIX, provider_of

REQUIRED = re.compile(r"^Requires-Dist: apache-airflow-providers-([a-z0-9-]+)(?!.*extra ==)", re.MULTILINE)


def main() -> int:
    imports: dict[str, set[str]] = {}
    requires: dict[str, set[str]] = {}
    for wheel in sorted(Path(sys.argv[1]).glob("apache_airflow_providers_*.whl")):
        with zipfile.ZipFile(wheel) as content:
            provider = wheel.name.split("-")[0].removeprefix("apache_airflow_providers_").replace("_", "-")
            metadata = next(name for name in content.namelist() if name.endswith("METADATA"))
            requires[provider] = set(REQUIRED.findall(content.read(metadata).decode()))
            for name in content.namelist():
                if name.endswith(".py") and name.startswith("airflow/providers/"):
                    module = name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
                    imports[module] = set(_imported(ast.parse(content.read(name)).body))
    for line in _lines(imports, requires):
        sys.stdout.write(f"{line}\n")
    return 0


def _lines(imports: Mapping[str, set[str]], requires: Mapping[str, set[str]]) -> Iterator[str]:
    graph = {one: _modules(found, imports) for one, found in imports.items()}
    said: dict[str, set[str]] = {}
    for module in sorted(imports):
        own = provider_of(module)
        if own is None or ".example_dags" in module:
            continue
        brought = {own, *ALWAYS_THERE, *_closure([own], requires)}
        reached = _closure([module], graph)
        others = {name for one in reached if (name := provider_of(one))} - brought
        wanted = {one for one in others if not any(one in _closure([each], requires) for each in others)}
        if wanted and said.get(module.rpartition(".")[0]) != wanted:
            yield f"{module.removeprefix(PREFIX)} {' '.join(sorted(wanted))}"
        said[module] = wanted


def _modules(names: Iterable[str], known: Mapping[str, object]) -> set[str]:
    """`package.module.Class` is of its module."""
    return {name if name in known else name.rpartition(".")[0] for name in names}


def _closure(begin: Iterable[str], graph: Mapping[str, set[str]]) -> set[str]:
    """Without the beginning, unless something leads back to it."""
    found: set[str] = set()
    ahead = list(begin)
    while ahead:
        more = graph.get(ahead.pop(), set()) - found
        found |= more
        ahead += more
    return found


def _imported(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Names of providers that running these statements needs."""
    for statement in body:
        match statement:
            case ast.Import(names=names):
                yield from (one.name for one in names if one.name.startswith(PREFIX))
            case ast.ImportFrom(module=str(module), names=names, level=0) if f"{module}.".startswith(PREFIX):
                yield from (f"{module}.{one.name}" for one in names)
            case ast.ClassDef(body=inner):
                yield from _imported(inner)
            case ast.If(test=test, body=inner, orelse=other):
                condition = ast.unparse(test)
                is_never = "TYPE_CHECKING" in condition or condition.startswith("not AIRFLOW_V_3")
                yield from () if is_never else _imported(inner)
                yield from () if condition.startswith("AIRFLOW_V_3") else _imported(other)
            case ast.With(items=[item, *_], body=inner) if "suppress" not in ast.unparse(item.context_expr):
                yield from _imported(inner)
            case ast.Try(body=inner, handlers=handlers) if any(
                isinstance(one, ast.Raise) for handler in handlers for one in handler.body
            ):
                yield from _imported(inner)


if __name__ == "__main__":
    sys.exit(main())
