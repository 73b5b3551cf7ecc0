"""The pool's numbers: counted while it runs, put together for the pool page, `leoflow waits stats` and `/metrics`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime

from leoflowd.cheap_tasks.explain import Clocks
from leoflowd.cheap_tasks.groups import ProbeGroup
from leoflowd.cheap_tasks.lines import Gate
from leoflowd.cheap_tasks.records import Parked
from leoflowd.cheap_tasks.schedule import ProbeSchedule
from leoflowd.cheap_tasks.stall_watcher import StallStatistics
from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.pool_view import (
    TARGETS_SHOWN,
    BreakerState,
    PoolStatistics,
    QuarantinedGroup,
    TargetStatistics,
)
from leoflowd.contract.waits import WaitEnd

WINDOW = 10_000
"""Waits and probes that lateness is told of."""


class Figures:
    """Counts from the start of the process."""

    def __init__(self) -> None:
        self.armed = 0
        self.armed_in_s = 0.0
        self.probes_made = 0
        self.probes_saved = 0
        self.probes_failed = 0
        self.fired = 0
        self.failed = 0
        self.timed_out = 0
        self._lateness: deque[float] = deque(maxlen=WINDOW)

    def count(self, end: WaitEnd) -> None:
        """A wait that ended otherwise than by its deadline. Skipped counts as failed: it did not come true."""
        if end.outcome is not None:
            is_fired = end.outcome.kind is OutcomeKind.SUCCESS
        else:
            is_fired = end.resume is not None and end.resume.error is None
        self.fired += is_fired
        self.failed += not is_fired

    def late(self, seconds: float) -> None:
        """A wait or a probe was served so long after it was due."""
        self._lateness.append(max(0.0, seconds))

    def lateness(self) -> tuple[float, float, float] | tuple[None, None, None]:
        """Half were this late at most; 99 of 100; all."""
        if not self._lateness:
            return None, None, None
        ordered = sorted(self._lateness)
        return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1]


def statistics(
    figures: Figures,
    *,
    parked: Parked,
    shards: int,
    schedule: ProbeSchedule,
    stalls: StallStatistics,
    probes_in_flight: int,
    clocks: Clocks,
) -> PoolStatistics:
    p50, p99, most = figures.lateness()
    gates = tuple(schedule.lines.gates())
    quarantined = [group for group in schedule.groups.values() if group.is_quarantined]
    return PoolStatistics(
        waits=dict(parked.by_kind),
        shards=shards,
        groups=len(schedule.groups),
        armed=figures.armed,
        armed_in_s=figures.armed_in_s,
        probes_made=figures.probes_made,
        probes_saved=figures.probes_saved,
        probes_failed=figures.probes_failed,
        probes_in_flight=probes_in_flight,
        ready_groups=len(schedule.lines),
        ended_fired=figures.fired,
        ended_failed=figures.failed,
        ended_timed_out=figures.timed_out,
        lateness_p50_s=p50,
        lateness_p99_s=p99,
        lateness_max_s=most,
        targets=_targets(gates, clocks),
        target_count=len(gates),
        quarantined=tuple(_quarantined(group, clocks) for group in quarantined[:TARGETS_SHOWN]),
        quarantined_count=len(quarantined),
        stalls=stalls.stalls,
        longest_stall_s=stalls.longest_s,
    )


def _targets(gates: Iterable[Gate], clocks: Clocks) -> tuple[TargetStatistics, ...]:
    """Blocked ones first, then the slowest."""
    now = clocks.steady

    def importance(gate: Gate) -> tuple[bool, float]:
        is_blocked = gate.budget.breaker(now) is not BreakerState.CLOSED or gate.budget.throttled_until > now
        return is_blocked, gate.budget.latency_mean_s or 0.0

    return tuple(_target(gate, clocks) for gate in sorted(gates, key=importance, reverse=True)[:TARGETS_SHOWN])


def _target(gate: Gate, clocks: Clocks) -> TargetStatistics:
    budget, now = gate.budget, clocks.steady
    breaker = budget.breaker(now)
    return TargetStatistics(
        target=gate.target,
        connection_id=gate.connection_id,
        tokens=budget.tokens(now),
        in_flight=budget.in_flight,
        waiting_groups=len(gate.line),
        breaker=breaker,
        retry_at=_later(budget.retry_at, clocks) if breaker is BreakerState.OPEN else None,
        throttled_until=_later(budget.throttled_until, clocks),
        latency_mean_s=budget.latency_mean_s,
    )


def _later(at: float | None, clocks: Clocks) -> datetime | None:
    """None when it is past."""
    return clocks.moment(at) if at is not None and at > clocks.steady else None


def _quarantined(group: ProbeGroup, clocks: Clocks) -> QuarantinedGroup:
    return QuarantinedGroup(
        key=group.key,
        kind=group.kind_name,
        waits=group.size,
        reason=group.strike,
        next_probe_at=None if group.wake is None else clocks.moment(group.wake.wake_at),
    )
