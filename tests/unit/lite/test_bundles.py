"""Which code of versions stays."""

from __future__ import annotations

from pathlib import Path

from leoflowd.lite.bundles import prune_bundles


def test_pruning_keeps_what_is_needed_and_removes_half_copies(tmp_path: Path) -> None:
    for name in ("needed", "old", ".copy-1"):
        (tmp_path / name).mkdir()
    prune_bundles(tmp_path, {"needed"})
    assert [path.name for path in tmp_path.iterdir()] == ["needed"]
    prune_bundles(tmp_path / "nowhere", set())
