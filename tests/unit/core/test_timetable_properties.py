"""What holds for every timetable, whatever the zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from leoflowd.contract.dag_spec import CronTimetable, DeltaTimetable, Timetable
from leoflowd.core.timetable import RunSlot, next_run

zones = st.sampled_from(["UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "+05:30"])
expressions = st.sampled_from(["0 * * * *", "*/20 * * * *", "30 2 * * *", "0 0 * * 1-5", "15 3 1 * *", "0 */6 * * *"])
timetables = st.one_of(
    st.builds(CronTimetable, expression=expressions, timezone=zones, data_interval=st.booleans()),
    st.builds(DeltaTimetable, seconds=st.sampled_from([60.0, 5400.0, 86400.0]), data_interval=st.booleans()),
)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(  # noqa: DTZ001  # the zone follows
    lambda moment: moment.replace(second=0, microsecond=0, tzinfo=UTC)
)


@given(timetables, moments)
def test_with_catchup_slots_follow_each_other_for_ever(timetable: Timetable, start: datetime) -> None:
    last: RunSlot | None = None
    for _ in range(20):
        found = next_run(timetable, last=last, start_date=start, end_date=None, catchup=True, now=start)
        assert found is not None
        assert found.logical_date == found.data_interval_start <= found.data_interval_end == found.run_after
        assert found.data_interval_start >= start
        assert last is None or found.run_after > last.run_after
        last = found


@given(timetables, moments, moments)
def test_without_catchup_at_most_one_slot_is_due(timetable: Timetable, start: datetime, now: datetime) -> None:
    due = next_run(timetable, last=None, start_date=start, end_date=None, catchup=False, now=now)
    assert due is not None
    after = next_run(timetable, last=due, start_date=start, end_date=None, catchup=False, now=max(now, due.run_after))
    assert after is not None
    assert after.run_after > max(now, due.run_after) or (isinstance(timetable, DeltaTimetable) and after != due)


@given(timetables, moments, st.timedeltas(timedelta(0), timedelta(days=40)))
def test_nothing_comes_after_the_end_date(timetable: Timetable, start: datetime, length: timedelta) -> None:
    end = start + length
    found = next_run(timetable, last=None, start_date=start, end_date=end, catchup=True, now=start)
    assert found is None or found.logical_date <= end
