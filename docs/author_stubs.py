"""Writes leoflowd/authoring/stubs/ from the shim's own signatures: `make docs`. A test compares the two.

They are what editors and type checkers know of `from airflow.sdk import ...` and `from leoflow import ...` (ADR 69):
every class and function is in `airflow-stubs/_leoflow.pyi`, and each public module names its own from there. An
operator has the arguments of its base classes as well, so that a misspelled one is an error.
"""

from __future__ import annotations

import ast
import builtins
import collections.abc
import enum
import importlib
import inspect
import os
import pkgutil
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "leoflowd" / "authoring" / "stubs"
SHIM = ROOT / "leoflowd" / "authoring" / "airflow_shim"
INSIDE = "airflow._leoflow"
NEEDS_AIRFLOW = tuple(f"{INSIDE}.{name}" for name in ("sdk_", "beside_airflow", "virtualenv_script"))
HEAD = "# Made by `make docs` from the shim's signatures; do not edit.\n"
SPECIAL = re.compile(
    "__(init|call|getitem|setitem|delitem|fspath|contains|iter|len|bool|enter|exit|r?lshift|r?rshift|and|or|truediv)__"
)
OF_FUNCTIONS = ("task_id", "python_callable", "op_args", "op_kwargs")
"""What a decorator gives its operator; only the first may be written."""
OF_BEGIN = ("location", "keeps_intervals")
"""What `DAG.__init__` tells `DAG._begin` beside the author's arguments."""
ANY_FUNCTION = "Callable[..., Any]"


