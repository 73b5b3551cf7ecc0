"""Any save changes the signature of its project, whatever the names and kinds of its files are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leoflowd.authoring.closure import python_files
from leoflowd.authoring.compiler import code_of
from leoflowd.authoring.discovery import discover
from leoflowd.authoring.project import config_of
from leoflowd.lite.project_scan import list_projects_in
from tests.fakes.dag_trees import dag, plant


def test_any_file_of_a_project_changes_its_signature_and_no_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "dag.py").write_text("")
        (tmp_path / name / "lib" / "helper.py").write_text("x = 1\n")
    before = {files.path: files.signature for files in list_projects_in(tmp_path)}
    (tmp_path / "a" / "lib" / "helper.py").write_text("x = 10\n")
    (tmp_path / "b" / "__pycache__").mkdir()
    (tmp_path / "b" / "__pycache__" / "dag.pyc").write_text("")
    (tmp_path / "b" / "lib" / ".leoflow-0123").write_text("half")
    after = {files.path: files.signature for files in list_projects_in(tmp_path)}
    assert before["a"] != after["a"]
    assert before["b"] == after["b"]


@pytest.mark.parametrize("name", ["lite.log", "nohup.out", ".dag.py.swp"])
def test_what_a_server_says_into_its_own_workspace_starts_nothing(tmp_path: Path, name: str) -> None:
    """`leoflow lite . > lite.log` in a project: each line was a new version, which was another line."""
    (tmp_path / "dag.py").write_text("")
    (before,) = list_projects_in(tmp_path)
    kept = os.dup(2)
    try:
        with (tmp_path / name).open("w") as said:
            if name == "lite.log":
                os.dup2(said.fileno(), 2)
            said.write("a line")
            said.flush()
            (after,) = list_projects_in(tmp_path)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert before.signature == after.signature
    (after,) = list_projects_in(tmp_path)
    assert (before.signature == after.signature) is (name != "lite.log"), "any other file of that name is the author's"


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


TREE = {
    "dags/etl.py": "# airflow dag\nimport common\ndef f():\n    from operators import Own\n",
    "dags/report.py": "# airflow dag\nimport common\n",
    "dags/lucky.py": "# airflow dag\nimport pkgutil\n",
    "dags/common.py": "import deeper\n",
    "dags/deeper.py": "",
    "plugins/operators.py": "",
    "include/query.sql": "",
    "requirements.txt": "",
}


def signatures(workspace: Path, beyond: dict[str, frozenset[str]] | None = None) -> dict[str, str]:
    return {Path(files.path).stem: files.signature for files in list_projects_in(workspace, beyond)}


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("dags/deeper.py", {"etl", "report", "lucky"}),
        ("plugins/operators.py", {"etl", "lucky"}),
        ("dags/report.py", {"report", "lucky"}),
        ("dags/new.py", {"lucky"}),
        ("include/query.sql", {"etl", "report", "lucky"}),
        ("requirements.txt", {"etl", "report", "lucky"}),
        ("scheduler.log", set()),
    ],
)
def test_a_saved_module_is_the_business_of_those_that_import_it(tmp_path: Path, changed: str, again: set[str]) -> None:
    plant(tmp_path, TREE)
    before = signatures(tmp_path)
    with (tmp_path / changed).open("a") as file:
        file.write("# saved\n")
    after = signatures(tmp_path)
    assert {name for name in before if after[name] != before[name]} == again


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml", "Pipfile", ".python-version", "Dockerfile"])
def test_what_a_repository_requires_above_the_tree_is_its_business(tmp_path: Path, name: str) -> None:
    plant(tmp_path, {"src/dags/etl.py": dag("etl"), "requirements.txt": "", ".git/HEAD": ""})
    before = signatures(tmp_path)
    (tmp_path / "README.md").write_text("saved")
    assert signatures(tmp_path) == before
    (tmp_path / name).write_text("# saved")
    assert signatures(tmp_path) != before


def test_a_module_that_appears_is_the_business_of_those_that_miss_it(tmp_path: Path) -> None:
    plant(tmp_path, {**TREE, "dags/lucky.py": "", "dags/etl.py": "# airflow dag\nimport missing\n"})
    before = signatures(tmp_path)
    (tmp_path / "dags" / "missing.py").touch()
    assert [name for name, signature in signatures(tmp_path).items() if signature != before[name]] == ["etl"]


def test_what_loading_told_of_counts_as_if_the_text_named_it(tmp_path: Path) -> None:
    plant(tmp_path, TREE)
    beyond = {"dags/report.py": frozenset({"plugins/operators.py", "gone.py"})}
    before = signatures(tmp_path, beyond)
    (tmp_path / "plugins" / "operators.py").write_text("x = 1")
    after = signatures(tmp_path, beyond)
    assert {name for name in before if after[name] != before[name]} == {"etl", "report", "lucky"}


def test_a_project_of_its_own_in_a_tree_is_nobody_elses_business(tmp_path: Path) -> None:
    plant(tmp_path, {**TREE, "dags/own/leoflow.yaml": "dag_source: x.py", "dags/own/x.py": "", "dags/own/y.sql": ""})
    before = signatures(tmp_path)
    (tmp_path / "dags" / "own" / "y.sql").write_text("select 1")
    assert [name for name, signature in signatures(tmp_path).items() if signature != before[name]] == ["own"]


def test_a_model_in_python_is_the_business_of_those_who_make_groups_of_dbt(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "dags/shop.py": "# airflow dag\nfrom leoflow.dbt import dbt_group\n",
            "dags/other.py": "# airflow dag\n",
            "dbt/dbt_project.yml": "name: shop\n",
            "dbt/models/m.py": "",
        },
    )
    before = signatures(tmp_path)
    assert {"shop", "other"} <= before.keys()
    (tmp_path / "dbt" / "models" / "m.py").write_text("x = 1\n")
    after = signatures(tmp_path)
    assert [name for name in before if after[name] != before[name]] == ["shop"]


def test_whoever_compiles_takes_the_same_files(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "dags/shop.py": "# airflow dag\nfrom leoflow.dbt import dbt_group\n",
            "dbt/dbt_project.yml": "name: shop\n",
            "dbt/models/m.py": "import polars\n",
        },
    )
    (project,) = [one for one in discover(tmp_path).projects if one.source_path == "dags/shop.py"]
    config = config_of(project)
    found = code_of(project, config, python_files(project.folder, ()))
    assert found.modules == {"dags/shop.py", "dbt/models/m.py"}
    assert ("dbt/models/m.py", "polars", "call") in {
        (one.path, one.what.module, one.what.when) for one in found.outside
    }
