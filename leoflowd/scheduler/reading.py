"""Where views are read: what a step needs of Postgres before it decides, and what the sweep finds there."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from leoflowd.contract.states import DagRunState
from leoflowd.core.run_view import SET_ASIDE
from leoflowd.scheduler.aside import SetAside
from leoflowd.scheduler.draft import Draft
from leoflowd.scheduler.inbox import (
    DagChanged,
    Event,
    HostAttached,
    ReadAgain,
    RunChanged,
    StartRuns,
    Sweep,
    TryEnded,
    TryLost,
    TryStarted,
    WaitsEnded,
)
from leoflowd.scheduler.views import Views
from leoflowd.store import run_views
from leoflowd.store.database import Connection, Database
from leoflowd.store.run_views import LoadedRun, Quota, RunHead

LOADED_PER_STEP = 40
"""Runs read in one step after a start; what agents and the pool report is served in between."""


class Reading:
    """Fills the views, and notes in the draft what is to be planned and started."""

    def __init__(self, db: Database, views: Views, aside: SetAside) -> None:
        self._db = db
        self._views = views
        self._aside = aside
        self._past: dict[int, tuple[int | None, int | None]] = {}
        """Of runs that wait for it: the run before, and its revision, as the last sweep found them."""

    async def read(self, events: Sequence[Event], draft: Draft) -> None:
        """Load the runs that these events are about and that are not in memory, or are known to have changed."""
        changed: set[int] = set()
        wanted = self._due(draft)
        async with self._db.scheduler.connection() as conn:
            for event in events:
                match event:
                    case RunChanged() | ReadAgain():
                        changed.add(event.dag_run_id)
                        if isinstance(event, RunChanged):
                            draft.read_again.add(event.dag_run_id)
                    case StartRuns():
                        draft.to_start.add(event.quota)
                    case DagChanged():
                        heads = await run_views.list_active_heads(conn, event.dag_id)
                        changed |= {head.id for head in heads} | self._views.runs_of(event.dag_id)
                        draft.changed_dags.add(event.dag_id)
                    case Sweep():
                        wanted |= await self._sweep(conn, changed, draft)
                    case WaitsEnded():
                        wanted.update(end.dag_run_id for end in event.ends)
                    case TryStarted() | TryEnded():
                        wanted.add(event.row.dag_run_id)
                    case TryLost():
                        wanted.add(event.dag_run_id)
                    case HostAttached():
                        pass
            draft.just_read = changed
            self._aside.lift(changed)
            wanted |= self._views.take_backlog(LOADED_PER_STEP)
            draft.to_start |= self._views.take_more_to_start()
            to_read = changed | (wanted - self._views.runs.keys() - set(self._aside))
            if to_read:
                await self._read_runs(conn, to_read, changed, draft)
            for quota in sorted(draft.to_start):
                await self._read_queued(conn, quota, draft)

    def _due(self, draft: Draft) -> set[int]:
        """Plan the runs whose time has come; those that must be read first."""
        to_read = set()
        for dag_run_id in self._views.pop_due(draft.now):
            quota = self._views.quota_of(dag_run_id)
            if quota is None:
                continue
            if dag_run_id in self._views.parked:
                to_read.add(dag_run_id)
            elif self._views.is_queued(dag_run_id):
                draft.to_start.add(quota)
            elif dag_run_id in self._views.runs:
                draft.to_plan[dag_run_id] = None
        return to_read

    async def _read_runs(self, conn: Connection, ids: Collection[int], changed: set[int], draft: Draft) -> None:
        heads = {head.id: head for head in await run_views.list_heads(conn, sorted(ids))}
        for dag_run_id in sorted(ids):
            head, was_in = heads.get(dag_run_id), self._views.active_in(dag_run_id)
            self._views.forget(dag_run_id)
            draft.to_plan.pop(dag_run_id, None)
            is_active = head is not None and head.state in (DagRunState.QUEUED, DagRunState.RUNNING)
            if was_in is not None and not is_active:
                draft.left_dags.add(was_in.dag_id)
                draft.to_start.add(was_in)
            if head is None:
                continue
            if dag_run_id in draft.read_again:
                draft.changed_dags.add(head.dag_id)
            self._views.note_limits(head)
            if head.state == DagRunState.QUEUED:
                self._views.enqueue(head.quota, head.id, head.run_after, head.ordinal)
                draft.to_start.add(head.quota)
            if head.is_live or head.state == DagRunState.RUNNING:
                await self._load(conn, head, draft)

    async def _load(self, conn: Connection, head: RunHead, draft: Draft) -> LoadedRun | None:
        """A run that runs, or in which tries are alive whose ends are to be heard; None when it is gone or broken."""
        try:
            loaded = await run_views.load_view(conn, head.id)
        except run_views.BrokenRun as failure:
            self._aside.put(head.id, failure, draft, head)
            return None
        if loaded is None:
            return None
        self._views.watch(loaded)
        if loaded.view.run.because.startswith(SET_ASIDE):
            draft.taken_up.add(head.id)
        if loaded.view.state == DagRunState.RUNNING:
            draft.to_plan[head.id] = None
        return loaded

    async def _read_queued(self, conn: Connection, quota: Quota, draft: Draft) -> None:
        """As many queued runs as there is room for, in their order; the others stay unread."""
        limits, queue = self._views.limits.get(quota), self._views.queued.get(quota)
        if limits is None or queue is None or limits.is_paused:
            return
        waits_first = queue.next()
        if waits_first is None:
            return
        room = limits.max_active_runs - self._views.active_count(quota, waits_first[0])
        if not limits.max_active_runs or room > LOADED_PER_STEP:
            room = LOADED_PER_STEP
            self._views.more_to_start.add(quota)
        while room > 0 and (first := queue.next()) is not None and first[0] <= draft.now:
            dag_run_id = first[1]
            loaded = self._views.runs.get(dag_run_id) or await self._read_to_start(conn, dag_run_id, draft)
            queue.remove(dag_run_id)
            if loaded is not None:
                draft.starting.append(loaded)
                room -= 1
        first = queue.next()
        if first is None or first[0] > draft.now:
            self._views.more_to_start.discard(quota)
        if first is not None and first[0] > draft.now:
            self._views.wake_at(*first)

    async def _read_to_start(self, conn: Connection, dag_run_id: int, draft: Draft) -> LoadedRun | None:
        for head in await run_views.list_heads(conn, [dag_run_id]):
            loaded = await self._load(conn, head, draft)
            if loaded is not None and loaded.view.state == DagRunState.QUEUED:
                return loaded
        return None

    async def _sweep(self, conn: Connection, changed: set[int], draft: Draft) -> set[int]:
        """What a lost hint left undone: rows that are other than remembered, and runs that nobody announced.

        Those that hold slots are read at once, the others little by little.
        """
        views = self._views
        views.set_pools(await run_views.list_pools(conn))
        heads = await run_views.list_active_heads(conn)
        active = {head.id: head for head in heads}
        moved = {i for i in views.known() if i not in active}
        moved |= {head.id for head in heads if views.differs(head)}
        moved |= self._aside.changed_since(active)
        views.forget_timers()
        changed |= moved | await self._whose_past_moved(conn)
        draft.read_again |= moved
        unknown = []
        for head in heads:
            if views.note_limits(head):
                draft.to_start.add(head.quota)
            if head.id in self._aside or head.id in moved:
                continue
            if head.state == DagRunState.QUEUED:
                if head.id not in views:
                    views.enqueue(head.quota, head.id, head.run_after, head.ordinal)
                    draft.to_start.add(head.quota)
            elif head.id not in views.runs and head.id not in views.parked:
                views.expect(head)
                unknown.append(head.id)
        draft.to_start |= views.queued.keys()
        if len(unknown) <= LOADED_PER_STEP:
            views.backlog = []
            return set(unknown)
        holding_slots = set(unknown) & set(await run_views.list_runs_holding_slots(conn))
        views.backlog = [i for i in unknown if i not in holding_slots]
        return holding_slots

    async def _whose_past_moved(self, conn: Connection) -> set[int]:
        """Runs whose past is other than at the last sweep: a run that is over is in nobody's memory."""
        asking = self._views.waiting_for_the_past()
        past = (
            {}
            if not asking
            else {p.id: (p.previous_id, p.revision) for p in await run_views.list_previous(conn, asking)}
        )
        moved = {i for i, previous in past.items() if self._past.get(i) != previous}
        self._past = past
        return moved
