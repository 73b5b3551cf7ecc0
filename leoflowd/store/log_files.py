"""`contract.logs.LogStore` as files, one per try. Agents append, the API reads.

Layout: `<root>/<dag_id>/<run_id>#<dag_run.id>/<task_id>[/map_index]/attempt=<n>.ndjson`, each part escaped so that no
id can leave the folder. Logs of older releases stand in `<run_id>/` and are read there; nothing is written there.

Files are written in threads: a disk may be slow, full or gone. Where the part of the last process of a try begins is
noted in `attempt=<n>.leg`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from functools import partial
from pathlib import Path
from urllib.parse import quote
from weakref import WeakValueDictionary

import trio

from leoflowd import telemetry
from leoflowd.contract.logs import LogLeg, LogNotStored, TryLog

_logger = telemetry.get_logger(__name__)

FILE_NAME_MAX = 200
THREADS = 8
"""Writers at once: a disk is one thing, and a slow one must not take the threads of everybody else."""


class LogFiles:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._threads = trio.CapacityLimiter(THREADS)
        self._turns: WeakValueDictionary[Path, trio.Lock] = WeakValueDictionary()

    def statistics(self) -> dict[str, int]:
        return {"writers": self._threads.borrowed_tokens}

    def complaint(self) -> str | None:
        """The node of the disk and the agents' service have their own."""
        return None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """A component of the tree, as stores that gather are; there is nothing to do beside the writing."""
        task_status.started()
        await trio.sleep_forever()

    async def begin(self, log: TryLog, try_id: str, *, goes_on: bool) -> LogLeg:
        """Not in a thread: it reads one short file, and every try that starts waits for it."""
        await trio.lowlevel.checkpoint()
        path = self._written(log)
        size = _size(path)
        begins_at = _leg_of(path, try_id)
        if goes_on and begins_at == 0 and size:
            begins_at = size
            try:
                _leg_file(path).write_text(f"{try_id} {size}")
            except OSError as error:
                raise self._not_stored(path, error) from error
        return LogLeg(begins_at, size - begins_at)

    async def append(self, log: TryLog, offset: int, content: bytes) -> int:
        path = self._written(log)
        turn = self._turns.setdefault(path, trio.Lock())
        async with turn:
            return await trio.to_thread.run_sync(self._append, path, offset, content, limiter=self._threads)

    async def flush(self, log: TryLog) -> None:
        """Whatever `append` took is in the file."""
        await trio.lowlevel.checkpoint()

    def write_line(self, log: TryLog, line: bytes) -> None:
        path = self._written(log)
        try:
            self._append(path, _size(path), line)
        except LogNotStored as error:
            _logger.warning("log_line_dropped", error=str(error))

    async def size(self, log: TryLog) -> int:
        return await trio.to_thread.run_sync(lambda: _size(self._read(log)))

    async def read(self, log: TryLog, offset: int, max_bytes: int) -> bytes:
        return await trio.to_thread.run_sync(lambda: _content(self._read(log), offset, max_bytes))

    async def delete_run(self, dag_id: str, run_id: str, *, dag_run_id: int) -> bool:
        for folder in (self._run_folder(dag_id, run_id, dag_run_id), self._old_folder(dag_id, run_id)):
            await trio.to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))
        return True

    async def where(self, log: TryLog) -> str:
        return str((await trio.to_thread.run_sync(self._read, log)).relative_to(self._root))

    def _written(self, log: TryLog) -> Path:
        return self._run_folder(log.dag_id, log.run_id, log.dag_run_id) / _file_of(log)

    def _read(self, log: TryLog) -> Path:
        """An older release may have written it."""
        path, old = self._written(log), self._old_folder(log.dag_id, log.run_id) / _file_of(log)
        return old if old.exists() and not path.exists() else path

    def _run_folder(self, dag_id: str, run_id: str, dag_run_id: int) -> Path:
        return self._root / _part(dag_id) / f"{_part(run_id)}#{dag_run_id}"

    def _old_folder(self, dag_id: str, run_id: str) -> Path:
        return self._root / _part(dag_id) / _part(run_id)

    def _append(self, path: Path, offset: int, content: bytes) -> int:
        try:
            return _append(path, offset, content)
        except OSError as error:
            raise self._not_stored(path, error) from error

    def _not_stored(self, path: Path, error: OSError) -> LogNotStored:
        reason = error.strerror or str(error)
        return LogNotStored(
            error.errno,
            f"the log {path.relative_to(self._root)} cannot be written to {self._root}: {reason}; "
            "it is kept by the agent until there is room, or the folder is there again",
        )


def _append(path: Path, offset: int, content: bytes) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        if offset > size:
            raise ValueError(f"log chunk at {offset} leaves a gap after {size} in {path.name}")
        fresh = memoryview(content)[size - offset :]
        while fresh:
            written = file.write(fresh)
            size, fresh = size + written, fresh[written:]
        return size


def _content(path: Path, offset: int, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(max_bytes)
    except FileNotFoundError:
        return b""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _leg_of(path: Path, try_id: str) -> int:
    """Where this process of the try began in the file; 0 for the first one."""
    try:
        known, _, begins_at = _leg_file(path).read_text().rpartition(" ")
    except FileNotFoundError:
        return 0
    return int(begins_at) if known == try_id and begins_at else 0


def _leg_file(path: Path) -> Path:
    return path.with_suffix(".leg")


def _file_of(log: TryLog) -> Path:
    folder = Path(_part(log.task_id))
    return (folder / str(log.map_index) if log.map_index >= 0 else folder) / f"attempt={log.try_number}.ndjson"


def _part(name: str) -> str:
    """A file name for any id: percent-escaped, never `.` or `..`, cut to a digest when too long."""
    escaped = quote(name, safe="+=@, ")
    if escaped in {".", ".."}:
        escaped = escaped.replace(".", "%2E")
    if len(escaped) > FILE_NAME_MAX:
        escaped = escaped[: FILE_NAME_MAX - 17] + "~" + hashlib.sha256(name.encode()).hexdigest()[:16]
    assert os.sep not in escaped
    return escaped
