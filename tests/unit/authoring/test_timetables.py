"""Timetables of the author's own, asked while the DAG is compiled; and the errors that name a line of theirs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from leoflowd.contract.dag_spec import CronTimetable, CustomTimetable, MultipleCronTimetable, digest

from .conftest import Compile, Refuse

WORKDAYS = """
from datetime import datetime, timedelta, timezone
from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo, DataInterval, Timetable

DAY = timedelta(days=1)

class Workdays(Timetable):
    description = "After each workday"

    def infer_manual_data_interval(self, *, run_after):
        day = run_after.replace(hour=0, minute=0, second=0, microsecond=0) - DAY
        while day.weekday() > 4:
            day -= DAY
        return DataInterval(day, day + DAY)

    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        if last_automated_data_interval is not None:
            day = last_automated_data_interval.start + DAY
        elif restriction.earliest is None:
            return None
        else:
            day = restriction.earliest
        while day.weekday() > 4:
            day += DAY
        if restriction.latest is not None and day > restriction.latest:
            return None
        return DagRunInfo.interval(day, day + DAY)

class WorkdayPlugin(AirflowPlugin):
    name = "workdays"
    timetables = [Workdays]
"""
DAG = """
from airflow.sdk import DAG
from airflow.operators.empty import EmptyOperator
from plugins.workdays import *

with DAG("work", schedule=Workdays(), {arguments}):
    EmptyOperator(task_id="a")
