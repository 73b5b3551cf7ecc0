"""Who may enter the data folder."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from leoflowd.lite import postgres
from leoflowd.lite.postgres import paths_for, reachable_by_others
from leoflowd.lite.setup import make_data_dir


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("before", [None, 0o755, 0o777])
def test_nobody_lists_the_data_folder_and_an_old_one_is_closed(before: int | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        data = Path(name) / "data"
        if before is not None:
            data.mkdir()
            data.chmod(before)
        make_data_dir(data)
        assert mode(data) == (0o711 if os.geteuid() == 0 else 0o700)


def test_where_the_servers_user_cannot_come_near_it_is_closed_to_all(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    make_data_dir(tmp_path / "data")
    assert mode(tmp_path / "data") == 0o700


def test_a_database_stays_where_it_is_whatever_becomes_of_the_folders_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a chmod would be the end of all history."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        monkeypatch.setattr(postgres, "server_user", lambda: "nobody")
        monkeypatch.setattr(postgres, "HOMES_OF_ROOT", root / "homes")
        data = root / "data"
        data.mkdir(mode=0o700)
        home = paths_for(data).home
        assert home.parent == root / "homes"
        (home / "data").mkdir(parents=True)
        (home / "data" / "PG_VERSION").touch()
        data.chmod(0o755)
        assert paths_for(data).home == home


def test_behind_a_link_both_ways_have_to_be_open() -> None:
    """A folder of links to `/opt` in a home that nobody may enter: the server's user cannot come through it."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        for mode_of, folder in {0o755: "open", 0o700: "closed"}.items():
            (root / folder).mkdir(mode=mode_of)
        (root / "open" / "data").mkdir()
        (root / "closed" / "link").symlink_to(root / "open")
        (root / "open" / "link").symlink_to(root / "closed")
        assert reachable_by_others(root / "open" / "data")
        assert not reachable_by_others(root / "closed" / "link" / "data")
        assert not reachable_by_others(root / "open" / "link")
