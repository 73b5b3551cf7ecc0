"""What differs between two versions of a DAG."""

from __future__ import annotations

import msgspec

from leoflowd.contract.dag_spec import CronTimetable, DagSpec, EnvironmentSpec, TaskSpec
from leoflowd.core.version_diff import NOTHING, VersionDiff, diff_versions


def task(task_id: str, *upstream: str, **fields: object) -> TaskSpec:
    return TaskSpec(task_id=task_id, operator="BashOperator", upstream_task_ids=upstream, **fields)  # type: ignore[arg-type]


OLD = DagSpec(
    dag_id="d",
    tasks=(task("a"), task("b", "a", retries=1), task("gone", "b")),
    timetable=CronTimetable(expression="@daily"),
    source="a\nb\n",
    bundle_digest="0" * 64,
)


def diff(**changes: object) -> VersionDiff:
    return diff_versions(OLD, msgspec.structs.replace(OLD, **changes), labels=("version 1", "version 2"))


def test_a_version_does_not_differ_from_itself() -> None:
    found = diff(warnings=(), dag_version="a label")
    assert found == NOTHING
    assert found.is_empty


def test_tasks_come_go_and_change() -> None:
    found = diff(tasks=(task("a"), task("b", "new", retries=3), task("new", "a")))
    assert (found.tasks_added, found.tasks_removed) == (("new",), ("gone",))
    assert found.tasks_changed == {"b": {"retries": (1, 3)}}
    assert found.edges_added == (("a", "new"), ("new", "b"))
    assert found.edges_removed == (("a", "b"), ("b", "gone"))
    assert not found.is_empty


def test_schedule_and_limits_are_the_dags() -> None:
    found = diff(timetable=CronTimetable(expression="@hourly"), max_active_runs=3)
    assert found.dag["max_active_runs"] == (16, 3)
    assert [value["expression"] for value in found.dag["timetable"]] == ["@daily", "@hourly"]


def test_the_environment_is_shown_apart() -> None:
    found = diff(environment=EnvironmentSpec(dependencies=("pandas==2",)))
    assert found.environment == {"dependencies": ((), ("pandas==2",))}
    assert found.dag == {}


def test_the_source_is_a_unified_diff() -> None:
    found = diff(source="a\nc\n", bundle_digest="1" * 64)
    assert found.source == ("--- version 1", "+++ version 2", "@@ -1,2 +1,2 @@", " a", "-b", "+c")
    assert found.code_changed


def test_another_file_of_the_project_counts_as_code() -> None:
    found = diff(bundle_digest="1" * 64)
    assert (found.source, found.code_changed, found.is_empty) == ((), True, False)
