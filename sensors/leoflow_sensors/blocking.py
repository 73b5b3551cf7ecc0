"""Blocking libraries inside a probe: in a thread, which is left behind when the probe is cut off.

Each kind passes a limiter of its own, so that a file system or server that hangs takes threads of that kind only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")

MARGIN = 0.8
"""Of what is left of a probe's time; the rest is for the way there and back."""


async def run_blocking(work: Callable[[], T], limiter: trio.CapacityLimiter) -> T:
    """What `work` returns or raises. `work` bounds its own time (`time_left_s`), because a thread cannot be stopped."""
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)


def time_left_s(at_most: float) -> float:
    """How long blocking work may take before this probe's deadline; at least a second, since most count in seconds."""
    left = trio.current_effective_deadline() - trio.current_time()
    return at_most if math.isinf(left) else max(1.0, min(at_most, left * MARGIN))
