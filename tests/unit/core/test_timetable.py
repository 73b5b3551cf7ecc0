"""When a DAG runs next. `oracle/timetables.jsonl`: answers of apache-airflow-core 3.2.2 to random questions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leoflowd.contract.dag_spec import (
    ContinuousTimetable,
    CronTimetable,
    CustomTimetable,
    DatesTimetable,
    DeltaTimetable,
    MultipleCronTimetable,
    NoTimetable,
    OnceTimetable,
    Timetable,
)
from leoflowd.contract.states import DagRunType
from leoflowd.core.timetable import (
    ASK_AGAIN,
    RunSlot,
    ask_again_at,
    describe,
    latest_window,
    manual_interval,
    neighbours,
    next_run,
    ran_out,
    run_id_for,
    time_restriction,
    validate,
)
from tests.unit.core.core_builders import dag, task

ROWS = [json.loads(line) for line in (Path(__file__).parent / "oracle" / "timetables.jsonl").read_text().splitlines()]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def slot(start: datetime, end: datetime | None = None) -> RunSlot:
    end = end or start
    return RunSlot(logical_date=start, data_interval_start=start, data_interval_end=end, run_after=end)


def slots(timetable: Timetable, count: int, *, start: str) -> list[str]:
    """The next slots with catchup, as `run_after` in UTC."""
    found: list[str] = []
    last: RunSlot | None = None
    for _ in range(count):
        last = next_run(timetable, last=last, start_date=utc(start), end_date=None, catchup=True, now=utc(start))
        assert last is not None
        found.append(last.run_after.isoformat(timespec="minutes").removesuffix("+00:00"))
    return found


@pytest.mark.parametrize("row", ROWS)
def test_airflow_gives_the_same_next_run_and_manual_interval(row: dict[str, Any]) -> None:
    timetable = msgspec.convert(row["timetable"], Timetable)
    moment = {name: row[name] and datetime.fromisoformat(row[name]) for name in ("now", "start_date", "end_date")}
    last = slot(*map(datetime.fromisoformat, row["last"])) if row["last"] else None
    found = next_run(timetable, last=last, catchup=row["catchup"], **moment)
    said = found and [
        moment.isoformat()
        for moment in (found.logical_date, found.data_interval_start, found.data_interval_end, found.run_after)
    ]
    assert said == row["next"]
    assert [at.astimezone(UTC).isoformat() for at in manual_interval(timetable, moment["now"])] == row["manual"]


# Zurich leaves summer time on 2026-10-25 (01:00 UTC) and enters it on 2026-03-29 (01:00 UTC).


def test_a_fixed_hour_keeps_its_wall_clock_time_over_the_change() -> None:
    daily = CronTimetable(expression="0 6 * * *", timezone="Europe/Zurich")
    assert slots(daily, 3, start="2026-10-24") == ["2026-10-24T04:00", "2026-10-25T05:00", "2026-10-26T05:00"]


def test_a_missing_wall_clock_time_means_later_by_the_jump() -> None:
    daily = CronTimetable(expression="30 2 * * *", timezone="Europe/Zurich")
    assert slots(daily, 3, start="2026-03-28") == ["2026-03-28T01:30", "2026-03-29T01:30", "2026-03-30T00:30"]


def test_a_wall_clock_time_that_comes_twice_means_the_second() -> None:
    daily = CronTimetable(expression="30 2 * * *", timezone="Europe/Zurich")
    assert slots(daily, 3, start="2026-10-24") == ["2026-10-24T00:30", "2026-10-25T01:30", "2026-10-26T01:30"]


@pytest.mark.parametrize("night", ["2026-03-28T23:30", "2026-10-24T23:30"])
def test_an_hourly_expression_runs_every_hour_of_both_nights(night: str) -> None:
    hourly = CronTimetable(expression="30 * * * *", timezone="Europe/Zurich")
    expected = [(utc(night) + timedelta(hours=n)).isoformat(timespec="minutes")[:16] for n in range(5)]
    assert slots(hourly, 5, start=night) == expected


def test_a_trigger_timetable_runs_at_the_slot_and_a_data_interval_one_at_its_end() -> None:
    now, start = utc("2026-05-04T12:00"), utc("2026-05-01")
    common: dict[str, Any] = {"last": None, "start_date": start, "end_date": None, "catchup": True, "now": now}
    assert next_run(CronTimetable(expression="@daily"), **common) == slot(start)
    interval = next_run(CronTimetable(expression="@daily", data_interval=True), **common)
    assert interval == slot(start, utc("2026-05-02"))


def test_without_catchup_only_the_newest_slot_is_due() -> None:
    common: dict[str, Any] = {"start_date": utc("2026-01-01"), "end_date": None, "catchup": False}
    now = utc("2026-05-04T12:00")
    assert next_run(CronTimetable(expression="@daily"), last=None, now=now, **common) == slot(utc("2026-05-04"))
    newest = slot(utc("2026-05-03"), utc("2026-05-04"))
    assert next_run(CronTimetable(expression="@daily", data_interval=True), last=None, now=now, **common) == newest


@pytest.mark.parametrize("catchup", [True, False])
def test_after_the_end_date_nothing_comes(catchup: bool) -> None:
    given: dict[str, Any] = {"start_date": utc("2026-01-01"), "end_date": utc("2026-01-02"), "now": utc("2026-05-04")}
    last = slot(utc("2026-01-02"))
    assert next_run(CronTimetable(expression="@daily"), last=last, catchup=catchup, **given) is None


def test_once_is_once() -> None:
    given: dict[str, Any] = {"start_date": None, "end_date": None, "catchup": False, "now": utc("2026-05-04")}
    first = next_run(OnceTimetable(), last=None, **given)
    assert first == slot(utc("2026-05-04"))
    assert next_run(OnceTimetable(), last=first, **given) is None


def test_no_schedule_never_runs() -> None:
    assert (
        next_run(NoTimetable(), last=None, start_date=None, end_date=None, catchup=True, now=utc("2026-05-04")) is None
    )


def test_run_ids_are_airflows() -> None:
    assert run_id_for(DagRunType.SCHEDULED, utc("2026-05-04")) == "scheduled__2026-05-04T00:00:00+00:00"
    assert run_id_for(DagRunType.MANUAL, utc("2026-05-04"), unique="aB3") == "manual__2026-05-04T00:00:00+00:00_aB3"


def test_dates_of_tasks_bound_the_schedule_only_together() -> None:
    early, late = utc("2026-01-01"), utc("2026-02-01")
    assert time_restriction(dag(task("a", start_date=early), task("b"), start_date=late)) == (early, None)
    assert time_restriction(dag(task("a", end_date=late), task("b"), end_date=early)) == (None, early)
    assert time_restriction(dag(task("a", end_date=late), end_date=early)) == (None, late)
    assert time_restriction(dag()) == (None, None)


@pytest.mark.parametrize(
    ("timetable", "sentence"),
    [
        (NoTimetable(), "Never, external triggers only"),
        (OnceTimetable(), "Once, as soon as possible"),
        (ContinuousTimetable(), "As frequently as possible, but only one run at a time."),
        (CronTimetable(expression="@daily"), "At 00:00"),
        (CronTimetable(expression="*/15 * * * *"), "Every 15 minutes"),
        (CronTimetable(expression="0 6 1 * 1"), "At 06:00, on day 1 of the month (or) At 06:00, only on Monday"),
        (DeltaTimetable(seconds=5400), "Every 1:30:00"),
        (DeltaTimetable(months=1), "Every 1 month"),
        (DatesTimetable(dates=()), "No events"),
        (DatesTimetable(dates=(), description="match days"), "match days"),
    ],
)
def test_the_description_is_a_sentence(timetable: Timetable, sentence: str) -> None:
    assert describe(timetable) == sentence


@pytest.mark.parametrize(
    ("timetable", "complaint"),
    [
        (CronTimetable(expression="0 0 1 * * 0 2030"), "has 7 fields: write five"),
        (CronTimetable(expression="0 0 * *"), "has 4 fields: write five"),
        (CronTimetable(expression="61 0 * * *"), "is not valid"),
        (CronTimetable(expression="@sometimes"), "is not valid"),
        (CronTimetable(expression="0 0 30 2 *"), "matches no date"),
        (CronTimetable(expression="H 0 * * *"), "mean chance: write the numbers"),
        (CronTimetable(expression="R(1-5) 0 * * *"), "mean chance: write the numbers"),
        (CronTimetable(expression="@daily", timezone="Mars/Olympus"), "time zone 'Mars/Olympus' is unknown"),
        (DeltaTimetable(), "is not positive"),
        (DeltaTimetable(months=-1), "is not positive"),
        (DatesTimetable(dates=(utc("2026-01-02"), utc("2026-01-01"))), "not ascending"),
        (DatesTimetable(dates=(datetime(2026, 1, 1),)), "has no time zone"),  # noqa: DTZ001  # that is the point
    ],
)
def test_a_wrong_timetable_is_refused_with_a_remedy(timetable: Timetable, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        validate(timetable)


@pytest.mark.parametrize(
    "timetable",
    [
        CronTimetable(expression="0 6 * * 1-5", timezone="Europe/Zurich"),
        CronTimetable(expression="@hourly", timezone="+02:00"),
        DeltaTimetable(seconds=1),
        OnceTimetable(),
    ],
)
def test_a_right_timetable_is_accepted(timetable: Timetable) -> None:
    validate(timetable)


# --- when a run is the newest one --------------------------------------------------------------------------------


def _at(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 5, day, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("timetable", "interval", "window"),
    [
        (CronTimetable(expression="0 0 * * *"), (_at(4), _at(4)), (_at(4), _at(5))),
        (CronTimetable(expression="0 0 * * *", data_interval=True), (_at(4), _at(5)), (_at(4), _at(6))),
        (CronTimetable(expression="0 0 * * *", interval_s=3600), (_at(3, 23), _at(4)), (_at(3, 23), _at(5))),
        (DeltaTimetable(seconds=4 * 3600), (_at(4), _at(4)), (_at(4), _at(4, 4))),
        (DeltaTimetable(seconds=86_400, data_interval=True), (_at(4), _at(5)), (_at(4), _at(6))),
        (DatesTimetable(dates=(_at(1), _at(4), _at(9))), (_at(4), _at(4)), (_at(4), _at(9))),
        (DatesTimetable(dates=(_at(1), _at(4))), (_at(4), _at(4)), None),
        (OnceTimetable(), (_at(4), _at(4)), None),
        (ContinuousTimetable(), (_at(4), _at(5)), None),
        (NoTimetable(), (_at(4), _at(4)), None),
    ],
)
def test_a_run_is_the_newest_until_the_next_one_is_due(
    timetable: Timetable, interval: tuple[datetime, datetime], window: tuple[datetime, datetime] | None
) -> None:
    assert latest_window(timetable, *interval) == window


@pytest.mark.parametrize(
    ("timetable", "at", "before", "after"),
    [
        (CronTimetable(expression="0 0 * * 1-5", data_interval=True), "2024-03-04", "2024-03-01", "2024-03-05"),
        (CronTimetable(expression="0 0 * * *"), "2024-03-04", "2024-03-03", "2024-03-05"),
        (CronTimetable(expression="0 12 * * *", interval_s=43_200.0), "2024-03-04", "2024-03-03", "2024-03-05"),
        (DeltaTimetable(months=1), "2024-03-04", "2024-02-04", "2024-04-04"),
        (
            DatesTimetable(dates=(utc("2024-01-01"), utc("2024-02-01"), utc("2024-03-01"))),
            "2024-02-01",
            "2024-01-01",
            "2024-03-01",
        ),
        (DatesTimetable(dates=(utc("2024-01-01"),)), "2024-01-01", None, None),
        (OnceTimetable(), "2024-03-04", None, None),
        (DeltaTimetable(seconds=3e11), "2024-03-04", None, None),
    ],
)
def test_the_runs_before_and_after(timetable: Timetable, at: str, before: str | None, after: str | None) -> None:
    expected = tuple(None if text is None else utc(text) for text in (before, after))
    assert neighbours(timetable, utc(at)) == expected


# --- a class of the author's, by what it said ---

MIDDAYS = tuple(utc(f"2026-05-0{day}T12:00") for day in (1, 3, 4))
ASKED = CustomTimetable(
    name="m.C",
    slots=tuple((at, at + timedelta(hours=1), at + timedelta(hours=2)) for at in MIDDAYS),
    valid_until=MIDDAYS[-1] + timedelta(hours=2),
)


def asked(last: datetime | None, now: str, *, catchup: bool = True, end: str | None = None) -> datetime | None:
    found = next_run(
        ASKED,
        last=last and slot(last),
        start_date=None,
        end_date=utc(end) if end else None,
        catchup=catchup,
        now=utc(now),
    )
    assert found is None or found.run_after - found.logical_date == timedelta(hours=2)
    return found and found.logical_date


def test_a_custom_timetable_gives_the_slots_that_it_named_one_after_the_other() -> None:
    assert [asked(last, "2026-06-01") for last in (None, *MIDDAYS)] == [*MIDDAYS, None]
    assert asked(MIDDAYS[0], "2026-06-01", end="2026-05-03T11:59") is None


def test_without_catchup_a_custom_timetable_gives_the_newest_that_is_due_or_the_next() -> None:
    assert asked(None, "2026-05-03T14:00", catchup=False) == MIDDAYS[1]
    assert asked(MIDDAYS[1], "2026-05-03T14:00", catchup=False) == MIDDAYS[2]
    assert asked(None, "2026-04-01", catchup=False) == MIDDAYS[0]


def test_a_run_asked_for_takes_the_newest_slot_of_a_custom_timetable() -> None:
    known = msgspec.structs.replace(ASKED, manual=(utc("2026-04-30"), utc("2026-05-01")))
    assert manual_interval(known, utc("2026-05-03T14:00")) == (MIDDAYS[1], MIDDAYS[1] + timedelta(hours=1))
    assert manual_interval(known, utc("2026-05-01T13:59")) == known.manual
    exact = msgspec.structs.replace(known, manual_is_exact=True)
    assert manual_interval(exact, utc("2026-05-03T14:00")) == (utc("2026-05-03T14:00"),) * 2


def test_a_custom_timetable_knows_the_dates_around_a_run() -> None:
    assert neighbours(ASKED, MIDDAYS[1]) == (MIDDAYS[0], MIDDAYS[2])
    assert neighbours(ASKED, MIDDAYS[2]) == (MIDDAYS[1], None)


def test_a_custom_timetable_is_asked_again_at_half_of_its_slots_and_at_least_daily() -> None:
    now = utc("2026-05-01T13:00")
    assert ask_again_at([ASKED], now) == now + ASK_AGAIN
    dense = CustomTimetable(name="m.C", slots=tuple((now, now, now + timedelta(minutes=n)) for n in range(10)))
    assert ask_again_at([ASKED, dense], now) == now + timedelta(minutes=5)
    assert ask_again_at([OnceTimetable()], now) is None
    assert (ran_out(ASKED, utc("2026-05-04T13:59")), ran_out(ASKED, utc("2026-05-04T14:00"))) == (False, True)


def test_several_expressions_are_described_and_have_the_nearest_dates_around() -> None:
    both = MultipleCronTimetable(
        timetables=(CronTimetable(expression="0 6 * * *"), CronTimetable(expression="0 18 * * *"))
    )
    assert describe(both) == "At 06:00, At 18:00"
    assert neighbours(both, utc("2026-05-01T18:00")) == (utc("2026-05-01T06:00"), utc("2026-05-02T06:00"))
    with pytest.raises(ValueError, match="not valid"):
        validate(MultipleCronTimetable(timetables=(CronTimetable(expression="0 99 * * *"),)))
