"""Durations and moments as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from leoflowd.core.human_times import ago, span, when

NOW = datetime(2026, 5, 4, 8, 35, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 min"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (3_605, "1 h"),
        (19_500, "5 h 25 min"),
        (86_400 * 2 + 3 * 3600 + 59, "2 d 3 h"),
        (86_400 * 400, "400 d"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, said: str) -> None:
    assert span(seconds) == said


@pytest.mark.parametrize(
    ("away", "said"),
    [
        (timedelta(hours=5, minutes=25), "in 5 h 25 min, 14:00 UTC"),
        (timedelta(seconds=10), "in 10 s, 08:35:10 UTC"),
        (timedelta(minutes=-5), "5 min ago, 08:30:00 UTC"),
        (timedelta(days=1), "in 1 d, 2026-05-05 08:35 UTC"),
        (timedelta(hours=-9), "9 h ago, 2026-05-03 23:35 UTC"),
        (timedelta(0), "in 0 s, 08:35:00 UTC"),
    ],
)
def test_a_moment_says_how_far_it_is_and_its_date_when_that_is_another(away: timedelta, said: str) -> None:
    assert when(NOW + away, NOW) == said


def test_moments_of_other_zones_are_told_in_utc() -> None:
    there = (NOW + timedelta(hours=1)).astimezone(timezone(timedelta(hours=9)))
    assert when(there, NOW) == "in 1 h, 09:35 UTC"
    assert ago(NOW - timedelta(seconds=61), NOW) == "1 min 1 s ago"
