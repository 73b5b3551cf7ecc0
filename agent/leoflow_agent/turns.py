"""Whose try goes on next on this host: dag runs take turns, and only so many tries start, or end, at once.

A start is nearly all computing (a fork, imports, a context), and so is what the daemon makes of an end. A hundred at
once are ready no sooner than a few at a time, but each as late as the last, also the only task of another run. A try
takes a turn when it starts, until it speaks, and one when it ends, until its outcome is stored; none while its own code
runs (ADR 42). A run that is alone here is not bounded: what ends together the daemon commits together.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, OrderedDict, deque
from typing import Generic, TypeVar

Run = tuple[str, str]
"""(dag_id, run_id)."""

AT_ONCE = max(2, len(os.sched_getaffinity(0)))
"""As many as there are cores; two, so that one that waits for the disk does not stop all."""
COMPANY_S = 1.0
"""A run that was here a moment ago comes again: between two tasks of a chain there is no turn of it."""
TURN_S = 0.1
"""Who takes longer waits for something, or loads much: others need not wait for it."""

_T = TypeVar("_T")


class Order(Generic[_T]):
    """The decision. A run that has no turn has one at once; who wants more waits until fewer than `at_once` are taken:
    first come, first served within a run, round robin over the runs that wait. Nobody waits where a run is alone."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._taken: Counter[Run] = Counter()
        self._total = 0
        self._waiting: OrderedDict[Run, deque[_T]] = OrderedDict()

    def ask(self, run: Run, one: _T, *, is_alone: bool = False) -> bool:
        """Has it a turn now? Else `ended` tells when."""
        if is_alone or not self._taken[run] or self._total < self._at_once:
            self._take(run)
            return True
        self._waiting.setdefault(run, deque()).append(one)
        return False

    def ended(self, run: Run, *, is_alone: bool = False) -> list[_T]:
        """A turn of this run ended: those who have one now."""
        self._total -= 1
        self._taken[run] -= 1
        begun = []
        if not self._taken[run]:
            del self._taken[run]
            if run in self._waiting:
                begun.append(self._next_of(run))
        while self._waiting and (is_alone or self._total < self._at_once):
            begun.append(self._next_of(next(iter(self._waiting))))
        return begun

    def _next_of(self, run: Run) -> _T:
        """Its other ones wait behind those of all other runs."""
        waiting = self._waiting.pop(run)
        one = waiting.popleft()
        if waiting:
            self._waiting[run] = waiting
        self._take(run)
        return one

    def _take(self, run: Run) -> None:
        self._taken[run] += 1
        self._total += 1


class Company:
    """Whether more than one run is on this host, or was within `COMPANY_S`. Moments are of one clock, in seconds."""

    def __init__(self) -> None:
        self._last: Run | None = None
        self._mixed_at = float("-inf")

    def note(self, run: Run, now: float) -> None:
        if self._last not in (None, run):
            self._mixed_at = now
        self._last = run

    def is_alone(self, now: float) -> bool:
        return now - self._mixed_at > COMPANY_S


class Turn:
    """Ends once: with `end`, or `TURN_S` after it began."""

    def __init__(self, turns: Turns, run: Run) -> None:
        self._turns = turns
        self._run = run
        self._limit: asyncio.TimerHandle | None = None
        self._is_over = False
        self.begun = asyncio.Event()

    def begin(self) -> None:
        if self._is_over:  # whoever waited for it was cancelled
            self._turns.ended(self._run)
            return
        self._limit = asyncio.get_running_loop().call_later(TURN_S, self.end)
        self.begun.set()

    def end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._limit is not None:
            self._limit.cancel()
            self._turns.ended(self._run)


class Turns:
    """The `Order` of this host's tries, for those who wait."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._order: Order[Turn] = Order(at_once)
        self.company = Company()

    async def take(self, run: Run) -> Turn:
        """Returns when it is this run's turn."""
        turn = Turn(self, run)
        now = asyncio.get_running_loop().time()
        self.company.note(run, now)
        if self._order.ask(run, turn, is_alone=self.company.is_alone(now)):
            turn.begin()
            return turn
        try:
            await turn.begun.wait()
        except asyncio.CancelledError:
            turn.end()
            raise
        return turn

    def ended(self, run: Run) -> None:
        is_alone = self.company.is_alone(asyncio.get_running_loop().time())
        for turn in self._order.ended(run, is_alone=is_alone):
            turn.begin()