class Stubs:
    """Writes what is named, and what that mentions, until everything is there."""

    def __init__(self) -> None:
        self._modules: dict[str, dict[str, str]] = importlib.import_module(f"{INSIDE}.names").MODULES
        self._homes = dict(_every_class())
        self._ours = {cls.__name__: cls for cls in self._homes if "." not in cls.__qualname__}
        self._imports = {f"from typing import {name}" for name in ("Any", "overload")}
        self._imports.add("from collections.abc import Callable")
        self._waiting: list[Any] = []
        self._known: dict[str, Any] = {}

    def files(self) -> dict[str, str]:
        """Path below the folder -> text."""
        found = {}
        for module, names in self._modules.items():
            path = module.replace("airflow", "airflow-stubs", 1).replace(".", "/")
            is_package = any(other.startswith(module + ".") for other in self._modules)
            found[f"{path}/__init__.pyi" if is_package else f"{path}.pyi"] = self._module(module, names)
        for module, file in (("leoflow", "__init__"), ("leoflow.dbt", "dbt"), ("leoflow.sensors", "sensors")):
            found[f"leoflow-stubs/{file}.pyi"] = self._module(module, importlib.import_module(module).__all__)
        written = {}
        while self._waiting:
            value = self._waiting.pop()
            written[_name(value)] = self._class(value) if isinstance(value, type) else self._function(value)
        body = "\n".join(written[name] for name in sorted(written))
        found["airflow-stubs/_leoflow.pyi"] = "\n".join((HEAD, *sorted(self._imports), "", body))
        found["airflow-stubs/py.typed"] = found["leoflow-stubs/py.typed"] = "partial\n"
        return found

    # -- the modules that people import from

    def _module(self, module: str, names: Iterable[str]) -> str:
        found = importlib.import_module(module)
        lines = sorted({line for name in names for line in self._public(module, name, getattr(found, name))})
        return HEAD + "".join(f"{line}\n" for line in sorted(lines, key=lambda one: not _is_import(one)))

    def _public(self, module: str, name: str, value: Any) -> Iterator[str]:
        if isinstance(value, types.ModuleType):
            yield from self._public_module(module, name, value)
        elif isinstance(value, (type, types.FunctionType)):
            where = f"{INSIDE} import {self._need(value)}" if _is_ours(value) else _import_of(value)
            yield f"from {where} as {name}"
        elif getattr(typing, name, None) is value:
            yield f"from typing import {name} as {name}"
        elif isinstance(value, (str, bool, int)):
            yield f"{name}: {type(value).__name__}"
        elif _is_ours(type(value)):
            yield f"from {INSIDE} import {self._need(type(value))}"
            yield f"{name}: {_name(type(value))}"
        else:
            yield "from typing import Any"
            yield f"{name}: Any"

    def _public_module(self, module: str, name: str, value: types.ModuleType) -> Iterator[str]:
        if f"{module}.{name}" in self._modules:
            return  # a file of its own
        if value.__name__.startswith("airflow"):
            there = next(one for one in sorted(self._modules) if one.endswith(f".{name}"))
            yield f"from {there.rpartition('.')[0]} import {name} as {name}"
        else:
            yield f"import {value.__name__} as {name}"

    def _need(self, value: Any) -> str:
        name = _name(value)
        known = self._known.get(name)
        if known is None:
            self._known[name] = value
            self._waiting.append(value)
        elif known is not value:
            raise RuntimeError(f"{name} is of {known.__module__} and of {value.__module__}: rename one of them")
        return name

    # -- classes

    def _class(self, cls: type) -> str:
        bases = ", ".join(self._base(base) for base in _bases(cls) if base is not object)
        body = [_doc(cls), *self._attributes(cls)]
        for name, value in vars(cls).items():
            if not name.startswith("_") or SPECIAL.fullmatch(name):
                body += self._member(cls, name, value)
        if cls.__name__ == "_TaskFactory":
            body += self._task_decorators()
        return _block(f"class {_name(cls)}{f'({bases})' if bases else ''}:", body)

    def _base(self, base: type) -> str:
        if _is_ours(base):
            return self._need(base)
        if base is tuple:  # all of ours are named
            base = typing.NamedTuple  # type: ignore[assignment]
        if base.__module__ != "builtins":
            self._imports.add(f"from {_import_of(base)}")
        if base is os.PathLike:
            return "PathLike[str]"
        return f"{base.__name__}[str, Any]" if base in (dict, collections.abc.MutableMapping) else base.__name__

    def _attributes(self, cls: type) -> Iterator[str]:
        """Those of the class, and those that its methods set on `self`."""
        if issubclass(cls, enum.Enum):
            yield from (f"{member.name} = {member.value!r}" for member in cls)
            return
        scope = vars(self._homes[cls])
        found = {name: self._annotation(text, scope) for name, text in _annotations(cls).items()}
        for name, value in vars(cls).items():
            if isinstance(value, (str, int, float, dict, frozenset, tuple)):
                found.setdefault(name, type(value).__name__ if isinstance(value, (str, int, float)) else "Any")
        for name, text in self._set_on_self(cls):
            if name not in vars(cls):
                found.setdefault(name, self._annotation(text, scope))
        for base in cls.__mro__[1:]:
            for name in (*vars(base), *_annotations(base), *(name for name, _ in self._set_on_self(base))):
                found.pop(name, None)
        defaults = getattr(cls, "_field_defaults", {})
        for name, kind in found.items():
            if not name.startswith("_"):
                yield f"{name}: {kind} = ..." if name in defaults else f"{name}: {kind}"

    def _set_on_self(self, cls: type) -> Iterator[tuple[str, str]]:
        if cls in self._homes and not issubclass(cls, enum.Enum):
            yield from _set_on_self(_definition(cls, self._homes[cls]))

    def _member(self, cls: type, name: str, value: Any) -> Iterator[str]:
        if isinstance(value, property):
            yield f"@property\n{self._def(name, value.fget, doc=True)}"
            if value.fset is not None:
                yield f"@{name}.setter\ndef {name}(self, value: Any) -> None: ..."
        elif isinstance(value, (staticmethod, classmethod)):
            yield f"@{type(value).__name__}\n{self._def(name, value.__func__, doc=True)}"
        elif _is_nested(value, cls):
            yield self._class(value)
        elif name == "__init__":
            yield _signature(name, ["self", *self._constructor(cls)], "None")
        elif isinstance(value, types.FunctionType) and not (cls.__name__ == "_TaskFactory" and name in _DECORATORS):
            yield self._def(name, value, doc=True)

    # -- functions

    def _function(self, function: Callable[..., Any]) -> str:
        kinds = {"dag": ("dag_id", "DAG", f"Callable[..., {self._need(self._ours['DAG'])}]")}
        kinds["task_group"] = ("group_id", "TaskGroup", self._need(self._ours["TaskGroupDecorator"]))
        if function.__name__ not in kinds:
            return self._def(_name(function), function, doc=True) + "\n"
        first, cls, made = kinds[function.__name__]
        arguments = [f"{first}: str = ..."]
        arguments += ["*", *(one for one in self._constructor(self._ours[cls]) if one != "*" and _named(one) != first)]
        return "\n".join(_overloads(function.__name__, [], arguments, made)) + "\n"

    def _task_decorators(self) -> Iterator[str]:
        """`@task` and those below it: bare, or with the arguments of the operator that they make."""
        decorators = importlib.import_module(f"{INSIDE}.decorators")
        operators: dict[str, type] = {
            "__call__": self._ours["_PythonDecoratedOperator"],
            "python": self._ours["_PythonDecoratedOperator"],
            "bash": self._ours["_BashDecoratedOperator"],
            "sensor": self._ours["DecoratedSensorOperator"],
            **{name: self._ours[where.partition(":")[2]] for name, where in decorators.MORE_DECORATORS.items()},
        }
        made = self._need(decorators.TaskDecorator)
        for name, operator in operators.items():
            arguments = [one for one in self._constructor(operator) if one != "*" and _named(one) not in OF_FUNCTIONS]
            first = [one for one in arguments if _named(one) == "python"]
            arguments = [*first, "*", "task_id: str = ...", *(one for one in arguments if one not in first)]
            yield from _overloads(name, ["self"], arguments, made)
        for name in importlib.import_module(f"{INSIDE}.provider_decorators").DECORATORS:
            yield f"{name}: Any"

    def _constructor(self, cls: type) -> list[str]:
        """Its parameters without `self`; where `**kwargs` goes on to a base class, with those of that.

        What is left of `**kwargs` is for old spelling where it is an operator's or a DAG's: editors should show that.
        """
        fields = getattr(cls, "template_fields", ())
        places: dict[str, str] = {}
        keywords: dict[str, str] = {}
        stars: list[str] = []
        for init in _constructors(cls):
            parameters = list(inspect.signature(init).parameters.values())[1:]
            stars = [self._parameter(one, init) for one in parameters if one.kind in _VARIADIC]
            for one in parameters:
                if one.kind in _VARIADIC or one.name in OF_BEGIN or one.name in places:
                    continue
                is_place = one.kind is not one.KEYWORD_ONLY and init is vars(cls).get("__init__")
                text = self._parameter(one, init, may_be_output=one.name in fields)
                (places if is_place else keywords).setdefault(one.name, text)
        for name in _hidden(cls):
            keywords.setdefault(name, f"{name}: Any = ...")
        if hasattr(cls, "execute") or cls.__name__ == "DAG":
            stars = []
        positional = [one for one in stars if not one.startswith("**")]
        bar = ["*"] if keywords and not positional else []
        named = [one for one in stars if one.startswith("**")]
        return [*places.values(), *positional, *bar, *keywords.values(), *named]

    def _def(self, name: str, function: Any, *, doc: bool) -> str:
        parameters = list(inspect.signature(function).parameters.values())
        written: list[str] = []
        for parameter in parameters:
            stars = any(one.startswith("*") for one in written)
            if parameter.kind is parameter.KEYWORD_ONLY and not stars:
                written.append("*")
            is_self = not written and parameter.name in ("self", "cls", "mcs") and "." in function.__qualname__
            written.append(parameter.name if is_self else self._parameter(parameter, function))
        returned = self._annotation(inspect.signature(function).return_annotation, function.__globals__)
        return _signature(name, written, returned, _doc(function) if doc else "")

    def _parameter(self, parameter: inspect.Parameter, function: Any, *, may_be_output: bool = False) -> str:
        """`may_be_output`: of a template field, which takes the output of a task in place of its value."""
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        kind = self._annotation(parameter.annotation, getattr(inspect.unwrap(function), "__globals__", {}))
        if may_be_output and kind != "Any":
            kind = f"{kind} | {self._need(self._ours['XComArg'])}"
        text = f"{stars}{parameter.name}: {kind}"
        return text if parameter.default is parameter.empty else f"{text} = {_default(parameter.default)}"

    # -- types

    def _annotation(self, text: Any, scope: dict[str, Any]) -> str:
        """As written, with names that the stub knows; `Any` for what it cannot know."""
        if not isinstance(text, str):
            return "Any"
        try:
            tree = _Names(lambda dotted: self._name_in_types(dotted, scope)).visit(ast.parse(text, mode="eval"))
            found = ast.unparse(tree)
            return {"tuple": "tuple[Any, ...]", "dict": "dict[Any, Any]"}.get(found, found)
        except LookupError:
            return "Any"

    def _name_in_types(self, dotted: str, scope: dict[str, Any]) -> str:
        first, *more = dotted.split(".")
        if not more and first not in scope and hasattr(builtins, first):
            return first
        value = scope.get(first, self._ours.get(first))
        for one in more:
            value = getattr(value, one, None)
        if isinstance(value, type) and _is_ours(value):
            return self._need(value)
        for module in (typing, collections.abc):
            if getattr(module, dotted, self) is value:
                self._imports.add(f"from {module.__name__} import {dotted}")
                return dotted
        if isinstance(value, type):
            if value.__module__ != "builtins":
                self._imports.add(f"from {_import_of(value)}")
            return value.__name__
        raise LookupError(dotted)


