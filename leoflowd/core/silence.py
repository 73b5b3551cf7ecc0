"""When a quiet try is lost. Used by the sweep of silent tries; the agent service measures the signs.

All durations come from a clock that stands still while the machine sleeps. Silence is measured from the last message,
or from when this daemon began to listen (or went on after a stall of its own), if that is later: an agent is not to
blame for words that nobody was there to hear. Building an environment and waiting for an agent count for nothing: a
queued try's time begins when its launch was handed to an agent.
"""

from __future__ import annotations

import msgspec


class SilenceLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long silence is bearable, in seconds."""

    lost_after_s: float = 60.0
    """Longer than a restart of the daemon or a paused machine usually takes. A frozen agent is ended after it."""
    beat_s: float = 10.0
    """An agent speaks for each of its tries so often. Its tries are lost a beat later than it is ended: their processes
    live until then, and none may run beside its successor."""
    hello_within_s: float = 120.0
    """For the first word after the launch, or after our own start: an interpreter has to start and import first."""

    @classmethod
    def of_agents(cls, silence_s: float) -> SilenceLimits:
        """Where agents may be silent for so long: the first word may take no less than any other."""
        return cls(lost_after_s=silence_s, hello_within_s=max(cls().hello_within_s, silence_s))


class Signs(msgspec.Struct, frozen=True, kw_only=True):
    """What this daemon knows of the life of one try."""

    silent_s: float | None
    """Since its last message; None: it was never heard."""
    launched_s: float | None
    """Since its launch was first handed to an agent; None: it was not."""
    launches: int = 0
    """To how many agents it was handed, one after the other."""
    listening_s: float
    """Since this daemon began to listen."""
    is_elsewhere: bool = False
    """Another daemon's executor was given it, so nobody here launches it again."""


def lost_because(signs: Signs, limits: SilenceLimits, *, is_queued: bool) -> str | None:
    """Why the try is lost, or None while there is hope."""
    if signs.silent_s is not None:
        limit_s = limits.lost_after_s + limits.beat_s
        if min(signs.silent_s, signs.listening_s) < limit_s:
            return None
        return f"its agent has been silent about it for {signs.silent_s:.0f} s (limit {limit_s:.0f} s)"
    if is_queued and not signs.is_elsewhere:
        if signs.launched_s is None or min(signs.launched_s, signs.listening_s) < limits.hello_within_s:
            return None
        handed = "its agent" if signs.launches <= 1 else f"{signs.launches} agents"
        return (
            f"it was handed to {handed} {signs.launched_s:.0f} s ago and never said hello "
            f"(limit {limits.hello_within_s:.0f} s); the agent's log may say why"
        )
    if signs.listening_s < limits.hello_within_s:
        return None
    return (
        f"no agent has spoken of it in the {signs.listening_s:.0f} s since the daemon began to listen "
        f"(limit {limits.hello_within_s:.0f} s)"
    )
