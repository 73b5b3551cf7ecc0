"""Task logs as files, one per try, NDJSON lines ready for the UI. Agents append, the API reads.

Layout: `<root>/<dag_id>/<run_id>#<dag_run.id>/<task_id>[/map_index]/attempt=<n>.ndjson`, each part escaped so that no
id can leave the folder. The number keeps a run that was deleted and made again under the same run_id apart from its
past, whose tries may still be writing. Logs of older releases stand in `<run_id>/` and are read there.

Files are written in threads: a disk may be slow, full or gone (`LogNotStored`). A try that was rescheduled or deferred
has several processes one after the other; their logs stand in one file, and `attempt=<n>.leg` notes where the last
one's begins.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from urllib.parse import quote
from weakref import WeakValueDictionary

import trio
from typing_extensions import override

from leoflowd import telemetry
from leoflowd.contract.errors import LeoflowError

log = telemetry.get_logger(__name__)

FILE_NAME_MAX = 200


THREADS = 8
"""Writers at once: a disk is one thing, and a slow one must not take the threads of everybody else."""


class LogNotStored(OSError, LeoflowError):
    """The disk is full (ENOSPC, EDQUOT) or does not work; what was stored is not lost, and the rest can be sent again.

    `errno` is the system's, `strerror` and the text the sentence for people.
    """

    @override
    def __str__(self) -> str:
        return self.strerror or super().__str__()


class LogFiles:
    def __init__(self, root: Path) -> None:
        self.root = root
        self._threads = trio.CapacityLimiter(THREADS)
        self._turns: WeakValueDictionary[Path, trio.Lock] = WeakValueDictionary()

    def path(self, dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int, *, dag_run_id: int) -> Path:
        """Where the log of this try is written."""
        return self._run_folder(dag_id, run_id, dag_run_id) / _try_file(task_id, map_index, try_number)

    def find(self, dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int, *, dag_run_id: int) -> Path:
        """Where it is read: an older release may have written it."""
        file = _try_file(task_id, map_index, try_number)
        path, old = self._run_folder(dag_id, run_id, dag_run_id) / file, self._old_folder(dag_id, run_id) / file
        return old if old.exists() and not path.exists() else path

    def _run_folder(self, dag_id: str, run_id: str, dag_run_id: int) -> Path:
        return self.root / _part(dag_id) / f"{_part(run_id)}#{dag_run_id}"

    def _old_folder(self, dag_id: str, run_id: str) -> Path:
        return self.root / _part(dag_id) / _part(run_id)

    def size(self, path: Path) -> int:
        """Bytes stored so far, 0 for none."""
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0

    async def append(self, path: Path, offset: int, content: bytes) -> int:
        """Write `content` where the agent says it belongs; what is there already is skipped. Returns the new size.

        Writers of one file take turns, in the order in which they asked. Raises `LogNotStored`, after which the same
        call may be made again, and `ValueError` for a gap, which a correct agent never leaves: it starts at the size it
        was told.
        """
        turn = self._turns.setdefault(path, trio.Lock())
        async with turn:
            return await trio.to_thread.run_sync(self._append, path, offset, content, limiter=self._threads)

    def write_line(self, path: Path, line: bytes) -> None:
        """One of our own lines behind what is there, at once: for the few that triggers and inline tasks write.

        One that cannot be written is dropped, since the work that it tells of goes on.
        """
        try:
            self._append(path, self.size(path), line)
        except LogNotStored as error:
            log.warning("log_line_dropped", error=str(error))

    def _append(self, path: Path, offset: int, content: bytes) -> int:
        try:
            return _append(path, offset, content)
        except OSError as error:
            raise self._not_stored(path, error) from error

    def _not_stored(self, path: Path, error: OSError) -> LogNotStored:
        reason = error.strerror or str(error)
        return LogNotStored(
            error.errno,
            f"the log {path.relative_to(self.root)} cannot be written to {self.root}: {reason}; "
            "it is kept by the agent until there is room, or the folder is there again",
        )

    def begin_leg(self, path: Path, try_id: str) -> int:
        """A try that goes on in a new process, whose own log begins at 0 again: where in the file that is."""
        base = self.leg_base(path, try_id)
        if base == 0 and (size := self.size(path)):
            try:
                _leg(path).write_text(f"{try_id} {size}")
            except OSError as error:
                raise self._not_stored(path, error) from error
            return size
        return base

    def leg_base(self, path: Path, try_id: str) -> int:
        """Where this process of the try began in the file; 0 for the first one."""
        try:
            known, _, base = _leg(path).read_text().partition(" ")
        except FileNotFoundError:
            return 0
        return int(base) if known == try_id and base else 0

    def delete_run(self, dag_id: str, run_id: str, *, dag_run_id: int) -> None:
        for folder in (self._run_folder(dag_id, run_id, dag_run_id), self._old_folder(dag_id, run_id)):
            shutil.rmtree(folder, ignore_errors=True)


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


def _try_file(task_id: str, map_index: int, try_number: int) -> Path:
    folder = Path(_part(task_id))
    return (folder / str(map_index) if map_index >= 0 else folder) / f"attempt={try_number}.ndjson"


def _leg(path: Path) -> Path:
    return path.with_suffix(".leg")


def _part(name: str) -> str:
    """A file name for any id: percent-escaped, never `.` or `..`, cut to a digest when too long."""
    escaped = quote(name, safe="+=@, ")
    if escaped in {".", ".."}:
        escaped = escaped.replace(".", "%2E")
    if len(escaped) > FILE_NAME_MAX:
        escaped = escaped[: FILE_NAME_MAX - 17] + "~" + hashlib.sha256(name.encode()).hexdigest()[:16]
    assert os.sep not in escaped
    return escaped
