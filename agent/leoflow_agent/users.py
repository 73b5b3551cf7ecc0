"""The user that tasks run as, where the agent may choose one: as root, with `--run-as` (ADR 21)."""

from __future__ import annotations

import os
import pwd

import msgspec


class User(msgspec.Struct, frozen=True):
    """A user of this host."""

    name: str
    uid: int
    gid: int
    home: str

    @property
    def ids(self) -> tuple[str, str]:
        return str(self.uid), str(self.gid)

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name}


class CannotRunAs(Exception):
    """The user is not there, or is not ours to become; the message says what to do."""


def find_user(name: str) -> User:
    """By name or number. Raises `CannotRunAs`."""
    try:
        found = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        raise CannotRunAs(
            f"there is no user {name!r} on this host; create it, for instance: useradd -r {name}"
        ) from None
    if found.pw_uid == 0:
        raise CannotRunAs("tasks cannot be walled off from root as root; name another user")
    if os.geteuid() != 0:
        raise CannotRunAs(f"only root may run tasks as another user ({name!r}); start as root, or without run_as")
    return User(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)
