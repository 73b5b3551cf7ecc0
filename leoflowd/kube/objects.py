"""Pods as the API server writes them, read with patience: what cannot be read is an object set aside, never an error.

Only the fields that we act on are named; whoever may create pods may write anything into the rest (CVE-2026-40886).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from leoflowd.contract.termination import read_termination
from leoflowd.core.pod_outcome import PodFacts, Terminated
from leoflowd.core.pod_wishes import CONTAINER
from leoflowd.kube.labels import DAEMON, TRACEPARENT, TRIGGER_HOST, TRY_ID

OBJECT_MAX_BYTES = 4 * 1024 * 1024
"""etcd takes 1.5 MiB."""
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SAMPLED = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-01")
"""W3C's `traceparent` of a trace that is sent."""
_EPOCH = datetime.fromtimestamp(0, UTC)


class _Lax(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Unknown fields are passed over."""


class Metadata(_Lax, frozen=True, kw_only=True):
    name: str
    uid: str
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: Any = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class _Condition(_Lax, frozen=True, kw_only=True):
    type: str
    status: str = ""
    reason: str | None = None
    message: str | None = None
    last_transition_time: datetime | None = None


class _Waiting(_Lax, frozen=True, kw_only=True):
    reason: str | None = None
    message: str | None = None


class _Ended(_Lax, frozen=True, kw_only=True):
    exit_code: int = -1
    signal: int | None = None
    reason: str | None = None
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class _State(_Lax, frozen=True, kw_only=True):
    waiting: _Waiting | None = None
    running: dict[str, Any] | None = None
    terminated: _Ended | None = None


class _ContainerStatus(_Lax, frozen=True, kw_only=True):
    name: str
    state: _State | None = None


class _Status(_Lax, frozen=True, kw_only=True):
    phase: str | None = None
    reason: str | None = None
    message: str | None = None
    conditions: list[_Condition] | None = None
    container_statuses: list[_ContainerStatus] | None = None


class _Resources(_Lax, frozen=True, kw_only=True):
    limits: dict[str, Any] | None = None
    requests: dict[str, Any] | None = None


class _Container(_Lax, frozen=True, kw_only=True):
    name: str
    resources: _Resources | None = None


class _Spec(_Lax, frozen=True, kw_only=True):
    node_name: str | None = None
    containers: list[_Container] | None = None


class _Pod(_Lax, frozen=True, kw_only=True):
    metadata: Metadata
    spec: _Spec | None = None
    status: _Status | None = None


class _Barest(_Lax, frozen=True, kw_only=True):
    """For objects that cannot be read: what can be said of them."""

    metadata: dict[str, Any] = {}


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """One pod at one moment. `uid` tells it from a later one of the same name."""

    name: str
    uid: str
    resource_version: str
    try_id: str
    """Of a trigger host's pod the id of the host."""
    facts: PodFacts
    daemon: str = ""
    """Which one wants it, of a trigger host's pod."""
    trace_id: bytes = b""
    """Of its dag run; empty: it is not traced."""


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """An object of which not even a name, an id and a try can be told."""

    because: str
    size_bytes: int


def read_pod(raw: bytes | msgspec.Raw) -> Pod | Unreadable:
    """Never raises."""
    if len(bytes(raw)) > OBJECT_MAX_BYTES:
        return Unreadable(because=f"it is larger than {OBJECT_MAX_BYTES} bytes", size_bytes=len(bytes(raw)))
    try:
        pod = _POD.decode(raw)
        return _known(pod)
    except (ValueError, RecursionError, KeyError) as error:
        return _barely(raw, f"{type(error).__name__}: {error}")


def _known(pod: _Pod) -> Pod:
    meta = pod.metadata
    labels = meta.labels or {}
    try_id = labels[TRIGGER_HOST if TRIGGER_HOST in labels else TRY_ID]
    if not _UUID.fullmatch(try_id):
        raise ValueError("it has no label with the id of a try or a trigger host")
    return Pod(
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        try_id=try_id,
        facts=_facts(pod),
        daemon=labels.get(DAEMON, ""),
        trace_id=_trace_id(meta.annotations),
    )


def _trace_id(annotations: Any) -> bytes:
    said = annotations.get(TRACEPARENT) if isinstance(annotations, dict) else None
    found = _SAMPLED.fullmatch(said) if isinstance(said, str) else None
    return b"" if found is None else bytes.fromhex(found[1])


def _facts(pod: _Pod) -> PodFacts:
    status, spec = pod.status or _Status(), pod.spec or _Spec()
    conditions = {one.type: one for one in status.conditions or ()}
    created_at = pod.metadata.creation_timestamp or _EPOCH
    scheduled = conditions.get("PodScheduled")
    disruption = conditions.get("DisruptionTarget")
    state = next((one.state for one in status.container_statuses or () if one.name == CONTAINER), None) or _State()
    resources = next((one.resources for one in spec.containers or () if one.name == CONTAINER), None) or _Resources()
    is_scheduled = bool(spec.node_name) or (scheduled is not None and scheduled.status == "True")
    return PodFacts(
        phase=status.phase or "",
        reason=status.reason or "",
        message=status.message or "",
        created_at=created_at,
        scheduled_at=((scheduled and scheduled.last_transition_time) or created_at) if is_scheduled else None,
        unscheduled_because="" if scheduled is None or is_scheduled else scheduled.message or scheduled.reason or "",
        is_running=state.running is not None,
        waiting=(state.waiting and state.waiting.reason) or "",
        waiting_message=(state.waiting and state.waiting.message) or "",
        terminated=None if state.terminated is None else _terminated(state.terminated),
        disruption=""
        if disruption is None or disruption.status != "True"
        else ": ".join(filter(None, (disruption.reason, disruption.message))),
        deleted_at=pod.metadata.deletion_timestamp,
        memory_limit=str((resources.limits or {}).get("memory", "")),
        memory_request=str((resources.requests or {}).get("memory", "")),
    )


def _terminated(ended: _Ended) -> Terminated:
    return Terminated(
        exit_code=ended.exit_code,
        reason=ended.reason or "",
        signal=ended.signal or 0,
        left=read_termination(ended.message) if ended.message else None,
        started_at=ended.started_at,
        finished_at=ended.finished_at,
    )


def _barely(raw: bytes | msgspec.Raw, because: str) -> Pod | Unreadable:
    """Whose it is can often be told all the same; then its try ends for it, and waits for nobody."""
    try:
        meta = _BAREST.decode(raw).metadata
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        meta = {}
    labels = meta.get("labels")
    name, uid, try_id = meta.get("name"), meta.get("uid"), labels.get(TRY_ID) if isinstance(labels, dict) else None
    if not (isinstance(name, str) and isinstance(uid, str) and isinstance(try_id, str) and _UUID.fullmatch(try_id)):
        return Unreadable(because=because, size_bytes=len(bytes(raw)))
    version = meta.get("resourceVersion")
    return Pod(
        name=name,
        uid=uid,
        resource_version=version if isinstance(version, str) else "",
        try_id=try_id,
        facts=PodFacts(created_at=_EPOCH, unreadable=because[:300]),
    )


_POD = msgspec.json.Decoder(_Pod)
_BAREST = msgspec.json.Decoder(_Barest)
