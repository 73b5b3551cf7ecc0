"""A pool that watches what a test tells it to, and remembers what it was asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from leoflowd.contract.pool_view import (
    BreakerState,
    PoolStatistics,
    ProbeRecord,
    QuarantinedGroup,
    TargetStatistics,
    WaitExplanation,
)
from leoflowd.contract.waits import WaitAction

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)

STATISTICS = PoolStatistics(
    waits={"http": 3, "file": 1},
    shards=64,
    groups=2,
    armed=4,
    armed_in_s=0.25,
    probes_made=10,
    probes_saved=20,
    probes_failed=1,
    probes_in_flight=1,
    ready_groups=0,
    ended_fired=5,
    ended_failed=2,
    ended_timed_out=1,
    lateness_p50_s=0.004,
    lateness_p99_s=0.031,
    lateness_max_s=0.2,
    targets=(
        TargetStatistics(
            target="https://api.example:443",
            connection_id="http_default",
            tokens=9.5,
            in_flight=1,
            waiting_groups=2,
            breaker=BreakerState.OPEN,
            retry_at=NOW,
            throttled_until=None,
            latency_mean_s=0.12,
        ),
    ),
    target_count=1,
    quarantined=(QuarantinedGroup(key="k", kind="http", waits=1, reason="cut off after 30 s", next_probe_at=NOW),),
    quarantined_count=1,
    stalls=0,
    longest_stall_s=0.0,
)

EXPLANATION = WaitExplanation(
    kind="http",
    waits_for="GET https://api.example/ready",
    why_still="the last probe saw HTTP 404 Not Found",
    last_observation="HTTP 404 Not Found",
    last_observed_at=NOW,
    probes=(ProbeRecord(at=NOW, duration_s=0.05, summary="HTTP 404 Not Found"),),
    next_probe_at=NOW,
    due_at=None,
    is_probing=False,
    shared_with=2,
    blocked_by=None,
    poke_interval_s=60.0,
    deadline_at=None,
)


@dataclass
class FakePool:
    watched: dict[str, WaitExplanation] = field(default_factory=dict)
    acts: list[tuple[str, WaitAction]] = field(default_factory=list)
    intervals: list[tuple[str, float]] = field(default_factory=list)
    shown: PoolStatistics = STATISTICS
    elsewhere: set[str] = field(default_factory=set)
    """Another daemon watches these."""
    is_deaf: bool = False
    """Every wait ends between the look at it and the action."""

    def watch(self, wait_id: str, **changes: object) -> None:
        self.watched[wait_id] = msgspec.structs.replace(EXPLANATION, **changes)

    def statistics(self) -> PoolStatistics:
        return self.shown

    def holds(self, wait_id: str) -> bool:
        return wait_id not in self.elsewhere

    def explain(self, wait_id: str) -> WaitExplanation | None:
        return self.watched.get(wait_id)

    def act(self, wait_id: str, action: WaitAction) -> bool:
        if self.is_deaf:
            return False
        self.acts.append((wait_id, action))
        return True

    async def set_poke_interval(self, wait_id: str, seconds: float) -> bool:
        if self.is_deaf:
            return False
        self.intervals.append((wait_id, seconds))
        return True
