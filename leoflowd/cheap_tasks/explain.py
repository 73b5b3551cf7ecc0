"""Why one wait still waits: what `leoflow waits show`, the pool page and the log of a waiting try say. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec

from leoflowd.cheap_tasks.groups import GroupState, ProbeGroup
from leoflowd.cheap_tasks.records import WaitRecord
from leoflowd.contract.pool_view import BreakerState, WaitExplanation
from leoflowd.contract.values import later


class Clocks(msgspec.Struct, frozen=True):
    """This moment on both clocks."""

    wall: datetime
    steady: float
    """Trio's, which groups and budgets count in."""

    def moment(self, at: float) -> datetime:
        """A moment of the steady clock, for people."""
        return later(self.wall, at - self.steady)


def explain_probed(record: WaitRecord, group: ProbeGroup, wanted_s: float, clocks: Clocks) -> WaitExplanation:
    probes = () if group.history is None else group.history.records()
    seen = next((probe for probe in reversed(probes) if not probe.is_error), None)
    blocked = blocked_by(group, clocks)
    return WaitExplanation(
        kind=group.kind_name,
        waits_for=group.kind.describe(group.spec),
        why_still=_why_still(group, blocked, None if not probes else probes[-1].summary),
        last_observation=None if seen is None else seen.summary,
        last_observed_at=None if seen is None else seen.at,
        probes=probes,
        next_probe_at=None if group.wake is None else clocks.moment(max(group.wake.wake_at, clocks.steady)),
        due_at=None,
        is_probing=group.state is GroupState.PROBING,
        shared_with=group.size - 1,
        blocked_by=blocked,
        poke_interval_s=wanted_s,
        deadline_at=_moment(record.deadline_at),
    )


def explain_timed(record: WaitRecord) -> WaitExplanation:
    """Its moment is kept only if it comes before the deadline."""
    is_due = record.wake_at < record.deadline_at
    due_at = _moment(record.wake_at) if is_due else None
    what = "a moment after its deadline, or that never comes" if due_at is None else f"until {due_at:%F %T} UTC"
    return _unprobed(
        record,
        waits_for=what,
        why_still="its moment has not come" if is_due else "its deadline comes first",
        due_at=due_at,
    )


def explain_trigger(record: WaitRecord, said: str) -> WaitExplanation:
    """`said` is what the trigger hosts know of it."""
    return _unprobed(record, waits_for="a trigger in a trigger host", why_still=said, due_at=None)


def explain_question(record: WaitRecord) -> WaitExplanation:
    return _unprobed(record, waits_for="a person's answer", why_still="nobody has answered yet", due_at=None)


def blocked_by(group: ProbeGroup, clocks: Clocks) -> str | None:
    """Sentence; None: nothing but time."""
    if group.is_quarantined:
        return (
            f"quarantined: its last {group.strikes} probes were cut off or broke ({group.strike}); it is asked rarely "
            "until it answers, or until a person probes it"
        )
    if group.gate is not None:
        return _blocked_by_gate(group, clocks)
    if group.postponed_until > clocks.steady:
        return f"asked for patience until {clocks.moment(group.postponed_until):%F %T} UTC"
    return None


def _blocked_by_gate(group: ProbeGroup, clocks: Clocks) -> str | None:
    gate = group.gate
    assert gate is not None
    budget, now = gate.budget, clocks.steady
    breaker = budget.breaker(now)
    if breaker is BreakerState.OPEN and budget.retry_at is not None:
        until = clocks.moment(budget.retry_at)
        return (
            f"{gate.target} did not answer {budget.failures} times in a row; it is left alone until {until:%F %T} UTC"
        )
    if breaker is BreakerState.HALF_OPEN:
        return f"{gate.target} did not answer lately; one probe finds out whether it is back"
    if budget.throttled_until > now:
        until = clocks.moment(budget.throttled_until)
        return f"{gate.target} asked for patience until {until:%F %T} UTC"
    if group.state is GroupState.READY and budget.opens_at(now) > now:
        return f"the budget of {gate.target} is used up; {len(gate.line)} probes are in line, {budget.in_flight} run"
    return None


def _why_still(group: ProbeGroup, blocked: str | None, last: str | None) -> str:
    if blocked is not None:
        return blocked
    if last is None:
        return "it is being probed for the first time" if group.state is GroupState.PROBING else "not probed yet"
    return f"the last probe saw: {last}"


def _unprobed(record: WaitRecord, **fields: Any) -> WaitExplanation:
    return WaitExplanation(
        kind=record.source.kind_name,
        last_observation=None,
        last_observed_at=None,
        probes=(),
        next_probe_at=None,
        is_probing=False,
        shared_with=0,
        blocked_by=None,
        poke_interval_s=record.terms.wait.poke_interval_s,
        deadline_at=_moment(record.deadline_at),
        **fields,
    )


def _moment(at: float) -> datetime | None:
    return datetime.fromtimestamp(at, UTC) if math.isfinite(at) else None
