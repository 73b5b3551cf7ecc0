"""The Linux calls that Python lacks: dying together with one's parent, adopting orphans."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def has_children() -> bool:
    """Has this process children now? True when nobody can tell."""
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", "rb") as children:
                if children.read(1):
                    return True
    except OSError:
        return True
    return False


def die_with_parent(parent: int) -> None:
    """From now on the kernel kills this process when its parent ends; if that has happened already, end here."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Descendants whose parents end become our children. A dead one that nobody collects would count as alive."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
