"""A connection with its secrets in the clear: between store, agents, and the probes of the cheap-task pool."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from leoflowd.contract.overriding import override

ENVIRONMENT_PREFIX = "AIRFLOW_CONN_"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*")


class ConnectionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Airflow's Connection. `repr` hides what is secret."""

    connection_id: str
    conn_type: str = ""
    description: str | None = None
    host: str | None = None
    schema: str | None = None
    login: str | None = None
    port: int | None = None
    password: str | None = None
    extra: str | None = None
    """JSON text, as in Airflow."""

    @override
    def __repr__(self) -> str:
        return f"ConnectionFacts({self.connection_id!r}, {self.conn_type!r}, host={self.host!r}, port={self.port!r})"

    def extra_fields(self) -> dict[str, Any]:
        """`extra` as a mapping; empty when it is none or no JSON object."""
        try:
            fields = msgspec.json.decode(self.extra or "{}")
        except msgspec.DecodeError:
            return {}
        return fields if isinstance(fields, dict) else {}


OWN_FIELDS = ", ".join(name for name in ConnectionFacts.__struct_fields__ if name != "connection_id")
ACCEPTED_FIELDS = frozenset({*ConnectionFacts.__struct_fields__, "conn_id", "team_name"})
"""Beside its own what exports of Airflow and answers of the API have: another name of the id, and a team that is empty.
Any other would be lost without a word."""


def from_environment(connection_id: str, environment: Mapping[str, str]) -> ConnectionFacts | None:
    """`AIRFLOW_CONN_<ID>`, as a URI or as JSON, exactly as Airflow reads it; None when it is not set.

    Raises ValueError that names the variable when its text is neither.
    """
    name = ENVIRONMENT_PREFIX + connection_id.upper()
    text = environment.get(name)
    if text is None:
        return None
    try:
        return _from_json(connection_id, text) if text.lstrip().startswith("{") else _from_uri(connection_id, text)
    except (msgspec.MsgspecError, ValueError):
        # Without the cause: what it quotes may be a part of the password.
        raise ValueError(f"{name} is neither a connection URI nor a JSON object of {OWN_FIELDS}") from None


def normal_type(conn_type: str) -> str:
    """Airflow's own two spellings of one type: `postgresql` is `postgres`, dashes are underscores."""
    return "postgres" if conn_type == "postgresql" else conn_type.replace("-", "_")


def _from_json(connection_id: str, text: str) -> ConnectionFacts:
    fields = msgspec.json.decode(text, type=dict[str, Any])
    if not fields.keys() <= ACCEPTED_FIELDS or fields.get("team_name"):
        raise ValueError("fields that a connection does not have")
    extra = fields.get("extra")
    port = fields.get("port")
    return ConnectionFacts(
        connection_id=connection_id,
        conn_type=normal_type(str(fields.get("conn_type") or "")),
        description=fields.get("description"),
        host=fields.get("host"),
        schema=fields.get("schema"),
        login=fields.get("login"),
        port=None if port in (None, "") else int(port),
        password=fields.get("password"),
        extra=extra if extra is None or isinstance(extra, str) else msgspec.json.encode(extra).decode(),
    )


def _from_uri(connection_id: str, text: str) -> ConnectionFacts:
    """`type://login:password@host:port/schema?key=value`; `type://https://host` keeps the inner scheme in the host."""
    if not 1 <= text.count("://") <= 2:
        raise ValueError("`://` once, or twice when the host has a scheme of its own")
    conn_type, _, rest = text.partition("://")
    if not _SCHEME.fullmatch(conn_type):
        raise ValueError("no connection type")
    inner, has_inner, after = rest.partition("://")
    if has_inner and not _SCHEME.fullmatch(inner):
        raise ValueError("no scheme of a host")
    parts = urlsplit(f"x://{after if has_inner else rest}")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    extra = query.get("__extra__")
    host = unquote(parts.hostname or "")
    return ConnectionFacts(
        connection_id=connection_id,
        conn_type=normal_type(conn_type.lower()),
        host=f"{inner}://{host}" if has_inner else host or None,
        schema=unquote(parts.path[1:]) or None,
        login=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        port=parts.port,
        extra=extra if extra is not None else (msgspec.json.encode(query).decode() if query else None),
    )
