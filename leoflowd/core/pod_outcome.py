"""What the state of a pod means for its try: it comes, it runs, its try has ended, or nothing of it is needed any more.

`executors.pod_watcher` asks after every event and when `Coming.until` has passed. A container's end shows one or two
events before the pod's phase changes, so containers count first. Two rules decide what an end costs:

* What the agent left in the termination message is the outcome, whatever exit code or reason came after it.
* Without it nobody knows how the try ended: that is LOST, which costs no retry of the user's and has a bounded budget
  of its own (`core.retries.MAX_INFRA_FAULTS`). Except where Kubernetes knows that the task itself is to blame: it
  needed more memory than its limit, or its image has a name that is none.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.termination import Termination
from leoflowd.contract.values import later

EXIT_STORED = 0
EXIT_STALE = 3
EXIT_BAD_ENVIRONMENT = 78
"""Exit codes of `leoflow_agent pod`."""
SAID_MAX = 500
"""Characters of a sentence of Kubernetes that we repeat."""

HOPELESS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
"""No retry mends these; the latter only as far as the author chose that policy."""
PULLING = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError"})
CONFIGURING = frozenset({
    "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PostStartHookError",
    "ContainerCannotRun", "CreatePodSandboxError",
})  # fmt: skip


class PodLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long a pod may take to begin, in seconds; what takes longer is an infrastructure fault."""

    schedule_s: float = 3600.0
    """For a node to be found: clusters that grow need minutes, full ones longer."""
    start_s: float = 900.0
    """From a node to a running container."""
    pull_s: float = 600.0
    """From a node, while the image cannot be had."""
    configure_s: float = 120.0
    """From a node, while the container cannot be made, e.g. for want of a secret that it names."""
    leave_s: float = 60.0
    """After the grace of a deletion: a node that has not ended the pod by then does not answer."""


class Terminated(msgspec.Struct, frozen=True, kw_only=True):
    """A container that has ended."""

    exit_code: int
    reason: str = ""
    signal: int = 0
    left: Termination | None = None
    """What our agent wrote, if it is that."""
    started_at: datetime | None = None
    finished_at: datetime | None = None


class PodFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A pod as the API server last showed it. Words of Kubernetes; empty = it says nothing."""

    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    created_at: datetime
    scheduled_at: datetime | None = None
    unscheduled_because: str = ""
    is_running: bool = False
    """Its container is."""
    waiting: str = ""
    waiting_message: str = ""
    terminated: Terminated | None = None
    disruption: str = ""
    """Of the condition `DisruptionTarget`: eviction, preemption, a node that is taken away."""
    deleted_at: datetime | None = None
    """When the grace of its deletion is over."""
    is_gone: bool = False
    """The API server has it no more; the rest is what it last was."""
    memory_limit: str = ""
    memory_request: str = ""
    unreadable: str = ""
    """Why its object cannot be read; the rest is void then."""


class Coming(msgspec.Struct, frozen=True, kw_only=True):
    """It may still begin. Look again at `until`, also when nothing happens."""

    because: str
    until: datetime


class Running(msgspec.Struct, frozen=True):
    """Its agent speaks for it."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The try is over, and the agent may not have told; after `outcome` is stored the pod may go."""

    kind: OutcomeKind
    because: str
    outcome: Outcome | None = None
    """As the agent left it; None: what `kind` says is all that is known."""
    exit_code: int | None = None


class NotNeeded(msgspec.Struct, frozen=True, kw_only=True):
    """Its outcome is stored: the pod may go."""

    because: str


Verdict = Coming | Running | Ended | NotNeeded


class PodEnd(StrEnum):
    """What ended a pod, in a few words for counting; `judge` has the sentence."""

    REPORTED = "reported"
    """Its agent said how the try ended, well or badly."""
    SILENT = "silent"
    """Its container ended, and nobody said how the try did."""
    OUT_OF_MEMORY = "out_of_memory"
    DISRUPTED = "disrupted"
    """Evicted, preempted, its node taken away."""
    DELETED = "deleted"
    """By somebody, before its end."""
    NOT_SCHEDULED = "not_scheduled"
    NO_IMAGE = "no_image"
    NOT_STARTED = "not_started"
    """It had a node, and its container never began."""
    UNREADABLE = "unreadable"
    UNWANTED = "unwanted"
    """Its try was not current any more."""


def how_ended(pod: PodFacts) -> PodEnd:
    """Of a pod that is about to go. Total."""
    end = pod.terminated
    if pod.unreadable:
        return PodEnd.UNREADABLE
    if end is not None and end.left is not None and (end.left.is_stored or end.left.outcome is not None):
        return PodEnd.REPORTED
    if pod.disruption or pod.reason:
        return PodEnd.DISRUPTED
    if end is not None:
        return PodEnd.OUT_OF_MEMORY if end.reason == "OOMKilled" else PodEnd.SILENT
    if pod.phase in ("Failed", "Succeeded"):
        return PodEnd.SILENT
    if pod.is_gone or pod.deleted_at is not None:
        return PodEnd.DELETED
    if pod.is_running:
        return PodEnd.UNWANTED
    return _how_pending(pod)


