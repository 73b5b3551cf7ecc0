"""The folder of a try: one exclusive creation, and what an earlier agent left is read as it was."""

from __future__ import annotations

import errno
import os
import resource
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leoflow_agent.spool import AlreadyStarted, Spool, Stop, StoredOutcome
from leoflowd.contract.agent_messages import OutcomeKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", tmp_path / "work")


def test_a_folder_is_complete_when_it_appears(tmp_path):
    folder = _spool(tmp_path).create("t1", "secret")
    assert folder.read_token() == "secret"
    assert list(folder.work.iterdir()) == []
    assert {(tmp_path / name).stat().st_mode & 0o077 for name in ("spool", "work")} == {0}


def test_a_try_is_created_once_and_its_scratch_is_left_alone(tmp_path):
    spool = _spool(tmp_path)
    (spool.create("t1", "secret").work / "data").touch()
    with pytest.raises(AlreadyStarted):
        spool.create("t1", "secret")
    assert [folder.try_id for folder in spool.scan()] == ["t1"]
    assert (tmp_path / "work" / "t1" / "data").exists()
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["t1"]


def test_a_try_id_cannot_leave_the_spool(tmp_path):
    for try_id in ("../x", ".hidden", "a/b", "", "a\0b"):
        with pytest.raises(ValueError, match="cannot name a folder"):
            _spool(tmp_path).create(try_id, "secret")


def test_scanning_sweeps_what_was_never_finished(tmp_path):
    spool = _spool(tmp_path)
    (tmp_path / "spool" / ".t2.17.new").mkdir()
    folder = spool.create("t1", "secret")
    folder.remove()
    (folder.work / "deep").mkdir()
    assert spool.scan() == ()
    spool.clear_work()
    assert [list((tmp_path / name).iterdir()) for name in ("spool", "work")] == [[], []]


@pytest.mark.parametrize("step", ["mkdir", "write_text", "touch", "rename"])
def test_a_folder_that_cannot_be_made_leaves_nothing_behind(tmp_path, monkeypatch, step):
    spool = _spool(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Path, step, full)
        with pytest.raises(OSError, match="No space left"):
            spool.create("t1", "secret")
    assert [list((tmp_path / name).iterdir()) for name in ("spool", "work")] == [[], []]
    spool.create("t1", "secret")


def test_what_is_half_written_is_removed_again(tmp_path, monkeypatch):
    folder = _spool(tmp_path).create("t1", "secret")
    stop = Stop(kind=OutcomeKind.LOST, because="x" * 10_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            folder.write_stop(stop)
        with pytest.raises(OSError, match=r"No space left|File too large"):
            folder.add_event(b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in folder.path.iterdir()) == ["events.ndjson", "log.ndjson", "token"]
    assert folder.events_path.read_bytes() == b""


def test_outcome_and_stop_are_read_back(tmp_path):
    folder = _spool(tmp_path).create("t1", "secret")
    assert (folder.read_outcome(), folder.read_stop()) == (None, None)
    outcome = StoredOutcome(kind=OutcomeKind.SKIPPED, because="b", start_date=NOW, end_date=NOW)
    stop = Stop(kind=OutcomeKind.LOST, because="the host stops")
    folder.write_outcome(outcome)
    folder.write_stop(stop)
    assert (folder.read_outcome(), folder.read_stop()) == (outcome, stop)


def test_an_outcome_that_user_code_broke_counts_as_none(tmp_path):
    folder = _spool(tmp_path).create("t1", "secret")
    (folder.path / "outcome.json").write_text("{broken")
    assert folder.read_outcome() is None
