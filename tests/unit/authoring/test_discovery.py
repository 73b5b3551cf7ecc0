"""Which projects a folder holds: projects of their own, and the DAG files of a tree as Airflow lays it out."""

from __future__ import annotations

from pathlib import Path

import pytest

from leoflowd.authoring.discovery import discover, open_projects
from tests.fakes.dag_trees import dag, plant


def found(folder: Path) -> list[tuple[str, str]]:
    return [(project.path, project.source_path) for project in discover(folder).projects]


def test_folders_with_a_source_and_bare_files_are_projects(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "one/dag.py": "",
            "one/inner/dag.py": "",
            "group/two/leoflow.yaml": "dag_source: main.py\n",
            "group/three/dag.yaml": "",
            "venv/x/dag.py": "",
            ".hidden/dag.py": "",
            "bare.py": "# an airflow DAG",
            "helper.py": "x = 1",
        },
    )
    assert found(tmp_path) == [
        ("bare.py", "bare.py"),
        ("group/three", "dag.yaml"),
        ("group/two", "main.py"),
        ("one", "dag.py"),
    ]
    bare, *others = discover(tmp_path).projects
    assert bare.excluded == ("group/three", "group/two", "one")
    assert bare.in_tree
    assert not any(project.in_tree or project.import_paths for project in others)
    assert discover(tmp_path).skipped == ()


def test_a_dags_folder_beside_airflows_other_files_makes_a_tree(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "dags/a.py": dag("a"),
            "dags/team/deep/er/and/deeper/still/b.py": dag("b"),
            "dags/helper.py": "x = 1",
            "plugins/operators.py": "# airflow plugin of a dag",
            "include/dag_parts.py": "# airflow dag",
            "tests/dags/test_dag.py": "# airflow dag",
            "example.py": dag("example"),
            "requirements.txt": "",
        },
    )
    assert found(tmp_path) == [
        ("dags/a.py", "dags/a.py"),
        ("dags/team/deep/er/and/deeper/still/b.py", "dags/team/deep/er/and/deeper/still/b.py"),
    ]
    assert {project.import_paths for project in discover(tmp_path).projects} == {("dags", "plugins", ".")}
    assert {project.folder for project in discover(tmp_path).projects} == {tmp_path}


@pytest.mark.parametrize(
    "sign", ["plugins/x", "include/x", "config/x", "requirements.txt", "Dockerfile", "packages.txt"]
)
def test_each_sign_of_a_tree_counts_even_before_it_has_a_dag(tmp_path: Path, sign: str) -> None:
    plant(tmp_path, {"dags/readme": "", sign: "", "loose.py": dag("loose")})
    assert found(tmp_path) == []


def test_a_folder_named_dags_without_dag_files_or_signs_is_no_tree(tmp_path: Path) -> None:
    plant(tmp_path, {"dags/readme": "", "loose.py": dag("loose")})
    assert found(tmp_path) == [("loose.py", "loose.py")]


def test_dags_with_dag_files_alone_is_a_tree(tmp_path: Path) -> None:
    plant(tmp_path, {"dags/sub/a.py": dag("a")})
    (project,) = discover(tmp_path).projects
    assert (project.folder, project.import_paths) == (tmp_path, ("dags", "."))


def test_trees_and_projects_lie_side_by_side(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "hello/dag.py": "",
            "dags/a.py": dag("a"),
            "astro/dags/b.py": dag("b"),
            "astro/include/x.sql": "",
            "astro/hello/dag.py": "",
        },
    )
    assert found(tmp_path) == [
        ("astro/dags/b.py", "dags/b.py"),
        ("astro/hello", "dag.py"),
        ("dags/a.py", "dags/a.py"),
        ("hello", "dag.py"),
    ]
    by_path = {project.path: project for project in discover(tmp_path).projects}
    assert by_path["dags/a.py"].excluded == ("astro", "astro/hello", "hello")
    assert by_path["astro/dags/b.py"].excluded == ("hello",)


def test_a_dags_folder_itself_may_be_given(tmp_path: Path) -> None:
    folder = plant(tmp_path / "dags", {"a.py": dag("a"), "team/dag.py": dag("b"), "team/dag.yaml": "steps: 1"})
    assert found(folder) == [("a.py", "a.py"), ("team/dag.py", "team/dag.py")]
    a, b = discover(folder).projects
    assert a.import_paths == (".",)
    assert b.import_paths == (".", "team"), "what lies beside a dag.py is imported from there"


