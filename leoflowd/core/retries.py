"""When the next try may begin, and whether there is one: Airflow 3.2's arithmetic (`TaskInstance.next_retry_datetime`).

Called by `dag_run_plan.plan_outcome`. The jitter is no randomness: it is a hash of which try it is, so that every
replica, and Airflow itself, finds the same moment.
"""

from __future__ import annotations

import hashlib
import math
from datetime import datetime

from leoflowd.contract.values import later
from leoflowd.core.dag_shape import TaskNode
from leoflowd.core.run_view import InstanceFacts

MAX_BACKOFF_S = 24 * 60 * 60
"""Longest exponential delay, Airflow's `[core] max_task_retry_delay`; a constant `retry_delay` may be longer."""

MAX_INFRA_FAULTS = 6
"""How often an instance is started anew after infrastructure faults before it fails."""

INFRA_DELAYS_S = (0.0, 5.0, 20.0, 60.0, 180.0, 600.0)
"""Before each of those: at once after one fault, then ever later, so that a full disk has a quarter of an hour."""


def has_retries_left(node: TaskNode, facts: InstanceFacts) -> bool:
    """May a try that failed be followed by another? Infrastructure faults raised both numbers, so they cost nothing."""
    return node.spec.retries > 0 and facts.try_number <= facts.max_tries


def next_infra_try_at(facts: InstanceFacts, now: datetime) -> datetime | None:
    """When the try after the present infrastructure fault may be scheduled; None = at once."""
    delay_s = INFRA_DELAYS_S[min(facts.infra_faults, len(INFRA_DELAYS_S) - 1)]
    return later(now, delay_s) if delay_s else None


def next_retry_at(
    node: TaskNode, facts: InstanceFacts, ended_at: datetime, *, dag_id: str, logical_date: datetime | None
) -> datetime:
    """The moment from which the next try may be scheduled, for a try that ended at `ended_at`."""
    spec = node.spec
    base = spec.retry_exponential_backoff
    if base in (0, 1):
        return later(ended_at, spec.retry_delay_s)
    floor = _backoff_floor_s(spec.retry_delay_s, base, facts.try_number - 1 - facts.infra_faults)
    identity = f"{dag_id}#{spec.task_id}#{logical_date}#{facts.try_number}"
    jitter = int(hashlib.sha1(identity.encode(), usedforsecurity=False).hexdigest(), 16) % floor
    delay_s: float = min(floor + jitter, MAX_BACKOFF_S)
    if spec.max_retry_delay_s:
        delay_s = min(delay_s, spec.max_retry_delay_s)
    return later(ended_at, delay_s)


def _backoff_floor_s(delay_s: float, base: float, exponent: int) -> int:
    """Whole seconds, at least 1: half of the widest delay that this try may get."""
    try:
        return max(1, math.ceil(delay_s * base ** max(0, exponent)))
    except OverflowError:  # after some fifty tries the power leaves the range of a float
        return MAX_BACKOFF_S
