"""Counts of delays are what a Prometheus histogram wants: cumulative, with an end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leoflowd.core.delays import BOUNDS_S, Delays


@given(st.lists(st.floats(min_value=-10, max_value=10_000)))
def test_each_bound_counts_what_took_no_longer(delays_s: list[float]) -> None:
    delays = Delays()
    for delay_s in delays_s:
        delays.add(delay_s)
    counts = delays.counts()
    assert list(counts.up_to) == [*map(str, BOUNDS_S), "+Inf"]
    for bound, count in zip((*BOUNDS_S, float("inf")), counts.up_to.values(), strict=True):
        assert count == sum(delay_s <= bound for delay_s in delays_s)
    assert counts.sum_s == sum(max(0.0, delay_s) for delay_s in delays_s)
