"""Native sensors that ask a database: a query's answer, a key of Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow._leoflow.connectors import needs_airflow
from airflow._leoflow.native_sensor import NativeSensor


class SqlSensor(NativeSensor):
    """Waits until the first cell of a query's answer is true."""

    sensor_kind = "sql"
    template_fields: Sequence[str] = ("sql", "hook_params", "parameters")
    template_ext: Sequence[str] = (".hql", ".sql")
    template_fields_renderers = {"sql": "sql"}
    ui_color = "#7c7287"

    def __init__(
        self,
        *,
        conn_id: str,
        sql: str,
        parameters: Any = None,
        success: Callable[[Any], bool] | None = None,
        failure: Callable[[Any], bool] | None = None,
        selector: Callable[[Any], Any] | None = None,
        fail_on_empty: bool = False,
        hook_params: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.sql = sql
        self.parameters = parameters
        self.fail_on_empty = fail_on_empty
        self.hook_params = dict(hook_params or {})
        functions = {"success": success, "failure": failure, "selector": selector}
        for name, function in functions.items():
            if function is not None:
                needs_airflow(self, name, "common.sql")
        for name in self.hook_params:
            if name not in {"database", "schema"}:
                needs_airflow(self, f"hook_params[{name!r}]", "common.sql")

    def fixed_values(self) -> Sequence[Any]:
        return (self.conn_id,)

    def probe_arguments(self) -> dict[str, Any]:
        database = self.hook_params.get("database") or self.hook_params.get("schema")
        return {"sql": self.sql, "parameters": self.parameters, "database": database}

    def predicate(self) -> dict[str, Any]:
        return {"fail_on_empty": bool(self.fail_on_empty)}

    def connection(self) -> str | None:
        return self.conn_id


class RedisKeySensor(NativeSensor):
    """Waits until a key exists."""

    sensor_kind = "redis_key"
    template_fields: Sequence[str] = ("key",)
    ui_color = "#f0eee4"

    def __init__(self, *, key: str, redis_conn_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.key = key
        self.redis_conn_id = redis_conn_id

    def fixed_values(self) -> Sequence[Any]:
        return (self.redis_conn_id,)

    def probe_arguments(self) -> dict[str, Any]:
        return {"key": self.key}

    def connection(self) -> str | None:
        return self.redis_conn_id
