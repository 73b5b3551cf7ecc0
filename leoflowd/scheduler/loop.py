"""The scheduler: told something, it decides with `core`, commits once, and only then lets anything happen outside.

One task owns all views. A step takes every event that is waiting (at most `batch_max`), lets the pure functions decide
on the views, writes all of it in one transaction by compare-and-set, and then answers the agents and orders launches.
While a step commits, the next batch gathers: group commit without a timer. A row that is not what the plan assumed
voids the step: the views are dropped, read again, and the same events are decided anew.
"""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import datetime

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.config import SchedulerConfig
from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.dag_spec import TaskSpec
from leoflowd.contract.states import FINISHED, LIVE, DagRunState, TaskInstanceState
from leoflowd.contract.waits import NewWait, WaitEnd, Waits
from leoflowd.core.dag_run_plan import (
    begins_with_wait,
    next_due_at,
    plan_dag_run,
    plan_outcome,
    plan_resume,
    plan_start,
    plan_wait,
    run_timeout_at,
)
from leoflowd.core.decisions import Decision, Defer, FinishDagRun, Queue, Schedule, Start, StartDagRun, Succeed
from leoflowd.core.pool_slots import SlotLedger, SlotRequest
from leoflowd.core.run_view import InstanceFacts
from leoflowd.core.simple_templates import TemplateFault
from leoflowd.core.transitions import apply, apply_to_run, replaces_try
from leoflowd.scheduler.dispatch import Order
from leoflowd.scheduler.inbox import (
    DagChanged,
    Event,
    HostAttached,
    RunChanged,
    Sweep,
    TryEnded,
    TryLost,
    TryStarted,
    WaitsEnded,
)
from leoflowd.scheduler.waits import HTTP_KIND, first_wait, wait_of_deferral
from leoflowd.store import dag_runs, run_views
from leoflowd.store.database import Connection, Database
from leoflowd.store.run_views import LoadedRun
from leoflowd.store.transitions import Batch, EndedTry, InstanceWrite, RunWrite, StaleViews, XComWrite, write_batch
from leoflowd.store.waits import FiredWait, WaitWrite
from leoflowd.supervision import contained

log = telemetry.get_logger(__name__)

_S = TaskInstanceState
EXECUTOR = "process"
INLINE = "inline"
"""The cheap-task pool's HTTP tasks: tries without an agent."""
STEP_ATTEMPTS = 8
"""A step voided so often in a row is a bug in a compare-and-set, not bad luck."""

LONGEST_WAIT_S = 3600.0
LOADED_PER_STEP = 40
"""Runs read in one step after a start; what agents and the pool report is served in between."""
LAUNCH_AGAIN_S = 5.0
"""A try still queued after this is launched again: its first launch may have been lost with a leader."""


class SchedulerStatistics(msgspec.Struct, frozen=True):
    term: int
    runs: int
    parked_runs: int
    waiting: int
    queued_runs: int
    live_tries: int
    steps: int
    transitions: int
    stale_steps: int
    quarantined_runs: int
    next_timer: datetime | None