"""
FRIDAY, MONDAY = datetime(2024, 11, 1, tzinfo=UTC), datetime(2024, 11, 4, tzinfo=UTC)


def custom(compiled: Compile, arguments: str, timetable: str = WORKDAYS) -> CustomTimetable:
    files = {"plugins/__init__.py": "", "plugins/workdays.py": timetable}
    found = compiled(DAG.format(arguments=arguments), files=files).timetable
    assert isinstance(found, CustomTimetable)
    return found


def wrong(refused: Refuse, old: str, new: str) -> str:
    assert old in WORKDAYS
    files = {"plugins/__init__.py": "", "plugins/workdays.py": WORKDAYS.replace(old, new)}
    return str(refused(DAG.format(arguments="start_date=datetime(2024, 11, 1), catchup=True"), files=files))


def test_a_class_is_asked_from_the_start_date_for_two_years_ahead(compiled: Compile) -> None:
    found = custom(compiled, "start_date=datetime(2024, 11, 1), catchup=True")
    assert (found.name, found.description) == ("plugins.workdays.Workdays", "After each workday")
    assert found.slots[:2] == (
        (FRIDAY, FRIDAY + timedelta(days=1), FRIDAY + timedelta(days=1)),
        (MONDAY, MONDAY + timedelta(days=1), MONDAY + timedelta(days=1)),
    )
    assert found.valid_until == found.slots[-1][2]
    ahead = found.valid_until - datetime.now(UTC)
    assert timedelta(days=729) < ahead < timedelta(days=735)


def test_up_to_the_end_date_nothing_runs_out(compiled: Compile) -> None:
    found = custom(compiled, "start_date=datetime(2024, 11, 1), end_date=datetime(2024, 11, 4), catchup=True")
    assert [slot[0] for slot in found.slots] == [FRIDAY, MONDAY]
    assert found.valid_until is None


def test_without_start_date_this_class_has_no_runs(compiled: Compile) -> None:
    assert custom(compiled, "catchup=False").slots == ()


def test_a_run_asked_for_gets_the_interval_that_the_class_infers(compiled: Compile) -> None:
    found = custom(compiled, "start_date=datetime(2024, 11, 1)")
    assert found.manual is not None
    assert found.manual[1] - found.manual[0] == timedelta(days=1)
    assert (found.manual[0].weekday() <= 4, found.manual_is_exact) == (True, False)
    exact = WORKDAYS.replace("return DataInterval(day, day + DAY)", "return DataInterval.exact(run_after)")
    assert custom(compiled, "start_date=datetime(2024, 11, 1)", exact).manual_is_exact


def test_a_later_look_ahead_is_no_new_version(compiled: Compile) -> None:
    files = {"plugins/__init__.py": "", "plugins/workdays.py": WORKDAYS}
    spec = compiled(DAG.format(arguments="start_date=datetime(2024, 11, 1)"), files=files)
    assert isinstance(spec.timetable, CustomTimetable)
    later = msgspec.structs.replace(spec.timetable, slots=spec.timetable.slots[3:], valid_until=None, manual=None)
    other = msgspec.structs.replace(spec.timetable, description="another")
    assert digest(msgspec.structs.replace(spec, timetable=later)) == digest(spec)
    assert digest(msgspec.structs.replace(spec, timetable=other)) != digest(spec)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("day = restriction.earliest", "day = restriction.nothing", 22, "raised AttributeError"),
        ("return DagRunInfo.interval(day, day + DAY)", "return DagRunInfo(day, None)", 16, "cannot be used"),
        ("return DagRunInfo.interval(day, day + DAY)", "return DagRunInfo.exact(DAY)", 16, "cannot be used"),
        (".start + DAY", ".start", 16, "after 2024-11-01 00:00:00+00:00 it gave 2024-11-01"),
        ("return DataInterval(day, day + DAY)", "return day", 10, "infer_manual_data_interval"),
        ("DAY = timedelta(days=1)", "DAY = timedelta(microseconds=1)", 16, "more than 20000 runs"),
    ],
)
def test_what_is_wrong_with_a_class_is_said_with_its_line(
    refused: Refuse, old: str, new: str, line: int, said: str
) -> None:
    message = wrong(refused, old, new)
    assert f"plugins/workdays.py:{line}: " in message
    assert said in message


def test_what_is_not_used_of_a_class_is_a_warning(compiled: Compile) -> None:
    orders = WORKDAYS.replace('description = "After', 'run_ordering = ("logical_date",)\n    description = "After')
    files = {"plugins/__init__.py": "", "plugins/workdays.py": orders}
    spec = compiled(DAG.format(arguments="start_date=datetime(2024, 11, 1)"), files=files)
    assert ["run_ordering of timetable" in warning.what for warning in spec.warnings] == [True]


def test_more_active_runs_than_the_class_allows_are_refused(refused: Refuse) -> None:
    limit = 'active_runs_limit = 2\n    description = "After'
    assert "allows 2" in wrong(refused, 'description = "After', limit)


def test_a_class_on_one_of_airflows_asks_for_airflows_packages(refused: Refuse) -> None:
    error = refused(
        """
        from airflow.sdk import DAG
        from airflow.timetables.interval import CronDataIntervalTimetable

        class Mine(CronDataIntervalTimetable):
            pass

        DAG("d", schedule=Mine("@daily", timezone="UTC"))
        """
    )
    assert (error.line, "derives from CronDataIntervalTimetable" in str(error)) == (7, True)
    assert "connectors: [standard]" in str(error)


def test_several_cron_expressions_and_seconds(compiled: Compile) -> None:
    spec = compiled(
        """
        from datetime import timedelta
        from airflow.sdk import DAG, MultipleCronTriggerTimetable
        from airflow.operators.empty import EmptyOperator

        schedule = MultipleCronTriggerTimetable(
            "@hourly", "0 6 * * * 30", timezone="UTC", run_immediately=timedelta(hours=1)
        )
        with DAG("d", schedule=schedule):
            EmptyOperator(task_id="a")
        """
    )
    assert spec.timetable == MultipleCronTimetable(
        timetables=(
            CronTimetable(expression="0 * * * *", run_within_s=3600.0),
            CronTimetable(expression="0 6 * * * 30", run_within_s=3600.0),
        )
    )
    assert spec.timetable_summary == "0 * * * *, 0 6 * * * 30"
