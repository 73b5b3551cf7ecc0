"""Any save changes the signature of its project, whatever the names and kinds of its files are."""

from __future__ import annotations

import os
from pathlib import Path

from leoflowd.lite.project_scan import list_projects_in


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
