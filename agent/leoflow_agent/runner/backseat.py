"""A try of a backfill takes the processor when no other try wants it (ADR 49). Called by `main`, before user code."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NICENESS = 10
"""About a tenth of what another process gets beside it, and all of it when there is none."""


def take_it() -> None:
    """For this process and whatever it starts."""
    os.nice(NICENESS)
    # With autogroups Linux weighs sessions against each other, each by a value of its own, and a try is a session.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS))
