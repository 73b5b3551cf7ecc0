"""What the editor does to the files of a workspace on a real disk, and what it refuses whoever asks."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from leoflowd.contract.errors import Conflict, Invalid, NotFound
from leoflowd.contract.workspace_files import FileChanged, FileKind
from leoflowd.lite import workspace_files
from leoflowd.lite.workspace_files import TEXT_MAX_BYTES, DiskFiles


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("canary")
    (tmp_path / "w").mkdir()
    return tmp_path / "w"


@pytest.fixture
def files(root: Path) -> DiskFiles:
    return DiskFiles(root)


def listed(files: DiskFiles, *, hidden: bool = False) -> dict[str, FileKind]:
    return {entry.path: entry.kind for entry in files.listing(hidden=hidden).entries}


def test_what_was_saved_is_read_again_with_the_same_etag(files: DiskFiles, root: Path) -> None:
    etag = files.write("dag.py", "a = 1\r\n", etag=None)
    assert files.read("dag.py").etag == etag
    assert files.read("dag.py").text == "a = 1\r\n"
    assert (root / "dag.py").read_bytes() == b"a = 1\r\n"


def test_a_save_over_somebody_elses_is_refused_with_what_is_there(files: DiskFiles, root: Path) -> None:
    etag = files.write("dag.py", "mine", etag=None)
    (root / "dag.py").write_text("theirs")
    with pytest.raises(FileChanged) as refused:
        files.write("dag.py", "mine again", etag=etag)
    assert refused.value.current == files.read("dag.py")
    assert (root / "dag.py").read_text() == "theirs"


def test_a_save_of_a_file_that_is_gone_is_refused_with_nothing(files: DiskFiles, root: Path) -> None:
    etag = files.write("dag.py", "mine", etag=None)
    (root / "dag.py").unlink()
    with pytest.raises(FileChanged) as refused:
        files.write("dag.py", "mine again", etag=etag)
    assert refused.value.current is None
    assert not (root / "dag.py").exists()


def test_a_new_file_never_replaces_one(files: DiskFiles, root: Path) -> None:
    (root / "dag.py").write_text("there")
    with pytest.raises(FileChanged, match="there already"):
        files.write("dag.py", "new", etag=None)
    assert (root / "dag.py").read_text() == "there"


def test_a_save_keeps_mode_and_owner(files: DiskFiles, root: Path) -> None:
    etag = files.write("run.sh", "1", etag=None)
    (root / "run.sh").chmod(0o750)
    if os.geteuid() == 0:
        os.chown(root / "run.sh", 1234, 4321)
    before = (root / "run.sh").stat()
    files.write("run.sh", "2", etag=etag)
    after = (root / "run.sh").stat()
    assert stat.S_IMODE(after.st_mode) == 0o750
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_what_root_makes_belongs_to_the_owner_of_the_folder(files: DiskFiles, root: Path) -> None:
    os.chown(root, 1234, 4321)
    files.make_folder("etl")
    files.write("etl/dag.py", "", etag=None)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in root.rglob("*")} == {(1234, 4321)}


def test_a_save_that_fails_half_way_leaves_the_old_content_and_nothing_else(
    files: DiskFiles, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    etag = files.write("dag.py", "old", etag=None)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Conflict, match="No space left"):
        files.write("dag.py", "new", etag=etag)
    assert (root / "dag.py").read_text() == "old"
    assert [path.name for path in root.iterdir()] == ["dag.py"]


# --- walls -------------------------------------------------------------------------------------------------------


WAYS_OUT = ["../outside/secret", "a/../../outside/secret", "/etc/passwd", "", "a//b", "a\0b", "x" * 300]


@pytest.mark.parametrize("path", WAYS_OUT)
def test_no_text_names_a_file_outside(files: DiskFiles, path: str) -> None:
    for work in (
        lambda: files.read(path),
        lambda: files.write(path, "x", etag=None),
        lambda: files.make_folder(path),
        lambda: files.count(path),
        lambda: files.remove(path, files=1),
        lambda: files.move("a", path),
        lambda: files.move(path, "a"),
    ):
        with pytest.raises(Invalid):
            work()


@pytest.mark.parametrize("link", ["away", "within"])
def test_no_link_is_followed_wherever_it_leads(files: DiskFiles, root: Path, tmp_path: Path, link: str) -> None:
    (root / "real").mkdir()
    (root / "real" / "secret").write_text("x")
    (root / "way").symlink_to(tmp_path / "outside" if link == "away" else root / "real")
    (root / "file").symlink_to(tmp_path / "outside" / "secret" if link == "away" else root / "real" / "secret")
    for work in (
        lambda: files.read("file"),
        lambda: files.read("way/secret"),
        lambda: files.write("way/secret", "x", etag="0" * 24),
        lambda: files.write("way/new", "x", etag=None),
        lambda: files.make_folder("way/new"),
        lambda: files.move("real/secret", "way/moved"),
        lambda: files.move("way/secret", "moved"),
        lambda: files.remove("way/secret", files=1),
    ):
        with pytest.raises(Invalid, match="symbolic link"):
            work()
    assert listed(files)["way"] is FileKind.LINK
    assert "way/secret" not in listed(files)
    assert (tmp_path / "outside" / "secret").read_text() == "canary"


def test_a_save_over_a_link_touches_nothing(files: DiskFiles, root: Path, tmp_path: Path) -> None:
    (root / "dag.py").symlink_to(tmp_path / "outside" / "secret")
    with pytest.raises(Conflict):
        files.write("dag.py", "new", etag=None)
    with pytest.raises(Invalid):
        files.write("dag.py", "new", etag=workspace_files._etag(b"canary"))
    assert (tmp_path / "outside" / "secret").read_text() == "canary"


def test_a_folder_that_becomes_a_link_while_it_is_walked_leads_nowhere(
    files: DiskFiles, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks may write in the workspace: one swaps the folder just when it is about to be opened."""
    (root / "etl").mkdir()
    (root / "etl" / "secret").write_text("inside")
    open_really = os.open

    def swap_then_open(path: str, flags: int, *args: int, dir_fd: int | None = None) -> int:
        if path == "etl" and not (root / "etl").is_symlink():
            (root / "etl").rename(root / "old")
            (root / "etl").symlink_to(tmp_path / "outside")
        return open_really(path, flags, *args, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swap_then_open)
    with pytest.raises(Invalid, match="symbolic link"):
        files.read("etl/secret")