class Scheduler:
    """Leads for one term. `receive` is the inbox; `orders` feeds the dispatcher; `run_ended` tells the clock."""

    def __init__(
        self,
        *,
        db: Database,
        receive: trio.MemoryReceiveChannel[Event],
        orders: trio.MemorySendChannel[tuple[Order, ...]],
        config: SchedulerConfig,
        term: int,
        now: Callable[[], datetime],
        run_ended: Callable[[str], None],
        waits: Waits,
        may_launch: Callable[[], bool] = lambda: True,
    ) -> None:
        self._db = db
        self._receive = receive
        self._orders = orders
        self._config = config
        self._term = term
        self._now = now
        self._run_ended = run_ended
        self._waits = waits
        self._may_launch = may_launch
        self._runs: dict[int, LoadedRun] = {}
        self._running: dict[str, set[int]] = {}
        self._queued: dict[str, dict[int, LoadedRun]] = {}
        self._tries: dict[str, tuple[int, int]] = {}
        self._waiting: dict[str, tuple[int, int]] = {}
        """Waits by id, of the runs in memory."""
        self._parked: set[int] = set()
        """Active runs that only wait and were dropped from memory; whatever concerns one reads it again."""
        self._held = 0
        """Task instances of the runs in memory."""
        self._backlog: list[int] = []
        self._pools_with_deferred: frozenset[str] = frozenset()
        self._ledger = SlotLedger({})
        self._timers: list[tuple[datetime, int]] = []
        self._quarantined: set[int] = set()
        self._steps = self._transitions = self._stale = 0
        self.rounds = 0
        """Moves at least with every sweep: health watches it."""

    def statistics(self) -> SchedulerStatistics:
        return SchedulerStatistics(
            term=self._term,
            runs=len(self._runs),
            parked_runs=len(self._parked),
            waiting=len(self._waiting),
            queued_runs=sum(len(waiting) for waiting in self._queued.values()),
            live_tries=len(self._tries),
            steps=self._steps,
            transitions=self._transitions,
            stale_steps=self._stale,
            quarantined_runs=len(self._quarantined),
            next_timer=self._timers[0][0] if self._timers else None,
        )

    def why_waiting(self, dag_run_id: int, instance: int) -> str | None:
        """What a scheduled instance waits for, for `explain`; None when it is not waiting for slots."""
        return self._ledger.why_waiting((dag_run_id, instance))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self._step([Sweep()])
        task_status.started()
        while True:
            await self._step(await self._collect())
            self.rounds += 1

    async def _collect(self) -> list[Event]:
        """Everything that waits, after the first of it arrives; a due timer counts as an event."""
        events: list[Event] = []
        delay = 0.0 if self._backlog else self._seconds_to_timer()
        if delay > 0:
            with trio.move_on_after(delay):
                events.append(await self._receive.receive())
        while len(events) < self._config.batch_max:
            try:
                events.append(self._receive.receive_nowait())
            except trio.WouldBlock:
                break
        if delay <= 0 and not events:
            await trio.lowlevel.checkpoint()
        return events

    def _seconds_to_timer(self) -> float:
        if not self._timers:
            return LONGEST_WAIT_S
        return (self._timers[0][0] - self._now()).total_seconds()

    # --- one step ---------------------------------------------------------------------------------------------

    async def _step(self, events: list[Event]) -> None:
        """Decide on these events and whatever is due, commit, act. Unanswered senders are told if it fails."""
        try:
            for _ in range(STEP_ATTEMPTS):
                draft = _Draft(self._now())
                try:
                    await self._decide(events, draft)
                    await self._commit(draft)
                except StaleViews as stale:
                    self._stale += 1
                    log.info("step_stale", dag_run_ids=sorted(stale.dag_run_ids))
                    for dag_run_id in draft.touched | stale.dag_run_ids:
                        self._forget(dag_run_id)
                    events = [*events, *(RunChanged(i) for i in sorted(draft.touched | stale.dag_run_ids))]
                    continue
                await self._act(draft)
                return
            raise RuntimeError(  # noqa: TRY301  # senders must be told of this failure too
                f"a step was stale {STEP_ATTEMPTS} times in a row: {[type(e).__name__ for e in events]}"
            )
        except BaseException:
            for event in events:
                if isinstance(event, TryEnded | WaitsEnded):
                    event.reply.fail()
            raise

    async def _decide(self, events: Iterable[Event], draft: _Draft) -> None:
        await self._reread(events, draft)
        for event in events:
            match event:
                case TryStarted():
                    with self._contained(event.row.dag_run_id, draft):
                        self._try_started(event, draft)
                case TryEnded():
                    with self._contained(event.row.dag_run_id, draft):
                        self._try_ended(event, draft)
                case TryLost():
                    with self._contained(event.dag_run_id, draft):
                        self._try_lost(event.try_id, event.because, draft)
                case WaitsEnded():
                    draft.acknowledged.append(event)
                    for end in event.ends:
                        with self._contained(end.dag_run_id, draft):
                            self._wait_ended(end, draft)
                case HostAttached():
                    self._host_attached(event, draft)
                case Sweep():
                    self._launch_again(draft)
                case RunChanged() | DagChanged():
                    pass
        self._pop_timers(draft)
        self._start_runs(draft)
        for dag_run_id, touched in list(draft.to_plan.items()):
            with self._contained(dag_run_id, draft):
                self._plan(dag_run_id, touched, draft)
        self._grant(draft)

    def _contained(self, dag_run_id: int, draft: _Draft) -> AbstractContextManager[None]:
        """What fails for one dag run fails for it alone: it is set aside until a person changes it."""

        return contained(lambda failure: self._set_aside(dag_run_id, failure, draft))

    def _set_aside(self, dag_run_id: int, failure: Exception, draft: _Draft) -> None:
        log.error("dag_run_quarantined", exc_info=failure, dag_run_id=dag_run_id)
        self._forget(dag_run_id)
        draft.drop(dag_run_id)
        draft.quarantined[dag_run_id] = f"{type(failure).__name__}: {failure}"
        self._quarantined.add(dag_run_id)

    # --- reading ----------------------------------------------------------------------------------------------

    async def _reread(self, events: Iterable[Event], draft: _Draft) -> None:
        """Load the runs that these events are about and that are not in memory, or are known to have changed."""
        changed: set[int] = set()
        wanted: set[int] = set()
        async with self._db.scheduler.connection() as conn:
            for event in events:
                match event:
                    case RunChanged():
                        changed.add(event.dag_run_id)
                    case DagChanged():
                        rows = await dag_runs.list_active_runs_of_dag(conn, event.dag_id)
                        changed |= {row.id for row in rows} | self._runs_of(event.dag_id)
                    case Sweep():
                        wanted |= await self._sweep(conn, changed)
                    case WaitsEnded():
                        wanted.update(end.dag_run_id for end in event.ends)
                    case TryStarted() | TryEnded():
                        wanted.add(event.row.dag_run_id)
                    case TryLost():
                        wanted.add(event.dag_run_id)
                    case HostAttached():
                        pass
            self._quarantined -= changed
            wanted.update(self._backlog[:LOADED_PER_STEP])
            del self._backlog[:LOADED_PER_STEP]
            for dag_run_id in sorted(changed | (wanted - self._runs.keys() - self._quarantined)):
                self._forget(dag_run_id)
                try:
                    loaded = await run_views.load_view(conn, dag_run_id)
                except run_views.BrokenRun as failure:
                    self._set_aside(dag_run_id, failure, draft)
                    continue
                if loaded is not None:
                    self._remember(loaded, draft)
                    if dag_run_id in changed:
                        draft.changed_dags.add(loaded.view.dag_id)

    async def _sweep(self, conn: Connection, changed: set[int]) -> set[int]:
        """Runs nobody announced: those that hold slots at once, the others little by little."""
        pools = await run_views.list_pools(conn)
        self._ledger.set_pools({pool.name: pool.slots for pool in pools})
        self._pools_with_deferred = frozenset(pool.name for pool in pools if pool.include_deferred)
        active = await dag_runs.list_active_run_ids(conn)
        known = set(self._runs) | self._parked | {i for waiting in self._queued.values() for i in waiting}
        changed |= known - set(active)
        self._parked.intersection_update(active)
        self._quarantined.intersection_update(active)
        unknown = [i for i in active if i not in known]
        if len(unknown) <= LOADED_PER_STEP:
            self._backlog = []
            return set(unknown)
        holding_slots = set(unknown) & set(await run_views.list_runs_holding_slots(conn))
        self._backlog = [i for i in unknown if i not in holding_slots]
        return holding_slots

    def _runs_of(self, dag_id: str) -> set[int]:
        return {i for i, run in self._runs.items() if run.view.dag_id == dag_id} | set(self._queued.get(dag_id, ()))

    def _remember(self, loaded: LoadedRun, draft: _Draft) -> None:
        view = loaded.view
        if view.state == DagRunState.QUEUED:
            self._queued.setdefault(view.dag_id, {})[view.dag_run_id] = loaded
            draft.dags_to_start.add(view.dag_id)
            if view.live_count:  # cleared while tries were alive: their ends are to be heard
                self._watch(loaded)
        elif view.state == DagRunState.RUNNING:
            self._watch(loaded)
            draft.to_plan[view.dag_run_id] = None
        elif view.live_count:
            # Finished by hand while tries were alive: their ends are still to be written down.
            self._watch(loaded)

    def _watch(self, loaded: LoadedRun) -> None:
        view = loaded.view
        self._runs[view.dag_run_id] = loaded
        self._held += len(view.facts)
        self._parked.discard(view.dag_run_id)
        if view.state == DagRunState.RUNNING:
            self._running.setdefault(view.dag_id, set()).add(view.dag_run_id)
        for i, facts in enumerate(view.facts):
            if facts.state in LIVE:
                self._ledger.occupy(_request(loaded, i))
                self._tries[facts.id] = (view.dag_run_id, i)
            elif facts.wait == "waiting":
                self._waiting[facts.id] = (view.dag_run_id, i)
                if view.node_of(i).spec.pool in self._pools_with_deferred:
                    self._ledger.occupy(_request(loaded, i))
            elif facts.state == _S.SCHEDULED and not loaded.is_paused:
                self._ledger.request(_request(loaded, i))
        due_at = next_due_at(view)
        if due_at is not None:
            heapq.heappush(self._timers, (due_at, view.dag_run_id))

    def _forget(self, dag_run_id: int) -> None:
        loaded = self._runs.pop(dag_run_id, None)
        self._parked.discard(dag_run_id)
        for waiting in self._queued.values():
            waiting.pop(dag_run_id, None)
        if loaded is None:
            return
        self._held -= len(loaded.view.facts)
        self._running.get(loaded.view.dag_id, set()).discard(dag_run_id)
        self._ledger.forget_run(dag_run_id)
        for facts in loaded.view.facts:
            self._tries.pop(facts.id, None)
            self._waiting.pop(facts.id, None)

    def _park_idle(self) -> None:
        """When there are too many views to keep, drop those of runs in which everything waits, oldest first."""
        if self._held <= self._config.views_max_instances:
            return
        for dag_run_id, loaded in list(self._runs.items()):
            if self._held <= self._config.views_max_instances:
                return
            if _only_waits(loaded) and not self._holds_slots(loaded):
                running = self._running.get(loaded.view.dag_id, set())
                self._forget(dag_run_id)
                running.add(dag_run_id)
                self._parked.add(dag_run_id)

    def _holds_slots(self, loaded: LoadedRun) -> bool:
        return bool(self._pools_with_deferred) and any(
            self._ledger.is_occupied((loaded.view.dag_run_id, i)) for i in range(len(loaded.view.facts))
        )

    # --- events -----------------------------------------------------------------------------------------------

    def _try_started(self, event: TryStarted, draft: _Draft) -> None:
        place = self._tries.get(str(event.row.id))
        if place is None:
            return
        dag_run_id, i = place
        if self._runs[dag_run_id].view.facts[i].state == _S.QUEUED:
            self._apply(dag_run_id, Start(instance=i, at=event.at, because=f"its try runs on {event.hostname}"), draft)
        extra = draft.reported(dag_run_id, i)
        extra.hostname, extra.pid = event.hostname, event.pid

    def _try_ended(self, event: TryEnded, draft: _Draft) -> None:
        draft.replies.append(event)
        place = self._tries.get(str(event.row.id))
        if place is None:
            log.info("outcome_refused", try_id=str(event.row.id), reason="the try is no longer current")
            return
        dag_run_id, i = place
        if event.rendered is not None:
            draft.reported(dag_run_id, i).rendered = event.rendered
        self._end(dag_run_id, i, event.outcome, draft)

    def _wait_ended(self, end: WaitEnd, draft: _Draft) -> None:
        place = self._waiting.get(end.id)
        if place is None:
            log.info("wait_end_refused", wait_id=end.id, reason="nobody waits for it any more")
            return
        if end.resume is not None:
            self._apply(place[0], plan_resume(self._runs[place[0]].view, place[1], end.because), draft)
            draft.fired[place] = FiredWait(end.id, end.resume)
        elif end.outcome is not None:
            self._end(*place, end.outcome, draft)

    def _try_lost(self, try_id: str, because: str, draft: _Draft) -> None:
        place = self._tries.get(try_id)
        if place is not None:
            facts = self._runs[place[0]].view.facts[place[1]]
            self._end(*place, _lost(facts, because, draft.now), draft)

    def _end(self, dag_run_id: int, i: int, outcome: Outcome, draft: _Draft) -> Decision:
        view = self._runs[dag_run_id].view
        decision = plan_outcome(view, i, outcome, draft.now)
        self._apply(dag_run_id, decision, draft)
        if isinstance(decision, Defer) and outcome.deferral is not None:
            wait = wait_of_deferral(self._runs[dag_run_id], view.facts[i], outcome.deferral, draft.now)
            draft.waits[dag_run_id, i] = wait
        if isinstance(decision, Succeed):
            draft.xcoms.extend(
                XComWrite(
                    dag_run_id=dag_run_id,
                    task_id=view.node_of(i).spec.task_id,
                    map_index=view.facts[i].map_index,
                    key=item.key,
                    value=item.value,
                )
                for item in outcome.xcoms
            )
        return decision

    def _host_attached(self, event: HostAttached, draft: _Draft) -> None:
        """What the host's agent does not know: queued = the launch never arrived; running = it died unreported."""
        for try_id, (dag_run_id, i) in list(self._tries.items()):
            view = self._runs[dag_run_id].view
            if try_id in event.known_try_ids or executor_of(view.node_of(i).spec) != EXECUTOR:
                continue
            facts = view.facts[i]
            if facts.state == _S.QUEUED:
                draft.launches.append((dag_run_id, i))
                continue
            with self._contained(dag_run_id, draft):
                self._try_lost(try_id, f"the agent on {event.hostname} was started anew and does not know it", draft)

    def _launch_again(self, draft: _Draft) -> None:
        for dag_run_id, i in self._tries.values():
            facts = self._runs[dag_run_id].view.facts[i]
            waited = draft.now - facts.queued_at if facts.queued_at else None
            if facts.state == _S.QUEUED and waited is not None and waited.total_seconds() > LAUNCH_AGAIN_S:
                draft.launches.append((dag_run_id, i))

    # --- deciding ---------------------------------------------------------------------------------------------

    def _pop_timers(self, draft: _Draft) -> None:
        while self._timers and self._timers[0][0] <= draft.now:
            _, dag_run_id = heapq.heappop(self._timers)
            if dag_run_id in self._runs:
                draft.to_plan[dag_run_id] = None

    def _start_runs(self, draft: _Draft) -> None:
        for dag_id in sorted(draft.dags_to_start):
            waiting = self._queued.get(dag_id, {})
            for loaded in sorted(waiting.values(), key=lambda run: (run.facts.run_after, run.view.dag_run_id)):
                if loaded.is_paused:
                    continue
                start = plan_start(
                    loaded.view.state,
                    active_runs=len(self._running.get(dag_id, ())),
                    max_active_runs=loaded.max_active_runs,
                )
                if start is None:
                    break
                dag_run_id = loaded.view.dag_run_id
                del waiting[dag_run_id]
                if dag_run_id not in self._runs:
                    self._watch(loaded)
                self._running.setdefault(dag_id, set()).add(dag_run_id)
                self._apply(dag_run_id, start, draft)
                timeout_at = run_timeout_at(loaded.view)
                if timeout_at is not None:
                    heapq.heappush(self._timers, (timeout_at, dag_run_id))
                draft.to_plan[dag_run_id] = None

    def _plan(self, dag_run_id: int, touched: set[int] | None, draft: _Draft) -> None:
        loaded = self._runs.get(dag_run_id)
        if loaded is None or loaded.is_paused:
            return
        while touched is None or touched:
            failed: set[int] = set()
            for decision in plan_dag_run(loaded.view, draft.now, touched=touched):
                if isinstance(decision, Defer):
                    if not self._defer(loaded, decision, draft):
                        failed.add(decision.instance)
                else:
                    self._apply(dag_run_id, decision, draft)
            touched = failed  # what follows from them was not part of this plan

    def _defer(self, loaded: LoadedRun, decision: Defer, draft: _Draft) -> bool:
        """Begin the wait that a try begins with; False when its templates cannot be rendered, which fails the try.

        In a pool that counts deferred tasks it competes for a slot first.
        """
        i, dag_run_id = decision.instance, loaded.view.dag_run_id
        takes_slot = loaded.view.node_of(i).spec.pool in self._pools_with_deferred
        if takes_slot and not self._ledger.is_occupied((dag_run_id, i)):
            self._apply(dag_run_id, Schedule(instance=i, because=decision.because), draft)
            return True
        self._apply(dag_run_id, decision, draft)
        try:
            wait = first_wait(loaded, loaded.view.facts[i], draft.now)
        except TemplateFault as fault:
            outcome = Outcome(kind=OutcomeKind.FAILED, because=str(fault), start_date=draft.now, end_date=draft.now)
            self._end(dag_run_id, i, outcome, draft)
            return False
        draft.waits[dag_run_id, i] = wait
        draft.reported(dag_run_id, i).rendered = {**wait.spec.probe.arguments, **wait.spec.terms.predicate}
        return True

    def _grant(self, draft: _Draft) -> None:
        if not self._may_launch():
            return
        for request in self._ledger.grant():
            dag_run_id, i = request.key
            because = f"{request.slots} slot(s) of pool {request.pool!r} were free"
            with self._contained(dag_run_id, draft):
                loaded = self._runs[dag_run_id]
                spec = loaded.view.node_of(i).spec
                if begins_with_wait(spec) and not loaded.view.facts[i].wait:
                    self._defer(loaded, plan_wait(spec, i, because), draft)
                    continue
                self._apply(dag_run_id, Queue(instance=i, try_id=str(uuid.uuid4()), because=because), draft)
                draft.launches.append((dag_run_id, i))

    def _apply(self, dag_run_id: int, decision: Decision, draft: _Draft) -> None:
        """Change the view as the decision says, and note what is to be written."""
        loaded = self._runs[dag_run_id]
        view = loaded.view
        draft.touch(view.dag_run_id, view.revision)
        if isinstance(decision, StartDagRun | FinishDagRun):
            view.run = apply_to_run(view.run, decision, draft.now)
            draft.moved_runs.add(dag_run_id)
            return
        i = decision.instance
        before = view.facts[i]
        after = apply(before, view.node_of(i), decision, draft.now)
        view.put(i, after)
        draft.changed(dag_run_id, i, before)
        if replaces_try(before, after) or before.state == _S.RESTARTING:
            draft.ended_tries.append(EndedTry(facts=before))
        self._account(loaded, i, before, after)
        if after.state in (_S.UP_FOR_RETRY, _S.UP_FOR_RESCHEDULE) and after.due_at is not None:
            heapq.heappush(self._timers, (after.due_at, dag_run_id))
        if after.state not in LIVE and after.state != _S.SCHEDULED:
            draft.touch_plan(dag_run_id, i)

    def _account(self, loaded: LoadedRun, i: int, before: InstanceFacts, after: InstanceFacts) -> None:
        """Keep slots and the index of live tries in step with the view."""
        key = (loaded.view.dag_run_id, i)
        keeps_slot = after.wait == "waiting" and loaded.view.node_of(i).spec.pool in self._pools_with_deferred
        if before.wait == "waiting":
            self._waiting.pop(before.id, None)
            self._ledger.release(key)
        if before.state in LIVE and after.state not in LIVE:
            self._tries.pop(before.id, None)
            if not keeps_slot:
                self._ledger.release(key)
        elif keeps_slot:
            pass  # granted a moment ago
        elif before.state == _S.SCHEDULED and after.state not in LIVE and after.state != _S.SCHEDULED:
            self._ledger.withdraw(key)
            self._ledger.release(key)
        if after.state == _S.SCHEDULED and before.state != _S.SCHEDULED and not loaded.is_paused:
            self._ledger.request(_request(loaded, i))
        if after.state in LIVE:
            self._tries[after.id] = key
        if after.wait == "waiting":
            self._waiting[after.id] = key

    # --- writing and acting -----------------------------------------------------------------------------------

    async def _commit(self, draft: _Draft) -> None:
        if not draft.revisions:
            return
        batch = self._batch(draft)
        async with self._db.scheduler.pipelined_transaction() as conn:
            await write_batch(conn, batch, term=self._term, now=draft.now)
        self._steps += 1
        self._transitions += len(batch.instances)

    def _batch(self, draft: _Draft) -> Batch:
        instances = []
        stop: set[int] = set()
        ended_by_agent = {str(event.row.id) for event in draft.replies}
        for (dag_run_id, i), before in draft.first.items():
            view = self._runs[dag_run_id].view
            after = view.facts[i]
            if before.state in LIVE and after.state in FINISHED and before.id not in ended_by_agent:
                stop.add(dag_run_id)
            extra = draft.reports.get((dag_run_id, i)) or _Report()
            instances.append(
                InstanceWrite(
                    dag_run_id=dag_run_id,
                    task_id=view.node_of(i).spec.task_id,
                    before=before,
                    after=after,
                    hostname=extra.hostname,
                    pid=extra.pid,
                    executor=executor_of(view.node_of(i).spec) if after.state in LIVE else None,
                    rendered_fields=extra.rendered,
                )
            )
        return Batch(
            runs=tuple(self._run_write(dag_run_id, draft) for dag_run_id in sorted(draft.revisions)),
            instances=tuple(instances),
            ended_tries=tuple(draft.ended_tries),
            xcoms=tuple({(x.dag_run_id, x.task_id, x.map_index, x.key): x for x in draft.xcoms}.values()),
            waits=tuple(WaitWrite(self._key(*place), wait) for place, wait in self._begun(draft)),
            fired=tuple(draft.fired.values()),
            ended_waits=tuple(
                self._key(run, i)
                for (run, i), before in draft.first.items()
                if before.wait and not self._runs[run].view.facts[i].wait
            ),
            stop_tries_of=tuple(sorted(stop)),
        )

    def _begun(self, draft: _Draft) -> list[tuple[tuple[int, int], NewWait]]:
        """Waits of this step that its later decisions left standing."""
        return [
            (place, wait)
            for place, wait in draft.waits.items()
            if self._runs[place[0]].view.facts[place[1]].wait == "waiting"
        ]

    def _key(self, dag_run_id: int, i: int) -> tuple[int, str, int]:
        view = self._runs[dag_run_id].view
        return dag_run_id, view.node_of(i).spec.task_id, view.facts[i].map_index

    def _run_write(self, dag_run_id: int, draft: _Draft) -> RunWrite:
        run = self._runs[dag_run_id].view.run
        moved = dag_run_id in draft.moved_runs
        return RunWrite(
            dag_run_id=dag_run_id,
            revision=draft.revisions[dag_run_id],
            state=run.state.value if moved else None,
            start_date=run.start_date,
            end_date=run.end_date,
            because=run.because,
        )

    async def _act(self, draft: _Draft) -> None:
        """The commit is done: answer, launch, and go on with what the ends of runs make possible."""
        for event in draft.replies:
            event.reply.commit()
        for ends in draft.acknowledged:
            ends.reply.commit()
        self._tell_pool(draft)
        await self._write_quarantines(draft)
        orders = [
            Order(self._runs[dag_run_id], self._runs[dag_run_id].view.facts[i])
            for dag_run_id, i in dict.fromkeys(draft.launches)
            if dag_run_id in self._runs and self._runs[dag_run_id].view.facts[i].state == _S.QUEUED
        ]
        if orders:
            await self._orders.send(tuple(orders))
        ended = [i for i in draft.moved_runs if self._runs[i].view.state in (DagRunState.SUCCESS, DagRunState.FAILED)]
        follow_up = self._follow_up(draft, ended)
        for dag_run_id in ended:
            loaded = self._runs[dag_run_id]
            log.info(
                "dag_run_ended",
                dag_id=loaded.view.dag_id,
                run_id=loaded.view.run_id,
                state=loaded.view.state.value,
                because=loaded.view.run.because,
            )
            if not loaded.view.live_count:
                self._forget(dag_run_id)
            self._running.get(loaded.view.dag_id, set()).discard(dag_run_id)
            self._run_ended(loaded.view.dag_id)
        self._park_idle()
        if follow_up:
            await self._step(follow_up)

    def _tell_pool(self, draft: _Draft) -> None:
        begun = [wait for _, wait in self._begun(draft)]
        if begun:
            self._waits.register(begun)
        ended = []
        finished = {self._runs[i].view.dag_id for i in draft.moved_runs}
        for (dag_run_id, i), before in draft.first.items():
            view = self._runs[dag_run_id].view
            after = view.facts[i]
            if before.wait == "waiting" and (after.wait != "waiting" or after.id != before.id):
                ended.append(before.id)
            if after.state in FINISHED:
                finished.add(view.dag_id)
        if ended:
            self._waits.withdraw(ended)
        finished |= draft.changed_dags
        if finished:
            self._waits.dag_finished(finished)

    async def _write_quarantines(self, draft: _Draft) -> None:
        """People see why a run does not move; its tries go on, and their agents keep what they cannot report."""
        if draft.quarantined:
            async with self._db.scheduler.connection() as conn:
                for dag_run_id, reason in draft.quarantined.items():
                    because = f"set aside by the scheduler, clear or mark it to try again: {reason}"
                    await dag_runs.set_because(conn, dag_run_id, because, draft.now)
        for event in draft.refused:
            event.reply.fail()

    def _follow_up(self, draft: _Draft, ended: list[int]) -> list[Event]:
        """Runs that may start now, and runs whose tasks waited for the past that has just happened."""
        dags = {self._runs[i].view.dag_id for i in ended}
        waiting = [i for dag_id in dags for i in list(self._queued.get(dag_id, ()))[:1]]
        for dag_run_id, i in draft.first:
            loaded = self._runs.get(dag_run_id)
            if loaded is None or loaded.view.facts[i].state not in FINISHED:
                continue
            spec = loaded.view.node_of(i).spec
            if spec.depends_on_past or spec.wait_for_downstream or _feeds_wait_for_downstream(loaded, i):
                waiting += [j for j in self._running.get(loaded.view.dag_id, ()) if j != dag_run_id]
        return [RunChanged(i) for i in dict.fromkeys(waiting)]


