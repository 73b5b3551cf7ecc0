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
from leoflowd.contract.states import FINISHED, LIVE, DagRunState, TaskInstanceState
from leoflowd.core.dag_run_plan import next_due_at, plan_dag_run, plan_outcome, plan_start, run_timeout_at
from leoflowd.core.decisions import Decision, FinishDagRun, Queue, Start, StartDagRun, Succeed
from leoflowd.core.pool_slots import SlotLedger, SlotRequest
from leoflowd.core.run_view import InstanceFacts
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
)
from leoflowd.store import dag_runs, run_views
from leoflowd.store.database import Database
from leoflowd.store.run_views import LoadedRun
from leoflowd.store.transitions import Batch, EndedTry, InstanceWrite, RunWrite, StaleViews, XComWrite, write_batch
from leoflowd.supervision import contained

log = telemetry.get_logger(__name__)

_S = TaskInstanceState
EXECUTOR = "process"
STEP_ATTEMPTS = 8
"""A step voided so often in a row is a bug in a compare-and-set, not bad luck."""

LONGEST_WAIT_S = 3600.0
LAUNCH_AGAIN_S = 5.0
"""A try still queued after this is launched again: its first launch may have been lost with a leader."""


class SchedulerStatistics(msgspec.Struct, frozen=True):
    term: int
    runs: int
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
        may_launch: Callable[[], bool] = lambda: True,
    ) -> None:
        self._db = db
        self._receive = receive
        self._orders = orders
        self._config = config
        self._term = term
        self._now = now
        self._run_ended = run_ended
        self._may_launch = may_launch
        self._runs: dict[int, LoadedRun] = {}
        self._running: dict[str, set[int]] = {}
        self._queued: dict[str, dict[int, LoadedRun]] = {}
        self._tries: dict[str, tuple[int, int]] = {}
        self._ledger = SlotLedger({})
        self._timers: list[tuple[datetime, int]] = []
        self._quarantined: set[int] = set()
        self._steps = self._transitions = self._stale = 0

    def statistics(self) -> SchedulerStatistics:
        return SchedulerStatistics(
            term=self._term,
            runs=len(self._runs),
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
        async with self._db.scheduler.connection() as conn:
            self._ledger.set_pools(await run_views.list_pools(conn))
        await self._step([Sweep()])
        task_status.started()
        while True:
            await self._step(await self._collect())

    async def _collect(self) -> list[Event]:
        """Everything that waits, after the first of it arrives; a due timer counts as an event."""
        events: list[Event] = []
        delay = self._seconds_to_timer()
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
                if isinstance(event, TryEnded):
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
                        self._ledger.set_pools(await run_views.list_pools(conn))
                        active = set(await dag_runs.list_active_run_ids(conn))
                        known = set(self._runs) | {i for waiting in self._queued.values() for i in waiting}
                        changed |= known - active
                        wanted |= active - known
                        self._quarantined &= active
                    case TryStarted() | TryEnded():
                        wanted.add(event.row.dag_run_id)
                    case TryLost():
                        wanted.add(event.dag_run_id)
                    case HostAttached():
                        pass
            self._quarantined -= changed
            for dag_run_id in sorted(changed | (wanted - self._runs.keys() - self._quarantined)):
                self._forget(dag_run_id)
                try:
                    loaded = await run_views.load_view(conn, dag_run_id)
                except run_views.BrokenRun as failure:
                    self._set_aside(dag_run_id, failure, draft)
                    continue
                if loaded is not None:
                    self._remember(loaded, draft)

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
        if view.state == DagRunState.RUNNING:
            self._running.setdefault(view.dag_id, set()).add(view.dag_run_id)
        for i, facts in enumerate(view.facts):
            if facts.state in LIVE:
                self._ledger.occupy(_request(loaded, i))
                self._tries[facts.id] = (view.dag_run_id, i)
            elif facts.state == _S.SCHEDULED and not loaded.is_paused:
                self._ledger.request(_request(loaded, i))
        due_at = next_due_at(view)
        if due_at is not None:
            heapq.heappush(self._timers, (due_at, view.dag_run_id))

    def _forget(self, dag_run_id: int) -> None:
        loaded = self._runs.pop(dag_run_id, None)
        for waiting in self._queued.values():
            waiting.pop(dag_run_id, None)
        if loaded is None:
            return
        self._running.get(loaded.view.dag_id, set()).discard(dag_run_id)
        self._ledger.forget_run(dag_run_id)
        for facts in loaded.view.facts:
            self._tries.pop(facts.id, None)

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
        decision = self._end(dag_run_id, i, event.outcome, draft)
        if event.rendered is not None:
            draft.reported(dag_run_id, i).rendered = event.rendered
        if isinstance(decision, Succeed):
            draft.xcoms.extend(
                XComWrite(
                    dag_run_id=dag_run_id,
                    task_id=event.row.task_id,
                    map_index=event.row.map_index,
                    key=item.key,
                    value=item.value,
                )
                for item in event.outcome.xcoms
            )

    def _try_lost(self, try_id: str, because: str, draft: _Draft) -> None:
        place = self._tries.get(try_id)
        if place is not None:
            facts = self._runs[place[0]].view.facts[place[1]]
            self._end(*place, _lost(facts, because, draft.now), draft)

    def _end(self, dag_run_id: int, i: int, outcome: Outcome, draft: _Draft) -> Decision:
        decision = plan_outcome(self._runs[dag_run_id].view, i, outcome, draft.now)
        self._apply(dag_run_id, decision, draft)
        return decision

    def _host_attached(self, event: HostAttached, draft: _Draft) -> None:
        """What the host's agent does not know: queued = the launch never arrived; running = it died unreported."""
        for try_id, (dag_run_id, i) in list(self._tries.items()):
            if try_id in event.known_try_ids:
                continue
            facts = self._runs[dag_run_id].view.facts[i]
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
        for decision in plan_dag_run(loaded.view, draft.now, touched=touched):
            self._apply(dag_run_id, decision, draft)

    def _grant(self, draft: _Draft) -> None:
        if not self._may_launch():
            return
        for request in self._ledger.grant():
            dag_run_id, i = request.key
            because = f"{request.slots} slot(s) of pool {request.pool!r} were free"
            with self._contained(dag_run_id, draft):
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
        if before.state in LIVE and after.state not in LIVE:
            self._ledger.release(key)
            self._tries.pop(before.id, None)
        elif before.state == _S.SCHEDULED and after.state not in LIVE and after.state != _S.SCHEDULED:
            self._ledger.withdraw(key)
        if after.state == _S.SCHEDULED and before.state != _S.SCHEDULED:
            self._ledger.request(_request(loaded, i))
        if after.state in LIVE:
            self._tries[after.id] = key

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
                    executor=EXECUTOR if after.state in LIVE else None,
                    rendered_fields=extra.rendered,
                )
            )
        return Batch(
            runs=tuple(self._run_write(dag_run_id, draft) for dag_run_id in sorted(draft.revisions)),
            instances=tuple(instances),
            ended_tries=tuple(draft.ended_tries),
            xcoms=tuple({(x.dag_run_id, x.task_id, x.map_index, x.key): x for x in draft.xcoms}.values()),
            stop_tries_of=tuple(sorted(stop)),
        )

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
        if follow_up:
            await self._step(follow_up)

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
