"""Variables and connections as a task sees them: `AIRFLOW_VAR_*` and `AIRFLOW_CONN_*` of its environment first.

A connection that is not there is asked of the daemon, which keeps those that people stored; a variable that is not
there does not exist.
"""

from __future__ import annotations

import json
import logging
import os
import re
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from airflow._leoflow import supervisor
from airflow._leoflow.errors import AirflowException, AirflowNotFoundException, ShimUnsupported
from airflow._leoflow.params import NOTSET


class VariableNotFound(AirflowNotFoundException, KeyError):
    """No variable of this name; a KeyError too, which is what DAG files catch since Airflow 2."""


class Variable:
    """`Variable.get(key)`; writing is refused."""

    @staticmethod
    def get(key: str, default: Any = NOTSET, deserialize_json: bool = False, default_var: Any = NOTSET) -> Any:
        """The value; `default` (Airflow 2: `default_var`) if there is none, `VariableNotFound` without one."""
        text = os.environ.get(f"AIRFLOW_VAR_{key.upper()}")
        if text is not None:
            return json.loads(text) if deserialize_json else text
        fallback = default if default is not NOTSET else default_var
        if fallback is NOTSET:
            raise VariableNotFound(f"Variable {key} does not exist; set AIRFLOW_VAR_{key.upper()}")
        return fallback

    @staticmethod
    def set(key: str, *_: Any, **__: Any) -> None:
        raise ShimUnsupported(
            f"Variable.set({key!r}) is called",
            "a task cannot write variables",
            "return the value as the task's output, or set the variable in the UI",
        )

    @staticmethod
    def delete(key: str) -> None:
        raise ShimUnsupported(
            f"Variable.delete({key!r}) is called", "a task cannot delete variables", "delete it in the UI"
        )


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
        found = cls._from_environment(conn_id) or cls._from_daemon(conn_id)
        supervisor.hide(found._secrets())
        return found

    @classmethod
    def _from_environment(cls, conn_id: str) -> Connection | None:
        name = f"AIRFLOW_CONN_{conn_id.upper()}"
        text = os.environ.get(name)
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
                f"`leoflow connections add`, or as AIRFLOW_CONN_{conn_id.upper()}"
            )
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
            hidden = _secrets_in(self.extra_dejson)
        except (TypeError, ValueError):  # no JSON object: all of it may be the secret
            hidden = [self.extra or ""]
        return [self.password, *hidden]

    @property
    def extra_dejson(self) -> dict[str, Any]:
        return dict(json.loads(self.extra)) if self.extra else {}

    def get_uri(self) -> str:
        login = quote(self.login, safe="") if self.login else ""
        password = f":{quote(self.password, safe='')}" if self.password else ""
        at = "@" if login or password else ""
        port = f":{self.port}" if self.port else ""
        schema = f"/{quote(self.schema, safe='')}" if self.schema else ("/" if self.extra else "")
        query = f"?{urlencode({'__extra__': self.extra})}" if self.extra else ""
        return f"{self.conn_type.replace('_', '-')}://{login}{password}{at}{self.host or ''}{port}{schema}{query}"

    def get_password(self) -> str | None:
        return self.password

    def __repr__(self) -> str:
        return f"Connection({self.conn_id!r}, {self.conn_type!r}, host={self.host!r})"  # never the password


_SECRET_WORDS = (
    "password passwd passphrase secret token api_key apikey access_key private_key authorization keyfile_dict "
    "service_account"
).split()


def _names_a_secret(key: str) -> bool:
    return any(word in key.lower().replace("-", "_") for word in _SECRET_WORDS)


def _secrets_in(value: Any, is_secret: bool = False) -> list[str]:
    """All texts under names that promise a secret; a whole mapping may be one (`keyfile_dict`)."""
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in _secrets_in(item, is_secret or _names_a_secret(key))]
    if isinstance(value, list):
        return [text for item in value for text in _secrets_in(item, is_secret)]
    return [value] if is_secret and isinstance(value, str) else []


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