@pytest.mark.parametrize(("clone", "name"), [("myrepo", "myrepo"), ("airflow-dags", "dags")])
def test_a_tree_that_its_files_call_a_package_is_one(tmp_path: Path, clone: str, name: str) -> None:
    files = {"a.py": dag("a", "import own\n"), "own.py": f"from {name}.team.parts import X\n", "team/parts.py": ""}
    folder = plant(tmp_path / clone, files)
    (a,) = discover(folder).projects
    assert a.import_paths == (".", f"{name}=.")


def test_a_folder_of_that_name_is_what_the_import_means(tmp_path: Path) -> None:
    folder = plant(tmp_path / "myrepo", {"dags/a.py": dag("a", "import myrepo\n"), "dags/myrepo/x.py": ""})
    (a,) = discover(folder).projects
    assert a.import_paths == ("dags", ".")


def test_a_dags_folder_in_a_dags_folder_has_what_its_files_import(tmp_path: Path) -> None:
    inner = {"operators/own.py": "", "team/b.py": dag("b", "from operators.own import X\nimport redis\n")}
    outside = {"dags/a.py": dag("a", "import operators\n"), "dags/one/dags/team/redis.py": ""}
    plant(tmp_path, {**outside, **{f"dags/one/dags/{name}": text for name, text in inner.items()}})
    a, b = discover(tmp_path).projects
    assert a.import_paths == ("dags", ".")
    assert b.import_paths == ("dags", ".", "dags/one/dags"), "a library keeps its name"


def test_loose_files_are_found_in_folders_below(tmp_path: Path) -> None:
    plant(tmp_path, {"lessons/one/first.py": dag("first"), "lessons/two/dag.py": "", "plugins/own.py": "x = 1"})
    assert found(tmp_path) == [("lessons/one/first.py", "lessons/one/first.py"), ("lessons/two", "dag.py")]
    first, _ = discover(tmp_path).projects
    assert (first.folder, first.import_paths) == (tmp_path, (".", "plugins"))


def test_folders_too_deep_are_said(tmp_path: Path) -> None:
    plant(tmp_path, {"a/b/c/d/e/f/dag.py": ""})
    assert discover(tmp_path).projects == ()
    assert discover(tmp_path).skipped == ("a/b/c/d/e/f: deeper than 5 folders",)


def test_a_workspace_that_is_a_project(tmp_path: Path) -> None:
    plant(tmp_path, {"dag.py": "# airflow dag", "other.py": "# airflow dag"})
    assert [project.source_path for project in discover(tmp_path).projects] == ["dag.py"]


def test_settings_alone_stand_over_the_dag_files_below(tmp_path: Path) -> None:
    plant(tmp_path, {"team/leoflow.yaml": "owner: me\n", "team/a.py": dag("a"), "team/b/dag.py": dag("b")})
    assert found(tmp_path) == [("team/a.py", "a.py"), ("team/b/dag.py", "b/dag.py")]
    assert {project.folder for project in discover(tmp_path).projects} == {tmp_path / "team"}


def test_settings_alone_without_any_dag_file_are_a_project_that_lacks_its_source(tmp_path: Path) -> None:
    plant(tmp_path, {"team/leoflow.yaml": "owner: me\n", "team/a.py": "x = 1"})
    assert found(tmp_path) == [("team", "dag.py")]


def test_settings_make_a_project_of_its_own_inside_a_dags_folder(tmp_path: Path) -> None:
    plant(tmp_path, {"dags/a.py": dag("a"), "dags/own/leoflow.yaml": "dag_source: x.py\n", "dags/own/x.py": dag("x")})
    assert found(tmp_path) == [("dags/a.py", "dags/a.py"), ("dags/own", "x.py")]
    assert discover(tmp_path).projects[0].excluded == ("dags/own",)


# --- .airflowignore ----------------------------------------------------------------------------------------------

