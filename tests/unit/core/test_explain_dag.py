"""Why a DAG does not run, in sentences."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leoflowd.contract.asset_spec import AssetSpec
from leoflowd.contract.dag_spec import ContinuousTimetable, CronTimetable, CustomTimetable, DagSpec, TaskSpec
from leoflowd.core.explain_dag import AwaitedAsset, DagFacts, explain_dag
from leoflowd.core.timetable import RunSlot
from leoflowd.core.watching import WatcherFacts

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DAY = timedelta(days=1)
DAILY = {"timetable": CronTimetable(expression="0 0 * * *"), "start_date": NOW - 9 * DAY}
WATCHER = WatcherFacts(
    dag_id="d",
    asset_name="a",
    name="inbox",
    is_active=True,
    is_awaited=True,
    created_at=NOW,
    events=0,
    fired_at=None,
    failures=2,
    error="no queue",
    retry_at=NOW + timedelta(seconds=8),
)


def custom(valid_until: datetime | None, *slots: datetime) -> dict[str, Any]:
    found = tuple((one, one, one) for one in slots)
    return {"timetable": CustomTimetable(name="our.Table", slots=found, valid_until=valid_until)}


def slot(at: datetime) -> RunSlot:
    return RunSlot(logical_date=at, data_interval_start=at, data_interval_end=at, run_after=at)


def said(spec: dict[str, Any], **facts: Any) -> tuple[str, ...]:
    given: dict[str, Any] = {"is_paused": False, "is_stale": False, "last": None, "active_runs": 0, **facts}
    tasks = (TaskSpec(task_id="t", operator="EmptyOperator"),)
    return explain_dag(DagSpec(dag_id="d", tasks=tasks, **spec), DagFacts(**given), NOW)


@pytest.mark.parametrize(
    ("spec", "facts", "words"),
    [
        ({}, {}, "it has no schedule"),
        ({}, {"is_stale": True}, "no longer in its file"),
        (DAILY, {"is_paused": True}, "is paused"),
        (DAILY, {"broken_file": "dags/etl.py"}, "its file dags/etl.py has an import error: the version before that"),
        (DAILY | {"max_active_runs": 2}, {"active_runs": 2}, "`leoflow explain d RUN_ID` says what a run waits for"),
        (DAILY | {"max_active_runs": 2}, {"active_runs": 2}, "2 runs are active, and its max_active_runs is 2"),
        (DAILY, {}, "its next run is due: it was to begin 3 h 4 min ago, 00:00 UTC"),
        (
            DAILY,
            {"last": slot(NOW.replace(hour=0, minute=0, second=0))},
            "its next run begins in 20 h 55 min, 2026-01-03 00:00 UTC",
        ),
        (DAILY | {"end_date": NOW - 5 * DAY}, {"last": slot(NOW)}, "no more runs: its end_date is 2025-12-28"),
        ({"timetable": ContinuousTimetable()}, {}, "when the one before has ended"),
        (custom(NOW - DAY), {}, "our.Table was asked up to 2026-01-01 03:04:05 UTC when it was compiled"),
        (custom(NOW + DAY, NOW + timedelta(hours=1)), {}, "its next run begins in 1 h, 04:04:05 UTC"),
        (custom(None), {}, "its schedule has no more runs"),
    ],
)
def test_it_says_why(spec: dict[str, Any], facts: dict[str, Any], words: str) -> None:
    sentences = said(spec, **facts)
    assert any(words in one for one in sentences), sentences


def test_a_look_ahead_that_has_not_run_out_is_no_reason() -> None:
    assert not any("asked up to" in one for one in said(custom(NOW + DAY, NOW + timedelta(hours=1))))


def test_it_tells_of_each_asset_and_watcher() -> None:
    assets = (AwaitedAsset("a", None), AwaitedAsset("b", NOW))
    sentences = said({"asset_condition": AssetSpec(name="a", uri="a")}, assets=assets, watchers=(WATCHER,))
    assert sentences == (
        "it is scheduled on 1 asset or aliases of them",
        "asset 'a': no event since the last run",
        "asset 'b': an event came at 2026-01-02 03:04:05 UTC, and waits for what else is needed",
        "watcher 'inbox' of asset 'a': its trigger failed 2 times in a row and is started again in 8 s; last: no queue",
    )
