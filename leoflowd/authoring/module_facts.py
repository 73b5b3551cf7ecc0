"""What a Python file says without being run: whether it looks like a DAG file, what it imports, which files it names.

`facts_of` reads a file once for as long as its time and size stay the same, since a watched folder is looked at after
every save. A file that is no Python has no imports; loading it will say why.
"""

from __future__ import annotations

import ast
import re
import threading
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec

from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.reading import read_file

MAX_BYTES = 1024 * 1024
REMEMBERED = 20_000
"""Files; a hundred bytes to a few kilobytes each."""
NAMED_FILE = re.compile(r"([\w-]+\.py)\b")
NAMED_MODULE = re.compile(r"-m\s+([A-Za-z_][\w.]*)")
OF_THE_PLUGIN = frozenset({"name", "source"})
COMPUTED = frozenset({"pkgutil", "runpy", "zipimport"})
"""Modules with which a file imports what no reader of its text can tell."""
LOADERS = frozenset({"import_module", "__import__", "spec_from_file_location", "SourceFileLoader", "DagBag"})
MISSING = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
_parsing = threading.Lock()
ATTEMPTS_MAX, ATTEMPTED_MAX_BYTES = 100, 5_000_000
"""At parsing one file, and what they may read in all: each line that cannot be read takes at most two."""

When = Literal["load", "call", "optional"]
"""While the file is loaded; later, in a function; or in a `try` that does without it."""


class Import(msgspec.Struct, frozen=True):
    """`import module`, or `from module import names` with `level` dots before it."""

    module: str
    names: tuple[str, ...]
    level: int
    line: int
    when: When


class Asked(msgspec.Struct, frozen=True):
    """A value that loading the file asks for by a name in its text, without a default."""

    kind: Literal["variable", "environment"]
    name: str
    line: int


class Facts(msgspec.Struct, frozen=True):
    looks_like_a_dag: bool = False
    """It has the words that Airflow's safe mode looks for."""
    imports: tuple[Import, ...] = ()
    imports_anything: bool = False
    """By names that it computes."""
    changes_the_path: bool = False
    """It mentions `sys.path`: what it imports may lie anywhere."""
    registers: frozenset[str] = frozenset()
    """What its classes of AirflowPlugin set: `macros`, `listeners`, ..."""
    asks: tuple[Asked, ...] = ()
    """`Variable.get("x")` and `os.environ["X"]` outside of functions."""
    named_files: frozenset[str] = frozenset()
    """Last parts of paths of Python files in its texts: it may have somebody run them."""
    unread_line: int = 0
    """The first that this Python cannot read; 0: there is none."""


def facts_of(file: Path) -> Facts:
    stamp = stamp_of(file)
    return Facts() if stamp is None else _facts_of(file, *stamp)


