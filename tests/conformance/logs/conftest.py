"""The places where logs are kept; every test of this folder runs against each of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol

import pytest

from leoflowd.contract.logs import LogStore, TryLog
from leoflowd.store.log_files import LogFiles
from tests.fakes.memory_logs import MemoryLogs

LOG = TryLog(dag_id="etl", run_id="manual/1", dag_run_id=1, task_id="load", map_index=-1, try_number=1)


class Place(Protocol):
    logs: LogStore

    def fill_up(self) -> None:
        """No byte of `LOG`, which is empty, finds room from now on."""

    def make_room(self) -> None: ...


class OnDisk:
    def __init__(self, root: Path) -> None:
        self.logs: LogStore = LogFiles(root)
        self._folder = root / "etl"

    def fill_up(self) -> None:
        """/dev/full is a disk without room."""
        folder = self._folder / "manual%2F1#1" / "load"
        folder.mkdir(parents=True)
        (folder / "attempt=1.ndjson").symlink_to("/dev/full")

    def make_room(self) -> None:
        shutil.rmtree(self._folder)


class InMemory:
    def __init__(self) -> None:
        self._memory = MemoryLogs()
        self.logs: LogStore = self._memory

    def fill_up(self) -> None:
        self._memory.is_full = True

    def make_room(self) -> None:
        self._memory.is_full = False


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return OnDisk(tmp_path) if request.param == "disk" else InMemory()


@pytest.fixture
def logs(place: Place) -> LogStore:
    return place.logs
