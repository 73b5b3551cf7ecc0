"""When each group is probed: cadence, phases, pushes, patience, quarantine; and the way of a group through the lines.

State of a group moves here and nowhere else: IDLE with a time, READY in a line, PROBING in a worker's hands, and back.
Nothing here waits; `now` is Trio's clock, except where a phase of the wall clock is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import trio

from leoflowd.cheap_tasks import cadence
from leoflowd.cheap_tasks.groups import GroupState, GroupWake, ProbeGroup
from leoflowd.cheap_tasks.lines import Lines
from leoflowd.cheap_tasks.records import WaitRecord
from leoflowd.cheap_tasks.wake_queue import WakeQueue
from leoflowd.config import PoolConfig
from leoflowd.contract.connection import ConnectionFacts

FIRST_PROBE_WITHIN_S = 0.1
"""A new group is probed at once, but a thousand new ones not at the same moment."""
PUSH_GAP_S = 0.05
"""A burst of events is one probe now and one after it."""
SLICE = 500
"""Groups made ready without letting others run."""


class ProbeSchedule:
    """`wall` gives UTC seconds since the epoch, `jitter` a random number from 0 to 1."""

    def __init__(self, config: PoolConfig, wall: Callable[[], float], jitter: Callable[[], float]) -> None:
        self._config = config
        self._wall = wall
        self._jitter = jitter
        self.groups: dict[str, ProbeGroup] = {}
        self.lines = Lines(config)
        self._queue: WakeQueue[GroupWake] = WakeQueue()
        self._number = 0
        self._idle_workers = trio.lowlevel.ParkingLot()
        self._sleeps_until = -math.inf
        self._earlier = trio.Event()
        """Set when something became due before `run` wakes up by itself."""

    # --- waits come and go ------------------------------------------------------------------------------------------

    def join(self, group: ProbeGroup, record: WaitRecord, *, is_new: bool) -> None:
        """`is_new`: it was registered just now. Else it was found in the table, and comes back at its stable phase."""
        now, wanted_s = trio.current_time(), self.wanted_s(record)
        first = group.key not in self.groups
        group.add(record)
        if first:
            self.groups[group.key] = group
            group.interval_s = wanted_s
            until_s = (
                self._jitter() * FIRST_PROBE_WITHIN_S
                if is_new
                else cadence.until_phase_s(group.key, wanted_s, self._wall())
            )
            self._schedule(group, now + until_s)
        elif group.size == 1:  # the others left during the probe that runs, and it came after that began
            group.interval_s, group.again = wanted_s, is_new
        elif wanted_s < group.interval_s:
            group.interval_s = wanted_s
            self._bring_forward(group, now + wanted_s)

    def leave(self, group: ProbeGroup) -> None:
        """One of its waits died; with the last one it ends. A probe that runs is let run, for nobody."""
        group.note_dead()
        if group.size == 0 and group.state is not GroupState.PROBING:
            self._end(group)

    def wanted_s(self, record: WaitRecord) -> float:
        """The interval that one wait asks for now."""
        terms = record.terms.wait
        if not terms.exponential_backoff:
            wanted = terms.poke_interval_s
        else:
            elapsed_s = max(0.0, self._wall() - record.registered_at)
            wanted = cadence.backoff_s(terms, f"{record.dag}#{record.number}#{record.registered_at}", elapsed_s)
        return max(wanted, self._config.poke_interval_min_s)

    # --- what brings a probe forward --------------------------------------------------------------------------------

    def wake(self, group: ProbeGroup) -> None:
        """Something happened in the world. A quarantined group does not get out of it like this."""
        if group.is_quarantined:
            return
        if group.state is GroupState.PROBING:
            group.again = True
        else:
            self._bring_forward(group, max(trio.current_time(), group.began_at + PUSH_GAP_S))

    def probe_now(self, group: ProbeGroup, *, release: bool = False) -> None:
        """`release`: a person asks, and a quarantine ends."""
        if release:
            group.strikes = 0
            group.postponed_until = -math.inf
        if group.state is GroupState.PROBING:
            group.again = True
        else:
            self._bring_forward(group, trio.current_time())

    def new_cadence(self, group: ProbeGroup, record: WaitRecord) -> None:
        """One of its waits wants another interval; a longer one counts from the next probe on."""
        wanted_s = self.wanted_s(record)
        if wanted_s < group.interval_s:
            group.interval_s = wanted_s
            self._bring_forward(group, trio.current_time() + wanted_s)

    def may_answer_soon(self, group: ProbeGroup) -> bool:
        """A probe is on its way, or only waits for a worker."""
        return group.state is GroupState.PROBING or (
            group.state is GroupState.READY and not self.is_blocked(group, trio.current_time())
        )

    def is_blocked(self, group: ProbeGroup, now: float) -> bool:
        """By its target or by itself; a mere lack of a free worker or seat is no block."""
        if group.is_quarantined or group.postponed_until > now:
            return True
        budget = None if group.gate is None else group.gate.budget
        return budget is not None and (
            budget.throttled_until > now or (budget.retry_at is not None and budget.retry_at > now)
        )

    # --- the clock --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Makes groups ready when they are due."""
        while True:
            self._earlier = trio.Event()
            now = trio.current_time()
            self.lines.open_due(now)
            for due in self._queue.pop_due(now, SLICE):
                due.group.wake = None
                self._make_ready(due.group, due.wake_at, now)
            self._call_workers()
            self._sleeps_until = min(self._queue.next_at(), self.lines.opens_at())
            with trio.move_on_at(self._sleeps_until):
                await self._earlier.wait()
            self._sleeps_until = -math.inf

    async def next_batch(self) -> list[ProbeGroup]:
        """For a worker: groups with one batch key, all PROBING from here on, one seat of their gate taken for all."""
        await trio.lowlevel.checkpoint()
        while not self.lines.seated:
            await self._idle_workers.park()
        now = trio.current_time()
        batch = self.lines.take(now)
        for group in batch:
            group.state = GroupState.PROBING
        return batch

    def place(self, group: ProbeGroup, facts: ConnectionFacts | None, target: str | None) -> None:
        """A worker found out whose budget it uses: it gets in line again, there."""
        now = trio.current_time()
        self._leave_gate(group)
        group.placed_for = facts
        if target is not None:
            group.gate = self.lines.gate(target, group.connection_id, now)
            group.gate.groups += 1
        if group.size == 0:
            self._end(group)
            return
        group.welcome()
        group.state = GroupState.READY
        self.lines.add(group, now)
        self._call_workers()
        self._nudge(self.lines.opens_at())

    def seats_freed(self, batch: Iterable[ProbeGroup]) -> None:
        """After a gate's budget was told how a probe ended."""
        for gate in {group.gate for group in batch if group.gate is not None}:
            self.lines.freed(gate, trio.current_time())
            self._nudge(self.lines.opens_at())
        self._call_workers()

    def probed(self, group: ProbeGroup, began_at: float, interval_s: float) -> None:
        """Its waits are judged; the shortest interval of those that stay is `interval_s` (none stays: infinity)."""
        group.began_at = began_at
        group.state = GroupState.IDLE
        if group.size == 0:
            self._end(group)
            return
        group.interval_s = min([interval_s, *(self.wanted_s(one) for one in group.newcomers if not one.is_dead)])
        group.welcome()
        self._schedule(group, self._next_at(group, began_at))

    def _next_at(self, group: ProbeGroup, began_at: float) -> float:
        interval_s = group.interval_s
        if group.is_quarantined:
            factor, least_s = self._config.quarantine_factor, self._config.quarantine_min_s
            return began_at + max(factor * interval_s, least_s)
        at = began_at + interval_s
        if group.again:
            group.again = False
            at = min(at, max(trio.current_time(), began_at + PUSH_GAP_S))
        return max(at, group.postponed_until)

    def _schedule(self, group: ProbeGroup, at: float) -> None:
        if group.wake is not None:
            group.wake.is_dead = True
            self._queue.note_dead()
        self._number += 1
        group.wake = GroupWake(at, self._number, group)
        self._queue.add(group.wake)
        self._nudge(at)

    def _bring_forward(self, group: ProbeGroup, at: float) -> None:
        at = max(at, group.postponed_until)
        if group.wake is not None and at < group.wake.wake_at and not group.is_quarantined:
            self._schedule(group, at)

    def _make_ready(self, group: ProbeGroup, due_at: float, now: float) -> None:
        group.state = GroupState.READY
        group.due_at = due_at
        self.lines.add(group, now)

    def _nudge(self, at: float) -> None:
        if at < self._sleeps_until:
            self._earlier.set()

    def _call_workers(self) -> None:
        self._idle_workers.unpark(count=self.lines.seated)

    def _end(self, group: ProbeGroup) -> None:
        if group.state is GroupState.READY:
            self.lines.discard(group, trio.current_time())
        if group.wake is not None:
            group.wake.is_dead = True
            self._queue.note_dead()
            group.wake = None
        if group.end_watch is not None:
            group.end_watch()
            group.end_watch = None
        self._leave_gate(group)
        group.let_go()
        if self.groups.get(group.key) is group:
            del self.groups[group.key]

    def _leave_gate(self, group: ProbeGroup) -> None:
        if group.gate is not None:
            group.gate.groups -= 1
            group.gate = None
