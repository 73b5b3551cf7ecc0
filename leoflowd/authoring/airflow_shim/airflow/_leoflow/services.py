"""Variables and connections as a task sees them: from `AIRFLOW_VAR_*` and `AIRFLOW_CONN_*` of its environment.

The agent puts those of the task there; a name that is not there does not exist.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from airflow._leoflow.errors import AirflowNotFoundException, ShimUnsupported
from airflow._leoflow.params import NOTSET


class Variable:
    """`Variable.get(key)`; writing is refused."""

    @staticmethod
    def get(key: str, default: Any = NOTSET, deserialize_json: bool = False, default_var: Any = NOTSET) -> Any:
        """The value; `default` (Airflow 2: `default_var`) if there is none, KeyError without one."""
        text = os.environ.get(f"AIRFLOW_VAR_{key.upper()}")
        if text is not None:
            return json.loads(text) if deserialize_json else text
        fallback = default if default is not NOTSET else default_var
        if fallback is NOTSET:
            raise KeyError(f"Variable {key} does not exist")
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
        text = os.environ.get(f"AIRFLOW_CONN_{conn_id.upper()}")
        if text is None:
            raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")
        return cls.from_json(text, conn_id) if text.lstrip().startswith("{") else cls(conn_id, uri=text)

    @classmethod
    def from_json(cls, text: str, conn_id: str = "") -> Connection:
        values = json.loads(text)
        values["conn_type"] = values.pop("conn_type", "") or ""
        return cls(conn_id=values.pop("conn_id", conn_id), **values)

    def _read_uri(self, uri: str) -> None:
        parts = urlsplit(uri)
        self.conn_type = {"postgresql": "postgres"}.get(parts.scheme, parts.scheme).replace("-", "_")
        # `type://scheme://host` keeps the inner scheme as part of the host, as Airflow does
        rest = uri.split("://", 1)[1] if "://" in uri else ""
        inner = ""
        if "://" in rest:
            inner, rest = rest.split("://", 1)
            parts = urlsplit(f"x://{rest}")
        host = unquote(parts.hostname or "") or None
        self.host = f"{inner}://{host or ''}" if inner else host
        self.login = unquote(parts.username) if parts.username else None
        self.password = unquote(parts.password) if parts.password else None
        self.schema = unquote(parts.path[1:]) or None
        self.port = parts.port
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if query:
            self.extra = query["__extra__"] if "__extra__" in query else json.dumps(query)

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
