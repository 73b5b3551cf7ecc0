"""What `leoflow schedule` says. Zurich leaves summer time on 2026-10-25 (01:00 UTC), enters it on 2026-03-29."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leoflowd.contract.dag_spec import (
    ContinuousTimetable,
    CronTimetable,
    CustomTimetable,
    DatesTimetable,
    NoTimetable,
    Timetable,
)
from leoflowd.contract.errors import Invalid
from leoflowd.core.schedule import Schedule, what_if
from leoflowd.core.timetable import RunSlot
from tests.unit.core.core_builders import dag, task

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
NIGHTLY = CronTimetable(expression="30 2 * * *", timezone="Europe/Zurich")


def planned(timetable: Timetable, *, count: int = 3, since: str | None = None, **given: Any) -> Schedule:
    moment = None if since is None else datetime.fromisoformat(since).replace(tzinfo=UTC)
    options: dict[str, Any] = {"last": None, "zone": None, **given}
    fields = {name: options.pop(name) for name in ("catchup", "start_date", "end_date") if name in options}
    return what_if(dag(task("a"), timetable=timetable, **fields), count=count, now=NOW, since=moment, **options)


def locals_of(found: Schedule) -> list[str]:
    return [run.local for run in found.runs]


def test_a_missing_time_of_day_is_marked_and_explained() -> None:
    found = planned(NIGHTLY, since="2026-03-28")
    assert (found.zone, locals_of(found)[1]) == ("Europe/Zurich", "2026-03-29 03:30:00+02:00")
    assert [len(run.notes) for run in found.runs] == [0, 2, 0]
    clocks, missing = found.runs[1].notes
    assert "forward by 1:00:00 at 2026-03-29 02:00" in clocks
    assert "1 day, 0:00:00 after the run before" in clocks
    assert "this night has not" in missing


def test_a_time_of_day_that_comes_twice_is_marked_and_explained() -> None:
    clocks, twice = planned(NIGHTLY, since="2026-10-24").runs[1].notes
    assert "back by 1:00:00 at 2026-10-25 03:00: 1 day, 1:00:00 after" in clocks
    assert twice.endswith("the second one")
    hourly = planned(CronTimetable(expression="0 * * * *", timezone="Europe/Zurich"), since="2026-10-25")
    assert [run.notes[-1].split()[-2:] for run in hourly.runs if run.notes] == [["first", "one"], ["second", "one"]]


def test_a_change_of_the_clocks_between_two_runs_is_marked_without_a_missing_time() -> None:
    daily = CronTimetable(expression="0 6 * * *", timezone="Europe/Zurich")
    assert [len(run.notes) for run in planned(daily, since="2026-03-28").runs] == [0, 1, 0]


def test_another_zone_changes_what_is_shown_and_not_when_it_runs() -> None:
    ours, theirs = (planned(NIGHTLY, since="2026-05-01", zone=zone) for zone in (None, "Asia/Kathmandu"))
    assert [run.run_after for run in ours.runs] == [run.run_after for run in theirs.runs]
    assert locals_of(theirs)[0] == "2026-05-01 06:15:00+05:45"
    with pytest.raises(Invalid, match="'Nowhere'"):
        planned(NIGHTLY, zone="Nowhere")


def test_without_a_moment_it_goes_on_after_the_last_run_and_skips_what_catchup_would_not_make() -> None:
    daily = CronTimetable(expression="0 6 * * *")
    at = datetime(2026, 5, 1, 6, tzinfo=UTC)
    last = RunSlot(logical_date=at, data_interval_start=at, data_interval_end=at, run_after=at)
    for catchup, first in ((True, 2), (False, 4)):
        found = planned(daily, count=1, last=last, catchup=catchup, start_date=datetime(2026, 1, 1, tzinfo=UTC))
        assert found.runs[0].run_after == datetime(2026, 5, first, 6, tzinfo=UTC)


def test_from_a_moment_on_the_start_date_still_counts() -> None:
    found = planned(NIGHTLY, count=1, since="2026-01-01", start_date=datetime(2026, 2, 1, tzinfo=UTC))
    assert locals_of(found) == ["2026-02-01 02:30:00+01:00"]


@pytest.mark.parametrize(
    ("timetable", "runs", "note"),
    [
        (NoTimetable(), 0, "only when someone asks"),
        (ContinuousTimetable(), 0, "when the one before has ended"),
        (DatesTimetable(dates=(NOW, NOW + timedelta(days=1))), 2, "has no more runs"),
        (CustomTimetable(name="m.C", slots=((NOW,) * 3,), valid_until=NOW), 1, "m.C was asked up to 2026-05-04"),
    ],
)
def test_it_says_why_there_are_no_more(timetable: Timetable, runs: int, note: str) -> None:
    found = planned(timetable)
    assert len(found.runs) == runs
    assert note in found.notes[0]


def test_the_end_date_is_named() -> None:
    found = planned(CronTimetable(expression="0 6 * * *"), end_date=datetime(2026, 5, 7, tzinfo=UTC))
    assert (len(found.runs), "2026-05-07" in found.notes[0]) == (2, True)


@pytest.mark.parametrize("count", [0, 1_001])
def test_as_many_runs_as_can_be_read(count: int) -> None:
    with pytest.raises(Invalid, match="between 1 and 1000"):
        planned(NIGHTLY, count=count)
