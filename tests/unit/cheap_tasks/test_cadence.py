"""Exponential backoff as Airflow's sensors have it, and phases that survive restarts."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.cheap_tasks.cadence import backoff_s, until_phase_s
from leoflowd.contract.wait_spec import WaitTerms


def terms(poke_interval_s: float = 10, **more: float | None) -> WaitTerms:
    return WaitTerms(poke_interval_s=poke_interval_s, exponential_backoff=True, **more)  # type: ignore[arg-type]


def airflow_gap(poke_interval_s: float, seed: str, number: int) -> int:
    """The formula of `_get_next_poke_interval`, written down independently: min_backoff + hash % min_backoff."""
    least = max(int(poke_interval_s * 2 ** (number - 2)), 1)
    return least + int(hashlib.sha1(f"{seed}#{number}".encode()).hexdigest(), 16) % least


@pytest.mark.parametrize("elapsed_s", [0, 5, 30, 100, 1000, 50_000])
def test_the_interval_is_the_gap_of_the_poke_that_the_elapsed_time_amounts_to(elapsed_s: float) -> None:
    number, passed = 0, 0
    while passed <= elapsed_s:
        number += 1
        passed += airflow_gap(10, "seed", number)
    assert backoff_s(terms(), "seed", elapsed_s) == airflow_gap(10, "seed", number)


def test_max_wait_caps_it() -> None:
    assert backoff_s(terms(max_wait_s=42), "seed", 50_000) == 42


def test_it_never_reaches_beyond_the_timeout() -> None:
    assert backoff_s(terms(timeout_s=1000), "seed", 990.5) == 10


def test_a_poke_interval_of_zero_is_a_second() -> None:
    assert backoff_s(terms(0), "seed", 604_800) == 1


@given(st.floats(0.001, 1e5), st.floats(0, 1e7))
def test_it_is_a_second_at_least_and_finite(poke_interval_s: float, elapsed_s: float) -> None:
    assert 1 <= backoff_s(terms(poke_interval_s, timeout_s=None), "seed", elapsed_s) < 1e9


@given(key=st.text(), interval_s=st.floats(0.1, 1e5), now=st.floats(0, 2e9))
def test_the_next_phase_comes_within_the_interval(key: str, interval_s: float, now: float) -> None:
    assert 0 <= until_phase_s(key, interval_s, now) <= interval_s


@given(key=st.text(), now=st.integers(0, 2_000_000_000), later=st.integers(0, 100_000))
def test_a_phase_is_the_same_whenever_one_asks(key: str, now: int, later: int) -> None:
    first, second = (at + until_phase_s(key, 64.0, at) for at in (now, now + later))
    assert (second - first) % 64 == pytest.approx(0, abs=1e-3) or (second - first) % 64 == pytest.approx(64, abs=1e-3)
