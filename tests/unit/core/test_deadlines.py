"""When a run is to have succeeded, as Airflow 3.2.2 evaluates it, and what a missed deadline calls for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.contract.deadline_spec import DeadlineSpec, MissedDeadline
from leoflowd.core.deadlines import callback_of, plan_deadlines, runs_averaged

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LOGICAL = datetime(2025, 12, 31, tzinfo=UTC)
FIXED = datetime(2026, 1, 2, 2, tzinfo=timezone(timedelta(hours=2)))


def spec(reference: Any, interval_s: float = 60.0, **fields: Any) -> DeadlineSpec:
    return DeadlineSpec(reference=reference, interval_s=interval_s, **fields)


def time_of(
    one: DeadlineSpec, *, logical_date: datetime | None = LOGICAL, durations_s: tuple[float, ...] = ()
) -> datetime | None:
    planned = plan_deadlines((one,), logical_date=logical_date, durations_s=durations_s, now=NOW)
    return planned[0].deadline_time if planned else None


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (spec("logical_date"), LOGICAL + timedelta(minutes=1)),
        (spec("queued_at"), NOW + timedelta(minutes=1)),
        (spec("queued_at", -60.0), NOW - timedelta(minutes=1)),
        (spec("fixed", at=FIXED), datetime(2026, 1, 2, 0, 1, tzinfo=UTC)),
        (spec("fixed", 1e12, at=FIXED), None),  # behind the end of time
    ],
)
def test_each_reference_has_its_start(one: DeadlineSpec, expected: datetime | None) -> None:
    assert time_of(one) == expected


def test_a_run_without_a_logical_date_has_no_deadline_by_it() -> None:
    assert time_of(spec("logical_date"), logical_date=None) is None


@pytest.mark.parametrize(
    ("durations_s", "limits", "after_s"),
    [
        ((10.0, 20.0), {"max_runs": 2, "min_runs": 2}, 15.0),
        ((10.0, 20.0, 900.0), {"max_runs": 2, "min_runs": 1}, 15.0),
        ((10.0,), {"max_runs": 2, "min_runs": 1}, 10.0),
        ((10.0,), {"max_runs": 2, "min_runs": 2}, None),
        ((10.0, 20.0, 30.0), {"max_runs": 2, "min_runs": 3}, None),  # two are looked at, three are wanted: never
    ],
)
def test_an_average_wants_its_runs(
    durations_s: tuple[float, ...], limits: dict[str, int], after_s: float | None
) -> None:
    found = time_of(spec("average_runtime", **limits), durations_s=durations_s)
    assert found == (None if after_s is None else NOW + timedelta(seconds=after_s + 60))


def test_as_many_runs_are_read_as_the_longest_average_wants() -> None:
    specs = (spec("queued_at", max_runs=99), spec("average_runtime", max_runs=3), spec("average_runtime", max_runs=7))
    assert (runs_averaged(specs), runs_averaged(specs[:1])) == (7, 0)


def test_positions_are_those_of_the_list_whatever_falls_out() -> None:
    specs = (spec("average_runtime"), spec("queued_at", 5.0), spec("logical_date"))
    planned = plan_deadlines(specs, logical_date=LOGICAL, durations_s=(), now=NOW)
    assert [(one.position, one.after_queued_s) for one in planned] == [(1, 5.0), (2, None)]


SPECS = st.builds(
    DeadlineSpec,
    reference=st.sampled_from(["logical_date", "queued_at", "fixed", "average_runtime"]),
    interval_s=st.floats(-1e15, 1e15),
    at=st.datetimes(timezones=st.just(UTC)),
    max_runs=st.integers(1, 5),
    min_runs=st.integers(1, 5),
)


@given(
    specs=st.lists(SPECS, max_size=5),
    logical_date=st.none() | st.datetimes(timezones=st.just(UTC)),
    durations_s=st.lists(st.floats(0, 1e12), max_size=6),
)
def test_whatever_the_artifact_says_a_run_can_be_made(
    specs: list[DeadlineSpec], logical_date: datetime | None, durations_s: list[float]
) -> None:
    planned = plan_deadlines(specs, logical_date=logical_date, durations_s=durations_s, now=NOW)
    positions = [one.position for one in planned]
    assert positions == sorted(set(positions))
    for one in planned:
        is_moving = specs[one.position].reference == "queued_at"
        assert (one.after_queued_s is not None) == is_moving
        assert one.deadline_time.tzinfo is UTC


def test_a_missed_deadline_calls_the_functions_of_the_dag() -> None:
    missed = MissedDeadline(id="x", deadline_time=NOW, position=2)
    new = callback_of(7, missed, state="running", start_date=LOGICAL, end_date=None)
    assert (new.dag_run_id, new.task_id, new.of_try) == (7, None, None)
    assert (new.call.event, new.call.of_dag, new.call.calls_functions, new.call.deadline) == (
        "deadline",
        True,
        True,
        missed,
    )
    assert new.call.because == "The deadline 2026-01-01 12:00:00 UTC was missed."
