"""Launches on their way to an agent, one per try. The executor puts them in, the agent service takes them out.

Nobody ever waits for room here: a launch that does not fit is dropped, because its try stays queued in Postgres and the
scheduler's sweep launches what is still queued again. So an agent that is not there blocks nobody (ADR 20).
"""

from __future__ import annotations

import msgspec
import trio

from leoflowd.contract.agent_messages import Launch

CAPACITY = 1024
"""An agent takes them as fast as it can fork: more would be launched later anyway."""


class LaunchesStatistics(msgspec.Struct, frozen=True):
    waiting: int
    waiting_s: float
    """How long the oldest has waited."""
    taken: int
    dropped: int


class Launches:
    """First in, first out; a try that waits already keeps its place and gets the newer launch."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._waiting: dict[str, tuple[float, Launch]] = {}
        self._arrived = trio.Event()
        self._taken = self._dropped = 0

    def statistics(self) -> LaunchesStatistics:
        oldest = next(iter(self._waiting.values()), None)
        return LaunchesStatistics(
            waiting=len(self._waiting),
            waiting_s=round(trio.current_time() - oldest[0], 1) if oldest else 0.0,
            taken=self._taken,
            dropped=self._dropped,
        )

    def put(self, launch: Launch) -> bool:
        """False when there was no room. Never waits."""
        try_id = launch.spec.try_id
        known = self._waiting.get(try_id)
        if known is None and len(self._waiting) >= self._capacity:
            self._dropped += 1
            return False
        self._waiting[try_id] = (trio.current_time() if known is None else known[0], launch)
        self._arrived.set()
        return True

    def tries(self) -> frozenset[str]:
        """Ids of those that wait."""
        return frozenset(self._waiting)

    async def take(self) -> Launch:
        """The oldest, when there is one."""
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._arrived.is_set():
                self._arrived = trio.Event()
            await self._arrived.wait()
        try_id = next(iter(self._waiting))
        _, launch = self._waiting.pop(try_id)
        self._taken += 1
        return launch
