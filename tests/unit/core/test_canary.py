"""Which runs a canary gets, and when it is over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.core.canary import CanaryTerms, Tally, gets_canary, why_roll_back

TERMS = CanaryTerms(share=50, rollback_above=20, after=10)
ids = st.text(max_size=300)
counts = st.integers(0, 2000)


@given(ids, ids, st.integers(1, 98))
def test_what_a_share_gets_every_larger_one_gets_too(dag_id: str, run_id: str, share: int) -> None:
    assert gets_canary(dag_id, run_id, share) <= gets_canary(dag_id, run_id, share + 1)
    assert not gets_canary(dag_id, run_id, 0)
    assert gets_canary(dag_id, run_id, 100)


@pytest.mark.parametrize("share", [1, 10, 50, 99])
def test_a_share_is_that_share(share: int) -> None:
    got = sum(gets_canary("etl", f"scheduled__2026-01-01T{n}", share) for n in range(10_000))
    assert abs(got / 100 - share) < 2


def test_dags_do_not_take_turns_together() -> None:
    """Runs of one moment have one id in every DAG."""
    assert len({gets_canary(f"dag_{n}", "scheduled__2026-01-01T00:00:00+00:00", 50) for n in range(20)}) == 2


@pytest.mark.parametrize(
    ("succeeded", "failed", "is_over"),
    [(0, 0, False), (0, 9, False), (8, 2, False), (7, 3, True), (0, 10, True), (80, 20, False), (79, 21, True)],
)
def test_it_is_judged_when_enough_runs_have_ended(succeeded: int, failed: int, is_over: bool) -> None:
    because = why_roll_back(TERMS, Tally(succeeded + failed + 5, succeeded, failed))
    assert (because is not None) == is_over


def test_it_says_why() -> None:
    assert why_roll_back(TERMS, Tally(12, 7, 3)) == "3 of its 10 ended runs failed (30 %), more than 20 %"


@given(counts, counts, st.integers(0, 99), st.integers(1, 50))
def test_one_more_failure_never_saves_it(succeeded: int, failed: int, rollback_above: int, after: int) -> None:
    terms = CanaryTerms(share=1, rollback_above=rollback_above, after=after)
    now, then = (why_roll_back(terms, Tally(9999, succeeded, failed + more)) for more in (0, 1))
    assert now is None or then is not None


@given(counts, st.integers(0, 99), st.integers(1, 50))
def test_without_a_failure_it_goes_on(succeeded: int, rollback_above: int, after: int) -> None:
    terms = CanaryTerms(share=1, rollback_above=rollback_above, after=after)
    assert why_roll_back(terms, Tally(succeeded, succeeded, 0)) is None
