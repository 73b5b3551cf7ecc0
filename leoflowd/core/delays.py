"""How long things took, counted by steps that a Prometheus histogram shows. Pure, and bounded whatever is counted."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

import msgspec

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class DelayCounts(msgspec.Struct, frozen=True):
    up_to: dict[str, int]
    """How many took so many seconds at most; the last key is `+Inf`."""
    sum_s: float


class Delays:
    """Counts since it was made. What is negative, by clocks that differ, counts as none."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def add(self, delay_s: float) -> None:
        delay_s = max(0.0, delay_s)
        self._counts[bisect_left(BOUNDS_S, delay_s)] += 1
        self._sum_s += delay_s

    def counts(self) -> DelayCounts:
        bounds = (*map(str, BOUNDS_S), "+Inf")
        return DelayCounts(dict(zip(bounds, accumulate(self._counts), strict=True)), self._sum_s)