class _Names(ast.NodeTransformer):
    """Each name of an annotation, dotted or not, through `rename`."""

    def __init__(self, rename: Callable[[str], str]) -> None:
        self._rename = rename

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Name(self._rename(node.id))

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return ast.Name(self._rename(ast.unparse(node)))


# --- what is there -----------------------------------------------------------------------------------------------

_DECORATORS = frozenset({"__call__", "python", "bash", "sensor"})
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _every_class() -> Iterator[tuple[type, types.ModuleType]]:
    """With the modules in which they are written; some say that they are of Airflow's."""
    package = importlib.import_module(INSIDE)
    for found in pkgutil.iter_modules(package.__path__, f"{INSIDE}."):
        if not found.name.startswith(NEEDS_AIRFLOW):
            module = importlib.import_module(found.name)
            tree = ast.parse(inspect.getsource(module))
            written = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
            for name, value in vars(module).items():
                if isinstance(value, type) and name == value.__name__ and name in written:
                    yield value, module
                    yield from ((one, module) for one in vars(value).values() if _is_nested(one, value))


def _is_nested(value: Any, cls: type) -> bool:
    return isinstance(value, type) and value.__qualname__ == f"{cls.__qualname__}.{value.__name__}"


def _definition(cls: type, module: types.ModuleType) -> ast.ClassDef:
    tree = ast.parse(inspect.getsource(module))
    return next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == cls.__name__)


