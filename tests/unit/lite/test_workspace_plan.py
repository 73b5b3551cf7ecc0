"""What a scan means for Postgres: `plan_registrations`, and the signatures that trigger it."""

from __future__ import annotations

import os
from pathlib import Path

from leoflowd.authoring.project import Project
from leoflowd.contract import dag_spec
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.lite.bundles import prune_bundles
from leoflowd.lite.passwords import generate_password
from leoflowd.lite.project_scan import list_projects_in
from leoflowd.lite.registration_plan import Registration, plan_registrations
from leoflowd.lite.starter import fill_workspace
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


def test_any_file_of_a_project_changes_its_signature_and_no_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "dag.py").write_text("")
        (tmp_path / name / "lib" / "helper.py").write_text("x = 1\n")
    before = {files.path: files.signature for files in list_projects_in(tmp_path)}
    (tmp_path / "a" / "lib" / "helper.py").write_text("x = 10\n")
    (tmp_path / "b" / "__pycache__").mkdir()
    (tmp_path / "b" / "__pycache__" / "dag.pyc").write_text("")
    after = {files.path: files.signature for files in list_projects_in(tmp_path)}
    assert before["a"] != after["a"]
    assert before["b"] == after["b"]


def test_names_and_files_of_any_kind_are_listed_with_a_signature(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.py")).write_text("# an airflow dag")
    (tmp_path / "x.py").write_text("# an airflow dag")
    odd = tmp_path / os.fsdecode(b"\xfe\n")
    odd.mkdir()
    os.mkfifo(odd / "dag.py")
    (tmp_path / "loop").symlink_to("loop")
    before = {files.source: files.signature for files in list_projects_in(tmp_path)}
    assert list(before) == ["x.py", r"\udcfe" "\n/dag.py", r"\udcff.py"]
    (tmp_path / "helper").touch()
    after = {files.source: files.signature for files in list_projects_in(tmp_path)}
    assert [source for source in before if after[source] != before[source]] == ["x.py", r"\udcff.py"]


def test_a_reason_is_made_storable() -> None:
    plan = plan_registrations({"a": watched("a", Failed("a\0b\ud800"))}, {}, {})
    assert plan.errors == {"a/dag.py": r"a\x00b\ud800"}
    assert plan_registrations({"a": watched("a", Failed("a\0b\ud800"))}, {}, plan.errors).errors == {}


def test_pruning_keeps_what_is_needed_and_removes_half_copies(tmp_path: Path) -> None:
    for name in ("needed", "old", ".copy-1"):
        (tmp_path / name).mkdir()
    prune_bundles(tmp_path, {"needed"})
    assert [path.name for path in tmp_path.iterdir()] == ["needed"]
    prune_bundles(tmp_path / "nowhere", set())


def test_a_workspace_that_holds_anything_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note.txt").touch()
    assert fill_workspace(tmp_path, with_examples=True) == ()
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_passwords_are_long_readable_and_never_the_same() -> None:
    made = {generate_password() for _ in range(100)}
    assert len(made) == 100
    assert all(len(password) == 23 and not set(password) & set("ilo01") for password in made)
