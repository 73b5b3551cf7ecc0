"""Budgets of targets: rate, concurrency, breaker, patience."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.cheap_tasks.budgets import Budget
from leoflowd.config import PoolConfig
from leoflowd.contract.pool_view import BreakerState


def budget(**changes: Any) -> Budget:
    return Budget(PoolConfig(**{"target_rate": 10, "target_burst": 5, "target_concurrency": 100, **changes}), 0.0)


def fail(b: Budget, now: float, jitter: float = 1.0) -> None:
    b.start(now)
    b.failed(now, 0.1, jitter)


def test_a_burst_goes_at_once_and_then_the_rate_counts() -> None:
    b = budget()
    for _ in range(5):
        b.start(0.0)
    assert b.opens_at(0.0) == pytest.approx(0.1)


def test_concurrency_waits_for_one_to_end() -> None:
    b = budget(target_concurrency=1)
    b.start(0.0)
    assert b.opens_at(0.0) == math.inf
    b.answered(0.1)
    assert b.opens_at(0.0) == 0.0


def test_a_probe_that_was_not_made_costs_nothing() -> None:
    b = budget(target_concurrency=1)
    b.start(0.0)
    b.give_back()
    assert (b.in_flight, b.tokens(0.0)) == (0, 5)


def test_the_breaker_opens_after_failures_in_a_row() -> None:
    b = budget(breaker_after=3, breaker_first_s=10)
    fail(b, 0)
    fail(b, 0)
    assert b.breaker(0) is BreakerState.CLOSED
    fail(b, 0)
    assert (b.breaker(0), b.opens_at(0)) == (BreakerState.OPEN, 10)


def test_an_answer_in_between_starts_the_count_again() -> None:
    b = budget(breaker_after=2)
    fail(b, 0)
    b.start(0)
    b.answered(0.1)
    fail(b, 0)
    assert b.breaker(0) is BreakerState.CLOSED


def test_half_open_lets_one_through() -> None:
    b = budget(breaker_after=1, breaker_first_s=10)
    fail(b, 0)
    assert b.breaker(10) is BreakerState.HALF_OPEN
    b.start(10)
    assert b.opens_at(10) == math.inf


def test_each_time_it_opens_for_longer_up_to_a_limit() -> None:
    b = budget(breaker_after=1, breaker_first_s=10, breaker_max_s=25)
    now, pauses = 0.0, []
    for _ in range(4):
        fail(b, now)
        pauses.append(b.opens_at(now) - now)
        now = b.opens_at(now)
    assert pauses == [10, 20, 25, 25]


def test_jitter_shortens_a_pause_by_half_at_most() -> None:
    b = budget(breaker_after=1, breaker_first_s=10)
    fail(b, 0, jitter=0.0)
    assert b.opens_at(0) == 5


def test_what_was_asked_before_the_breaker_opened_does_not_prolong_it() -> None:
    b = budget(breaker_after=1, breaker_first_s=10)
    b.start(0)
    b.start(0)
    b.failed(0, 0.1, 1.0)
    b.failed(5, 0.1, 1.0)
    assert b.opens_at(5) == 10


def test_retry_after_is_kept() -> None:
    b = budget()
    b.start(0)
    assert b.throttled(0, 0.1, 42.0, 1.0) == 42
    assert b.opens_at(0) == 42


def test_a_retry_after_of_days_is_capped() -> None:
    b = budget(throttle_max_s=3600)
    b.start(0)
    assert b.throttled(0, 0.1, 1e6, 1.0) == 3600


def test_patience_without_retry_after_grows() -> None:
    b = budget(throttle_first_s=1)
    now, pauses = 0.0, []
    for _ in range(3):
        b.start(now)
        until = b.throttled(now, 0.1, None, 1.0)
        pauses.append(until - now)
        now = until
    assert pauses == [1, 2, 4]


def test_throttling_closes_the_breaker_because_somebody_answered() -> None:
    b = budget(breaker_after=1, breaker_first_s=10)
    fail(b, 0)
    b.start(10)
    b.throttled(10, 0.1, 1.0, 1.0)
    assert b.breaker(10) is BreakerState.CLOSED


def test_a_budget_with_a_memory_is_not_forgotten() -> None:
    b = budget(breaker_after=5)
    assert b.is_untouched(0)
    fail(b, 0)
    assert not b.is_untouched(1000)


def test_the_latency_mean_follows_the_newest() -> None:
    b = budget(target_burst=1000)
    for took in [1.0] * 30 + [0.1] * 30:
        b.start(0)
        b.answered(took)
    assert b.latency_mean_s == pytest.approx(0.1, abs=0.01)


@given(steps=st.lists(st.tuples(st.floats(0, 2), st.sampled_from("adt"), st.floats(0, 1)), max_size=60))
def test_never_more_than_rate_burst_and_concurrency_allow(steps: list[tuple[float, str, float]]) -> None:
    """Whatever ends how and when: in any window, no more starts than burst + rate * window; never too many at once."""
    limits = PoolConfig(target_rate=3, target_burst=4, target_concurrency=2, breaker_after=2, breaker_first_s=1)
    b, now = Budget(limits, 0.0), 0.0
    starts: list[float] = []
    for pause, ending, jitter in steps:
        now += pause
        while b.opens_at(now) <= now:
            b.start(now)
            starts.append(now)
        assert b.in_flight <= 2
        assert b.opens_at(now) > now
        if b.in_flight and ending == "a":
            b.answered(0.1)
        elif b.in_flight and ending == "d":
            b.failed(now, 0.1, jitter)
        elif b.in_flight:
            b.throttled(now, 0.1, None, jitter)
    for place, begin in enumerate(starts):
        for later in range(place, len(starts)):
            assert later - place + 1 <= 4 + 3 * (starts[later] - begin) + 1e-6


@given(steps=st.lists(st.tuples(st.floats(0, 100), st.booleans(), st.floats(0, 1)), max_size=40))
def test_it_always_opens_again(steps: list[tuple[float, bool, float]]) -> None:
    b, now = budget(breaker_after=1), 0.0
    for pause, is_failure, jitter in steps:
        now = max(now + pause, b.opens_at(now))
        b.start(now)
        if is_failure:
            b.failed(now, 0.1, jitter)
        else:
            b.throttled(now, 0.1, None, jitter)
    assert now <= b.opens_at(now) <= now + 3600
