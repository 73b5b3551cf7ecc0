"""Which runs a backfill makes, which it leaves alone, what it refuses, and what it says that it costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leoflowd.contract.dag_spec import (
    ContinuousTimetable,
    CronTimetable,
    DagSpec,
    DatesTimetable,
    DeltaTimetable,
    NoTimetable,
    TaskSpec,
)
from leoflowd.contract.errors import Invalid
from leoflowd.contract.partition_spec import AssetPartitions, CronPartition
from leoflowd.contract.states import DagRunState
from leoflowd.core.backfills import (
    SLOTS_MAX,
    Asked,
    Reprocess,
    SkipReason,
    plan_slots,
    preview,
    skip_reason,
    slots_to_run,
)
from leoflowd.core.timetable import RunSlot

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
DAILY = CronTimetable(expression="@daily", data_interval=True)


def day(of_march: int) -> datetime:
    return datetime(2026, 3, of_march, tzinfo=UTC)


def spec(timetable: Any = DAILY, **fields: Any) -> DagSpec:
    return DagSpec(dag_id="d", tasks=(TaskSpec(task_id="a", operator="EmptyOperator"),), timetable=timetable, **fields)


def asked(since: int, until: int, **fields: Any) -> Asked:
    return Asked(from_date=day(since), to_date=day(until), **fields)


def dates(slots: tuple[RunSlot, ...]) -> list[datetime]:
    return [slot.logical_date for slot in slots]


def test_both_ends_of_the_range_are_in_it() -> None:
    slots = plan_slots(spec(), asked(1, 3), NOW)
    assert dates(slots) == [day(1), day(2), day(3)]
    assert [(s.data_interval_start, s.data_interval_end, s.run_after) for s in slots[:1]] == [(day(1), day(2), day(2))]


def test_the_start_and_the_catchup_of_the_dag_do_not_matter() -> None:
    late = spec(start_date=day(9), end_date=day(9), catchup=False)
    assert dates(plan_slots(late, asked(1, 2), NOW)) == [day(1), day(2)]


def test_an_interval_that_is_not_over_has_no_run() -> None:
    assert dates(plan_slots(spec(), asked(8, 20), NOW)) == [day(8), day(9)]


def test_an_interval_that_ends_now_is_not_over() -> None:
    assert dates(plan_slots(spec(), asked(8, 20), day(10))) == [day(8)]


def test_reversed_the_newest_run_starts_first() -> None:
    assert dates(plan_slots(spec(), asked(1, 3, reverse=True), NOW)) == [day(3), day(2), day(1)]


@pytest.mark.parametrize(
    ("timetable", "found"),
    [
        (CronTimetable(expression="0 6 * * *", data_interval=False), 3),
        (DeltaTimetable(seconds=43_200, data_interval=True), 5),
        (DatesTimetable(dates=(day(1), day(2), day(7))), 2),
    ],
)
def test_every_timetable_with_moments_is_backfilled(timetable: Any, found: int) -> None:
    until = 3 if not isinstance(timetable, CronTimetable) else 4
    assert len(plan_slots(spec(timetable), asked(1, until), NOW)) == found


@pytest.mark.parametrize(
    ("dag", "what", "because"),
    [
        (spec(NoTimetable()), asked(1, 2), "d has no schedule"),
        (spec(ContinuousTimetable()), asked(1, 2), "@continuous"),
        (spec(NoTimetable(), partitions=AssetPartitions()), asked(1, 2), "events of its assets come for a partition"),
        (spec(), asked(20, 21), "cannot be executed for future dates"),
        (spec(CronTimetable(expression="* * * * *", data_interval=True)), asked(1, 9), f"more than {SLOTS_MAX}"),
        (spec(params={"n": {"value": 1, "schema": {"type": "integer"}}}), asked(1, 2, conf={"n": "x"}), "param n"),
    ],
)
def test_what_cannot_be_backfilled_is_refused(dag: DagSpec, what: Asked, because: str) -> None:
    with pytest.raises(Invalid, match=because):
        plan_slots(dag, what, NOW)


def partitioned(expression: str, **partition: Any) -> DagSpec:
    return spec(CronTimetable(expression=expression, data_interval=False, partition=CronPartition(**partition)))


def test_partitions_are_backfilled_by_the_moments_of_their_runs() -> None:
    """As in Airflow: the range is one of runs, and the offset decides which partition each run is for."""
    slots = plan_slots(partitioned("0 6 * * *", offset=-1, key_format="%Y-%m-%d"), asked(1, 3), NOW)
    assert [(slot.run_after.day, slot.partition_key, slot.partition_date) for slot in slots] == [
        (1, "2026-02-28", datetime(2026, 2, 28, 6, tzinfo=UTC)),
        (2, "2026-03-01", datetime(2026, 3, 1, 6, tzinfo=UTC)),
    ]


def test_a_partition_whose_run_is_to_come_is_left_to_the_timetable() -> None:
    slots = plan_slots(partitioned("0 6 * * *", key_format="%Y-%m-%d"), asked(9, 20), NOW)
    assert [slot.key for slot in slots] == ["2026-03-09", "2026-03-10"]


def test_of_runs_of_one_partition_the_first_is_made() -> None:
    slots = plan_slots(partitioned("0 */8 * * *", key_format="%Y-%m-%d"), asked(1, 3), NOW)
    assert len(slots) == 7
    chosen = slots_to_run(slots, {"2026-03-02": DagRunState.SUCCESS}, Reprocess.NONE)
    assert [slot.run_after for slot in chosen] == [day(1), day(3)]
    again = slots_to_run(slots, {"2026-03-02": DagRunState.FAILED}, Reprocess.FAILED)
    assert [slot.run_after for slot in again] == [day(1), day(2), day(3)]


def test_as_many_as_are_allowed_are_made() -> None:
    minutes = spec(CronTimetable(expression="* * * * *", data_interval=True))
    most = Asked(from_date=day(1), to_date=day(1) + timedelta(minutes=SLOTS_MAX - 1))
    assert len(plan_slots(minutes, most, NOW)) == SLOTS_MAX


@pytest.mark.parametrize(
    ("fields", "because"),
    [
        ({}, "reprocess completed or reprocess failed"),
        ({"reprocess": Reprocess.FAILED, "reverse": True}, "in reverse"),
        ({"reprocess": Reprocess.COMPLETED}, None),
    ],
)
def test_a_dag_that_depends_on_its_past_goes_forward_over_what_was(fields: dict[str, Any], because: str | None) -> None:
    task = TaskSpec(task_id="a", operator="EmptyOperator", depends_on_past=True)
    dag = DagSpec(dag_id="d", tasks=(task,), timetable=DAILY)
    if because is None:
        assert len(plan_slots(dag, asked(1, 2, **fields), NOW)) == 2
    else:
        with pytest.raises(Invalid, match=because):
            plan_slots(dag, asked(1, 2, **fields), NOW)


_FLIGHT, _EXISTS = SkipReason.IN_FLIGHT, SkipReason.ALREADY_EXISTS


@pytest.mark.parametrize(
    ("existing", "none", "failed", "completed"),
    [
        (None, None, None, None),
        (DagRunState.QUEUED, _FLIGHT, _FLIGHT, _FLIGHT),
        (DagRunState.RUNNING, _FLIGHT, _FLIGHT, _FLIGHT),
        (DagRunState.SUCCESS, _EXISTS, _EXISTS, None),
        (DagRunState.FAILED, _EXISTS, None, None),
    ],
)
def test_which_runs_run_again(existing: DagRunState | None, none: Any, failed: Any, completed: Any) -> None:
    found = [skip_reason(existing, how) for how in (Reprocess.NONE, Reprocess.FAILED, Reprocess.COMPLETED)]
    assert found == [none, failed, completed]


def test_the_preview_counts_what_can_be_there_at_once() -> None:
    tasks = (
        TaskSpec(task_id="a", operator="BashOperator", pool_slots=2),
        TaskSpec(task_id="b", operator="BashOperator"),
        TaskSpec(task_id="c", operator="BashOperator", pool="narrow"),
    )
    dag = DagSpec(dag_id="d", tasks=tasks, timetable=DAILY)
    found = preview(dag, 100, max_active_runs=4, durations_s=[900.0, 60.0, 90.0])
    assert (found.runs, found.task_instances, found.runs_at_once) == (100, 300, 4)
    assert found.pools == {"default_pool": 12, "narrow": 4}
    assert (found.run_duration_s, found.runs_per_hour, found.duration_s) == (90.0, 160.0, 2250.0)


def test_the_preview_of_a_dag_that_never_ran_does_not_guess() -> None:
    found = preview(spec(), 2, max_active_runs=10, durations_s=[])
    assert (found.runs_at_once, found.pools) == (2, {"default_pool": 2})
    assert (found.run_duration_s, found.runs_per_hour, found.duration_s) == (None, None, None)
