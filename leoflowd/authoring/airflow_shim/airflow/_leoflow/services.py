"""Connections as a task sees them: `AIRFLOW_CONN_*` of its environment first, then what the daemon stores.

While a file is compiled, what the compiler was given takes the place of the daemon, and references that of secrets.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Any, cast
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from airflow._leoflow import loading, supervisor
from airflow._leoflow.errors import AirflowException, AirflowNotFoundException, AuthoringError
from airflow._leoflow.secret_names import secrets_in
from airflow._leoflow.secret_references import json_reference, reference
from airflow._leoflow.variables import refuse_backend


class Connection:
    """One connection; `Connection.get(conn_id)` reads it, given as URI or as JSON."""

    def __init__(
        self,
        conn_id: str = "",
        conn_type: str = "",
        description: str | None = None,
        host: str | None = None,
        login: str | None = None,
        password: str | None = None,
        schema: str | None = None,
        port: int | str | None = None,
        extra: str | dict[str, Any] | None = None,
        uri: str | None = None,
    ) -> None:
        self.conn_id = conn_id
        self.conn_type = conn_type
        self.description = description
        self.host = host
        self.login = login
        self.password = password
        self.schema = schema
        self.port = int(port) if port not in (None, "") else None
        self.extra = json.dumps(extra) if isinstance(extra, dict) else extra
        if uri is not None:
            self._read_uri(uri)

    @classmethod
    def get(cls, conn_id: str) -> Connection:
        """Environment, then daemon. Its secrets are `***` in the task's log from then on."""
        found = cls._from_environment(conn_id)
        if found is None:
            refuse_backend(f"Connection.get({conn_id!r})")
        if loading.is_compiling():
            return _LoadedConnection.of(conn_id, found)
        found = found or cls._from_daemon(conn_id)
        supervisor.hide(found._secrets())
        return found

    @classmethod
    def _from_environment(cls, conn_id: str) -> Connection | None:
        name = f"AIRFLOW_CONN_{conn_id.upper()}"
        text = loading.environment(name)
        if text is None:
            return None
        try:
            return cls.from_json(text, conn_id) if text.lstrip().startswith("{") else cls(conn_id, uri=text)
        except (TypeError, ValueError):
            # Neither the text nor Python's own message: the password may be in both.
            raise AirflowException(
                f"{name} is neither a connection URI (type://login:password@host:port/schema?key=value, special "
                "characters percent-encoded) nor a JSON object with a connection's fields"
            ) from None

    @classmethod
    def _from_daemon(cls, conn_id: str) -> Connection:
        try:
            answer = supervisor.ask("connection", {"connection_id": conn_id})
        except supervisor.NotInTask as error:
            raise AirflowNotFoundException(
                f"The conn_id `{conn_id}` isn't defined in the environment; {error}"
            ) from None
        if answer.get("refused"):
            raise AirflowException(f"The connection `{conn_id}` cannot be read: {answer['refused']}")
        facts = answer.get("connection")
        if facts is None:
            raise AirflowNotFoundException(
                f"The conn_id `{conn_id}` isn't defined; add it on the page Connections, with "
                f"`leoflow connections add`, or as AIRFLOW_CONN_{conn_id.upper()}; `leoflow test` knows the last alone"
            )
        return cls._from_facts(conn_id, facts)

    @classmethod
    def _from_facts(cls, conn_id: str, facts: dict[str, Any]) -> Connection:
        fields = ("conn_type", "description", "host", "login", "password", "schema", "port", "extra")
        return cls(conn_id, **{name: facts[name] for name in fields if facts.get(name) is not None})

    @classmethod
    def from_json(cls, text: str, conn_id: str = "") -> Connection:
        values = json.loads(text)
        conn_type = values.pop("conn_type", None) or ""
        return cls(conn_id=values.pop("conn_id", conn_id), conn_type=_normalized_type(conn_type), **values)

    def _read_uri(self, uri: str) -> None:
        """`type://login:password@host:port/schema?key=value`; in `type://https://host` the host keeps its scheme."""
        scheme, separator, rest = uri.partition("://")
        inner, has_inner, after = rest.partition("://")
        schemes = (scheme, inner) if has_inner else (scheme,)
        if not separator or "://" in after or not all(re.fullmatch(r"[\w+.-]+", each) for each in schemes):
            raise ValueError("no connection URI")
        parts = urlsplit(f"//{after if has_inner else rest}")
        host = _host_of(parts)
        self.conn_type = _normalized_type(scheme.lower())
        self.host = f"{inner}://{host}" if has_inner and host else host
        self.login = unquote(parts.username) if parts.username else parts.username
        self.password = unquote(parts.password) if parts.password else parts.password
        self.schema = unquote(parts.path[1:])
        self.port = parts.port
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if query:
            self.extra = query["__extra__"] if "__extra__" in query else json.dumps(query)

    def _secrets(self) -> list[str | None]:
        """The password, what is named like a secret among the extra fields, at any depth."""
        try:
            hidden = secrets_in(self.extra_dejson)
        except (TypeError, ValueError):  # no JSON object: all of it may be the secret
            hidden = [self.extra or ""]
        return [self.password, *hidden]

    @property
    def extra_dejson(self) -> dict[str, Any]:
        return dict(json.loads(self.extra)) if self.extra else {}

    def get_extra_dejson(self) -> dict[str, Any]:
        return self.extra_dejson

    def to_dict(self, *, prune_empty: bool = False, validate: bool = True) -> dict[str, Any]:
        """Its fields, all of which JSON has, so that `validate` has nothing to find."""
        names = ("conn_id", "conn_type", "description", "host", "login", "password", "schema", "port")
        found = {**{name: getattr(self, name) for name in names}, "extra": self.extra_dejson}
        return {name: value for name, value in found.items() if value or not prune_empty}

    def as_json(self) -> str:
        """Without its id and empty fields, as `AIRFLOW_CONN_*` takes it."""
        return json.dumps({name: value for name, value in self.to_dict(prune_empty=True).items() if name != "conn_id"})

    @classmethod
    def from_uri(cls, uri: str, conn_id: str) -> Connection:
        return cls(conn_id, uri=uri)

    def get_uri(self) -> str:
        """As Airflow writes it: a protocol in the host goes in front, flat texts of `extra` are the query."""
        kind = f"{self.conn_type.lower().replace('_', '-')}://" if self.conn_type else "//"
        protocol, has_protocol, bare = (self.host or "").partition("://")
        is_apart = bool(has_protocol) and protocol != self.conn_type
        host = quote(bare if is_apart else self.host or "", safe="")
        who = "" if self.login is None else quote(self.login, safe="")
        who += "" if self.password is None else f":{quote(self.password, safe='')}"
        who += "@" if who or (self.port and not host) else ""
        port = f":{self.port}" if self.port else ""
        schema = f"/{quote(self.schema, safe='')}" if self.schema else ""
        query = f"{'' if schema else '/'}?{self._query()}" if self.extra else ""
        return f"{kind}{f'{protocol}://' if is_apart else ''}{who}{host}{port}{schema}{query}"

    def _query(self) -> str:
        """What a query cannot carry as it is stands in it as the JSON text."""
        try:
            extra = json.loads(self.extra or "")
        except ValueError:
            extra = None
        is_flat = isinstance(extra, dict) and bool(extra) and all(isinstance(one, str) for one in extra.values())
        return urlencode(extra if is_flat else {"__extra__": self.extra})

    def get_password(self) -> str | None:
        return self.password

    def __repr__(self) -> str:
        return f"Connection({self.conn_id!r}, {self.conn_type!r}, host={self.host!r})"  # never the password


