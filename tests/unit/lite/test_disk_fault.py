"""A disk that is nearly full turns health red before nothing can be written any more."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from leoflowd import daemon


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(("free", "is_fault"), [(daemon.DISK_FREE_MIN_BYTES, False), (3 * 2**20, True), (0, True)])
def test_a_disk_without_room_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, is_fault: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(2**40, 2**40 - free, free))
    complaint = daemon._disk_complaint(tmp_path / "logs" / "not there yet")
    assert (complaint is not None) == is_fault
    assert complaint is None or f"has {free // 2**20} MiB left" in complaint