def _how_pending(pod: PodFacts) -> PodEnd:
    if pod.scheduled_at is None:
        return PodEnd.NOT_SCHEDULED
    return PodEnd.NO_IMAGE if pod.waiting in PULLING | HOPELESS else PodEnd.NOT_STARTED


def judge(pod: PodFacts, limits: PodLimits, now: datetime) -> Verdict:
    """Total: whatever Kubernetes, or somebody else, writes into a pod has a meaning."""
    if pod.unreadable:
        return _lost(f"its pod cannot be read: {pod.unreadable}")
    if pod.terminated is not None:
        return _after_end(pod, pod.terminated)
    if pod.phase in ("Failed", "Succeeded"):
        return _lost(f"its pod ended as {pod.phase} and no container of it is known to have run{_why(pod)}")
    if pod.is_gone:
        return _lost(f"its pod was deleted before it reported an end{_why(pod)}")
    if pod.deleted_at is not None:
        return _while_deleted(pod, pod.deleted_at, limits, now)
    if pod.is_running:
        return Running()
    return _while_pending(pod, limits, now)


def _after_end(pod: PodFacts, end: Terminated) -> Verdict:
    left = end.left
    if left is not None and left.is_stored:
        return NotNeeded(because="its outcome is stored")
    if left is not None and left.outcome is not None:
        outcome = left.outcome
        return Ended(kind=outcome.kind, because=outcome.because, outcome=outcome, exit_code=end.exit_code)
    if left is not None and left.because:
        return _lost(left.because, end.exit_code)
    why = _why(pod)
    if why:
        return _lost(f"its pod ended{why}", end.exit_code)
    if end.reason == "OOMKilled":
        return Ended(kind=OutcomeKind.FAILED, because=_out_of_memory(pod, end), exit_code=end.exit_code)
    return _lost(_silent_end(end), end.exit_code)


def _out_of_memory(pod: PodFacts, end: Terminated) -> str:
    limit = pod.memory_limit or "none of its own: the node was full"
    asked = f", asked for {pod.memory_request}" if pod.memory_request else ""
    return (
        f"{end.exit_code}, memory limit {limit}{asked}: the kernel ended the pod's processes because they needed more. "
        "Raise `resources.limits.memory` of the task, or let it hold less at once"
    )


def _silent_end(end: Terminated) -> str:
    match end.exit_code:
        case code if code == EXIT_STALE:
            return "its agent was told that the try is not current, and ran nothing"
        case code if code == EXIT_BAD_ENVIRONMENT:
            return "its agent could not begin: the pod's environment is wrong (exit code 78); its log says what"
        case code if code == EXIT_STORED:
            return "its pod ended with exit code 0 and no report; is the image's entrypoint the agent?"
    by = f" by signal {end.signal}" if end.signal else ""
    reason = f" ({end.reason})" if end.reason and end.reason != "Error" else ""
    return f"its agent ended{by} with exit code {end.exit_code}{reason} and left no outcome"


def _while_deleted(pod: PodFacts, deleted_at: datetime, limits: PodLimits, now: datetime) -> Verdict:
    """Somebody deletes it: its agent has the grace to report. A node that is lost never lets go of it."""
    until = later(deleted_at, limits.leave_s)
    if now >= until:
        return _lost(f"its pod should have been gone by {deleted_at:%H:%M:%S} UTC; its node does not answer{_why(pod)}")
    return Coming(because=f"its pod is being deleted{_why(pod)}", until=until)


def _while_pending(pod: PodFacts, limits: PodLimits, now: datetime) -> Verdict:
    if pod.scheduled_at is None:
        why = f": {_cut(pod.unscheduled_because)}" if pod.unscheduled_because else ""
        return _patient(f"no node has been found for its pod{why}", pod.created_at, limits.schedule_s, now)
    said = f" ({_cut(pod.waiting_message)})" if pod.waiting_message else ""
    what = f"its container waits: {pod.waiting}{said}" if pod.waiting else "its node has not begun its container"
    if pod.waiting in HOPELESS:
        return Ended(kind=OutcomeKind.FAILED_FOR_GOOD, because=what)
    if pod.waiting == "CrashLoopBackOff":  # our pods never restart: somebody changed it
        return _lost(what)
    limit_s = limits.start_s
    if pod.waiting in PULLING:
        limit_s = limits.pull_s
    elif pod.waiting in CONFIGURING:
        limit_s = limits.configure_s
    return _patient(what, pod.scheduled_at, limit_s, now)


def _patient(what: str, since: datetime, limit_s: float, now: datetime) -> Verdict:
    until = later(since, limit_s)
    if now < until:
        return Coming(because=what, until=until)
    return _lost(f"{what}, since {(now - since).total_seconds():.0f} s (limit {limit_s:.0f} s)")


def _lost(because: str, exit_code: int | None = None) -> Ended:
    return Ended(kind=OutcomeKind.LOST, because=because, exit_code=exit_code)


def _why(pod: PodFacts) -> str:
    """What Kubernetes says of the end of the whole pod."""
    if pod.disruption:
        return f": {_cut(pod.disruption)}"
    said = ": ".join(_cut(text) for text in (pod.reason, pod.message) if text)
    return f": {said}" if said else ""


def _cut(text: str) -> str:
    return text if len(text) <= SAID_MAX else text[:SAID_MAX] + "..."
