"""The admin's password as the environment gives it, taken out of there.

`cli.lite` calls `take_password` before it loads anything else: a password must not stand in the environment of a server
whose tasks run as the same user and may read /proc/<pid>/environ.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from leoflowd.config import ConfigRefused

VARIABLE, FILE_VARIABLE = "LEOFLOW_ADMIN_PASSWORD", "LEOFLOW_ADMIN_PASSWORD_FILE"
PIPE_VARIABLE = "LEOFLOW_ADMIN_PASSWORD_PIPE"
"""A descriptor's number, between the two starts."""
PIPE_BYTES = 32 * 1024
"""A pipe holds 64 KiB without a reader; longer passwords are refused anyway."""


def given_password() -> str | None:
    """Of LEOFLOW_ADMIN_PASSWORD or the first line of the file that LEOFLOW_ADMIN_PASSWORD_FILE names; taken out of our
    environment, and so kept from our children. Raises `ConfigRefused`."""
    password, file = os.environ.pop(VARIABLE, None), os.environ.pop(FILE_VARIABLE, None)
    if password or file is None:
        return password or None
    try:
        lines = Path(file).read_text().splitlines()
    except (OSError, UnicodeError) as error:
        raise ConfigRefused(f"{FILE_VARIABLE} names {file}, which cannot be read: {error}") from error
    if not lines or not lines[0]:
        raise ConfigRefused(f"{FILE_VARIABLE} names {file}, whose first line is empty; write the password there")
    return lines[0]


def take_password() -> str | None:
    """As `given_password`, and nobody sees it in /proc either: the kernel goes on showing what a program was started
    with, so that this one starts itself again without, and hands itself the password through a pipe."""
    descriptor = os.environ.pop(PIPE_VARIABLE, None)
    if descriptor is not None:
        with os.fdopen(int(descriptor), "rb") as pipe:
            return pipe.read().decode() or None
    was_shown = bool(os.environ.get(VARIABLE))
    password = given_password()
    if was_shown and password is not None:
        _start_again(password)
    return password


def _start_again(password: str) -> NoReturn:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(password.encode("utf-8", "surrogateescape")[:PIPE_BYTES])
    os.set_inheritable(reading, True)
    os.environ[PIPE_VARIABLE] = str(reading)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # ourselves
