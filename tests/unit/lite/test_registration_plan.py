"""What a scan means for Postgres."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from leoflowd.authoring.project import Project
from leoflowd.contract import dag_spec
from leoflowd.contract.dag_spec import CustomTimetable, DagSpec, TaskSpec
from leoflowd.lite.registration_plan import Registration, plan_registrations
from leoflowd.lite.watched_project import Compiled, Failed, Outcome, ProjectFiles, Watched, is_due


def spec(dag_id: str, bundle: str = "1") -> DagSpec:
    return DagSpec(dag_id=dag_id, tasks=(TaskSpec(task_id="t", operator="EmptyOperator"),), bundle_digest=bundle)


def watched(path: str, outcome: Outcome) -> Watched:
    project = Project(folder=Path("/w") / path, source_path="dag.py", path=path)
    return Watched(ProjectFiles(project, path, "s"), outcome)


def compiled(*dag_ids: str) -> Compiled:
    specs = tuple(spec(dag_id) for dag_id in dag_ids)
    return Compiled(specs, tuple(map(dag_spec.digest, specs)), 0.1)


def known(dag_id: str, fileloc: str) -> dict[str, Registration]:
    return {dag_id: Registration(fileloc, dag_spec.digest(spec(dag_id)))}


def test_a_new_dag_is_registered_and_a_known_one_is_not() -> None:
    projects = {"a": watched("a", compiled("x", "y"))}
    plan = plan_registrations(projects, known("x", "a/dag.py"), {})
    assert [item.spec.dag_id for item in plan.register] == ["y"]
    assert (plan.errors, plan.cleared, plan.stale) == ({}, (), ())


def test_a_moved_project_is_registered_again() -> None:
    plan = plan_registrations({"b": watched("b", compiled("x"))}, known("x", "a/dag.py"), {})
    assert [item.registration.relative_fileloc for item in plan.register] == ["b/dag.py"]


def test_the_first_project_by_path_owns_a_dag_id_and_the_other_is_told() -> None:
    projects = {"b": watched("b", compiled("x", "z")), "a": watched("a", compiled("x"))}
    plan = plan_registrations(projects, {}, {})
    assert [(item.path, item.spec.dag_id) for item in plan.register] == [("a", "x"), ("b", "z")]
    assert list(plan.errors) == ["b/dag.py"]
    assert "'a'" in plan.errors["b/dag.py"]
    assert "'b'" in plan.errors["b/dag.py"]


def test_one_bad_project_refuses_nobody_and_keeps_its_last_good_version() -> None:
    projects = {"a": watched("a", Failed("broken")), "b": watched("b", compiled("y"))}
    plan = plan_registrations(projects, known("x", "a/dag.py"), {})
    assert [item.spec.dag_id for item in plan.register] == ["y"]
    assert plan.errors == {"a/dag.py": "broken"}
    assert plan.stale == ()


def test_an_import_error_is_written_once_and_cleared_when_mended_or_gone() -> None:
    errors = {"a/dag.py": "broken", "gone/dag.py": "x"}
    assert plan_registrations({"a": watched("a", Failed("broken"))}, {}, errors).errors == {}
    assert plan_registrations({"a": watched("a", compiled("x"))}, {}, errors).cleared == ("a/dag.py", "gone/dag.py")


def test_nothing_is_cleared_or_stale_before_a_project_was_tried() -> None:
    plan = plan_registrations({"a": watched("a", None)}, known("x", "a/dag.py"), {"a/dag.py": "broken"})
    assert (plan.cleared, plan.stale) == ((), ())


def test_a_dag_whose_project_is_gone_or_defines_it_no_more_is_stale() -> None:
    assert plan_registrations({}, known("x", "a/dag.py"), {}).stale == ("x",)
    assert plan_registrations({"a": watched("a", compiled("y"))}, known("x", "a/dag.py"), {}).stale == ("x",)


def test_a_plan_that_was_carried_out_leaves_nothing_to_plan() -> None:
    projects = {"a": watched("a", compiled("x")), "b": watched("b", compiled("x")), "c": watched("c", Failed("no"))}
    plan = plan_registrations(projects, {}, {})
    done = {item.spec.dag_id: item.registration for item in plan.register}
    again = plan_registrations(projects, done, plan.errors)
    assert (again.register, again.errors, again.cleared, again.stale) == ((), {}, (), ())


def test_a_reason_is_made_storable() -> None:
    plan = plan_registrations({"a": watched("a", Failed("a\0b\ud800"))}, {}, {})
    assert plan.errors == {"a/dag.py": r"a\x00b\ud800"}
    assert plan_registrations({"a": watched("a", Failed("a\0b\ud800"))}, {}, plan.errors).errors == {}


def test_what_a_custom_timetable_says_later_is_registered_though_the_digest_is_the_same() -> None:
    first = msgspec.structs.replace(spec("x"), timetable=CustomTimetable(name="m.C"))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    later = msgspec.structs.replace(first, timetable=CustomTimetable(name="m.C", slots=((now, now, now),)))
    has = {"x": Registration("a/dag.py", dag_spec.digest(first), CustomTimetable(name="m.C"))}
    for now_compiled, count in ((first, 0), (later, 1)):
        outcome = Compiled((now_compiled,), (dag_spec.digest(now_compiled),), 0.1)
        assert len(plan_registrations({"a": watched("a", outcome)}, has, {}).register) == count


def test_a_project_is_due_again_when_its_timetables_are_to_be_asked_for_more() -> None:
    project, now = watched("a", compiled("x")), datetime(2026, 1, 1, tzinfo=UTC)
    project.tried_signature = "s"
    assert not is_due(project, by_event=False, now=now)
    project.ask_again_at = now
    assert is_due(project, by_event=False, now=now)
    assert not is_due(project, by_event=False, now=now - timedelta(seconds=1))