MANY = {
    "dags/keep.py": dag("keep"),
    "dags/drafts/one.py": dag("one"),
    "dags/drafts/two.py": dag("two"),
    "dags/team/test_it.py": dag("test_it"),
    "dags/team/old/three.py": dag("three"),
}


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ("drafts/\n", ["keep", "test_it", "three"]),
        ("# drafts/\n\ntest_*\n", ["keep", "one", "three", "two"]),
        ("/team/old\ndrafts/*.py\n!drafts/two.py\n", ["keep", "test_it", "two"]),
        ("**/old/**\n", ["keep", "one", "test_it", "two"]),
        ("drafts/\n!drafts/two.py\n", ["keep", "test_it", "three"]),  # what lies in an ignored folder stays ignored
        ("*\n!keep.py\n", ["keep"]),
    ],
)
def test_patterns_are_those_of_git(tmp_path: Path, lines: str, left: list[str]) -> None:
    plant(tmp_path, {**MANY, "dags/.airflowignore": lines})
    assert sorted(Path(source).stem for _, source in found(tmp_path)) == left


def test_the_inner_file_has_the_last_word(tmp_path: Path) -> None:
    plant(tmp_path, {**MANY, "dags/.airflowignore": "t*.py\n", "dags/drafts/.airflowignore": "!two.py\none.py\n"})
    assert sorted(Path(source).stem for _, source in found(tmp_path)) == ["keep", "two"]


def test_regular_expressions_when_airflow_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAG_IGNORE_FILE_SYNTAX", "regexp")
    plant(tmp_path, {**MANY, "dags/.airflowignore": "dr.*s/t  # the second\n^team$\n"})
    assert sorted(Path(source).stem for _, source in found(tmp_path)) == ["keep", "one"]


def test_a_line_that_is_no_pattern_is_said_and_ignores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAG_IGNORE_FILE_SYNTAX", "regexp")
    plant(tmp_path, {**MANY, "dags/.airflowignore": "keep\n(\n"})
    assert len(found(tmp_path)) == len(MANY)
    assert "dags/.airflowignore:2: this is no pattern" in discover(tmp_path).skipped[0]


def test_a_workspace_with_such_a_file_is_a_dags_folder(tmp_path: Path) -> None:
    plant(tmp_path, {".airflowignore": "x.py\n", "x.py": dag("x"), "dag.py": dag("y"), "z.py": dag("z")})
    assert found(tmp_path) == [("dag.py", "dag.py"), ("z.py", "z.py")]


# --- a file that a person names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["requirements.txt", None])
def test_a_named_file_is_the_one_of_its_tree(tmp_path: Path, sign: str | None) -> None:
    plant(tmp_path, {"dags/team/a.py": dag("a"), **({sign: ""} if sign else {})})
    (project,) = open_projects(tmp_path / "dags" / "team" / "a.py")
    assert project.folder == (tmp_path if sign else tmp_path / "dags")
    assert (project.folder / project.source_path) == tmp_path / "dags" / "team" / "a.py"
    assert project.import_paths == (("dags", ".") if sign else (".",))


@pytest.mark.parametrize("named", ["src", "src/dags", "src/dags/team", "src/dags/team/a.py"])
def test_in_a_clone_a_tree_without_signs_is_the_same_however_it_is_named(tmp_path: Path, named: str) -> None:
    """Elsewhere nothing above a dags folder is looked at: it may be somebody's home."""
    plant(tmp_path, {"src/dags/team/a.py": dag("a", "import ours\n"), "src/ours/__init__.py": "", ".git/HEAD": ""})
    (whole,) = discover(tmp_path).projects
    assert (whole.folder, whole.import_paths) == (tmp_path / "src", ("dags", "."))
    (project,) = open_projects(tmp_path / named)
    assert (project.folder, project.source_path) == (whole.folder, whole.source_path)


def test_a_named_file_counts_although_airflow_would_not_look_at_it(tmp_path: Path) -> None:
    plant(tmp_path, {"dags/a.py": "x = 1", "dags/.airflowignore": "a.py\n"})
    (project,) = open_projects(tmp_path / "dags" / "a.py")
    assert (project.folder, project.source_path) == (tmp_path / "dags", "a.py")


def test_the_source_of_a_project_may_be_named_for_it(tmp_path: Path) -> None:
    plant(tmp_path, {"p/leoflow.yaml": "dag_source: main.py\n", "p/main.py": dag("p")})
    assert open_projects(tmp_path / "p" / "main.py") == discover(tmp_path / "p").projects
    assert not open_projects(tmp_path / "p" / "main.py")[0].in_tree
