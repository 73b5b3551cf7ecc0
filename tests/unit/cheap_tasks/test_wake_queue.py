"""The heap of who is due next: any order of adding, dying and popping gives the live ones by time."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from leoflowd.cheap_tasks.wake_queue import COMPACT_FROM, WakeQueue


class Item(msgspec.Struct, order=True):
    wake_at: float
    number: int
    is_dead: bool = False


class Queue(RuleBasedStateMachine):
    """Against a plain list of what should be in it."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: WakeQueue[Item] = WakeQueue()
        self.live: list[Item] = []
        self.count = 0

    @rule(at=st.one_of(st.integers(0, 50).map(float), st.just(math.inf)))
    def add(self, at: float) -> None:
        self.count += 1
        item = Item(at, self.count)
        self.queue.add(item)
        self.live.append(item)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def die(self, data: Any) -> None:
        item = self.live.pop(data.draw(st.integers(0, len(self.live) - 1)))
        item.is_dead = True
        self.queue.note_dead()

    @rule(now=st.integers(0, 60), limit=st.integers(1, 5))
    def pop(self, now: int, limit: int) -> None:
        expected = sorted(item for item in self.live if item.wake_at <= now)[:limit]
        assert self.queue.pop_due(now, limit) == expected
        self.live = [item for item in self.live if item not in expected]

    @invariant()
    def knows_the_next_one_and_how_many(self) -> None:
        assert self.queue.next_at() == min((item.wake_at for item in self.live), default=math.inf)
        assert len(self.queue) == len(self.live)


TestQueue = Queue.TestCase


def test_the_dead_do_not_pile_up() -> None:
    queue: WakeQueue[Item] = WakeQueue()
    items = [Item(float(number), number) for number in range(10 * COMPACT_FROM)]
    for item in items:
        queue.add(item)
    for item in items[1:]:
        item.is_dead = True
        queue.note_dead()
    assert len(queue._heap) <= 2 * COMPACT_FROM