def executor_of(spec: TaskSpec) -> str:
    """Who runs the tries of this task."""
    return INLINE if spec.kind == HTTP_KIND else EXECUTOR


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


def _feeds_wait_for_downstream(loaded: LoadedRun, i: int) -> bool:
    node = loaded.view.node_of(i)
    return any(loaded.view.shape.nodes[up].spec.wait_for_downstream for up in node.upstream)


def _request(loaded: LoadedRun, i: int) -> SlotRequest:
    view = loaded.view
    node, facts = view.node_of(i), view.facts[i]
    return SlotRequest(
        key=(view.dag_run_id, i),
        pool=node.spec.pool,
        slots=node.spec.pool_slots,
        priority=node.weight,
        since=facts.scheduled_at or loaded.facts.run_after,
        dag_id=view.dag_id,
        task_id=node.spec.task_id,
        run_limit=view.max_active_tasks,
        per_dag_limit=node.spec.max_active_tis_per_dag,
        per_run_task_limit=node.spec.max_active_tis_per_dagrun,
    )


def _lost(facts: InstanceFacts, because: str, now: datetime) -> Outcome:
    return Outcome(kind=OutcomeKind.LOST, because=because, start_date=facts.start_date or now, end_date=now)


class _Report:
    """What an agent said beside the state."""

    __slots__ = ("hostname", "pid", "rendered")

    def __init__(self) -> None:
        self.hostname: str | None = None
        self.pid: int | None = None
        self.rendered: dict[str, object] | None = None


