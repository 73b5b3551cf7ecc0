"""Native sensors of ours that look into a document: a signed POST, an object of Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from airflow._leoflow.native_sensor import NativeSensor, fact, registered_at
from airflow._leoflow.params import NOTSET

HOOK_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


class _MatchingSensor(NativeSensor):
    """Base of those that look into a document: at `json_path` must be `equals`, or anything true without one."""

    def __init__(self, *, json_path: str | None = None, equals: Any = NOTSET, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.json_path = json_path
        self.has_equals = equals is not NOTSET
        self.equals = equals if self.has_equals else None
        if self.has_equals and json_path is None:
            raise self.refuse("equals", "nothing says what has to equal it", "add json_path")

    def matching(self) -> dict[str, Any]:
        found = {} if self.json_path is None else {"json_path": self.json_path}
        return found | ({"equals": self.equals} if self.has_equals else {})


class WebhookSensor(_MatchingSensor):
    """`leoflow.sensors.WebhookSensor`: waits for a signed POST to `leoflow/hooks/<name>`."""

    sensor_kind = "webhook"
    template_fields: Sequence[str] = ("name", "json_path", "equals")

    def __init__(self, *, name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name
        if isinstance(name, str) and "{" not in name and not HOOK_NAME.fullmatch(name):
            raise self.refuse(
                f"name={name!r}", "it is part of a URL: letters, digits, _ and -, at most 100", "rename it"
            )

    def connection(self) -> str | None:
        return f"webhook_{self.name}"

    def probe_arguments(self) -> dict[str, Any]:
        return {"name": self.name}

    def predicate(self) -> dict[str, Any]:
        return {"since": fact("{{ leoflow_registered_at }}", registered_at), **self.matching()}


class KubernetesObjectSensor(_MatchingSensor):
    """`leoflow.sensors.KubernetesObjectSensor`: waits for a condition, or a value, of one object."""

    sensor_kind = "kubernetes_object"
    template_fields: Sequence[str] = ("namespace", "name", "json_path", "equals", "kubernetes_conn_id")

    def __init__(
        self,
        *,
        api_version: str,
        resource: str,
        name: str,
        namespace: str | None = None,
        condition: str | None = None,
        status: str = "True",
        kubernetes_conn_id: str = "kubernetes_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.api_version = api_version
        self.resource = resource
        self.name = name
        self.namespace = namespace
        self.condition = condition
        self.status = status
        self.kubernetes_conn_id = kubernetes_conn_id
        if condition is not None and self.json_path is not None:
            raise self.refuse("condition and json_path", "one of them says when it is met", "keep one")

    def fixed_values(self) -> Sequence[Any]:
        return (self.api_version, self.resource, self.condition, self.status)

    def probe_arguments(self) -> dict[str, Any]:
        return {
            "api_version": self.api_version,
            "resource": self.resource,
            "namespace": self.namespace,
            "name": self.name,
        }

    def predicate(self) -> dict[str, Any]:
        if self.condition is not None:
            return {"condition": self.condition, "status": self.status}
        return self.matching()

    def connection(self) -> str | None:
        return self.kubernetes_conn_id
