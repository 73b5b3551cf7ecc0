"""What a scan means for Postgres."""

from __future__ import annotations

from pathlib import Path

from leoflowd.authoring.project import Project
from leoflowd.contract import dag_spec
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.lite.registration_plan import Registration, plan_registrations
from leoflowd.lite.watched_project import Compiled, Failed, Outcome, ProjectFiles, Watched


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
