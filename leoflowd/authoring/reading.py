"""Reads files of a project that may be anything: a pipe would hold us for ever, a device has no end.

Used wherever a file of an author is opened: sources, YAML files, bundles.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from leoflowd.authoring.errors import DagCompileError


def read_file(file: Path, shown: str, max_bytes: int) -> bytes:
    """The content of a regular file. Raises `DagCompileError` under the name `shown`."""
    return read_executable(file, shown, max_bytes)[0]


def read_executable(file: Path | str, shown: str, max_bytes: int) -> tuple[bytes, bool]:
    """The content of a regular file, and whether its owner may execute it. Raises `DagCompileError`."""
    try:
        # without waiting for the writer of a pipe, and without becoming the terminal of a device
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(fd, "rb") as opened:  # noqa: PTH123 - it is a descriptor
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                raise DagCompileError(shown, 1, "this is no file", "a pipe or a device has no content", "remove it")
            if facts.st_size > max_bytes:
                raise _too_large(shown, max_bytes)
            content = opened.read(max_bytes + 1)
    except OSError as error:
        what = "the file does not exist" if isinstance(error, FileNotFoundError) else "the file cannot be read"
        raise DagCompileError(
            shown, 1, what, error.strerror or str(error), "check that it is there and that you may read it"
        ) from error
    if len(content) > max_bytes:
        raise _too_large(shown, max_bytes)
    return content, bool(facts.st_mode & 0o100)


def is_carried(name: str) -> bool:
    """Is this file name UTF-8? Any other cannot be stored, sent or shown."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_name(name: str) -> None:
    """Raises `DagCompileError` for a name that is not UTF-8."""
    if not is_carried(name):
        raise DagCompileError(name, 1, "this name is not UTF-8", "it cannot be stored or shown", "rename it")


def _too_large(shown: str, max_bytes: int) -> DagCompileError:
    size = f"{max_bytes // 2**20} MiB" if max_bytes >= 2**20 else f"{max_bytes} bytes"
    return DagCompileError(shown, 1, f"the file has more than {size}", "that is too much for it", "shorten it")
