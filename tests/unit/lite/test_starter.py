"""What a new workspace is filled with."""

from __future__ import annotations

from pathlib import Path

from leoflowd.lite.starter import fill_workspace


def test_a_workspace_that_holds_anything_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note.txt").touch()
    assert fill_workspace(tmp_path, with_examples=True) == ()
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
