"""What is waited for, and on which terms: the part of a wait that the artifact and the agents' messages carry."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0)]


class WaitMode(StrEnum):
    """How Airflow would run the sensor; here it decides what state the UI shows while it waits, and a little of how it
    ends (`cheap_tasks.endings`)."""

    POKE = "poke"
    """Shown as `deferred`: no process, no slot."""
    RESCHEDULE = "reschedule"
    """Shown as `up_for_reschedule`."""
    DEFERRABLE = "deferrable"
    """Shown as `deferred`."""


class _Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base."""


class ProbeSpec(_Spec, frozen=True, kw_only=True):
    """One question to the world. Equal probes are asked once for all who wait (`contract.waits.coalescing_key`)."""

    kind: str
    """A kind of `leoflow_sensors` (`http`, `file`, `time`, ...), or `trigger`."""
    arguments: dict[str, Any] = {}
    """The kind's spec as plain JSON, without what only the predicate needs."""
    connection_id: str | None = None
    """The credential: waits never share a probe across connections."""


class Resume(_Spec, frozen=True, kw_only=True):
    """Where a deferred task goes on: Airflow's `next_method` and `next_kwargs`."""

    next_method: str
    next_kwargs: Any = None
    """In the runner's XCom form; None = no arguments but the event."""


class WaitTerms(_Spec, frozen=True, kw_only=True):
    """One wait's own conditions; many waits may share one probe on different terms."""

    predicate: dict[str, Any] = {}
    """What the kind's `judge` gets beside the observation."""
    mode: WaitMode = WaitMode.POKE
    poke_interval_s: Seconds = 60.0
    exponential_backoff: bool = False
    max_wait_s: Seconds | None = None
    timeout_s: Seconds | None = 604_800.0
    """Cumulative, from the first registration of the try; None = never. 7 days is Airflow's default."""
    soft_fail: bool = False
    silent_fail: bool = False
    never_fail: bool = False
    resume: Resume | None = None
    """None: the end of the wait is the end of the task. Else the task goes on in a fresh process."""
    event: Any = None
    """With `resume`: what the task's next method gets when the wait is met, in the runner's XCom form. None = the
    verdict's own event. For triggers of Airflow whose event is known beforehand (`core.known_triggers`)."""


class WaitSpec(_Spec, frozen=True, kw_only=True):
    probe: ProbeSpec
    terms: WaitTerms = WaitTerms()


class TriggerSpec(_Spec, frozen=True, kw_only=True):
    """A trigger as an operator deferred with it: `BaseTrigger.serialize()`."""

    classpath: str
    kwargs: Any = {}
    """In the runner's XCom form."""


class Deferral(_Spec, frozen=True, kw_only=True):
    """How a task process ends when it only wants to wait: exactly one of `wait` and `trigger` is set.

    `wait` comes from a native sensor whose templates only the process could render; `trigger` from `TaskDeferred`.
    """

    wait: WaitSpec | None = None
    trigger: TriggerSpec | None = None
    next_method: str = ""
    next_kwargs: Any = None
    timeout_s: Seconds | None = None


class HttpCall(_Spec, frozen=True, kw_only=True):
    """One inline HTTP task (`kind="http"`): `HttpOperator` without code in its arguments. Templates are simple ones."""

    endpoint: str | None = None
    """Joined to the connection's base URL; an absolute URL when there is no connection."""
    method: str = "POST"
    headers: dict[str, str] = {}
    data: Any = None
    """A mapping or text: query for GET and HEAD, form or raw body else, as Airflow's HttpHook."""
    json: Any = None
    connection_id: str | None = "http_default"
    auth_type: str | None = None
    """None or `basic`."""
    timeout_s: Seconds = 60.0
    expect: dict[str, Any] = {}
    """`status`: list of accepted codes; `json_path`/`equals`: a predicate on the body. Empty: status below 400."""
    response: str = "text"
    """What becomes the XCom: `text`, `json`, or `none`."""
    max_response_bytes: int = 1024 * 1024
