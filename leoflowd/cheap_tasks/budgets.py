"""What one target is asked to bear: rate, concurrency, a breaker when it is down, patience when it asks for it. Pure.

One `Budget` per (target, connection id). Time is seconds on any steady clock and an argument of every call, jitter too.
"""

from __future__ import annotations

import math

from leoflowd.config import PoolConfig
from leoflowd.contract.pool_view import BreakerState

LATENCY_WEIGHT = 0.2
"""Of the newest probe in the mean: the last dozen decide."""


class Budget:
    """Ask `opens_at`, then `start` exactly one probe, then say how it ended. Every `start` is ended once."""

    __slots__ = (
        "_throttles",
        "_tokens",
        "_tokens_at",
        "_trips",
        "failures",
        "in_flight",
        "latency_mean_s",
        "limits",
        "retry_at",
        "throttled_until",
    )

    def __init__(self, limits: PoolConfig, now: float) -> None:
        self.limits = limits
        self._tokens = float(limits.target_burst)
        self._tokens_at = now
        self._trips = 0
        """How often the breaker opened since the target last answered."""
        self._throttles = 0
        self.in_flight = 0
        self.failures = 0
        """In a row."""
        self.retry_at: float | None = None
        """Set while the breaker is open, or half open once it has passed."""
        self.throttled_until = -math.inf
        self.latency_mean_s: float | None = None

    def breaker(self, now: float) -> BreakerState:
        if self.retry_at is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self.retry_at else BreakerState.HALF_OPEN

    def tokens(self, now: float) -> float:
        """Probes that may start at once, as far as the rate goes."""
        grown = self._tokens + max(0.0, now - self._tokens_at) * self.limits.target_rate
        return min(float(self.limits.target_burst), grown)

    def opens_at(self, now: float) -> float:
        """`now`: a probe may start. Later: not before then. Infinity: when one that runs has ended."""
        state = self.breaker(now)
        most = 1 if state is BreakerState.HALF_OPEN else self.limits.target_concurrency
        if self.in_flight >= most:
            return math.inf
        earliest = max(now, self.throttled_until)
        if state is BreakerState.OPEN and self.retry_at is not None:
            earliest = max(earliest, self.retry_at)
        missing = 1.0 - self.tokens(now)
        return max(earliest, now + missing / self.limits.target_rate) if missing > 1e-9 else earliest

    def start(self, now: float) -> None:
        assert self.opens_at(now) <= now, "a probe starts when its budget allows it"
        self._tokens = max(0.0, self.tokens(now) - 1.0)
        self._tokens_at = now
        self.in_flight += 1

    def give_back(self) -> None:
        """The probe was not made after all."""
        self.in_flight -= 1
        self._tokens = min(float(self.limits.target_burst), self._tokens + 1.0)

    def answered(self, took_s: float) -> None:
        """Whatever the answer: somebody is there."""
        self._ended(took_s)
        self.failures = self._trips = self._throttles = 0
        self.retry_at = None

    def failed(self, now: float, took_s: float, jitter: float) -> None:
        """Nobody answered, or not in time. `jitter` from 0 to 1 spreads those who try again."""
        was = self.breaker(now)
        self._ended(took_s)
        self.failures += 1
        # What was asked before the breaker opened says nothing new when it fails now.
        if was is BreakerState.HALF_OPEN or (was is BreakerState.CLOSED and self.failures >= self.limits.breaker_after):
            self.retry_at = now + _growing(self.limits.breaker_first_s, self.limits.breaker_max_s, self._trips, jitter)
            self._trips += 1

    def throttled(self, now: float, took_s: float, retry_after_s: float | None, jitter: float) -> float:
        """The target asks for patience: until when it is left alone. It answered, so the breaker closes."""
        limits = self.limits
        throttles = self._throttles + 1
        self.answered(took_s)
        self._throttles = throttles
        own = _growing(limits.throttle_first_s, limits.throttle_max_s, throttles - 1, jitter)
        patience_s = own if retry_after_s is None else min(max(retry_after_s, 0.0), limits.throttle_max_s)
        self.throttled_until = max(self.throttled_until, now + patience_s)
        return self.throttled_until

    def is_untouched(self, now: float) -> bool:
        """Forgetting it changes nothing."""
        return (
            self.in_flight == 0
            and self.failures == 0
            and self._throttles == 0
            and self.retry_at is None
            and self.tokens(now) >= self.limits.target_burst
        )

    def _ended(self, took_s: float) -> None:
        assert self.in_flight > 0, "a probe ends once"
        self.in_flight -= 1
        mean = took_s if self.latency_mean_s is None else self.latency_mean_s
        self.latency_mean_s = mean + LATENCY_WEIGHT * (took_s - mean)


def _growing(first_s: float, most_s: float, times: int, jitter: float) -> float:
    """Doubling up to `most_s`; between half of that and all of it."""
    longest: float = min(most_s, first_s * 2.0 ** min(times, 40))
    return longest * (0.5 + jitter / 2.0)