class _LoadedConnection(Connection):
    """While a file is compiled. A reference stands for what is secret of it, or made of that."""

    _secret: tuple[str, ...] = ()

    @classmethod
    def of(cls, conn_id: str, found: Connection | None) -> _LoadedConnection:
        """`found` in the environment, else as the compiler was told it. Raises `ConnectionNotGiven`."""
        if found is not None:
            secret = ["password"] if found.password else []
            secret += ["extra"] if found._secrets()[1:] else []
            facts: dict[str, Any] | None = dict(vars(found))
        else:
            facts = loading.connection(conn_id)
            secret = [] if facts is None else list(facts["__secrets__"])
        if facts is None:
            raise ConnectionNotGiven(
                f"Connection.get({conn_id!r}) finds no connection",
                "it is read while the file is loaded",
                f"add it with `leoflow connections add {conn_id}`, or as AIRFLOW_CONN_{conn_id.upper()}",
            )
        loaded = cls._from_facts(conn_id, facts)
        assert isinstance(loaded, cls)
        loaded._secret = tuple(secret)
        for name in secret:
            setattr(loaded, name, reference("conn", conn_id, name))
        return loaded

    @property
    def extra_dejson(self) -> dict[str, Any]:
        if "extra" not in self._secret:
            return super().extra_dejson
        return cast("dict[str, Any]", json_reference("conn", self.conn_id, "extra_dejson"))

    def get_uri(self) -> str:
        return reference("conn", self.conn_id, call="get_uri") if self._secret else super().get_uri()

    def as_json(self) -> str:
        return reference("conn", self.conn_id, call="as_json") if self._secret else super().as_json()


class ConnectionNotGiven(AuthoringError, AirflowNotFoundException):
    """There is none, while a file is compiled."""

    holds_for_both = True


def _normalized_type(conn_type: str) -> str:
    return {"postgresql": "postgres"}.get(conn_type, conn_type.replace("-", "_"))


def _host_of(parts: SplitResult) -> str:
    """In lower case, as `urlsplit` gives it, except for an escaped path in its place (`%2Fvar%2Frun`)."""
    host = unquote(parts.hostname or "")
    if "/" not in host:
        return host
    return unquote(parts.netloc.rpartition("@")[2].partition(":")[0])


class BaseHook:
    """Base of hooks that authors write."""

    def __init__(self, logger_name: str | None = None) -> None:
        self._logger_name = logger_name

    @property
    def log(self) -> logging.Logger:
        return logging.getLogger(self._logger_name or f"airflow.task.hooks.{type(self).__name__}")

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        return Connection.get(conn_id)

    def get_conn(self) -> Any:
        raise NotImplementedError


class LoggingMixin:
    """Gives a class a `log`."""

    @property
    def log(self) -> logging.Logger:
        return logging.getLogger(f"{type(self).__module__}.{type(self).__name__}")
