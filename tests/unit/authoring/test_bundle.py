"""The files of a version."""

from __future__ import annotations

from pathlib import Path

import pytest

from leoflowd.authoring import bundle
from leoflowd.authoring.bundle import bundle_digest, copy_bundle
from leoflowd.authoring.compiler import compile_opened, compile_project
from leoflowd.authoring.discovery import discover
from leoflowd.authoring.errors import DagCompileError

DAG = (
    "from airflow.sdk import DAG\nfrom leoflow import EmptyOperator\nwith DAG('{}'):\n    EmptyOperator(task_id='a')\n"
)


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_the_digest_sees_content_names_and_executable_bits(tmp_path: Path) -> None:
    folder = write(tmp_path, a_dot_py="1", sub__b_dot_txt="2")
    first = bundle_digest(folder)
    assert bundle_digest(folder) == first
    (folder / "sub/b.txt").chmod(0o755)
    second = bundle_digest(folder)
    (folder / "a.py").rename(folder / "c.py")
    assert len({first, second, bundle_digest(folder)}) == 3


def test_caches_environments_and_excluded_files_are_no_part(tmp_path: Path) -> None:
    folder = write(tmp_path / "project", dag_dot_py="1")
    before = bundle_digest(folder, exclude=("*.csv", "data/"))
    for name in ("__pycache__/dag.cpython.pyc", ".git/HEAD", "env/pyvenv.cfg", "env/bin/python", "x.csv", "data/y"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1")
    assert bundle_digest(folder, exclude=("*.csv", "data/")) == before
    copy = tmp_path / "copy"
    copy_bundle(folder, copy)
    copied = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert copied == {"dag.py", "x.csv", "data/y"}


@pytest.mark.parametrize(
    "left",
    [
        "nohup.out",
        ".dag.py.swp",
        "dag.py~",
        "#dag.py#",
        ".DS_Store",
        "inner/.q.sql.swo",
        "dbt/target/run.json",
        "dbt/logs/x",
    ],
)
def test_what_programs_leave_beside_the_files_is_no_part(tmp_path: Path, left: str) -> None:
    """To open a file in an editor, or to run dbt, made a new version of each DAG of the project."""
    write(tmp_path, **{"dag.py": "x", "dbt/dbt_project.yml": "", "target/of-the-author": "1"})
    before = bundle_digest(tmp_path)
    write(tmp_path, **{left: "1"})
    assert bundle_digest(tmp_path) == before
    for file in ("target/of-the-author", "samples/access.log"):
        write(tmp_path, **{file: "2"})
        after = bundle_digest(tmp_path)
        assert after != before, "it is the author's"
        before = after


def test_the_lock_of_an_editor_is_no_link_that_leads_nowhere(tmp_path: Path) -> None:
    """Emacs: while a file was changed there, the project had an import error."""
    write(tmp_path, **{"dag.py": "x"})
    before = bundle_digest(tmp_path)
    (tmp_path / ".#dag.py").symlink_to("me@host.4711:1")
    assert bundle_digest(tmp_path) == before


def test_the_authors_own_json_is_part_of_it_whatever_it_speaks_of(tmp_path: Path) -> None:
    folder = write(tmp_path, dag_dot_py="1", data_dot_json='{"bundle_digest":"", "rows": [1]}')
    before = bundle_digest(folder)
    (folder / "data.json").write_text('{"bundle_digest":"", "rows": [2]}')
    assert bundle_digest(folder) != before
    (folder / "data.json").write_text('{"bundle_digest":"", ' + "[" * 100_000)
    assert bundle_digest(folder) != before


def test_a_copy_has_the_digest_of_its_source_and_is_made_once(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", dag_dot_py="1", lib__x_dot_py="2")
    (folder / "lib/x.py").chmod(0o755)
    target = tmp_path / "copies" / "one"
    assert copy_bundle(folder, target) == bundle_digest(folder) == bundle_digest(target)
    (folder / "dag.py").write_text("changed")
    copy_bundle(folder, target)
    assert (target / "dag.py").read_text() == "1"
    assert [path.name for path in target.parent.iterdir()] == ["one"]


def test_a_link_that_leaves_the_project_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", a_dot_py="1")
    (folder / "inside").symlink_to("a.py")
    assert bundle_digest(folder)
    (folder / "secret").symlink_to("/etc/passwd")
    with pytest.raises(DagCompileError, match=r"secret:1: .*leaves the project"):
        bundle_digest(folder)


def test_a_project_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MAX_BYTES", 3)
    with pytest.raises(DagCompileError, match="exclude_paths"):
        bundle_digest(write(tmp_path, a="1234"))


def test_a_bare_file_is_compiled_with_its_helpers_but_not_with_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, x_dot_py="import helper\n" + DAG.format("x"), y_dot_py=DAG.format("y"), helper_dot_py="")
    x, y = discover(tmp_path).projects
    (before,) = compile_opened(x).specs
    assert compile_project(tmp_path / "x.py") == (before,)
    (tmp_path / "y.py").write_text(DAG.format("y2"))
    (tmp_path / "other.py").write_text("a = 1")
    assert compile_opened(x).specs[0].bundle_digest == before.bundle_digest
    (tmp_path / "helper.py").write_text("a = 1")
    assert compile_opened(x).specs[0].bundle_digest != before.bundle_digest
    assert compile_opened(y).specs[0].dag_id == "y2"


def test_the_yaml_of_a_shared_folder_is_only_copied(tmp_path: Path) -> None:
    """Its DAGs are Python files; reading hundreds of settings for each of them took minutes."""
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "settings.yaml").write_text("dag_id: no_dag\n")
    copy_bundle(folder, tmp_path / "copy", is_shared=True)
    assert sorted(file.name for file in (tmp_path / "copy").iterdir()) == ["settings.yaml"]
