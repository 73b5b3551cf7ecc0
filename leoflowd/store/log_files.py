"""Task logs as files, one per try, NDJSON lines ready for the UI. Agents append, the API reads.

Layout: `<root>/<dag_id>/<run_id>/<task_id>[/map_index]/attempt=<n>.ndjson`, each part escaped so that no id can leave
the folder. A try that was rescheduled or deferred has several processes one after the other; their logs stand in one
file, and `attempt=<n>.leg` notes where the last one's begins.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from urllib.parse import quote

FILE_NAME_MAX = 200


class LogFiles:
    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int) -> Path:
        folder = self.run_folder(dag_id, run_id) / _part(task_id)
        if map_index >= 0:
            folder /= str(map_index)
        return folder / f"attempt={try_number}.ndjson"

    def run_folder(self, dag_id: str, run_id: str) -> Path:
        return self.root / _part(dag_id) / _part(run_id)

    def size(self, path: Path) -> int:
        """Bytes stored so far, 0 for none."""
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, path: Path, offset: int, content: bytes) -> int:
        """Write `content` where the agent says it belongs; what is there already is skipped. Returns the new size.

        Raises `ValueError` for a gap, which a correct agent never leaves: it starts at the size it was told.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            size = file.tell()
            if offset > size:
                raise ValueError(f"log chunk at {offset} leaves a gap after {size} in {path.name}")
            fresh = content[size - offset :]
            if fresh:
                file.write(fresh)
            return size + len(fresh)

    def begin_leg(self, path: Path, try_id: str) -> int:
        """A try that goes on in a new process, whose own log begins at 0 again: where in the file that is."""
        base = self.leg_base(path, try_id)
        if base == 0 and (size := self.size(path)):
            _leg(path).write_text(f"{try_id} {size}")
            return size
        return base

    def leg_base(self, path: Path, try_id: str) -> int:
        """Where this process of the try began in the file; 0 for the first one."""
        try:
            known, _, base = _leg(path).read_text().partition(" ")
        except FileNotFoundError:
            return 0
        return int(base) if known == try_id else 0

    def delete_run(self, dag_id: str, run_id: str) -> None:
        shutil.rmtree(self.run_folder(dag_id, run_id), ignore_errors=True)


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
