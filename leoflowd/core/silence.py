"""When a quiet agent is lost. Used by the sweep of silent agents and by `leoflow explain`.

Silence is measured from the last sign of life, or from when this daemon began to listen, if that is later: an agent is
not to blame for heartbeats that nobody was there to hear.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from leoflowd.contract.values import later


class SilenceLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long silence is bearable, in seconds."""

    lost_after_s: float = 60.0
    """Twelve missed heartbeats of 5 s: longer than a restart of the daemon or a paused machine usually takes."""
    hello_within_s: float = 120.0
    """For the first sign of life after the launch: an interpreter has to start and import first."""


def lost_at(
    *, launched_at: datetime, last_heard_at: datetime | None, listening_since: datetime, limits: SilenceLimits
) -> datetime:
    """The moment at which the try counts as lost unless it is heard before."""
    if last_heard_at is None:
        return later(max(launched_at, listening_since), limits.hello_within_s)
    return later(max(last_heard_at, listening_since), limits.lost_after_s)


def lost_because(
    *,
    launched_at: datetime,
    last_heard_at: datetime | None,
    listening_since: datetime,
    now: datetime,
    limits: SilenceLimits,
) -> str | None:
    """Why the try is lost, or None while there is hope."""
    deadline = lost_at(
        launched_at=launched_at, last_heard_at=last_heard_at, listening_since=listening_since, limits=limits
    )
    if now < deadline:
        return None
    if last_heard_at is None:
        waited_s = (now - launched_at).total_seconds()
        return f"its agent never said hello in {waited_s:.0f} s (limit {limits.hello_within_s:.0f} s)"
    silent_s = (now - last_heard_at).total_seconds()
    return f"its agent has been silent for {silent_s:.0f} s (limit {limits.lost_after_s:.0f} s)"
