"""The kernel's inotify through libc, and nothing else: no package of ours can add a folder to a running watch.

Linux only; `Inotify.open` gives None elsewhere. See inotify(7).
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from typing import Self

import msgspec

CREATED, MOVED_HERE, CLOSED_AFTER_WRITE = 0x100, 0x80, 0x8
MOVED_AWAY, DELETED, SELF_DELETED, SELF_MOVED = 0x40, 0x200, 0x400, 0x800
OVERFLOWED, IGNORED = 0x4000, 0x8000
WANTED = CREATED | MOVED_HERE | CLOSED_AFTER_WRITE | MOVED_AWAY | DELETED | SELF_DELETED | SELF_MOVED
ONLY_FOLDERS = 0x1000000

_HEAD = struct.Struct("iIII")
_READ_BYTES = 64 * 1024


class Event(msgspec.Struct, frozen=True):
    watch: int
    """-1 with OVERFLOWED: events were lost."""
    mask: int
    name: str
    """Of the entry in the watched folder; empty when it is about the folder itself."""


class Inotify:
    """One descriptor. `watch` and `forget` block like any look at a file system; `read` does not."""

    def __init__(self, fd: int, libc: ctypes.CDLL) -> None:
        self.fd = fd
        self._libc = libc

    @classmethod
    def open(cls) -> Self | None:
        """None: not on this system, or the user's limit of instances is reached."""
        if sys.platform != "linux":
            return None
        libc = ctypes.CDLL(None, use_errno=True)
        fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        return None if fd < 0 else cls(fd, libc)

    def watch(self, folder: str) -> int:
        """Its number, the same again for the same folder. Raises OSError: no folder, no permission, limit reached."""
        number: int = self._libc.inotify_add_watch(self.fd, os.fsencode(folder), WANTED | ONLY_FOLDERS)
        if number < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), folder)
        return number

    def forget(self, number: int) -> None:
        """Nothing happens if the kernel has forgotten it first, with the folder."""
        self._libc.inotify_rm_watch(self.fd, number)

    def read(self) -> Iterator[Event]:
        """What has happened; nothing if nothing has."""
        try:
            content = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return
        place = 0
        while place < len(content):
            watch, mask, _, length = _HEAD.unpack_from(content, place)
            place += _HEAD.size
            yield Event(watch, mask, os.fsdecode(content[place : place + length].rstrip(b"\0")))
            place += length

    def close(self) -> None:
        os.close(self.fd)
