"""The pods of the fake API server and what happened to them: resource versions, graceful deletion, events. No network.

Copies what was seen of a real server: containers and phase are whatever the kubelet patches, a pod without a node goes
at once, one with a node when its kubelet says so, DELETED carries the last object with a new resource version.
"""

from __future__ import annotations

import copy
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import trio

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
Json = dict[str, Any]


class Refused(Exception):
    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
        self.status: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details,
            "code": code,
        }


class Event:
    """Before and after, so that a watch with a selector knows who enters and who leaves it."""

    def __init__(self, version: int, type_: str, pod: Json, before: Json | None) -> None:
        self.version = version
        self.type = type_
        self.pod = pod
        self.before = before


class Pods:
    def __init__(self) -> None:
        self.namespaces = {"default", "leoflow"}
        self.quota: int | None = None
        """Pods of a namespace."""
        self.created: list[str] = []
        """Names, in order, every one that ever was."""
        self.history: list[Event] = []
        self.forgotten = 0
        """Versions up to here are too old to watch from."""
        self.changed = trio.Event()
        self._pods: dict[tuple[str, str], Json] = {}
        self._version = 100

    @property
    def version(self) -> int:
        return self._version

    def forget(self) -> None:
        """As a restart does: nothing before now can be watched."""
        self._version += 1
        self.forgotten = self._version
        self.history.clear()

    def list(self, namespace: str) -> list[Json]:
        return [pod for (where, _), pod in sorted(self._pods.items()) if where == namespace]

    def get(self, namespace: str, name: str) -> Json:
        try:
            return self._pods[namespace, name]
        except KeyError:
            raise Refused(404, "NotFound", f'pods "{name}" not found', name=name, kind="pods") from None

    def put_raw(self, namespace: str, pod: Json) -> None:
        """Whatever it is: what somebody else may have stored, or a newer API server writes."""
        self._note("ADDED", namespace, pod["metadata"]["name"], pod, None)

    def create(self, namespace: str, body: Json) -> Json:
        if namespace not in self.namespaces:
            raise Refused(404, "NotFound", f'namespaces "{namespace}" not found', name=namespace, kind="namespaces")
        meta = dict(body.get("metadata") or {})
        name = meta.get("name") or (meta["generateName"] + uuid.uuid4().hex[:5] if meta.get("generateName") else "")
        self._check(name, meta, body)
        if (namespace, name) in self._pods:
            raise Refused(409, "AlreadyExists", f'pods "{name}" already exists', name=name, kind="pods")
        if self.quota is not None and len(self.list(namespace)) >= self.quota:
            used = f"used: pods={self.quota}, limited: pods={self.quota}"
            message = f'pods "{name}" is forbidden: exceeded quota: q, requested: pods=1, {used}'
            raise Refused(403, "Forbidden", message, name=name, kind="pods")
        pod = copy.deepcopy(body)
        pod["metadata"] = {
            **meta,
            "name": name,
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": _now(),
        }
        pod["status"] = {"phase": "Pending", "qosClass": "Burstable"}
        self.created.append(name)
        return self._note("ADDED", namespace, name, pod, None)

    def _check(self, name: str, meta: Json, body: Json) -> None:
        causes = []
        if not name or len(name) > 253 or not NAME.fullmatch(name):
            causes.append(("metadata.name", f"Invalid value: {name!r}"))
        for key, value in (meta.get("labels") or {}).items():
            if not isinstance(value, str) or len(value) > 63 or not LABEL.fullmatch(value):
                causes.append(
                    (f"metadata.labels[{key}]", f"Invalid value: {value!r}: must be no more than 63 characters")
                )
        containers = (body.get("spec") or {}).get("containers")
        if not containers:
            causes.append(("spec.containers", "Required value"))
        for at, container in enumerate(containers or ()):
            if not container.get("image"):
                causes.append((f"spec.containers[{at}].image", "Required value"))
        if causes:
            said = ", ".join(f"{field}: {why}" for field, why in causes)
            fields = [{"reason": "FieldValueInvalid", "message": why, "field": field} for field, why in causes]
            raise Refused(422, "Invalid", f'Pod "{name}" is invalid: {said}', name=name, kind="Pod", causes=fields)

    def patch(self, namespace: str, name: str, patch: Json, *, is_status: bool) -> Json:
        """A merge patch. Status is dropped from one of the main resource, spec from one of the status."""
        before = self.get(namespace, name)
        wanted = {key: value for key, value in patch.items() if key != ("spec" if is_status else "status")}
        after = _merged(before, wanted)
        version = patch.get("metadata", {}).get("resourceVersion")
        if version not in (None, before["metadata"]["resourceVersion"]):
            raise Refused(
                409, "Conflict", "the object has been modified; please apply your changes to the latest version"
            )
        if not is_status and after.get("spec") != before.get("spec"):
            raise Refused(
                422, "Invalid", f'Pod "{name}" is invalid: spec: Forbidden: pod updates may not change fields'
            )
        meta = after["metadata"]
        if meta.get("deletionTimestamp") and meta.get("deletionGracePeriodSeconds") == 0 and not meta.get("finalizers"):
            return self._remove(namespace, name, after)
        return self._note("MODIFIED", namespace, name, after, before)

    def bind(self, namespace: str, name: str, node: str) -> None:
        before = self.get(namespace, name)
        if before["spec"].get("nodeName"):
            raise Refused(409, "Conflict", f"pod {name} is already assigned to node {before['spec']['nodeName']!r}")
        after = copy.deepcopy(before)
        after["spec"]["nodeName"] = node
        conditions = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": _now()}]
        after["status"] = {**after["status"], "conditions": conditions}
        self._note("MODIFIED", namespace, name, after, before)

    def delete(self, namespace: str, name: str, options: Json) -> Json:
        before = self.get(namespace, name)
        uid = (options.get("preconditions") or {}).get("uid")
        if uid is not None and uid != before["metadata"]["uid"]:
            said = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['metadata']['uid']}"
            raise Refused(409, "Conflict", f'Operation cannot be fulfilled on pods "{name}": {said}')
        grace_s = options.get("gracePeriodSeconds")
        if grace_s is None:
            grace_s = before["spec"].get("terminationGracePeriodSeconds", 30)
        if not before["spec"].get("nodeName") or before["status"].get("phase") in ("Succeeded", "Failed"):
            grace_s = 0
        after = copy.deepcopy(before)
        until = datetime.now(UTC) + timedelta(seconds=grace_s)
        after["metadata"] |= {"deletionTimestamp": _text(until), "deletionGracePeriodSeconds": grace_s}
        if grace_s > 0 or after["metadata"].get("finalizers"):
            return self._note("MODIFIED", namespace, name, after, before)
        return self._remove(namespace, name, after)

    def _remove(self, namespace: str, name: str, last: Json) -> Json:
        before = self._note("MODIFIED", namespace, name, last, self._pods[namespace, name])
        gone = self._note("DELETED", namespace, name, last, before)
        del self._pods[namespace, name]
        return gone

    def _note(self, type_: str, namespace: str, name: str, pod: Json, before: Json | None) -> Json:
        self._version += 1
        pod = copy.deepcopy(pod)
        pod["metadata"] = {**pod["metadata"], "resourceVersion": str(self._version)}
        pod = {"kind": "Pod", "apiVersion": "v1", **pod}
        self._pods[namespace, name] = pod
        self.history.append(Event(self._version, type_, pod, before))
        self.changed.set()
        self.changed = trio.Event()
        return pod


