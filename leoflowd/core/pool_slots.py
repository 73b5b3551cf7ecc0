"""Who gets the free slots: pools, the DAG's `max_active_tasks` per run, and the per-task limits, in one ledger.

The leader's scheduler keeps one `SlotLedger`: it enters every live instance (`occupy`), asks for every scheduled one
(`request`), and queues whatever `grant` returns. Backfills come last, then highest priority first, oldest among
equals. As in Airflow, a request too wide for what is free does not hold up narrower ones behind it.

A grant costs what it grants plus the heads it looks at, never the number of blocked requests. Requests wait in *lanes*
(heaps, one per pool and width); one that reaches the head of its lane while a limit is exhausted is *parked* with that
limit and comes back, best first, when the limit has room again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from heapq import heapify, heappop, heappush

import msgspec

UNLIMITED = -1
"""`pool.slots` of a pool without limit."""

Key = tuple[int, int]
"""(dag_run_id, position of the instance in its view)."""


class SlotRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One instance that wants to run. Limits: None or 0 = none."""

    key: Key
    pool: str
    slots: int = 1
    priority: int = 1
    is_backfill: bool = False
    """It takes what nobody else has asked for, whatever its priority."""
    since: datetime
    dag_id: str
    task_id: str
    run_limit: int | None = None
    """The DAG's `max_active_tasks`: live instances of this dag run."""
    per_dag_limit: int | None = None
    """`max_active_tis_per_dag`: live instances of this task over all runs."""
    per_run_task_limit: int | None = None
    """`max_active_tis_per_dagrun`: live instances of this task in this run."""


_Lane = tuple[str, int]
_Limit = tuple[str | int, ...]
_Shelf = tuple[_Lane, int]
"""Where the parked of one limit lie: by lane, and by how much they allow, which differs between versions of a DAG."""
_Rank = tuple[bool, int]
_Entry = tuple[_Rank, datetime, int, SlotRequest]
"""Sorts by rank (backfills last, priority negated), age, and order of asking, which is unique: requests themselves are
never compared."""


