"""The OpenAPI 3.1 document of everything that this application serves, made from the application itself. ADR 90.

Paths and methods come from its url map, words from the handlers' docstrings, rights from `rights.NEEDS`, parameters and
bodies from `described_routes`. Nothing is written down twice, so nothing can disagree.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from quart_trio import QuartTrio
from werkzeug.routing import Rule

from leoflowd.api.described_routes import Reads, reads_of
from leoflowd.api.rights import NEEDS, SAFE_METHODS
from leoflowd.core.rights import Right

FILES = frozenset({"static_files", "own_docs"})
"""Blueprints of pages and files, which are no API."""
PAGES = frozenset({"own_files.editor_page"})
AIRFLOWS, OWN, PRIVATE = "Airflow's API", "Leoflow's own", "What the UI asks for"
KINDS = {"public": AIRFLOWS, "login": AIRFLOWS, "own": OWN, "ui": PRIVATE}
OWN_IN_PUBLIC = "public_leoflow"
REFERENCE = "#/components/schemas/{name}"
INTRODUCTION = """\
What this server answers, made from its own code. Routes below `/api/v2` are Airflow's, for its clients and UI; those
below `/leoflow` and `/api/v2/leoflow` are Leoflow's own. What the UI asks for changes with the UI.

A program sends `Authorization: Bearer TOKEN`, with a token of `POST /auth/token` or an access token
(`leoflow auth create-token`). The browser's login is a cookie; with it, whatever changes something must come from this
server's own pages. An error's body is `{"detail": ...}`: a sentence, or for wrong input a list of faults with their
places.
"""
_PARAMETER = re.compile(r"<(?:(?P<converter>[a-z]+)(?:\((?P<arguments>[^)]*)\))?:)?(?P<name>\w+)>")


def document_of(app: QuartTrio, *, version: str, base_path: str) -> dict[str, Any]:
    """JSON-ready. Blocking for a second: it reads the source of every handler."""
    operations = list(_operations(app))
    bodies = {reads.body: None for *_, reads in operations if reads.body is not None}
    schemas, components = msgspec.json.schema_components(tuple(bodies), ref_template=REFERENCE)
    schema_of = dict(zip(bodies, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    names: dict[str, tuple[str, ...]] = {}
    """Of the parameters of each path by its shape: OpenAPI knows no two paths that differ in names alone."""
    for rule, method, reads in operations:
        path, parameters = _path(rule, names)
        paths.setdefault(path, {})[method.lower()] = _operation(app, rule, method, reads, parameters, schema_of)
    tags = sorted({_tag(rule.endpoint) for rule, *_ in operations}, key=lambda tag: (tag[0], tag[1]))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Leoflow", "version": version, "description": INTRODUCTION},
        "servers": [{"url": base_path.rstrip("/") or "/"}],
        "tags": [{"name": name} for _, name in tags],
        "x-tagGroups": [
            {"name": group, "tags": [name for kind, name in tags if kind == group]}
            for group in (AIRFLOWS, OWN, PRIVATE)
        ],
        "paths": dict(sorted(paths.items())),
        "security": [{"bearer": []}, {"cookie": []}],
        "components": {"schemas": {**components, **PROBLEM}, "securitySchemes": SECURITY, "responses": RESPONSES},
    }


PROBLEM: Mapping[str, Any] = {
    "Problem": {
        "type": "object",
        "properties": {
            "detail": {
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "type": {"type": "string"},
                                "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                                "msg": {"type": "string"},
                                "input": {},
                            },
                        },
                    },
                ]
            }
        },
    }
}
SECURITY: Mapping[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "_token"},
}
RESPONSES: Mapping[str, Any] = {
    "Problem": {
        "description": "Refused, with the reason",
        "content": {"application/json": {"schema": {"$ref": REFERENCE.format(name="Problem")}}},
    }
}


def is_described(endpoint: str) -> bool:
    """Pages and files are no API."""
    return endpoint.partition(".")[0] not in FILES and endpoint not in PAGES


def _operations(app: QuartTrio) -> Iterator[tuple[Rule, str, Reads]]:
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: (rule.rule, rule.endpoint)):
        if is_described(rule.endpoint):
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule, method, reads_of(app.view_functions[rule.endpoint])


def _path(rule: Rule, names: dict[str, tuple[str, ...]]) -> tuple[str, list[dict[str, Any]]]:
    found = list(_PARAMETER.finditer(rule.rule))
    shape = _PARAMETER.sub("{}", rule.rule)
    used = names.setdefault(shape, tuple(one["name"] for one in found))
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _converted(one["converter"], one["arguments"])}
        for name, one in zip(used, found, strict=True)
    ]
    return shape.format(*(f"{{{name}}}" for name in used)), parameters


def _converted(converter: str | None, arguments: str | None) -> dict[str, Any]:
    match converter:
        case "int":
            return {"type": "integer"}
        case "any":
            return {"type": "string", "enum": [one.strip() for one in (arguments or "").split(",")]}
        case _:
            return {"type": "string"}


def _operation(
    app: QuartTrio,
    rule: Rule,
    method: str,
    reads: Reads,
    parameters: list[dict[str, Any]],
    schema_of: Mapping[Any, Any],
) -> dict[str, Any]:
    handler = app.view_functions[rule.endpoint]
    summary, description = _words(handler)
    need = NEEDS[rule.endpoint].right
    right = "Anybody may call it." if need is Right.NONE else f"Needs the right `{need.name.lower()}`."
    asked = [{"name": name, "in": "query", "schema": schema} for name, schema in reads.query.items()]
    operation: dict[str, Any] = {
        "operationId": f"{rule.endpoint}.{method.lower()}.{_PARAMETER.sub('_', rule.rule)}",
        "tags": [_tag(rule.endpoint)[1]],
        "summary": summary,
        "description": "\n\n".join(filter(None, (description, right))),
        "parameters": parameters + asked,
        "responses": {
            "200": {"description": "Done; other statuses of success are 201, 202 and 204"},
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }
    if need is Right.NONE:
        operation["security"] = []
    if method not in SAFE_METHODS and (reads.body is not None or reads.reads_bytes):
        content = {"application/json": {"schema": schema_of[reads.body] if reads.body is not None else {}}}
        operation["requestBody"] = {"required": not reads.is_body_optional, "content": content}
    return operation


def _words(handler: Callable[..., Any]) -> tuple[str, str]:
    """The name of the handler as words, and its docstring."""
    return handler.__name__.replace("_", " ").capitalize(), inspect.getdoc(handler) or ""


def _tag(endpoint: str) -> tuple[str, str]:
    """(group, name) of the blueprint."""
    blueprint = endpoint.partition(".")[0]
    kind, _, rest = blueprint.partition("_")
    group = OWN if blueprint == OWN_IN_PUBLIC else KINDS[kind]
    name = (rest or kind).replace("_", " ").capitalize()
    return group, name if group == AIRFLOWS else f"{name} ({'own' if group == OWN else 'UI'})"