def stamp_of(file: Path) -> tuple[int, int] | None:
    """What a save changes: time in nanoseconds, and size; None when it cannot be looked at."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=REMEMBERED)
def _facts_of(file: Path, mtime_ns: int, size: int) -> Facts:
    """The last two are only there to be compared."""
    try:
        content = read_file(file, file.name, MAX_BYTES)
    except DagCompileError:
        return Facts()
    words = content.lower()
    looks_like_a_dag = b"dag" in words and (b"airflow" in words or b"leoflow" in words)
    tree, unread_line = _parsed(content)
    if tree is None:
        return Facts(looks_like_a_dag=looks_like_a_dag, unread_line=unread_line)
    reader = _Reader()
    reader.read(tree.body, "load")
    return Facts(
        looks_like_a_dag=looks_like_a_dag,
        imports=tuple(sorted(dict.fromkeys(reader.imports), key=lambda one: one.line)),
        imports_anything=reader.imports_anything,
        changes_the_path=b"sys.path" in content or b"site.addsitedir" in content,
        registers=frozenset(_registered(tree)),
        asks=tuple(reader.asks),
        named_files=frozenset(reader.named_files),
        unread_line=unread_line,
    )


def _parsed(content: bytes) -> tuple[ast.Module | None, int]:
    """Without the lines that this Python cannot read, of which the first is told: the DAG's own Python may be newer
    than the daemon's, and what else a file imports belongs to its DAG all the same."""
    lines, unread_line = content.split(b"\n"), 0
    with _parsing, warnings.catch_warnings():  # of one thread at a time; those of the text come again when it runs
        warnings.simplefilter("ignore")
        for _ in range(1 + min(ATTEMPTS_MAX, ATTEMPTED_MAX_BYTES // (len(content) + 1))):
            try:
                return ast.parse(b"\n".join(lines)), unread_line
            except SyntaxError as error:
                unread_line = unread_line or error.lineno or 1
                if not _take_out(lines, error.lineno or 0):
                    break
            except (ValueError, RecursionError, MemoryError):
                break
    return None, unread_line


def _take_out(lines: list[bytes], number: int) -> bool:
    """A statement becomes `pass`; where that fits no better, in brackets or without a block's head, nothing is left."""
    line = lines[number - 1] if 0 < number <= len(lines) else b""
    code = line.strip()
    if not code:
        return False
    indent = line[: len(line) - len(line.lstrip())]
    lines[number - 1] = b"" if code == b"pass" else indent + b"pass"
    return True


def _registered(tree: ast.Module) -> Iterator[str]:
    """Attributes that plugin classes set to something, without those that say who they are."""
    plugins = [
        node for node in tree.body if isinstance(node, ast.ClassDef) and "AirflowPlugin" in map(_last_name, node.bases)
    ]
    for statement in (one for plugin in plugins for one in plugin.body):
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        is_set = isinstance(value, ast.expr) and not (isinstance(value, ast.List | ast.Tuple) and not value.elts)
        yield from (one.id for one in targets if is_set and isinstance(one, ast.Name) and one.id not in OF_THE_PLUGIN)


class _Reader:
    """Walks the code with what each part of it is: run while loading, later, or with a way out."""

    def __init__(self) -> None:
        self.imports: list[Import] = []
        self.imports_anything = False
        self.named_files: list[str] = []
        self.asks: list[Asked] = []

    def read(self, nodes: list[ast.stmt], when: When) -> None:
        ahead: list[tuple[ast.AST, When]] = [(node, when) for node in reversed(nodes)]
        while ahead:
            node, when = ahead.pop()
            self._note(node, when)
            ahead += [(child, _when(node, child, when)) for child in _children(node)]

    def _note(self, node: ast.AST, when: When) -> None:
        if isinstance(node, ast.Import):
            for name in node.names:
                self._add(name.name, (), 0, node.lineno, when)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(name.name for name in node.names)
            self._add(node.module or "", names, node.level, node.lineno, when)
        elif isinstance(node, ast.Call):
            self._note_call(node, when)
            self._note_variable(node, when)
        elif isinstance(node, ast.Subscript):
            self._note_setting(node, when)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.named_files += NAMED_FILE.findall(node.value)
            for module in NAMED_MODULE.findall(node.value):
                self.named_files += [f"{module.rpartition('.')[2]}.py"]

    def _add(self, module: str, names: tuple[str, ...], level: int, line: int, when: When) -> None:
        self.imports.append(Import(module, names, level, line, when))
        if level == 0 and module.partition(".")[0] in COMPUTED:
            self.imports_anything = True

    def _note_call(self, node: ast.Call, when: When) -> None:
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
        if name not in LOADERS:
            return
        first = node.args[0] if node.args else None
        module = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else "."
        if name in {"import_module", "__import__"} and not module.startswith("."):
            self._add(module, (), 0, node.lineno, when)
        else:
            self.imports_anything = True

    def _note_variable(self, node: ast.Call, when: When) -> None:
        called = node.func
        if when != "load" or not isinstance(called, ast.Attribute) or len(node.args) != 1:
            return
        if called.attr != "get" or _last_name(called.value) != "Variable":
            return
        has_default = any(word.arg in (None, "default", "default_var") for word in node.keywords)
        if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str) and not has_default:
            self.asks.append(Asked("variable", node.args[0].value, node.lineno))

    def _note_setting(self, node: ast.Subscript, when: When) -> None:
        is_read = when == "load" and isinstance(node.ctx, ast.Load) and _last_name(node.value) == "environ"
        if is_read and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            self.asks.append(Asked("environment", node.slice.value, node.lineno))


def _last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _children(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        yield from node.orelse
    else:
        yield from ast.iter_child_nodes(node)


def _when(node: ast.AST, child: ast.AST, when: When) -> When:
    if when == "optional":
        return when
    if isinstance(node, ast.Try) and any(map(_catches_missing, node.handlers)):
        return "optional" if child in node.body or isinstance(child, ast.ExceptHandler) else when
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and child in node.body:
        return "call"
    return when


def _catches_missing(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(one, ast.Name) and one.id in MISSING for one in caught)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )
