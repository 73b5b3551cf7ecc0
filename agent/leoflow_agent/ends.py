"""The pipes and the socket of one try's process, both ends of them, opened before that process exists.

`fork_servers` opens them, gives `theirs` to the process and closes its own copies; `running_try` reads and closes ours.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

import msgspec


class Descriptors(msgspec.Struct, frozen=True):
    """The child's ends; whoever opened them closes them after the start."""

    stdout: int
    stderr: int
    control: int


class Ends(msgspec.Struct, frozen=True):
    """Our ends, none of which blocks."""

    stdout: int
    stderr: int
    control: socket.socket

    def close(self) -> None:
        os.close(self.stdout)
        os.close(self.stderr)
        self.control.close()


def open_ends() -> tuple[Ends, Descriptors]:
    """Raises OSError when there are no more descriptors."""
    with ExitStack() as undo:
        pipes = []
        for _ in ("stdout", "stderr"):
            ours, theirs = os.pipe()
            undo.callback(os.close, ours)
            undo.callback(os.close, theirs)
            os.set_blocking(ours, False)
            pipes.append((ours, theirs))
        control, childs = socket.socketpair()
        control.setblocking(False)
        undo.pop_all()
    (stdout, stdout_end), (stderr, stderr_end) = pipes
    return Ends(stdout, stderr, control), Descriptors(stdout_end, stderr_end, childs.detach())


def close_theirs(descriptors: Descriptors) -> None:
    for end in (descriptors.stdout, descriptors.stderr, descriptors.control):
        os.close(end)
