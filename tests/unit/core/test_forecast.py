"""The next days of all DAGs: runs, pool slots and polls counted by hand, and a change of one DAG."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.contract.dag_spec import ContinuousTimetable, CronTimetable, NoTimetable, TaskSpec
from leoflowd.contract.errors import Invalid
from leoflowd.contract.wait_spec import ProbeSpec, WaitSpec, WaitTerms
from leoflowd.core import forecast as module
from leoflowd.core.forecast import Forecast, Outlook, PoolSize, TaskMean, forecast, with_change
from tests.unit.core.core_builders import dag, empty, task

NOW = datetime(2026, 5, 4, 12, 7, tzinfo=UTC)
BEGIN = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOURLY = CronTimetable(expression="0 * * * *")
POOL = PoolSize(name="default_pool", slots=2)
MINUTE = 60.0


def outlook(*tasks: TaskSpec, minutes: dict[str, float] | None = None, **given: Any) -> Outlook:
    """`minutes`: how long a task took so far."""
    means = {name: TaskMean("d", name, minute * MINUTE, 1.0) for name, minute in (minutes or {}).items()}
    facts = {name: given.pop(name) for name in ("is_paused", "last", "means") if name in given}
    spec = dag(*tasks, **({"timetable": HOURLY} | given))
    return Outlook(spec=spec, **({"is_paused": False, "last": None, "means": means} | facts))


def day(*outlooks: Outlook, pools: tuple[PoolSize, ...] = (POOL,), days: int = 1) -> Forecast:
    return forecast(outlooks, pools, now=NOW, days=days)


def wait(task_id: str, every_s: float, kind: str = "http", **fields: Any) -> TaskSpec:
    spec = WaitSpec(probe=ProbeSpec(kind=kind), terms=WaitTerms(poke_interval_s=every_s))
    return task(task_id, kind="wait", wait=spec, **fields)


@pytest.mark.parametrize(
    ("days", "bucket_s", "buckets"), [(1, 900, 96), (2, 1800, 96), (7, 3600, 168), (14, 7200, 168)]
)
def test_the_line_begins_with_the_bucket_that_is_now(days: int, bucket_s: int, buckets: int) -> None:
    found = day(outlook(task("a")), days=days)
    assert (found.begin, found.bucket_s) == (BEGIN, bucket_s)
    assert found.end == BEGIN + timedelta(days=days)
    assert len(found.polls.series) == len(found.pools[0].series) == buckets


@pytest.mark.parametrize("days", [0, 15])
def test_no_other_number_of_days_is_possible(days: int) -> None:
    with pytest.raises(Invalid, match="between 1 and 14"):
        day(days=days)


def test_each_run_is_in_the_bucket_in_which_it_begins() -> None:
    (found,) = day(outlook(task("a"))).dags
    assert found.runs_count == 23
    assert found.runs == tuple((4 * hour, 1) for hour in range(1, 24))


def test_a_task_asks_for_its_slots_once_those_before_it_have_ended() -> None:
    tasks = (task("a", pool_slots=2), task("b", "a", pool_slots=3), empty("c", "b"), task("d", "c"))
    found = day(outlook(*tasks, minutes={"a": 20, "b": 10, "d": 1}))
    (pool,) = found.pools
    assert found.dags[0].run_s == 31 * MINUTE
    assert pool.series[:8] == (0, 0, 0, 0, 2, 3, 1, 0)
    assert (pool.peak, pool.peak_at) == (3, BEGIN + timedelta(minutes=80))
    assert pool.over_s == 23 * 10 * MINUTE, "while b runs"


def test_what_ends_makes_room_for_what_begins_at_the_same_moment() -> None:
    assert day(outlook(task("a"), task("b", "a"), minutes={"a": 15, "b": 15})).pools[0].peak == 1


def test_runs_of_several_dags_add_up_and_each_pool_is_its_own() -> None:
    one, two = (
        outlook(task("a"), minutes={"a": 5}),
        outlook(task("a"), task("b", pool="other"), minutes={"a": 5, "b": 5}),
    )
    pools = {pool.name: pool for pool in day(one, two).pools}
    assert (pools["default_pool"].peak, pools["default_pool"].over_s) == (2, 0)
    assert (pools["other"].slots, pools["other"].peak, pools["other"].over_s) == (0, 1, 23 * 5 * MINUTE), "no such pool"


def test_a_pool_without_limit_is_never_exceeded() -> None:
    assert day(outlook(task("a")), pools=(PoolSize(name="default_pool", slots=-1),)).pools[0].over_s == 0


def test_a_mapped_task_asks_for_all_its_instances_up_to_its_limits() -> None:
    means = {"a": TaskMean("d", "a", 60, 10.0)}
    assert day(outlook(task("a"), means=means)).pools[0].peak == 10
    limited = day(outlook(task("a", max_active_tis_per_dagrun=4), means=means))
    assert (limited.pools[0].peak, limited.dags[0].run_s) == (4, 180)
    assert day(outlook(task("a"), means=means, max_active_tasks=5)).pools[0].peak == 5


def test_a_wait_polls_and_takes_no_slot_unless_the_pool_says_so() -> None:
    waiting = outlook(wait("w", 30), task("a", "w"), minutes={"w": 15, "a": 1})
    found = day(waiting)
    assert found.pools[0].peak == 1
    assert found.polls.series[:7] == pytest.approx((0, 0, 0, 0, 1 / 30, 0, 0), abs=1e-6)
    assert found.polls.peak_at == BEGIN + timedelta(hours=1)
    counting = PoolSize(name="default_pool", slots=2, include_deferred=True)
    assert day(waiting, pools=(counting,)).pools[0].series[4:6] == (1, 1)


def test_the_rate_of_a_bucket_is_its_mean() -> None:
    found = day(outlook(wait("w", 10), minutes={"w": 40}))
    assert found.polls.series[4:8] == pytest.approx((0.1, 0.1, 0.1 * 10 / 15, 0), abs=1e-6)


@pytest.mark.parametrize("kind", ["time", "trigger", "webhook", "human"])
def test_what_is_not_asked_again_and_again_is_no_poll(kind: str) -> None:
    assert day(outlook(wait("w", 10, kind))).polls.peak_per_s == 0


def test_max_active_runs_delays_runs_and_it_is_said() -> None:
    (found,) = day(outlook(task("a"), minutes={"a": 90}, max_active_runs=1)).dags
    assert [bucket for bucket, _ in found.runs[:3]] == [4, 10, 16]
    assert found.lag_s == 22 * 30 * MINUTE
    assert "max_active_runs 1 delays runs by up to 11 h" in found.notes
    assert day(outlook(task("a"), minutes={"a": 90}, max_active_runs=2)).dags[0].lag_s == 0


def test_runs_that_are_due_already_begin_now() -> None:
    (found,) = day(outlook(task("a"), catchup=True, start_date=BEGIN - timedelta(hours=5))).dags
    assert found.runs[0] == (0, 6)


def test_a_paused_dag_has_no_runs_and_comes_last() -> None:
    found = day(outlook(task("a"), is_paused=True), outlook(task("a"))).dags
    assert [one.is_paused for one in found] == [False, True]
    assert (found[1].runs_count, found[1].notes[0]) == (0, "paused: no runs")


def test_what_never_succeeded_is_taken_to_last_a_minute() -> None:
    (found,) = day(outlook(task("a"), task("b"), empty("c"), minutes={"a": 2})).dags
    assert "1 of 3 tasks never succeeded: each is taken to last 1 min" in found.notes
    assert day(outlook(task("a"))).dags[0].run_s == 60


def test_a_schedule_that_breaks_is_noted_and_holds_up_no_other_dag() -> None:
    never = outlook(task("a"), timetable=CronTimetable(expression="0 0 30 2 *"))
    found = day(never, outlook(task("a"))).dags
    assert [one.runs_count for one in found] == [23, 0]
    assert found[1].notes[0].startswith("its schedule gives no runs: ")


def test_one_run_after_the_other_is_no_plan() -> None:
    (found,) = day(outlook(task("a"), timetable=ContinuousTimetable())).dags
    assert (found.runs_count, "not shown" in found.notes[0]) == (0, True)


def test_what_is_too_much_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    minutely = outlook(task("a"), timetable=CronTimetable(expression="* * * * *"))
    monkeypatch.setattr(module, "RUNS_MAX", 100)
    (found,) = day(minutely).dags
    assert (found.runs_count, "at most 100" in found.notes[0]) == (100, True)
    monkeypatch.setattr(module, "INTERVALS_MAX", 99)
    found_all = day(minutely)
    assert found_all.pools == ()
    assert any("too many" in note for note in found_all.dags[0].notes)
    monkeypatch.setattr(module, "RUNS_ALL_MAX", 150)
    assert [one.runs_count for one in day(minutely, minutely, minutely).dags] == [100, 50, 0]
    assert "at most 0 of its next runs" in day(minutely, minutely, minutely).dags[2].notes[0]


def test_a_change_is_of_schedule_and_pause() -> None:
    paused = outlook(task("a"), is_paused=True)
    assert day(with_change(paused, schedule=None, is_paused=False)).dags[0].runs_count == 23
    assert day(with_change(paused, schedule="*/30 * * * *", is_paused=False)).dags[0].runs_count == 47
    none = with_change(outlook(task("a")), schedule="none", is_paused=None)
    assert (none.spec.timetable, day(none).dags[0].runs_count) == (NoTimetable(), 0)


def test_a_new_schedule_keeps_the_zone_and_the_kind_of_the_old_one() -> None:
    zurich = CronTimetable(expression="0 6 * * *", timezone="Europe/Zurich", data_interval=True)
    changed = with_change(outlook(task("a"), timetable=zurich), schedule=" @daily ", is_paused=None).spec
    assert changed.timetable == CronTimetable(expression="@daily", timezone="Europe/Zurich", data_interval=True)
    fresh = with_change(
        outlook(task("a"), timetable=NoTimetable(), timezone="Asia/Tokyo"), schedule="0 1 * * *", is_paused=None
    )
    assert fresh.spec.timetable == CronTimetable(expression="0 1 * * *", timezone="Asia/Tokyo")


@pytest.mark.parametrize("schedule", ["", "every day", "61 * * * *", "@continuous"])
def test_a_schedule_that_cannot_be_is_refused(schedule: str) -> None:
    with pytest.raises(Invalid, match="this schedule cannot be"):
        with_change(outlook(task("a")), schedule=schedule, is_paused=None)


@given(
    st.lists(st.tuples(st.integers(1, 59), st.floats(0, 300), st.integers(1, 5)), min_size=1, max_size=5),
    st.integers(1, 14),
    st.integers(1, 4),
)
def test_peaks_are_those_of_the_series_and_polls_are_not_lost(
    dags: list[tuple[int, float, int]], days: int, limit: int
) -> None:
    outlooks = [
        outlook(
            task("a", pool_slots=slots),
            wait("w", 10.0),
            timetable=CronTimetable(expression=f"{minute} * * * *"),
            max_active_runs=limit,
            minutes={"a": minutes, "w": minutes},
        )
        for minute, minutes, slots in dags
    ]
    found = day(*outlooks, days=days)
    for pool in found.pools:
        assert pool.peak == max(pool.series)
        assert 0 <= pool.over_s <= days * 86_400
    assert found.polls.peak_per_s == max(found.polls.series)
    assert min(found.polls.series) >= -1e-6
    most = sum(one.runs_count * one.run_s for one in found.dags) / 10.0
    assert sum(found.polls.series) * found.bucket_s <= most + 1