def _bases(cls: type) -> Iterator[type]:
    """An enumeration without members is no base that a stub may have."""
    for base in cls.__bases__:
        if isinstance(base, enum.EnumMeta) and _is_ours(base) and not len(base):
            yield from base.__bases__
        else:
            yield base


def _constructors(cls: type) -> Iterator[Any]:
    """`__init__` after `__init__`, as long as what one does not take goes on to the next; `DAG` says it elsewhere."""
    if cls.__name__ == "DAG":
        yield cls.__dict__["__init__"]
        yield cls.__dict__["_begin"]
        return
    for base in cls.__mro__:
        init = vars(base).get("__init__")
        if isinstance(init, types.FunctionType):
            yield init
            if not any(one.kind is one.VAR_KEYWORD for one in inspect.signature(init).parameters.values()):
                return


def _hidden(cls: type) -> Iterator[str]:
    """Arguments that constructors take out of `**kwargs`."""
    yield from getattr(cls, "unnamed_arguments", tuple)()


def _annotations(cls: type) -> dict[str, Any]:
    return dict(vars(cls).get("__annotations__", {}))


def _set_on_self(tree: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """(attribute, its type as text), of every `self.x = ...` in the methods; `Any` where nothing says it."""
    for method in (node for node in ast.iter_child_nodes(tree) if isinstance(node, ast.FunctionDef)):
        parameters = {
            one.arg: ast.unparse(one.annotation)
            for one in (*method.args.args, *method.args.kwonlyargs)
            if one.annotation is not None
        }
        for node in ast.walk(method):
            match node:
                case ast.AnnAssign(target=ast.Attribute(value=ast.Name(id="self"), attr=name), annotation=kind):
                    yield name, ast.unparse(kind)
                case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="self"), attr=name)], value=value):
                    yield name, parameters.get(value.id, "Any") if isinstance(value, ast.Name) else "Any"


