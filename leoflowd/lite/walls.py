"""Who may enter which folder of a Lite installation (ADR 21); called once at start, before anything is in them.

The data folder is its owner's alone. As root it can be passed through, not read, because PostgreSQL and, with
`run_as`, tasks run as other users; what lies in it is closed to them except what a task needs: its working directory,
the code of its version, and its interpreter.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

from leoflowd.config import ConfigRefused, LiteConfig
from leoflowd.lite.postgres import paths_for

PRIVATE = ("agent", "logs")
"""Sockets, tokens and the spool; logs of all tasks."""
FOR_TASKS = ("bundles", "venvs", "work", "staging")
_LOOK = "import os, sys; sys.exit(next((path for path in sys.argv[1:] if not os.access(path, os.X_OK)), 0))"


def build_walls(lite: LiteConfig) -> None:
    """Raises `ConfigRefused` when the folders cannot be closed, or `run_as` cannot work here."""
    user = None if lite.run_as is None else _find_user(lite.run_as, lite)
    try:
        lite.data_dir.mkdir(parents=True, exist_ok=True)
        lite.data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)
        for name in (*PRIVATE, *FOR_TASKS):
            folder = lite.data_dir / name
            folder.mkdir(exist_ok=True)
            folder.chmod(0o711 if user is not None and name in FOR_TASKS else 0o700)
    except OSError as error:
        raise ConfigRefused(
            f"cannot close the data folder {lite.data_dir} to others: {error.strerror}; it must be yours"
        ) from error
    if user is not None:
        _check_way_in(user, [lite.data_dir / name for name in FOR_TASKS])


def _find_user(name: str, lite: LiteConfig) -> pwd.struct_passwd:
    if os.geteuid() != 0:
        raise ConfigRefused(f"--run-as {name}: only root may run tasks as another user; start as root, or without it")
    try:
        user = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        raise ConfigRefused(f"--run-as {name}: there is no such user; create it: useradd --system {name}") from None
    if user.pw_uid == 0:
        raise ConfigRefused("--run-as root would be no wall; name another user")
    if lite.postgres is None and user.pw_name == paths_for(lite.data_dir).run_as:
        raise ConfigRefused(
            f"--run-as {name}: the embedded PostgreSQL runs as this user, so that tasks could read its files; "
            "create one for tasks: useradd --system leoflow-tasks"
        )
    return user


def _check_way_in(user: pwd.struct_passwd, folders: list[Path]) -> None:
    """By becoming that user: what stands in the way is then found whatever it is."""
    try:
        looked = subprocess.run(  # noqa: S603  our own interpreter
            [sys.executable, "-I", "-c", _LOOK, *map(str, folders)],
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        raise ConfigRefused(
            f"--run-as {user.pw_name}: this user cannot start {sys.executable}; "
            "install Leoflow where everyone may read it, for instance below /opt"
        ) from None
    if looked.returncode != 0:
        raise ConfigRefused(
            f"--run-as {user.pw_name}: this user cannot enter {looked.stderr.strip()}; "
            "choose a --data-dir below a folder that everyone may enter, for instance /var/lib/leoflow-lite"
        )
