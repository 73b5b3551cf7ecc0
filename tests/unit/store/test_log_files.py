"""What is special about logs on a disk; `tests/conformance/logs` has what holds everywhere."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from leoflowd.contract.logs import LogLeg, LogNotStored, TryLog
from leoflowd.store.log_files import LogFiles

LOG = TryLog(dag_id="etl", run_id="manual/1", dag_run_id=1, task_id="load", map_index=-1, try_number=1)


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
        nursery.start_soon(logs.append, replace(LOG, task_id="stuck"), 0, b"a")
        await trio.to_thread.run_sync(stuck.wait, 20)
        assert await logs.append(LOG, 0, b"b") == 1
        free.set()
    assert await logs.read(replace(LOG, task_id="stuck"), 0, 100) == b"a"


async def test_a_full_disk_is_told_with_what_happens_to_the_log(tmp_path: Path) -> None:
    """/dev/full is a disk without room."""
    path = tmp_path / "etl" / "manual%2F1#1" / "load" / "attempt=1.ndjson"
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/full")
    with pytest.raises(LogNotStored, match="No space left on device; it is kept by the agent") as failure:
        await LogFiles(tmp_path).append(LOG, 0, b"lost?")
    assert failure.value.errno == errno.ENOSPC


async def test_a_log_of_an_older_release_is_read_and_deleted_where_it_stands(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path)
    old = tmp_path / "etl" / "manual%2F1" / "load" / "attempt=1.ndjson"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old\n")
    assert await logs.read(LOG, 0, 100) == b"old\n"
    assert await logs.where(LOG) == "etl/manual%2F1/load/attempt=1.ndjson"
    await logs.delete_run("etl", "manual/1", dag_run_id=1)
    assert not old.exists()


async def test_what_an_older_release_wrote_is_written_again_from_its_beginning(tmp_path: Path) -> None:
    """Its agent is told that nothing is stored; else its log would have a gap."""
    logs = LogFiles(tmp_path)
    old = tmp_path / "etl" / "manual%2F1" / "load" / "attempt=1.ndjson"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old\n")
    assert await logs.begin(LOG, "try", goes_on=False) == LogLeg(0, 0)
    await logs.append(LOG, 0, b"old\nnew\n")
    assert await logs.read(LOG, 0, 100) == b"old\nnew\n"


@pytest.mark.parametrize("name", ["..", ".", "a/b", "x" * 5000, "r#1", "r~1", "ü\u2028"])
async def test_no_id_leaves_its_folder(tmp_path: Path, name: str) -> None:
    logs, written = LogFiles(tmp_path), []
    for field in ("dag_id", "run_id", "task_id"):
        log = replace(LOG, **{field: name})
        await logs.append(log, 0, b"x")
        assert len(Path(await logs.where(log)).parts) == 4
        written.append(tmp_path / await logs.where(log))
    assert [path.read_bytes() for path in written] == [b"x"] * 3
