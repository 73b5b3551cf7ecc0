"""Kinds that only the clock decides: when they are met, by zone, across changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from leoflow_sensors.time import KINDS

BY_NAME = {kind.name: kind for kind in KINDS}
SATURDAY = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def due(kind: str, registered_at: datetime = SATURDAY, **arguments: Any) -> str | None:
    """ISO in UTC, as plain text."""
    spec = msgspec.convert(arguments, BY_NAME[kind].spec)
    due_at = BY_NAME[kind].due_at
    assert due_at is not None
    found = due_at(spec, registered_at)
    return None if found is None else found.astimezone(UTC).isoformat()


# --- time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T01:00:00+00:00",
        "2026-11-22 01:00:00+00:00",
        "2026-11-22T02:00:00+01:00",
        "2026-11-22T01:00:00Z",
        "20261122T010000",
        " 2026-11-22T01 ",
    ],
)
def test_a_moment_is_met_at_that_moment_however_it_is_written(text: str) -> None:
    assert due("time", moment=text) == "2026-11-22T01:00:00+00:00"


def test_a_naive_moment_is_utc() -> None:
    assert due("time", moment="2026-11-22T09:30:00") == "2026-11-22T09:30:00+00:00"


def test_a_date_is_its_midnight() -> None:
    assert due("time", moment="2026-11-22") == "2026-11-22T00:00:00+00:00"


def test_a_delta_counts_from_the_moment() -> None:
    assert due("time", moment="2026-11-22T00:00:00", plus_s=90.5) == "2026-11-22T00:01:30.500000+00:00"


def test_a_past_moment_is_due_in_the_past() -> None:
    assert due("time", moment="1970-01-01T11:00:00") == "1970-01-01T11:00:00+00:00"


@pytest.mark.parametrize("text", ["soon", "2026-13-01", "None", ""])
def test_a_text_that_is_no_moment_is_refused_when_the_spec_is_read(text: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="is no moment that we understand"):
        msgspec.convert({"moment": text}, BY_NAME["time"].spec)


def test_a_delta_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="no moment that a calendar has"):
        msgspec.convert({"moment": "2026-11-22", "plus_s": 1e300}, BY_NAME["time"].spec)


# --- time of day -------------------------------------------------------------------------------------------------


def test_a_time_of_day_is_on_the_dags_wall_clock() -> None:
    assert due("time_of_day", time="09:30:00", timezone="Europe/Zurich") == "2026-11-21T08:30:00+00:00"


def test_the_day_is_the_one_in_the_dags_zone() -> None:
    late = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)  # already the 22nd in Tokyo
    assert due("time_of_day", late, time="09:00:00", timezone="Asia/Tokyo") == "2026-11-22T00:00:00+00:00"


def test_a_time_of_day_that_is_past_is_not_tomorrows() -> None:
    assert due("time_of_day", time="01:00:00") == "2026-11-21T01:00:00+00:00"


def test_a_time_that_the_clock_leaps_over_comes_an_hour_later() -> None:
    spring = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)
    assert due("time_of_day", spring, time="02:30:00", timezone="Europe/Zurich") == "2026-03-29T01:30:00+00:00"


def test_a_time_that_the_clock_shows_twice_is_the_first() -> None:
    autumn = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
    assert due("time_of_day", autumn, time="02:30:00", timezone="Europe/Zurich") == "2026-10-25T00:30:00+00:00"


def test_a_dag_may_live_at_a_fixed_offset() -> None:
    assert due("time_of_day", time="09:00:00.250000", timezone="+05:30") == "2026-11-21T03:30:00.250000+00:00"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"time": "25:00"}, "hour must be"),
        ({"time": "09:00:00+01:00"}, "has an offset of its own"),
        ({"time": "09:00:00", "timezone": "Mars/Olympus"}, "time zone 'Mars/Olympus' is unknown"),
    ],
)
def test_a_time_of_day_that_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(arguments, BY_NAME["time_of_day"].spec)


# --- day of week -------------------------------------------------------------------------------------------------


def test_today_is_met_at_once() -> None:
    assert due("day_of_week", days=[6]) == SATURDAY.isoformat()


def test_another_day_is_met_at_its_midnight() -> None:
    assert due("day_of_week", days=[1]) == "2026-11-23T00:00:00+00:00"


def test_of_several_days_the_next_one_counts() -> None:
    assert due("day_of_week", days=[5, 2, 3]) == "2026-11-24T00:00:00+00:00"


def test_midnight_and_today_are_those_of_the_zone() -> None:
    # Still Friday evening in New York.
    assert due("day_of_week", days=[6], timezone="America/New_York") == "2026-11-21T05:00:00+00:00"


def test_a_moment_on_one_of_the_days_is_met_at_once() -> None:
    assert due("day_of_week", days=[1, 2], moment="2026-11-23T00:00:00") == SATURDAY.isoformat()


def test_a_moment_on_another_day_is_never_met() -> None:
    assert due("day_of_week", days=[1, 2], moment="2026-11-21T00:00:00") is None


@pytest.mark.parametrize("days", [[], [0], [8], ["monday"]])
def test_days_are_one_to_seven(days: list[Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"days": days}, BY_NAME["day_of_week"].spec)


# --- for people --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "arguments", "text"),
    [
        ("time", {"moment": "2026-11-22", "plus_s": 60}, "until 2026-11-22 00:01:00 UTC"),
        ("time_of_day", {"time": "09:30:00", "timezone": "Europe/Zurich"}, "until 09:30:00 (Europe/Zurich)"),
        ("day_of_week", {"days": [7, 1]}, "until it is Monday or Sunday (UTC)"),
        ("day_of_week", {"days": [1], "moment": "2026-11-22"}, "2026-11-22 being a Monday"),
    ],
)
def test_a_wait_says_what_it_waits_for(kind: str, arguments: dict[str, Any], text: str) -> None:
    assert BY_NAME[kind].describe(msgspec.convert(arguments, BY_NAME[kind].spec)) == text
