"""What an author asks of the pod of a task, taken through an allow-list: `leoflow.yaml` and `executor_config`.

Whatever is not named here is refused with its path, so that an author hears of it, and so that no field of Kubernetes,
present or future, goes past the policy. The compiler asks while it knows the line; the launcher asks again
(`kube.wishes`), for whoever may push an artifact may write anything into it.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from leoflowd.contract.dispatch import Placement
from leoflowd.contract.errors import LeoflowError
from leoflowd.contract.values import shown

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OURS = ("LEOFLOW_",)
CONTAINER = "base"
"""Airflow's name for the container of the task."""


class PodRefused(LeoflowError):
    """No pod can be made of this; the message says of which field, why, and what to do."""


class Wishes(msgspec.Struct, kw_only=True):
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    env: list[dict[str, Any]] = []
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = []
    affinity: dict[str, Any] = {}
    service_account: str = ""
    image_pull_policy: str = ""


def wishes_of(placement: Placement) -> Wishes:
    """`leoflow.yaml` first, `executor_config` over it. Raises `PodRefused`."""
    wishes = Wishes()
    _take_resources(wishes, placement.resources, "resources")
    _take_execution(wishes, placement.execution)
    for key, value in placement.executor_config.items():
        if key != "pod_override":
            raise refused(f"executor_config[{key!r}]", "only pod_override is known here")
        _take_override(wishes, _mapping(value, "pod_override"))
    return wishes


def _take_resources(wishes: Wishes, resources: dict[str, Any], at: str) -> None:
    for kind, amounts in resources.items():
        if kind not in ("requests", "limits"):
            raise refused(f"{at}.{kind}", "only requests and limits are known here")
        for name, amount in _mapping(amounts, f"{at}.{kind}").items():
            # Others (huge pages, devices) are a privilege of their own.
            if name not in ("cpu", "memory", "ephemeral-storage"):
                raise refused(f"{at}.{kind}.{name}", "a task may ask for cpu, memory and ephemeral-storage")
            getattr(wishes, kind)[name] = str(amount)


def _take_execution(wishes: Wishes, execution: dict[str, Any]) -> None:
    for key, value in execution.items():
        match key:
            case "node_selector":
                wishes.node_selector |= _texts(value, "execution.node_selector")
            case "tolerations":
                wishes.tolerations += [_toleration(one, "execution.tolerations") for one in value]
            case "image_pull_policy":
                wishes.image_pull_policy = str(value)
            case "service_account":
                wishes.service_account = str(value)
            case _:
                raise refused(f"execution.{key}", "it has no meaning for a pod")


def _take_override(wishes: Wishes, override: dict[str, Any]) -> None:
    for key, value in override.items():
        match key:
            case "apiVersion" | "kind" if value in ("v1", "Pod"):
                pass
            case "metadata":
                _take_metadata(wishes, _mapping(value, "pod_override.metadata"))
            case "spec":
                _take_spec(wishes, _mapping(value, "pod_override.spec"))
            case _:
                raise refused(f"pod_override.{key}")


def _take_metadata(wishes: Wishes, metadata: dict[str, Any]) -> None:
    for key, value in metadata.items():
        at = f"pod_override.metadata.{key}"
        if key not in ("labels", "annotations"):
            raise refused(at)
        for name, text in _texts(value, at).items():
            # With a domain they mean something to somebody: sandbox profiles, sidecars, roles of a cloud.
            if "/" in name:
                raise refused(f"{at}[{name!r}]", "names with a domain are for whoever runs the cluster")
            getattr(wishes, key)[name] = text


def _take_spec(wishes: Wishes, spec: dict[str, Any]) -> None:
    for key, value in spec.items():
        at = f"pod_override.spec.{key}"
        match key:
            case "nodeSelector":
                wishes.node_selector |= _texts(value, at)
            case "tolerations":
                wishes.tolerations += [_toleration(one, at) for one in _items(value, at)]
            case "affinity":
                wishes.affinity = _affinity(value, at)
            case "containers":
                for container in _items(value, at):
                    _take_container(wishes, _mapping(container, at))
            case _:
                raise refused(at)


def _take_container(wishes: Wishes, container: dict[str, Any]) -> None:
    name = container.get("name")
    if name != CONTAINER:
        raise refused(
            f"pod_override.spec.containers[{shown(str(name), 100)!r}]",
            f"a task has one container, {CONTAINER!r}; sidecars are for whoever runs the cluster",
        )
    for key, value in container.items():
        at = f"pod_override.spec.containers[{CONTAINER!r}].{key}"
        match key:
            case "name":
                pass
            case "resources":
                _take_resources(wishes, _mapping(value, at), at)
            case "env":
                wishes.env += [_variable(_mapping(one, at), at) for one in _items(value, at)]
            case _:
                raise refused(at)


def _variable(variable: dict[str, Any], at: str) -> dict[str, Any]:
    name = variable.get("name")
    if not isinstance(name, str) or not ENV_NAME.fullmatch(name):
        raise refused(f"{at}[{shown(str(name), 100)!r}]", "that is no name of a variable")
    at = f"{at}[{name!r}]"
    if name.startswith(OURS):
        raise refused(at, "names that begin with LEOFLOW_ are ours")
    match variable:
        case {"value": str(value)} if len(variable) == 2:
            return {"name": name, "value": value}
        case {"valueFrom": {"secretKeyRef": {"name": str(secret), "key": str(key)}}} if len(variable) == 2:
            return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        case _:
            raise refused(at, "a variable has a value, or valueFrom.secretKeyRef with name and key")


def _toleration(value: Any, at: str) -> dict[str, Any]:
    toleration = _mapping(value, at)
    for key in toleration:
        if key not in ("key", "operator", "value", "effect", "tolerationSeconds"):
            raise refused(f"{at}.{key}")
    return toleration


def _affinity(value: Any, at: str) -> dict[str, Any]:
    affinity = _mapping(value, at)
    for key in affinity:
        if key not in ("nodeAffinity", "podAffinity", "podAntiAffinity"):
            raise refused(f"{at}.{key}")
    return affinity


def _mapping(value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise refused(at, "it is no mapping")
    return value


def _items(value: Any, at: str) -> list[Any]:
    if not isinstance(value, list):
        raise refused(at, "it is no list")
    return value


def _texts(value: Any, at: str) -> dict[str, str]:
    found = _mapping(value, at)
    for key, text in found.items():
        if not isinstance(text, str):
            raise refused(f"{at}[{key!r}]", "it is no text")
    return found


def refused(at: str, why: str = "it is not among the fields that an author may set") -> PodRefused:
    return PodRefused(
        f"{shown(at, 300)} is refused: {why}. An author may set labels, annotations, nodeSelector, tolerations, "
        f"affinity, and resources and env of container {CONTAINER!r}; see docs/kubernetes.md"
    )
