"""The daemon's own settings where Airflow shows its configuration. Blueprint `public_config`.

Sections and options are those of `LEOFLOW_<SECTION>_<OPTION>` in docs/configuration.md. Secrets are shown as `***`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from quart import Blueprint, Response

from leoflowd.api.answers import JSON, json_answer
from leoflowd.api.context import context
from leoflowd.api.paging import Query, accepted_form
from leoflowd.contract.errors import NotFound
from leoflowd.core.secret_names import MASK, is_secret

blueprint = Blueprint("public_config", __name__)

TEXT = "text/plain"
_KEYS = frozenset({"secrets.keys"})
"""Secrets whose names do not promise one."""
_LOGIN = re.compile(r"(?<=//)[^\s,?#]*@")
"""Of an address: user and password."""
_PART = re.compile(r"(?i)(\w*(?:password|passwd|secret|token|_key)\w*\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&,;]+)")
"""Of a query, or of a connection string of libpq."""


@blueprint.get("/api/v2/config")
async def get_config() -> Response:
    wanted = Query().text("section")
    sections = shown_settings(context().settings)
    if wanted is not None and wanted not in sections:
        raise NotFound(f"Section {wanted} not found; there are {', '.join(sections)}")
    return _answer({name: options for name, options in sections.items() if wanted in (None, name)})


@blueprint.get("/api/v2/config/section/<section>/option/<option>")
async def get_config_value(section: str, option: str) -> Response:
    options = shown_settings(context().settings).get(section, {})
    if option not in options:
        raise NotFound(f"Option [{section}/{option}] not found; docs/configuration.md lists what there is")
    return _answer({section: {option: options[option]}})


def shown_settings(settings: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Texts by section and option, as the environment would give them, without anything secret."""
    return {
        name: {key: _shown(f"{name}.{key}", value) for key, value in msgspec.structs.asdict(section).items()}
        for name, section in settings.items()
    }


def _shown(name: str, value: Any) -> str:
    if value in (None, "", ()):
        return ""
    if not isinstance(value, int | float) and (name in _KEYS or is_secret(name)):
        return MASK
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return _PART.sub(rf"\1{MASK}", _LOGIN.sub(f"{MASK}@", text))


def _answer(sections: Mapping[str, Mapping[str, str]]) -> Response:
    if accepted_form(JSON, TEXT) == TEXT:
        parts = ("\n".join((f"[{name}]", *(f"{k} = {v}" for k, v in rows.items()))) for name, rows in sections.items())
        return Response("\n\n".join(parts) + "\n", content_type=TEXT)
    listed = [
        {"name": name, "options": [{"key": key, "value": value} for key, value in options.items()]}
        for name, options in sections.items()
    ]
    return json_answer({"sections": listed})
