"""What a route reads, found in its own code: query parameters and the body. `openapi` describes them to the world.

A handler says `query.integer("limit", 50)` and `read_body(TriggerBody)`; what is read there is what is described here,
so the description cannot be older than the code. Calls are followed through functions of `leoflowd.api`. ADR 90.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

import msgspec

from leoflowd.api import bodies, live, paging

OURS = "leoflowd.api."
FOLLOWED_NOT = (bodies.__name__, paging.__name__, live.__name__)
"""They read what their callers name, or nothing of the query."""
TEXT: Mapping[str, Any] = {"type": "string"}
MOMENT: Mapping[str, Any] = {"type": "string", "format": "date-time"}
COMPARISONS = ("gte", "gt", "lte", "lt")


class Reads(msgspec.Struct, frozen=True):
    query: Mapping[str, Mapping[str, Any]]
    """Name -> JSON schema."""
    body: Any = None
    """The type of the JSON body; None: it reads none, or not as a struct."""
    is_body_optional: bool = False
    reads_bytes: bool = False
    """It takes the body as it comes."""


@cache
def reads_of(handler: Callable[..., Any]) -> Reads:
    """Everything that the handler and what it calls may read of a request."""
    query: dict[str, Mapping[str, Any]] = {}
    body, is_optional, reads_bytes = None, False, False
    for function in _reachable(inspect.unwrap(handler)):
        tree = _tree(function)
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if _is_query(call.func):
                assert isinstance(call.func, ast.Attribute)
                for names in _names(call, tree, function):
                    query |= _parameters(call.func.attr, names, call, function)
            elif _called(call, function) is bodies.read_body:
                body = _value(call.args[0], function)
                is_optional = any(keyword.arg == "none" for keyword in call.keywords)
            elif _called(call, function) is bodies.raw_body:
                reads_bytes = True
    return Reads(dict(sorted(query.items())), body, is_optional, reads_bytes)


def _reachable(first: FunctionType) -> Iterator[FunctionType]:
    seen: set[FunctionType] = set()
    ahead = [first]
    while ahead:
        function = ahead.pop()
        if function in seen or function.__module__ in FOLLOWED_NOT:
            continue
        seen.add(function)
        yield function
        for call in ast.walk(_tree(function)):
            called = _called(call, function) if isinstance(call, ast.Call) else None
            if isinstance(called, FunctionType) and called.__module__.startswith(OURS):
                ahead.append(inspect.unwrap(called))


@cache
def _tree(function: FunctionType) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def _called(call: ast.Call, function: FunctionType) -> Any:
    return _value(call.func, function)


def _value(node: ast.AST, function: FunctionType) -> Any:
    """What a name, an attribute of a module or class, or `Generic[Name]` stands for there; None for anything else."""
    match node:
        case ast.Name(id=name):
            return function.__globals__.get(name)
        case ast.Attribute(value=ast.Name() as owner, attr=attribute):
            holder = _value(owner, function)
            return getattr(holder, attribute, None) if isinstance(holder, ModuleType | type) else None
        case ast.Subscript(value=generic, slice=argument):
            base, inner = _value(generic, function), _value(argument, function)
            return base[inner] if base is not None and inner is not None else None
        case ast.Constant(value=value):
            return value
        case _:
            return None


def _is_query(node: ast.expr) -> bool:
    """`query.x` or `Query().x`, which is how everybody writes it."""
    if not isinstance(node, ast.Attribute) or not hasattr(paging.Query, node.attr):
        return False
    owner = node.value
    return (isinstance(owner, ast.Name) and owner.id == "query") or (
        isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id == "Query"
    )


def _names(call: ast.Call, tree: ast.AST, function: FunctionType) -> tuple[str, ...]:
    """The first argument: a text, or a name that a loop takes from a tuple of texts; `page` has none."""
    if not call.args:
        return ("",)
    first = call.args[0]
    if isinstance(first, ast.Constant):
        return (str(first.value),)
    if isinstance(first, ast.Name):
        for taken in _loops_around(call, first.id, tree):
            return _texts(taken, function)
        known = function.__globals__.get(first.id)
        return (known,) if isinstance(known, str) else ()
    return ()


def _loops_around(call: ast.Call, name: str, tree: ast.AST) -> Iterator[ast.expr]:
    """What the loops over `name` that the call is in go through."""
    for node in ast.walk(tree):
        match node:
            case ast.For(target=ast.Name(id=target), iter=taken) if target == name:
                loops = [taken]
            case ast.ListComp(generators=made) | ast.DictComp(generators=made) | ast.GeneratorExp(generators=made):
                loops = [one.iter for one in made if isinstance(one.target, ast.Name) and one.target.id == name]
            case _:
                continue
        if any(inner is call for inner in ast.walk(node)):
            yield from loops


def _texts(node: ast.expr, function: FunctionType) -> tuple[str, ...]:
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(str(one.value) for one in node.elts if isinstance(one, ast.Constant))
    found = _value(node, function)
    return tuple(found) if isinstance(found, tuple | list | frozenset | dict) else ()


def _parameters(method: str, name: str, call: ast.Call, function: FunctionType) -> dict[str, Mapping[str, Any]]:
    """The query parameters that one call of a method of `paging.Query` reads."""
    match method:
        case "text":
            return {name: TEXT}
        case "texts" | "mask":
            return {name: {"type": "array", "items": TEXT}}
        case "integer":
            return {name: {"type": "integer", **_default(call), **_minimum(call)}}
        case "integers":
            return {name: {"type": "array", "items": {"type": "integer"}}}
        case "number":
            return {name: {"type": "number"}}
        case "boolean":
            return {name: {"type": "boolean", **_default(call)}}
        case "moment":
            return {name: MOMENT}
        case "choice":
            return {name: _choices(call, function)}
        case "choices":
            return {name: {"type": "array", "items": _choices(call, function)}}
        case "range":
            return {f"{name}_{one}": MOMENT for one in COMPARISONS}
        case "number_range":
            return {f"{name}_{one}": {"type": "number"} for one in COMPARISONS}
        case "patterns":
            return {f"{name}_pattern": TEXT, f"{name}_prefix_pattern": TEXT}
        case "page":
            limit = {"type": "integer", "minimum": 0, "default": paging.DEFAULT_LIMIT}
            return {"limit": limit, "offset": {"type": "integer", "minimum": 0, "default": 0}}
        case "order_by":
            return {"order_by": {"type": "array", "items": TEXT, "maxItems": paging.MAX_ORDER_BY}}
        case _:
            return {}  # `check`, `has` and `refuse` read nothing new


def _default(call: ast.Call) -> dict[str, Any]:
    given = call.args[1] if len(call.args) > 1 else None
    return {"default": given.value} if isinstance(given, ast.Constant) and given.value is not None else {}


def _minimum(call: ast.Call) -> dict[str, Any]:
    for keyword in call.keywords:
        if keyword.arg == "minimum" and isinstance(keyword.value, ast.Constant) and keyword.value.value is not None:
            return {"minimum": keyword.value.value}
    return {}


def _choices(call: ast.Call, function: FunctionType) -> dict[str, Any]:
    allowed = sorted(map(str, _texts(call.args[1], function))) if len(call.args) > 1 else []
    return {**TEXT, **({"enum": allowed} if allowed else {})}