class SlotLedger:
    """See the module. One task owns it; nothing here waits."""

    def __init__(self, pools: Mapping[str, int]) -> None:
        self._pools = dict(pools)
        self._pool_used: dict[str, int] = {}
        self._limit_used: dict[_Limit, int] = {}
        self._occupied: dict[Key, SlotRequest] = {}
        self._waiting: dict[Key, SlotRequest] = {}
        self._keys_of_run: dict[int, set[Key]] = {}
        self._lanes: dict[_Lane, list[_Entry]] = {}
        self._parked: dict[_Limit, dict[_Shelf, list[_Entry]]] = {}
        self._order = 0
        self._stale = 0
        """Entries of withdrawn requests, still somewhere in a heap; `grant` drops those it meets."""

    def set_pools(self, pools: Mapping[str, int]) -> None:
        """Pools as they are now: name -> slots, -1 = unlimited. What is occupied stays so, even beyond the limit."""
        self._pools = dict(pools)

    def occupy(self, request: SlotRequest) -> None:
        """Enter an instance that is live already (after a start or a reload); limits are not asked."""
        assert request.key not in self._occupied, f"{request.key} holds slots already"
        self.withdraw(request.key)
        self._take(request)

    def request(self, request: SlotRequest) -> None:
        """Ask for slots; asking again replaces the earlier request, and whoever holds slots need not ask."""
        if request.key in self._occupied:
            return
        self.withdraw(request.key)
        self._waiting[request.key] = request
        self._keys_of_run.setdefault(request.key[0], set()).add(request.key)
        self._enter(request)

    def withdraw(self, key: Key) -> None:
        """Ask no longer; nothing happens if it was not waiting."""
        if self._waiting.pop(key, None) is None:
            return
        self._forget_key(key)
        self._stale += 1
        if self._stale > 64 + len(self._waiting):
            self._rebuild()

    def release(self, key: Key) -> None:
        """Give slots back; nothing happens if it held none."""
        request = self._occupied.pop(key, None)
        if request is None:
            return
        self._forget_key(key)
        self._pool_used[request.pool] -= request.slots
        for limit, _ in _counters(request):
            self._limit_used[limit] -= 1
            if not self._limit_used[limit]:
                del self._limit_used[limit]
            for shelf in list(self._parked.get(limit, ())):
                self._unpark_one(limit, shelf)

    def forget_run(self, dag_run_id: int) -> None:
        """The dag run is over, or its view was dropped: it neither waits nor holds."""
        for key in list(self._keys_of_run.get(dag_run_id, ())):
            self.withdraw(key)
            self.release(key)

    def grant(self) -> tuple[SlotRequest, ...]:
        """Give out what is free; the requests returned hold their slots from now on."""
        granted: list[SlotRequest] = []
        heads: list[tuple[_Entry, _Lane]] = []
        for lane in list(self._lanes):
            self._offer_head(lane, heads)
        heapify(heads)
        while heads:
            entry, lane = heappop(heads)
            request = entry[3]
            if self._exhausted(request) is None and self._fits(lane):
                heappop(self._lanes[lane])
                del self._waiting[request.key]
                self._take(request)
                granted.append(request)
            # Otherwise a grant from another lane came first; the lane looks again.
            self._offer_head(lane, heads)
        return tuple(granted)

    def used_slots(self, pool: str) -> int:
        """Slots of the pool that are occupied."""
        return self._pool_used.get(pool, 0)

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    @property
    def occupied_count(self) -> int:
        return len(self._occupied)

    def is_occupied(self, key: Key) -> bool:
        return key in self._occupied

    # --- lanes and parking ---

    def _enter(self, request: SlotRequest) -> None:
        self._order += 1
        entry = ((request.is_backfill, -request.priority), request.since, self._order, request)
        heappush(self._lanes.setdefault((request.pool, request.slots), []), entry)

    def _offer_head(self, lane: _Lane, heads: list[tuple[_Entry, _Lane]]) -> None:
        """Put the lane's best grantable request among the heads; park what a limit forbids on the way."""
        entries = self._lanes[lane]
        while entries and self._fits(lane):
            entry = entries[0]
            request = entry[3]
            if self._is_stale(request):
                heappop(entries)
                self._stale -= 1
                self._call_successors(request, lane)
                continue
            exhausted = self._exhausted(request)
            if exhausted is None:
                heappush(heads, (entry, lane))
                return
            heappop(entries)
            limit, allowed = exhausted
            heappush(self._parked.setdefault(limit, {}).setdefault((lane, allowed), []), entry)
            self._call_successors(request, lane)
        if not entries:
            del self._lanes[lane]

    def _call_successors(self, request: SlotRequest, lane: _Lane) -> None:
        """The request left its lane without using room that its other limits may have: others may use it."""
        for limit, allowed in _limits(request):
            if self._limit_used.get(limit, 0) < allowed:
                self._unpark_one(limit, (lane, allowed))

    def _unpark_one(self, limit: _Limit, shelf: _Shelf) -> None:
        """The best request parked here goes back to its lane."""
        shelves = self._parked.get(limit, {})
        entries = shelves.get(shelf, [])
        while entries:
            entry = heappop(entries)
            if self._is_stale(entry[3]):
                self._stale -= 1
                continue
            heappush(self._lanes.setdefault(shelf[0], []), entry)
            break
        if not entries and shelf in shelves:
            del shelves[shelf]
            if not shelves:
                del self._parked[limit]

    def _rebuild(self) -> None:
        """Drop withdrawn entries for good, so that a pool that never moves does not collect them."""
        live = sorted(entry for entry in self._entries() if not self._is_stale(entry[3]))
        self._lanes, self._parked, self._stale = {}, {}, 0
        for entry in live:  # a sorted list is a heap
            self._lanes.setdefault((entry[3].pool, entry[3].slots), []).append(entry)

    def _entries(self) -> Iterator[_Entry]:
        for entries in self._lanes.values():
            yield from entries
        for shelves in self._parked.values():
            for entries in shelves.values():
                yield from entries

    # --- bookkeeping ---

    def _take(self, request: SlotRequest) -> None:
        self._occupied[request.key] = request
        self._keys_of_run.setdefault(request.key[0], set()).add(request.key)
        self._pool_used[request.pool] = self.used_slots(request.pool) + request.slots
        for limit, _ in _counters(request):
            self._limit_used[limit] = self._limit_used.get(limit, 0) + 1

    def _forget_key(self, key: Key) -> None:
        keys = self._keys_of_run[key[0]]
        keys.discard(key)
        if not keys:
            del self._keys_of_run[key[0]]

    def _is_stale(self, request: SlotRequest) -> bool:
        return self._waiting.get(request.key) is not request

    def _fits(self, lane: _Lane) -> bool:
        pool, width = lane
        slots = self._pools.get(pool)
        return slots is not None and (slots == UNLIMITED or width <= slots - self.used_slots(pool))

    def _exhausted(self, request: SlotRequest) -> tuple[_Limit, int] | None:
        """The first limit without room, and what it allows."""
        for limit, allowed in _limits(request):
            if self._limit_used.get(limit, 0) >= allowed:
                return limit, allowed
        return None


def _counters(request: SlotRequest) -> tuple[tuple[_Limit, int | None], ...]:
    """The counts that a live instance is part of, and what each may grow to for this request."""
    return (
        (("run", request.key[0]), request.run_limit),
        (("dag_task", request.dag_id, request.task_id), request.per_dag_limit),
        (("run_task", request.key[0], request.task_id), request.per_run_task_limit),
    )


def _limits(request: SlotRequest) -> Iterator[tuple[_Limit, int]]:
    """Those of the counts that limit this request. What has no limit itself is counted by others all the same."""
    for limit, allowed in _counters(request):
        if allowed:
            yield limit, allowed