class _Draft:
    """One step in the making: what is to be planned, written and answered."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.revisions: dict[int, int] = {}
        self.moved_runs: set[int] = set()
        self.first: dict[tuple[int, int], InstanceFacts] = {}
        self.reports: dict[tuple[int, int], _Report] = {}
        self.ended_tries: list[EndedTry] = []
        self.xcoms: list[XComWrite] = []
        self.waits: dict[tuple[int, int], NewWait] = {}
        self.fired: dict[tuple[int, int], FiredWait] = {}
        self.acknowledged: list[WaitsEnded] = []
        self.changed_dags: set[str] = set()
        """DAGs in which a person changed something."""
        self.replies: list[TryEnded] = []
        self.launches: list[tuple[int, int]] = []
        self.to_plan: dict[int, set[int] | None] = {}
        self.dags_to_start: set[str] = set()
        self.quarantined: dict[int, str] = {}
        self.refused: list[TryEnded] = []

    @property
    def touched(self) -> set[int]:
        return set(self.revisions)

    def drop(self, dag_run_id: int) -> None:
        """Nothing of this run is to be written or done."""
        self.revisions.pop(dag_run_id, None)
        self.to_plan.pop(dag_run_id, None)
        self.moved_runs.discard(dag_run_id)
        dropped = {before.id for (run, _), before in self.first.items() if run == dag_run_id}
        self.first = {key: before for key, before in self.first.items() if key[0] != dag_run_id}
        self.ended_tries = [ended for ended in self.ended_tries if ended.facts.id not in dropped]
        self.xcoms = [xcom for xcom in self.xcoms if xcom.dag_run_id != dag_run_id]
        self.launches = [launch for launch in self.launches if launch[0] != dag_run_id]
        self.waits = {place: wait for place, wait in self.waits.items() if place[0] != dag_run_id}
        self.fired = {place: fired for place, fired in self.fired.items() if place[0] != dag_run_id}
        self.refused += [event for event in self.replies if event.row.dag_run_id == dag_run_id]
        self.replies = [event for event in self.replies if event.row.dag_run_id != dag_run_id]

    def touch(self, dag_run_id: int, revision: int) -> None:
        self.revisions.setdefault(dag_run_id, revision)

    def changed(self, dag_run_id: int, i: int, before: InstanceFacts) -> None:
        self.first.setdefault((dag_run_id, i), before)

    def reported(self, dag_run_id: int, i: int) -> _Report:
        return self.reports.setdefault((dag_run_id, i), _Report())

    def touch_plan(self, dag_run_id: int, i: int) -> None:
        """Plan this run for what follows from instance `i`; None (everything) stays None."""
        if dag_run_id not in self.to_plan:
            self.to_plan[dag_run_id] = {i}
        else:
            touched = self.to_plan[dag_run_id]
            if touched is not None:
                touched.add(i)