def test_a_folder_swapped_after_it_was_opened_is_still_the_old_one(
    files: DiskFiles, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "etl").mkdir()
    rename_really = os.rename

    def swap_then_rename(old: str, new: str, **where: int) -> None:
        rename_really(root / "etl", root / "old")
        (root / "etl").symlink_to(tmp_path / "outside")
        rename_really(old, new, **where)

    monkeypatch.setattr(os, "rename", swap_then_rename)
    files.write("etl/new", "x", etag=None)
    assert (root / "old" / "new").read_text() == "x"
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]


def test_removing_a_folder_removes_links_and_not_what_they_lead_to(
    files: DiskFiles, root: Path, tmp_path: Path
) -> None:
    (root / "etl").mkdir()
    (root / "etl" / "way").symlink_to(tmp_path / "outside")
    assert files.count("etl") == 1
    files.remove("etl", files=1)
    assert not (root / "etl").exists()
    assert (tmp_path / "outside" / "secret").exists()


def test_a_pipe_is_refused_at_once(files: DiskFiles, root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(Invalid, match="no file: other"):
        files.read("pipe")
    assert listed(files)["pipe"] is FileKind.OTHER


@pytest.mark.parametrize("content", [b"\x89PNG\0", b"\xff\xfe"])
def test_a_binary_file_is_said_to_be_one(files: DiskFiles, root: Path, content: bytes) -> None:
    (root / "picture").write_bytes(content)
    with pytest.raises(Invalid, match="binary"):
        files.read("picture")


def test_sizes_are_bounded_both_ways(files: DiskFiles, root: Path) -> None:
    (root / "large").write_bytes(b"x" * (TEXT_MAX_BYTES + 1))
    with pytest.raises(Invalid, match=f"opens {TEXT_MAX_BYTES} at most"):
        files.read("large")
    with pytest.raises(Invalid, match=f"saves {TEXT_MAX_BYTES} at most"):
        files.write("new", "\u00fc" * (TEXT_MAX_BYTES // 2 + 1), etag=None)
    files.write("new", "x" * TEXT_MAX_BYTES, etag=None)
    assert len(files.read("new").text) == TEXT_MAX_BYTES


# --- trees -------------------------------------------------------------------------------------------------------


def test_the_tree_has_folders_before_their_files_and_hides_what_begins_with_a_dot(files: DiskFiles, root: Path) -> None:
    for name in ("etl/dag.py", ".git/config", "etl/.env", "etl/__pycache__/x.pyc", "a.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    assert list(listed(files)) == ["a.py", "etl", "etl/__pycache__", "etl/dag.py"]
    assert {".git/config", "etl/.env", "etl/__pycache__/x.pyc"} <= set(listed(files, hidden=True))


def test_half_written_files_and_names_no_page_can_carry_are_not_listed(files: DiskFiles, root: Path) -> None:
    (root / ".leoflow-half").write_text("")
    (root / "a\nb").write_text("")
    (Path(os.fsdecode(os.fsencode(root) + b"/\xff"))).write_text("")
    assert listed(files, hidden=True) == {}


def test_a_tree_too_large_to_show_says_so(files: DiskFiles, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_files, "ENTRIES_MAX", 2)
    for name in "abc":
        (root / name).write_text("")
    listing = files.listing(hidden=False)
    assert (len(listing.entries), listing.is_complete) == (2, False)


def test_a_folder_goes_only_with_as_many_files_as_were_said(files: DiskFiles, root: Path) -> None:
    (root / "etl" / ".git").mkdir(parents=True)
    (root / "etl" / ".git" / "config").write_text("")
    (root / "etl" / "dag.py").write_text("")
    with pytest.raises(Conflict, match="holds 2 files by now, not 1"):
        files.remove("etl", files=1)
    assert (root / "etl" / "dag.py").exists()
    files.remove("etl", files=files.count("etl"))
    assert not (root / "etl").exists()


def test_a_move_takes_a_folder_along_and_never_lands_on_anything(files: DiskFiles, root: Path) -> None:
    (root / "etl").mkdir()
    (root / "etl" / "dag.py").write_text("1")
    (root / "taken").write_text("2")
    with pytest.raises(Conflict, match="there already"):
        files.move("etl", "taken")
    with pytest.raises(Invalid, match="inside it"):
        files.move("etl", "etl/inner")
    with pytest.raises(NotFound):
        files.move("none", "some")
    files.move("etl", "sales")
    assert (root / "sales" / "dag.py").read_text() == "1"
    assert (root / "taken").read_text() == "2"


def test_examples_are_added_beside_what_is_there(files: DiskFiles, root: Path) -> None:
    (root / "examples" / "montecarlo_pi").mkdir(parents=True)
    (root / "examples" / "montecarlo_pi" / "dag.py").write_text("mine")
    made = files.add_examples()
    assert "examples/daily_sales_etl" in made
    assert "examples/montecarlo_pi" not in made
    assert (root / "examples" / "daily_sales_etl" / "dag.py").read_text().startswith('"""')
    assert (root / "examples" / "montecarlo_pi" / "dag.py").read_text() == "mine"
    assert files.add_examples() == ()