def _is_ours(value: Any) -> bool:
    return str(value.__module__).startswith("airflow")


def _name(value: Any) -> str:
    """Of a function that is named as a class of Python: another one, inside."""
    name = str(value.__name__)
    return f"_{name}" if isinstance(value, types.FunctionType) and name == "datetime" else name


def _import_of(value: Any) -> str:
    """`module import name`, from where it is public."""
    module = {"_random": "random"}.get(value.__module__, value.__module__)
    return f"{module} import {value.__name__}"


# --- text --------------------------------------------------------------------------------------------------------


def _signature(name: str, parameters: list[str], returned: str, doc: str = "") -> str:
    head = f"def {name}({', '.join(parameters)}) -> {returned}:"
    if len(head) > 110:
        head = f"def {name}(\n{''.join(_lines(parameters))}) -> {returned}:"
    return f"{head}\n    {doc}" if doc else f"{head} ..."


def _lines(parameters: list[str]) -> Iterator[str]:
    line = "   "
    for one in parameters:
        if len(line) + len(one) > 106:
            yield f"{line}\n"
            line = "   "
        line += f" {one},"
    yield f"{line}\n"


def _overloads(name: str, this: list[str], arguments: list[str], made: str) -> Iterator[str]:
    yield "@overload\n" + _signature(name, [*this, f"function: {ANY_FUNCTION}", "/"], made)
    yield "@overload\n" + _signature(name, [*this, *arguments], f"Callable[[{ANY_FUNCTION}], {made}]")


def _named(parameter: str) -> str:
    return parameter.partition(":")[0]


def _block(head: str, body: list[str]) -> str:
    inner = "\n".join(one for one in body if one)
    return f"{head}\n{textwrap.indent(inner, '    ')}\n" if inner else f"{head} ...\n"


def _doc(value: Any) -> str:
    """The first line, for whoever points at the name."""
    text = (vars(value).get("__doc__") if isinstance(value, type) else value.__doc__) or ""
    line = text.strip().partition("\n\n")[0].replace("\n", " ")
    line = " ".join(line.split()).replace("\\", "\\\\")
    return f'"""{line}"""' if line and not line.endswith('"') else ""


def _default(value: Any) -> str:
    is_plain = value is None or type(value) in (bool, int, float, str)
    return repr(value) if is_plain and len(repr(value)) < 60 else "..."


def _is_import(line: str) -> bool:
    return line.startswith(("from ", "import "))


def main() -> int:
    """Write what there is, and remove what is no longer there; with --check, only say which files differ."""
    sys.path.insert(0, str(SHIM))
    os.environ.setdefault("AIRFLOW__CORE__DAGS_FOLDER", "/dags")  # `airflow.settings` has it as a constant
    files = Stubs().files()
    there = {str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.rglob("*") if path.is_file()}
    if "--check" in sys.argv[1:]:
        differ = sorted(path for path in files.keys() | there.keys() if files.get(path) != there.get(path))
        sys.stdout.writelines(f"{path} differs; run `make docs`\n" for path in differ)
        return 1 if differ else 0
    for path in there.keys() - files.keys():
        (FOLDER / path).unlink()
    for path, text in files.items():
        (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / path).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
