"""Task logs on disk: order, disks that are full, and runs that bear the name of another."""

from __future__ import annotations

import errno
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from leoflowd.store.log_files import LogFiles, LogNotStored

TRY = ("etl", "manual/1", "load", -1, 1)


async def test_chunks_of_one_file_are_written_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path)
    path = logs.path(*TRY, dag_run_id=1)
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(logs.append, path, 2 * number, b"%02d" % number)
            await trio.testing.wait_all_tasks_blocked()
    assert path.read_bytes() == b"".join(b"%02d" % number for number in range(50))


async def test_a_disk_that_does_not_answer_holds_up_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop goes on, and so do the logs of other tries."""
    stuck, free = threading.Event(), threading.Event()
    original = Path.open

    def slow(self: Path, *args: Any, **kwargs: Any) -> Any:
        if "stuck" in str(self):
            stuck.set()
            free.wait(20)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", slow)
    logs = LogFiles(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(logs.append, tmp_path / "stuck", 0, b"a")
        await trio.to_thread.run_sync(stuck.wait, 20)
        assert await logs.append(tmp_path / "other", 0, b"b") == 1
        free.set()
    assert (tmp_path / "stuck").read_bytes() == b"a"


async def test_a_full_disk_is_one_error_that_says_so_and_the_chunk_may_come_again(tmp_path: Path) -> None:
    """/dev/full is a disk without room."""
    logs = LogFiles(tmp_path)
    path = logs.path(*TRY, dag_run_id=1)
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/full")
    with pytest.raises(LogNotStored, match="No space left on device; it is kept by the agent") as failure:
        await logs.append(path, 0, b"lost?")
    assert failure.value.errno == errno.ENOSPC
    logs.write_line(path, b"ours\n")  # dropped: what it tells of goes on
    path.unlink()
    assert await logs.append(path, 0, b"lost?") == 5


async def test_a_gap_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leaves a gap after 0"):
        await LogFiles(tmp_path).append(tmp_path / "x", 5, b"late")


async def test_a_run_made_again_under_the_same_run_id_has_its_own_log(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path)
    deleted, again = logs.path(*TRY, dag_run_id=1), logs.path(*TRY, dag_run_id=2)
    await logs.append(deleted, 0, b"first\n")
    logs.delete_run("etl", "manual/1", dag_run_id=1)
    await logs.append(deleted, 0, b"first\nlate\n")  # its agent had not heard yet
    find = partial(logs.find, *TRY)
    assert not find(dag_run_id=2).exists()
    await logs.append(again, 0, b"second\n")
    assert find(dag_run_id=2).read_bytes() == b"second\n"
    assert again.parts[-3:] == ("manual%2F1#2", "load", "attempt=1.ndjson")


async def test_a_log_of_an_older_release_is_read_and_deleted_where_it_stands(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path)
    old = tmp_path / "etl" / "manual%2F1" / "load" / "attempt=1.ndjson"
    await logs.append(old, 0, b"old\n")
    assert logs.find(*TRY, dag_run_id=1) == old
    logs.delete_run("etl", "manual/1", dag_run_id=1)
    assert not old.exists()


@pytest.mark.parametrize("name", ["..", ".", "a/b", "x" * 5000, "r#1", "r~1", "ü\u2028"])
def test_no_run_id_leaves_the_folder_or_takes_the_place_of_another(tmp_path: Path, name: str) -> None:
    logs = LogFiles(tmp_path)
    path = logs.path("d", name, "t", -1, 1, dag_run_id=7)
    assert path.relative_to(tmp_path).parts[0] == "d"
    assert len(path.relative_to(tmp_path).parts) == 4
    assert path != logs.path("d", name.partition("#")[0], "t", -1, 1, dag_run_id=1)
