"""The cheap-task pool as people see it: its numbers, and why one wait still waits.

The pool fills these structs, the API and `/metrics` show them; neither imports the other. Times are UTC, durations
seconds. What the store knows of a wait (its DAG, its terms) is not repeated here.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from leoflowd.contract.waits import WaitAction

PROBES_SHOWN = 20
"""How many of its last probes a group remembers."""
TARGETS_SHOWN = 50
"""How many targets and quarantined groups the statistics name: the blocked ones first, then the slowest."""


class BreakerState(StrEnum):
    """Of one target's circuit breaker."""

    CLOSED = "closed"
    """Probed as budgets allow."""
    OPEN = "open"
    """Not probed until `TargetStatistics.retry_at`."""
    HALF_OPEN = "half_open"
    """One probe finds out whether the target is back."""


class TargetStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the pool knows of one (target, connection): its budget, its breaker, how fast it answers."""

    target: str
    """As the kind names it: a host and port, a database, a bucket."""
    connection_id: str | None
    tokens: float
    """Probes that may start at once."""
    in_flight: int
    waiting_groups: int
    """Groups that are due and wait for the budget or the breaker."""
    breaker: BreakerState
    retry_at: datetime | None
    """When the open breaker lets one probe through."""
    throttled_until: datetime | None
    """The target's own `Retry-After`."""
    latency_mean_s: float | None
    """Over its recent probes; None before the first one ended."""


class QuarantinedGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A probe that was cut off or broke three times in a row: asked rarely until it answers again."""

    key: str
    kind: str
    waits: int
    reason: str
    """What the last strike was, one sentence."""
    next_probe_at: datetime | None


class PoolStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters count from the start of the process."""

    waits: dict[str, int]
    """Parked now, by kind; in this daemon, as everything here."""
    shards: int
    """Of the `core.pool_shards.SHARDS` that all waits fall into: those that this daemon watches."""
    groups: int
    """Distinct probes among them (timed kinds have none)."""
    armed: int
    """Waits read from the store since the start: those of each share that this daemon was given."""
    armed_in_s: float
    """The last time."""
    probes_made: int
    probes_saved: int
    """Waits that a probe served beyond its first: what coalescing spared."""
    probes_failed: int
    """Ended in an error, a timeout, or with the target down."""
    probes_in_flight: int
    ready_groups: int
    """Due, and waiting for a worker or for their target's budget."""
    ended_fired: int
    """The condition came true: the task succeeded, or goes on with the event."""
    ended_failed: int
    ended_timed_out: int
    lateness_p50_s: float | None
    """From the moment a wait or probe was due until it was served, over a recent window; None if nothing was due."""
    lateness_p99_s: float | None
    lateness_max_s: float | None
    targets: tuple[TargetStatistics, ...]
    """At most `TARGETS_SHOWN`."""
    target_count: int
    quarantined: tuple[QuarantinedGroup, ...]
    """At most `TARGETS_SHOWN`."""
    quarantined_count: int
    stalls: int
    """Times the event loop stood still for longer than the configuration allows."""
    longest_stall_s: float


class ProbeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One probe that ended."""

    at: datetime
    """When it began."""
    duration_s: float
    summary: str
    """What was seen, or what went wrong: one line."""
    is_error: bool = False


class WaitExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why one wait still waits."""

    kind: str
    waits_for: str
    """The kind's own sentence: `HTTP GET /status at api.example.org answers below 400`."""
    why_still: str
    """One sentence: not probed yet, condition not met (last observation), blocked, quarantined, not due."""
    last_observation: str | None
    last_observed_at: datetime | None
    probes: tuple[ProbeRecord, ...]
    """Oldest first, at most `PROBES_SHOWN`; empty for a kind that is not probed."""
    next_probe_at: datetime | None
    """None: a moment or an event wakes it (`due_at`), or a probe runs now (`is_probing`)."""
    due_at: datetime | None
    """When a timed kind comes true."""
    is_probing: bool
    shared_with: int
    """Other waits on the same probe."""
    blocked_by: str | None
    """Sentence about the budget, the breaker, Retry-After or the quarantine; None when nothing blocks it."""
    poke_interval_s: float
    """As it applies now, after exponential backoff."""
    deadline_at: datetime | None


class Pool(Protocol):
    """The pool as the API reaches it. Nothing here waits for a probe."""

    def statistics(self) -> PoolStatistics: ...

    def holds(self, wait_id: str) -> bool:
        """Whether this wait is in the share of this daemon; else another one watches it."""

    def explain(self, wait_id: str) -> WaitExplanation | None:
        """None: it is not watched here: ended, of a paused DAG, registered this very moment, or of another share."""

    def act(self, wait_id: str, action: WaitAction) -> bool:
        """Begins it; what follows is committed by the scheduler. False: the pool does not watch this wait."""

    async def set_poke_interval(self, wait_id: str, seconds: float) -> bool:
        """Stored first, then applied. False: no longer waited for. Raises `StoreUnavailable`."""