def matches(pod: Json, label_selector: str, field_selector: str) -> bool:
    labels = pod["metadata"].get("labels") or {}
    fields = {
        "metadata.name": pod["metadata"]["name"],
        "status.phase": _field(pod.get("status"), "phase"),
        "spec.nodeName": _field(pod.get("spec"), "nodeName"),
    }
    for term in filter(None, field_selector.split(",")):
        key, value = re.split(r"==?", term, maxsplit=1)
        if key not in fields:
            raise Refused(400, "BadRequest", f"field label not supported: {key}")
        if fields[key] != value:
            return False
    return all(_has_label(labels, term) for term in filter(None, label_selector.split(",")))


def _field(of: Any, name: str) -> str:
    return str(of.get(name, "")) if isinstance(of, dict) else ""


def _has_label(labels: Json, term: str) -> bool:
    if "!=" in term:
        key, value = term.split("!=")
        return labels.get(key) != value
    if "=" in term:
        key, value = re.split(r"==?", term, maxsplit=1)
        return labels.get(key) == value
    if not re.fullmatch(r"!?[A-Za-z0-9./_-]+", term):
        raise Refused(400, "BadRequest", f"unable to parse requirement: {term!r}")
    return (term.lstrip("!") in labels) is not term.startswith("!")


def _merged(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict) or not isinstance(old, dict):
        return copy.deepcopy(patch)
    merged = copy.deepcopy(old)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key, {}), value)
    return merged


def _now() -> str:
    return _text(datetime.now(UTC))


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
