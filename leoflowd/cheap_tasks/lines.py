"""Who may be probed now: due groups wait here for their target's budget, then for a worker, DAGs taking turns.

A group whose target is blocked holds no worker and no place in front of others. Whoever leaves a gate's line has a
seat: its probe is already counted in the budget. Nothing here waits; `opens_at` says when to look again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from weakref import WeakSet

import msgspec

from leoflowd.cheap_tasks.budgets import Budget
from leoflowd.cheap_tasks.fairness import FairQueue
from leoflowd.cheap_tasks.groups import ProbeGroup
from leoflowd.cheap_tasks.wake_queue import WakeQueue
from leoflowd.config import PoolConfig

BATCH_MAX = 500
"""Specs in one `poke_many`."""
GATES_KEPT = 1000
"""Beyond so many targets, those with nothing to remember are forgotten."""


class Gate:
    """One (target, connection id): its budget, and who waits for it."""

    __slots__ = ("__weakref__", "budget", "connection_id", "groups", "line", "target", "wake")

    def __init__(self, target: str, connection_id: str | None, budget: Budget) -> None:
        self.target = target
        self.connection_id = connection_id
        self.budget = budget
        self.groups = 0
        """Those that name it theirs, in line or not."""
        self.line: FairQueue[ProbeGroup] = FairQueue()
        self.wake: _GateWake | None = None


class _GateWake(msgspec.Struct, order=True, gc=False):
    wake_at: float
    number: int
    gate: Gate
    is_dead: bool = False


class Lines:
    """All gates, and the line for the workers. `now` is Trio's clock throughout."""

    def __init__(self, limits: PoolConfig) -> None:
        self._limits = self._own = limits
        self._gates: dict[tuple[str, str | None], Gate] = {}
        self._seated: FairQueue[ProbeGroup] = FairQueue()
        self._batches: dict[tuple[str, str | None, int, str], dict[ProbeGroup, None]] = {}
        self._openings: WakeQueue[_GateWake] = WakeQueue()
        self._opening_number = 0
        self._with_line: WeakSet[Gate] = WeakSet()

    def __len__(self) -> int:
        """Groups in line anywhere."""
        return len(self._seated) + sum(len(gate.line) for gate in self._with_line)

    def share_out(self, share: float) -> None:
        """This daemon watches so much of all waits, and asks no more of any target than that part of its budget."""
        limits = self._limits
        self._own = msgspec.structs.replace(
            limits,
            target_rate=max(limits.target_rate * share, 1e-3),
            target_burst=max(1, round(limits.target_burst * share)),
            target_concurrency=max(1, round(limits.target_concurrency * share)),
        )
        for gate in self._gates.values():
            gate.budget.limits = self._own

    def gates(self) -> Iterator[Gate]:
        return iter(self._gates.values())

    @property
    def seated(self) -> int:
        """Groups that only wait for a worker."""
        return len(self._seated)

    def gate(self, target: str, connection_id: str | None, now: float) -> Gate:
        found = self._gates.get((target, connection_id))
        if found is None:
            if len(self._gates) >= GATES_KEPT:
                self._forget_untouched(now)
            found = Gate(target, connection_id, Budget(self._own, now))
            self._gates[target, connection_id] = found
        return found

    def add(self, group: ProbeGroup, now: float) -> None:
        """It is due. Without a gate (no budget, or nobody knows its target yet) it is seated at once."""
        if group.batch is not None:
            self._batches.setdefault(group.batch, {})[group] = None
        if group.gate is None:
            self._seated.add(group.dag, group)
            return
        group.gate.line.add(group.dag, group)
        self._with_line.add(group.gate)
        self._admit(group.gate, now)

    def discard(self, group: ProbeGroup, now: float) -> None:
        """It ended while it was in line."""
        self._leave_batch(group)
        self._leave_line(group, now)

    def take(self, now: float) -> list[ProbeGroup]:
        """For a worker: the group whose turn it is, and those that go in the same trip. One seat for all of them."""
        first = self._seated.pop()
        key = first.batch
        self._leave_batch(first)
        mates = list(self._batches.get(key, ()))[: BATCH_MAX - 1] if key is not None else []
        for mate in mates:
            self.discard(mate, now)
        return [first, *mates]

    def freed(self, gate: Gate, now: float) -> None:
        """A seat of this gate was given back, or its budget learned something."""
        self._admit(gate, now)

    def open_due(self, now: float) -> None:
        for opening in self._openings.pop_due(now, len(self._openings)):
            opening.gate.wake = None
            self._admit(opening.gate, now)

    def opens_at(self) -> float:
        """When `open_due` has something to do."""
        return self._openings.next_at()

    def _admit(self, gate: Gate, now: float) -> None:
        opens_at = gate.budget.opens_at(now)
        while gate.line and opens_at <= now:
            gate.budget.start(now)
            group = gate.line.pop()
            self._seated.add(group.dag, group)
            opens_at = gate.budget.opens_at(now)
        if not gate.line:
            self._with_line.discard(gate)
        elif opens_at < math.inf:
            self._look_again(gate, opens_at)

    def _look_again(self, gate: Gate, at: float) -> None:
        if gate.wake is not None:
            if gate.wake.wake_at <= at:
                return  # too early is early enough: it is looked at again then
            gate.wake.is_dead = True
            self._openings.note_dead()
        self._opening_number += 1
        gate.wake = _GateWake(at, self._opening_number, gate)
        self._openings.add(gate.wake)

    def _leave_batch(self, group: ProbeGroup) -> None:
        key = group.batch
        mates = None if key is None else self._batches.get(key)
        if key is not None and mates is not None:
            mates.pop(group, None)
            if not mates:
                del self._batches[key]

    def _leave_line(self, group: ProbeGroup, now: float) -> None:
        if self._seated.discard(group.dag, group):
            if group.gate is not None:
                group.gate.budget.give_back()
                self._admit(group.gate, now)
        elif group.gate is not None:
            group.gate.line.discard(group.dag, group)

    def _forget_untouched(self, now: float) -> None:
        for key, gate in list(self._gates.items()):
            if not gate.groups and gate.budget.is_untouched(now):
                del self._gates[key]
