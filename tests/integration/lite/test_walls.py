"""The folders of a Lite installation are its owner's; `run_as` is refused where it would be none."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from leoflowd.config import ConfigRefused, LiteConfig
from leoflowd.lite import walls

IS_ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root may run tasks as another user")


def _lite(folder: Path, **changes: str) -> LiteConfig:
    return LiteConfig(workspace=folder, data_dir=folder / "data", **changes)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_data_folder_is_its_owners_alone(tmp_path):
    (tmp_path / "data" / "logs").mkdir(parents=True, mode=0o755)  # of an earlier release
    walls.build_walls(_lite(tmp_path))
    # As root others may pass through it, since PostgreSQL runs as another user; into nothing that is ours.
    assert _mode(tmp_path / "data") == (0o711 if IS_ROOT else 0o700)
    assert {_mode(path) for path in (tmp_path / "data").iterdir()} == {0o700}
    assert {path.name for path in (tmp_path / "data").iterdir()} == {*walls.PRIVATE, *walls.FOR_TASKS}


@as_root
def test_what_a_task_needs_is_open_to_run_as_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(walls, "_check_way_in", lambda *_: None)
    walls.build_walls(_lite(tmp_path, run_as="daemon"))
    modes = {path.name: _mode(path) for path in (tmp_path / "data").iterdir()}
    assert modes == {**dict.fromkeys(walls.PRIVATE, 0o700), **dict.fromkeys(walls.FOR_TASKS, 0o711)}


@pytest.mark.skipif(IS_ROOT, reason="root may")
def test_only_root_may_choose_a_user(tmp_path):
    with pytest.raises(ConfigRefused, match="only root may run tasks as another user"):
        walls.build_walls(_lite(tmp_path, run_as="daemon"))


@as_root
@pytest.mark.parametrize(
    ("user", "because"),
    [
        ("no-such-user", "there is no such user"),
        ("root", "no wall"),
        ("0", "no wall"),
        ("nobody", "PostgreSQL runs as"),
    ],
)
def test_a_user_that_would_be_no_wall_is_refused(tmp_path, user, because):
    with pytest.raises(ConfigRefused, match=because):
        walls.build_walls(_lite(tmp_path, run_as=user))


@as_root
def test_a_data_folder_that_the_user_cannot_enter_is_refused_with_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(walls.sys, "executable", "/usr/bin/python3")
    if not Path("/usr/bin/python3").exists():
        pytest.skip("no interpreter that everyone may start")
    (tmp_path / "closed").mkdir(mode=0o700)
    with pytest.raises(ConfigRefused, match=r"this user cannot enter .*closed/data/bundles"):
        walls.build_walls(_lite(tmp_path / "closed", run_as="daemon"))


def test_a_bundle_is_read_only_and_can_still_be_removed(tmp_path):
    from leoflowd.lite.bundles import prune_bundles, seal

    bundle = tmp_path / "bundles" / "digest"
    (bundle / "package").mkdir(parents=True)
    (bundle / "package" / "code.py").touch()
    (bundle / "script.sh").touch(mode=0o755)
    seal(bundle)
    assert {path.name: _mode(path) for path in (bundle, *bundle.rglob("*"))} == {
        "digest": 0o555,
        "package": 0o555,
        "code.py": 0o444,
        "script.sh": 0o555,
    }
    prune_bundles(tmp_path / "bundles", set())
    assert list((tmp_path / "bundles").iterdir()) == []
