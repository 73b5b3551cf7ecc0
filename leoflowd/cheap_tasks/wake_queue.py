"""Who is due next: a heap of things that know when, with lazy deletion. Pure; the caller says what time it is."""

from __future__ import annotations

import heapq
import math
from typing import Any, Generic, Protocol, TypeVar

COMPACT_FROM = 64
"""Below so many dead entries nobody notices them."""


class Wakeable(Protocol):
    """Ordered by `wake_at`, which does not change while it is in the queue."""

    @property
    def wake_at(self) -> float:
        """Seconds on any clock, the same for all of one queue."""

    @property
    def is_dead(self) -> bool:
        """It has left for another reason; `WakeQueue.note_dead` was told."""

    def __lt__(self, other: Any, /) -> bool: ...


W = TypeVar("W", bound=Wakeable)


class WakeQueue(Generic[W]):
    """8 bytes per entry. What dies in the queue stays until its time, or until half of the queue is dead."""

    def __init__(self) -> None:
        self._heap: list[W] = []
        self._dead = 0

    def __len__(self) -> int:
        """How many live ones there are."""
        return len(self._heap) - self._dead

    def add(self, item: W) -> None:
        heapq.heappush(self._heap, item)

    def note_dead(self) -> None:
        """One item of the queue has just become dead."""
        self._dead += 1
        if self._dead >= COMPACT_FROM and self._dead * 2 > len(self._heap):
            self._heap = [item for item in self._heap if not item.is_dead]
            heapq.heapify(self._heap)
            self._dead = 0

    def pop_due(self, now: float, limit: int) -> list[W]:
        """At most `limit` live ones with `wake_at <= now`, earliest first; they are in the queue no more."""
        due: list[W] = []
        while len(due) < limit and self.next_at() <= now:
            due.append(heapq.heappop(self._heap))
        return due

    def next_at(self) -> float:
        """When the next live one is due; infinity if there is none."""
        while self._heap and self._heap[0].is_dead:
            heapq.heappop(self._heap)
            self._dead -= 1
        return self._heap[0].wake_at if self._heap else math.inf
