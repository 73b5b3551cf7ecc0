"""`become.py UID GID program arguments...`: gives up root for good, then becomes that program.

Runs before the interpreter of the DAG's environment does, so that nothing of it, not even its `.pth` files, runs as
root. Supplementary groups go, and no program with a setuid bit brings them back.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    uid, gid, *argv = sys.argv[1:]
    os.setgroups([])
    os.setresgid(int(gid), int(gid), int(gid))
    os.setresuid(int(uid), int(uid), int(uid))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        sys.exit("cannot set no_new_privs")
    try:
        os.execv(argv[0], argv)  # noqa: S606  no shell is the point
    except OSError as error:
        sys.exit(f"user {uid} cannot start the interpreter {argv[0]}: {error.strerror}")


main()
