"""What the leader holds in memory of the active dag runs. A cache, never a truth: whatever differs is read again.

Runs that may move have a view (`runs`). The others are a few numbers: queued runs wait in the order of `run_after`,
parked ones (everything in them waits) for their timer or for whoever concerns them, and after a start the `backlog` is
read little by little. One task, the scheduler's, owns all of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import datetime
from typing import TypeVar

from leoflowd.contract.states import LIVE, DagRunState, TaskInstanceState
from leoflowd.core.dag_run_plan import due_moments, is_held_by_the_past
from leoflowd.core.pool_slots import SlotLedger, SlotRequest
from leoflowd.core.run_view import InstanceFacts
from leoflowd.store.run_views import LoadedRun, PoolRow, Quota, RunHead

_S = TaskInstanceState
_Key = TypeVar("_Key")


class Limits:
    """What holds back the queued runs of a quota."""

    __slots__ = ("is_paused", "max_active_runs")

    def __init__(self, is_paused: bool, max_active_runs: int) -> None:
        self.is_paused = is_paused
        self.max_active_runs = max_active_runs


_Place = tuple[int, datetime, int]


class Queue:
    """Queued runs of one quota, none of them read: ids by their ordinal in a backfill, by `run_after`, then by age."""

    def __init__(self) -> None:
        self._place_of: dict[int, _Place] = {}
        self._order: list[_Place] = []
        self._placed: set[_Place] = set()

    def __len__(self) -> int:
        return len(self._place_of)

    def __contains__(self, dag_run_id: int) -> bool:
        return dag_run_id in self._place_of

    def add(self, dag_run_id: int, run_after: datetime, ordinal: int = 0) -> None:
        place = (ordinal, run_after, dag_run_id)
        self._place_of[dag_run_id] = place
        if place not in self._placed:
            self._placed.add(place)
            heapq.heappush(self._order, place)

    def remove(self, dag_run_id: int) -> None:
        self._place_of.pop(dag_run_id, None)  # its place in the order is skipped when its turn comes

    def next(self) -> tuple[datetime, int] | None:
        """(run_after, id) of the first one, which stays."""
        while self._order and self._place_of.get(self._order[0][2]) != self._order[0]:
            self._placed.discard(heapq.heappop(self._order))
        return self._order[0][1:] if self._order else None


class Views:
    def __init__(self, *, max_instances: int) -> None:
        self.runs: dict[int, LoadedRun] = {}
        self.running: dict[str, set[int]] = {}
        """Running runs by DAG, whether in memory or not."""
        self.active: dict[Quota, set[int]] = {}
        """The same by quota."""
        self.queued: dict[Quota, Queue] = {}
        self.parked: dict[int, int] = {}
        """Running runs that only wait and were dropped from memory, with their revision."""
        self.backlog: list[int] = []
        """Running runs that nobody has read yet."""
        self.more_to_start: set[Quota] = set()
        """Quotas with room for more queued runs than one step reads."""
        self.limits: dict[Quota, Limits] = {}
        self.asks_past: set[str] = set()
        """DAGs in which a task waits for the same task of the previous run."""
        self.tries: dict[str, tuple[int, int]] = {}
        self.waiting: dict[str, tuple[int, int]] = {}
        """Waits by id, of the runs in memory."""
        self.ledger = SlotLedger({})
        self.pools_with_deferred: frozenset[str] = frozenset()
        self._quota_of: dict[int, Quota] = {}
        """Of every active run that is known here."""
        self._held = 0
        """Task instances of the runs in memory."""
        self._max_instances = max_instances
        self._timers: list[tuple[datetime, int]] = []
        self._timed: set[tuple[datetime, int]] = set()

    # --- who is known -----------------------------------------------------------------------------------------

    def __contains__(self, dag_run_id: int) -> bool:
        return dag_run_id in self._quota_of

    def known(self) -> Iterator[int]:
        return iter(self._quota_of)

    def quota_of(self, dag_run_id: int) -> Quota | None:
        """Of an active run that is known here."""
        return self._quota_of.get(dag_run_id)

    def is_queued(self, dag_run_id: int) -> bool:
        quota = self._quota_of.get(dag_run_id)
        return quota is not None and dag_run_id in self.queued.get(quota, ())

    def active_in(self, dag_run_id: int) -> Quota | None:
        """Where it is queued or running, as far as is known; None for a run that has ended."""
        quota = self._quota_of.get(dag_run_id)
        if quota is not None and (dag_run_id in self.active.get(quota, ()) or self.is_queued(dag_run_id)):
            return quota
        return None

    def active_count(self, quota: Quota, run_after: datetime) -> int:
        """Running runs that count against the limit for a run of this moment. Later ones that are held by their
        past do not: what holds them may be this very run, cleared, and they would wait for each other."""
        running = self.active.get(quota, set())
        if quota.dag_id not in self.asks_past:
            return len(running)
        return sum(not self._is_held_by(i, run_after) for i in running)

    def _is_held_by(self, dag_run_id: int, run_after: datetime) -> bool:
        loaded = self.runs.get(dag_run_id)
        return loaded is not None and run_after < loaded.facts.run_after and is_held_by_the_past(loaded.view)

    def runs_of(self, dag_id: str) -> set[int]:
        """Runs of this DAG that were read, or were running."""
        return {i for i, run in self.runs.items() if run.view.dag_id == dag_id} | self.running.get(dag_id, set())

    def waiting_for_the_past(self) -> list[int]:
        """Runs in memory with a task that the run before holds back."""
        return [
            i
            for i, run in self.runs.items()
            if run.view.state == DagRunState.RUNNING and not all(run.view.past_ok.values())
        ]

    def queued_count(self) -> int:
        return sum(len(queue) for queue in self.queued.values())

    def differs(self, head: RunHead) -> bool:
        """Is the row other than what is remembered of it? What was never read is no difference."""
        loaded = self.runs.get(head.id)
        if loaded is not None:
            remembered = (loaded.view.revision, loaded.view.state.value, loaded.is_paused)
            return remembered != (head.revision, head.state, head.is_paused)
        if head.id in self.parked:
            return self.parked[head.id] != head.revision or head.is_paused
        return False

    def has_more_to_read(self) -> bool:
        return bool(self.backlog or self.more_to_start)

    def take_backlog(self, at_most: int) -> set[int]:
        taken = set(self.backlog[:at_most])
        del self.backlog[:at_most]
        return taken

    def take_more_to_start(self) -> set[Quota]:
        taken, self.more_to_start = self.more_to_start, set()
        return taken

    # --- coming and going -------------------------------------------------------------------------------------

    def note_limits(self, head: RunHead) -> bool:
        """Remember what holds back the queued runs of its quota; True when it changed."""
        is_paused = head.is_paused or head.is_held
        known = self.limits.get(head.quota)
        if known is not None and (known.is_paused, known.max_active_runs) == (is_paused, head.max_active_runs):
            return False
        self.limits[head.quota] = Limits(is_paused, head.max_active_runs)
        return True

    def enqueue(self, quota: Quota, dag_run_id: int, run_after: datetime, ordinal: int = 0) -> None:
        self._quota_of[dag_run_id] = quota
        self.queued.setdefault(quota, Queue()).add(dag_run_id, run_after, ordinal)

    def dequeue(self, quota: Quota, dag_run_id: int) -> None:
        queue = self.queued.get(quota)
        if queue is not None:
            queue.remove(dag_run_id)
            if not queue:
                del self.queued[quota]

    def expect(self, head: RunHead) -> None:
        """A running run that is to be read when there is time: it counts, and that is all."""
        self._quota_of[head.id] = head.quota
        self.enter_running(head.quota, head.id)

    def watch(self, loaded: LoadedRun) -> None:
        """Hold its view, and index what may be reported or become due in it."""
        view = loaded.view
        self._quota_of[view.dag_run_id] = loaded.quota
        self.runs[view.dag_run_id] = loaded
        self._held += len(view.facts)
        self.parked.pop(view.dag_run_id, None)
        if view.state == DagRunState.RUNNING:
            self.enter_running(loaded.quota, view.dag_run_id)
            self.dequeue(loaded.quota, view.dag_run_id)
        if any(task.depends_on_past or task.wait_for_downstream for task in loaded.version.spec.tasks):
            self.asks_past.add(view.dag_id)
        for i, facts in enumerate(view.facts):
            if facts.state in LIVE:
                self.ledger.occupy(request_of(loaded, i))
                self.tries[facts.id] = (view.dag_run_id, i)
            elif facts.wait == "waiting":
                self.waiting[facts.id] = (view.dag_run_id, i)
                if self.counts_deferred(loaded, i):
                    self.ledger.occupy(request_of(loaded, i))
            elif facts.state == _S.SCHEDULED and not loaded.is_paused:
                self.ledger.request(request_of(loaded, i))
        for moment in due_moments(view):
            self.wake_at(moment, view.dag_run_id)

    def grown(self, count: int) -> None:
        """A run in memory has so many instances more."""
        self._held += count

    def forget(self, dag_run_id: int) -> None:
        """As if it had never been seen; its timers stay, and find nothing."""
        quota = self._quota_of.pop(dag_run_id, None)
        self.parked.pop(dag_run_id, None)
        if quota is None:
            return
        self.dequeue(quota, dag_run_id)
        self.leave_running(quota, dag_run_id)
        self._drop_view(dag_run_id)

    def enter_running(self, quota: Quota, dag_run_id: int) -> None:
        self.running.setdefault(quota.dag_id, set()).add(dag_run_id)
        self.active.setdefault(quota, set()).add(dag_run_id)

    def leave_running(self, quota: Quota, dag_run_id: int) -> None:
        _discard(self.running, quota.dag_id, dag_run_id)
        _discard(self.active, quota, dag_run_id)

    def park_idle(self) -> None:
        """When there are too many views to keep, drop those of runs in which everything waits, oldest first."""
        if self._held <= self._max_instances:
            return
        for dag_run_id, loaded in list(self.runs.items()):
            if self._held <= self._max_instances:
                return
            if _only_waits(loaded) and not self._holds_slots(loaded):
                self._drop_view(dag_run_id)
                self.parked[dag_run_id] = loaded.view.revision

    def _drop_view(self, dag_run_id: int) -> None:
        loaded = self.runs.pop(dag_run_id, None)
        if loaded is None:
            return
        self._held -= len(loaded.view.facts)
        self.ledger.forget_run(dag_run_id)
        for facts in loaded.view.facts:
            self.tries.pop(facts.id, None)
            self.waiting.pop(facts.id, None)

    def _holds_slots(self, loaded: LoadedRun) -> bool:
        return bool(self.pools_with_deferred) and any(
            self.ledger.is_occupied((loaded.view.dag_run_id, i)) for i in range(len(loaded.view.facts))
        )

    # --- slots ------------------------------------------------------------------------------------------------

    def set_pools(self, pools: tuple[PoolRow, ...]) -> None:
        self.ledger.set_pools({pool.name: pool.slots for pool in pools})
        self.pools_with_deferred = frozenset(pool.name for pool in pools if pool.include_deferred)

    def counts_deferred(self, loaded: LoadedRun, i: int) -> bool:
        """Does this instance hold a slot of its pool while it only waits?"""
        return loaded.view.node_of(i).spec.pool in self.pools_with_deferred

    def account(self, loaded: LoadedRun, i: int, before: InstanceFacts, after: InstanceFacts) -> None:
        """Keep slots and the index of live tries in step with the view."""
        key = (loaded.view.dag_run_id, i)
        keeps_slot = after.wait == "waiting" and self.counts_deferred(loaded, i)
        if before.wait == "waiting":
            self.waiting.pop(before.id, None)
            self.ledger.release(key)
        if before.state in LIVE and after.state not in LIVE:
            self.tries.pop(before.id, None)
            if not keeps_slot:
                self.ledger.release(key)
        elif keeps_slot:
            pass  # granted a moment ago
        elif before.state == _S.SCHEDULED and after.state not in LIVE and after.state != _S.SCHEDULED:
            self.ledger.withdraw(key)
            self.ledger.release(key)
        if after.state == _S.SCHEDULED and before.state != _S.SCHEDULED and not loaded.is_paused:
            self.ledger.request(request_of(loaded, i))
        if after.state in LIVE:
            self.tries[after.id] = key
        if after.wait == "waiting":
            self.waiting[after.id] = key

    # --- timers -----------------------------------------------------------------------------------------------

    def wake_at(self, moment: datetime, dag_run_id: int) -> None:
        if (moment, dag_run_id) not in self._timed:
            self._timed.add((moment, dag_run_id))
            heapq.heappush(self._timers, (moment, dag_run_id))

    def next_timer(self) -> datetime | None:
        return self._timers[0][0] if self._timers else None

    def forget_timers(self) -> None:
        """Of runs that are known no more; some would have been due in months."""
        kept = [timer for timer in self._timers if timer[1] in self._quota_of]
        if len(kept) < len(self._timers):
            heapq.heapify(kept)
            self._timers, self._timed = kept, set(kept)

    def pop_due(self, now: datetime) -> set[int]:
        """Runs in which time alone may have changed something; some may be gone."""
        due = set()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)
            self._timed.discard(timer)
            due.add(timer[1])
        return due


def _discard(sets: dict[_Key, set[int]], key: _Key, dag_run_id: int) -> None:
    """Out of its set, and an empty set out of the table."""
    found = sets.get(key)
    if found is not None:
        found.discard(dag_run_id)
        if not found:
            del sets[key]


def request_of(loaded: LoadedRun, i: int) -> SlotRequest:
    """What this instance asks of its pool."""
    view = loaded.view
    node, facts = view.node_of(i), view.facts[i]
    return SlotRequest(
        key=(view.dag_run_id, i),
        pool=node.spec.pool,
        slots=node.spec.pool_slots,
        priority=node.weight,
        is_backfill=bool(loaded.quota.backfill_id),
        since=facts.scheduled_at or loaded.facts.run_after,
        dag_id=view.dag_id,
        task_id=node.spec.task_id,
        run_limit=view.max_active_tasks,
        per_dag_limit=node.spec.max_active_tis_per_dag,
        per_run_task_limit=node.spec.max_active_tis_per_dagrun,
    )


def _only_waits(loaded: LoadedRun) -> bool:
    """Nothing can happen in this run until a wait ends, or its time comes."""
    view = loaded.view
    waiting = view.count(_S.DEFERRED) + view.count(_S.UP_FOR_RESCHEDULE)
    return (
        view.state == DagRunState.RUNNING
        and waiting > 0
        and not view.live_count
        and not view.count(_S.SCHEDULED)
        and not view.count(_S.UP_FOR_RETRY)
    )
