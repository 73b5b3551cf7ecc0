"""The places where logs are kept; every test of this folder runs against each of them."""

from __future__ import annotations

import errno
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest
import trio

from leoflowd.contract.logs import LogStore, TryLog
from leoflowd.objects.bucket import Bucket
from leoflowd.objects.logs import ObjectLogs
from leoflowd.store.log_files import LogFiles
from tests.fakes.memory_logs import MemoryLogs
from tests.fakes.s3_server import S3Server

LOG = TryLog(dag_id="etl", run_id="manual/1", dag_run_id=1, task_id="load", map_index=-1, try_number=1)


class Place(Protocol):
    logs: LogStore
    refusal: int
    """The errno of a log that is not stored."""

    def fill_up(self) -> None:
        """No byte of `LOG`, which is empty, finds room from now on."""

    def make_room(self) -> None: ...


class OnDisk:
    refusal = errno.ENOSPC

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
    refusal = errno.ENOSPC

    def __init__(self) -> None:
        self._memory = MemoryLogs()
        self.logs: LogStore = self._memory

    def fill_up(self) -> None:
        self._memory.is_full = True

    def make_room(self) -> None:
        self._memory.is_full = False


class InBucket:
    """A daemon's store whose flushing task runs or does not: nobody may notice."""

    refusal = errno.EIO

    def __init__(self, s3: S3Server) -> None:
        self._s3 = s3
        self._name = s3.new_bucket()
        self.store = ObjectLogs(Bucket(f"s3://{self._name}/logs", timeout_s=10), interval_s=0.01)
        self.logs: LogStore = self.store

    def fill_up(self) -> None:
        self._s3.delete_bucket(self._name)

    def make_room(self) -> None:
        self._s3.create_bucket(self._name)


@pytest.fixture(params=["disk", "memory", "s3", "s3 flushed at once"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    match request.param:
        case "disk":
            yield OnDisk(tmp_path)
        case "memory":
            yield InMemory()
        case how:
            place = InBucket(request.getfixturevalue("s3_server"))
            async with trio.open_nursery() as nursery:
                if how == "s3":
                    await nursery.start(place.store.run)
                yield place
                nursery.cancel_scope.cancel()


@pytest.fixture
def logs(place: Place) -> LogStore:
    return place.logs
