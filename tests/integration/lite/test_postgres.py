"""The embedded server's own life: adopted, started after a kill, one daemon a data folder."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from leoflowd import daemon
from leoflowd.config import ConfigRefused, LiteConfig
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.lite.postgres import EmbeddedPostgres, PostgresPaths, paths_for
from leoflowd.store.trio_connection import TrioConnection


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder that the server's own user can reach, also when we are root."""
    path = Path(tempfile.mkdtemp(prefix="leoflow-pg-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@contextmanager
def a_zombie() -> Iterator[int]:
    """A process that ended and that nobody has collected."""
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)
    yield dead
    os.waitpid(dead, 0)


def _pid(paths: PostgresPaths) -> int:
    return int((paths.data / "postmaster.pid").read_text().splitlines()[0])


async def test_a_killed_server_is_an_error_and_starts_again(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    with pytest.RaisesGroup(StoreUnavailable):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            os.kill(_pid(server.paths), signal.SIGKILL)
            await trio.sleep_forever()
    async with trio.open_nursery() as nursery:
        conninfo = await nursery.start(EmbeddedPostgres(folder).run)
        connection = await TrioConnection.open(conninfo)
        connection.pgconn.finish()
        nursery.cancel_scope.cancel()
    assert not (paths_for(folder).data / "postmaster.pid").exists()


async def test_the_pid_file_of_a_process_that_nobody_collected_is_no_hindrance(folder: Path) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(EmbeddedPostgres(folder).run)
        nursery.cancel_scope.cancel()
    paths = paths_for(folder)
    with a_zombie() as dead:
        (paths.data / "postmaster.pid").write_text(f"{dead}\n{paths.data}\n1\n5432\n\n\n\n")
        async with trio.open_nursery() as nursery:
            await nursery.start(EmbeddedPostgres(folder).run)
            nursery.cancel_scope.cancel()


async def test_a_running_server_is_adopted(folder: Path) -> None:
    async with trio.open_nursery() as nursery:
        first = EmbeddedPostgres(folder)
        await nursery.start(first.run)
        async with trio.open_nursery() as inner:
            second = EmbeddedPostgres(folder)
            await inner.start(second.run)
            assert second.statistics()["adopted"] is True
            assert second.statistics()["pid"] == first.statistics()["pid"]
            nursery.cancel_scope.cancel()


def test_a_second_lite_on_one_data_folder_is_refused(tmp_path: Path) -> None:
    lite = LiteConfig(workspace=tmp_path, data_dir=tmp_path)
    with daemon._only_one(lite), pytest.raises(ConfigRefused, match=f"process {os.getpid()}"), daemon._only_one(lite):
        pass
    with daemon._only_one(lite):
        pass
