"""The scheduler: told something, it decides with `core`, commits once, and only then lets anything happen outside.

One task owns all views. A step takes every event that is waiting (at most `batch_max`), reads what it must (`_read`),
lets the pure functions decide on the views, writes all of it in one transaction by compare-and-set, and then answers
the agents and orders launches (`effects`). While a step commits, the next batch gathers: group commit without a timer.
A run whose rows are not what the plan assumed is left out of the commit: its view is dropped, read again, and its
events are decided anew. It waits for its inbox and for Postgres, and for nobody else (ADR 19).

What fails for one dag run fails for it alone: it is set aside with the reason, also when Postgres refuses its content.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.config import SchedulerConfig
from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.states import FINISHED, LIVE, DagRunState, TaskInstanceState
from leoflowd.contract.waits import WaitEnd, Waits
from leoflowd.contract.xcoms import XCom
from leoflowd.core.dag_run_plan import (
    begins_with_wait,
    plan_dag_run,
    plan_outcome,
    plan_resume,
    plan_start,
    plan_wait,
    run_timeout_at,
)
from leoflowd.core.decisions import Decision, Defer, FinishDagRun, Queue, Schedule, Start, StartDagRun, Succeed
from leoflowd.core.run_view import SET_ASIDE, InstanceFacts
from leoflowd.core.simple_templates import TemplateFault
from leoflowd.core.transitions import apply, apply_to_run, replaces_try
from leoflowd.scheduler.dispatch import Order
from leoflowd.scheduler.draft import EXECUTOR, Draft, batch_of, executor_of
from leoflowd.scheduler.effects import Effects
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
from leoflowd.scheduler.waits import first_wait, wait_of_deferral
from leoflowd.store import run_views
from leoflowd.store.content_errors import CONTENT_ERRORS
from leoflowd.store.database import Connection, Database
from leoflowd.store.run_views import LoadedRun, RunHead
from leoflowd.store.transitions import StaleViews, write_batch
from leoflowd.store.waits import FiredWait
from leoflowd.supervision import contained

log = telemetry.get_logger(__name__)

_S = TaskInstanceState
STEP_ATTEMPTS = 8
"""A run that voids a step so often in a row has rows that are not what anyone reads: it is set aside."""

NOTHING_FOLLOWS = LIVE | {_S.SCHEDULED, _S.DEFERRED, _S.UP_FOR_RETRY, _S.UP_FOR_RESCHEDULE}
"""Until somebody reports or a timer comes, also one that is due at once: a step must end."""
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
    refused_batches: int
    dropped_launches: int
    quarantined_runs: int
    next_timer: datetime | None


class Scheduler:
    """Leads for one term. `receive` is the inbox; `orders` feeds the dispatcher; `run_ended` tells the clock.

    `launcher` is the id of this daemon, which launches the tries that are queued in this term.
    """

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
        launcher: str = "",
    ) -> None:
        self._db = db
        self._receive = receive
        self._config = config
        self._term = term
        self._now = now
        self._run_ended = run_ended
        self._may_launch = may_launch
        self._launcher = launcher
        self._views = Views(max_instances=config.views_max_instances)
        self._effects = Effects(db, self._views, orders, waits)
        self._quarantined: dict[int, int | None] = {}
        """Runs that were set aside, with the revision they had: a person's change of it takes them up again. None: as
        the next sweep finds it."""
        self._voided: dict[int, tuple[int, int]] = {}
        """Runs that voided their last step: at which revision, and how often in a row."""
        self._past: dict[int, tuple[int | None, int | None]] = {}
        """Of runs that wait for it: the run before, and its revision, as the last sweep found them."""
        self._later: list[Event] = []
        """Events about such runs, to be decided again."""
        self._steps = self._transitions = self._stale = self._refused = 0
        self.rounds = 0
        """Moves at least with every sweep: health watches it."""

    def statistics(self) -> SchedulerStatistics:
        return SchedulerStatistics(
            term=self._term,
            runs=len(self._views.runs),
            parked_runs=len(self._views.parked),
            waiting=len(self._views.waiting),
            queued_runs=self._views.queued_count(),
            live_tries=len(self._views.tries),
            steps=self._steps,
            transitions=self._transitions,
            stale_steps=self._stale,
            refused_batches=self._refused,
            dropped_launches=self._effects.dropped_launches,
            quarantined_runs=len(self._quarantined),
            next_timer=self._views.next_timer(),
        )

    def why_waiting(self, dag_run_id: int, instance: int) -> str | None:
        """What a scheduled instance waits for, for `explain`; None when it is not waiting for slots."""
        return self._views.ledger.why_waiting((dag_run_id, instance))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            await self._step([Sweep()])
            task_status.started()
            while True:
                await self._step(await self._collect())
                self.rounds += 1
        finally:
            _fail_replies(self._later)

    async def _collect(self) -> list[Event]:
        """Everything that waits, after the first of it arrives; a due timer counts as an event."""
        events, self._later = self._later, []
        delay = 0.0 if events or self._views.has_more_to_read() else self._seconds_to_timer()
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
        moment = self._views.next_timer()
        return LONGEST_WAIT_S if moment is None else min(LONGEST_WAIT_S, (moment - self._now()).total_seconds())

    # --- one step ---------------------------------------------------------------------------------------------

    async def _step(self, events: Sequence[Event]) -> None:
        """Decide on these events and whatever is due, and on what follows from that, until nothing does."""
        while True:
            await trio.lowlevel.checkpoint_if_cancelled()
            draft = Draft(self._now())
            try:
                await self._decide(events, draft)
                await self._commit_part(draft, sorted(draft.revisions))
            except BaseException:
                _fail_replies(events)
                raise
            self._put_off(events, draft)
            self._effects.answer(draft, self._quarantined)
            self._effects.tell_pool(draft)
            self._effects.launch(draft)
            await self._effects.write_reasons(draft)
            follow_up = self._follow_up(draft)
            if not follow_up:
                return
            # With what was put off: until it is read again, neither its slots nor its runs are counted.
            put_off, self._later = self._later, []
            events = [*put_off, *follow_up]

    def _put_off(self, events: Sequence[Event], draft: Draft) -> None:
        """What concerns runs that somebody changed meanwhile is decided again, with whatever else has come by then."""
        for dag_run_id, revision in list(draft.stale.items()):
            known, times = self._voided.get(dag_run_id, (revision, 0))
            times = times + 1 if known == revision else 1
            self._voided[dag_run_id] = (revision, times)
            if times >= STEP_ATTEMPTS:
                reason = RuntimeError(f"its rows were not as they had just been read, {times} times in a row")
                self._set_aside(dag_run_id, reason, draft)
                del draft.stale[dag_run_id], self._voided[dag_run_id]
        self._later += [RunChanged(dag_run_id) for dag_run_id in draft.stale]
        self._later += [event for event in events if _runs_of(event) & draft.stale.keys()]

    async def _decide(self, events: Sequence[Event], draft: Draft) -> None:
        await self._read(events, draft)
        for event in events:
            match event:
                case TryStarted():
                    with self._contained(event.row.dag_run_id, draft):
                        self._try_started(event, draft)
                case TryEnded():
                    draft.tries_ended.append(event)
                    with self._contained(event.row.dag_run_id, draft):
                        self._try_ended(event, draft)
                case TryLost():
                    with self._contained(event.dag_run_id, draft):
                        self._try_lost(event.try_id, event.because, draft)
                case WaitsEnded():
                    draft.waits_ended.append(event)
                    for end in event.ends:
                        with self._contained(end.dag_run_id, draft):
                            self._wait_ended(end, draft)
                case HostAttached():
                    self._host_attached(event, draft)
                case Sweep():
                    self._launch_again(draft)
                case RunChanged() | ReadAgain() | StartRuns() | DagChanged():
                    pass
        self._start_runs(draft)
        self._plan_and_grant(draft)

    def _contained(self, dag_run_id: int, draft: Draft) -> AbstractContextManager[None]:
        """What fails for one dag run fails for it alone: it is set aside until a person changes it."""
        return contained(lambda failure: self._set_aside(dag_run_id, failure, draft))

    def _set_aside(self, dag_run_id: int, failure: Exception, draft: Draft, head: RunHead | None = None) -> None:
        log.error("dag_run_quarantined", exc_info=failure, dag_run_id=dag_run_id)
        loaded = self._views.runs.get(dag_run_id)
        known = head.revision if head is not None else draft.revisions.get(dag_run_id)
        self._quarantined[dag_run_id] = known if loaded is None else loaded.view.revision
        self._views.forget(dag_run_id)
        draft.drop(dag_run_id)
        draft.quarantined[dag_run_id] = f"{type(failure).__name__}: {failure}"

    # --- reading ----------------------------------------------------------------------------------------------

    async def _read(self, events: Sequence[Event], draft: Draft) -> None:
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
                        draft.dags_to_start.add(event.dag_id)
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
            for dag_run_id in changed:
                self._quarantined.pop(dag_run_id, None)
            wanted |= self._views.take_backlog(LOADED_PER_STEP)
            draft.dags_to_start |= self._views.take_more_to_start()
            to_read = changed | (wanted - self._views.runs.keys() - self._quarantined.keys())
            if to_read:
                await self._read_runs(conn, to_read, changed, draft)
            for dag_id in sorted(draft.dags_to_start):
                await self._read_queued(conn, dag_id, draft)

    def _due(self, draft: Draft) -> set[int]:
        """Plan the runs whose time has come; those that must be read first."""
        to_read = set()
        for dag_run_id in self._views.pop_due(draft.now):
            dag_id = self._views.dag_of(dag_run_id)
            if dag_id is None:
                continue
            if dag_run_id in self._views.parked:
                to_read.add(dag_run_id)
            elif self._views.is_queued(dag_run_id):
                draft.dags_to_start.add(dag_id)
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
                draft.left_dags.add(was_in)
                draft.dags_to_start.add(was_in)
            if head is None:
                continue
            if dag_run_id in draft.read_again:
                draft.changed_dags.add(head.dag_id)
            self._views.note_limits(head)
            if head.state == DagRunState.QUEUED:
                self._views.enqueue(head.dag_id, head.id, head.run_after)
                draft.dags_to_start.add(head.dag_id)
            if head.is_live or head.state == DagRunState.RUNNING:
                await self._load(conn, head, draft)

    async def _load(self, conn: Connection, head: RunHead, draft: Draft) -> LoadedRun | None:
        """A run that runs, or in which tries are alive whose ends are to be heard; None when it is gone or broken."""
        try:
            loaded = await run_views.load_view(conn, head.id)
        except run_views.BrokenRun as failure:
            self._set_aside(head.id, failure, draft, head)
            return None
        if loaded is None:
            return None
        self._views.watch(loaded)
        if loaded.view.run.because.startswith(SET_ASIDE):
            draft.taken_up.add(head.id)
        if loaded.view.state == DagRunState.RUNNING:
            draft.to_plan[head.id] = None
        return loaded

    async def _read_queued(self, conn: Connection, dag_id: str, draft: Draft) -> None:
        """As many queued runs as there is room for, in the order of `run_after`; the others stay unread."""
        limits, queue = self._views.limits.get(dag_id), self._views.queued.get(dag_id)
        if limits is None or queue is None or limits.is_paused:
            return
        room = limits.max_active_runs - len(self._views.running.get(dag_id, ()))
        if not limits.max_active_runs or room > LOADED_PER_STEP:
            room = LOADED_PER_STEP
            self._views.more_to_start.add(dag_id)
        while room > 0 and (first := queue.next()) is not None and first[0] <= draft.now:
            dag_run_id = first[1]
            loaded = self._views.runs.get(dag_run_id) or await self._read_to_start(conn, dag_run_id, draft)
            queue.remove(dag_run_id)
            if loaded is not None:
                draft.starting.append(loaded)
                room -= 1
        first = queue.next()
        if first is None or first[0] > draft.now:
            self._views.more_to_start.discard(dag_id)
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
        moved |= {
            i
            for i, known in self._quarantined.items()
            if known is not None and i in active and active[i].revision != known
        }
        self._quarantined = {i: active[i].revision for i in self._quarantined if i in active}
        views.forget_timers()
        changed |= moved | await self._whose_past_moved(conn)
        draft.read_again |= moved
        unknown = []
        for head in heads:
            if views.note_limits(head):
                draft.dags_to_start.add(head.dag_id)
            if head.id in self._quarantined or head.id in moved:
                continue
            if head.state == DagRunState.QUEUED:
                if head.id not in views:
                    views.enqueue(head.dag_id, head.id, head.run_after)
                    draft.dags_to_start.add(head.dag_id)
            elif head.id not in views.runs and head.id not in views.parked:
                views.expect(head)
                unknown.append(head.id)
        draft.dags_to_start |= views.queued.keys()
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

    # --- events -----------------------------------------------------------------------------------------------

    def _try_started(self, event: TryStarted, draft: Draft) -> None:
        place = self._views.tries.get(str(event.row.id))
        if place is None:
            return
        dag_run_id, i = place
        if self._views.runs[dag_run_id].view.facts[i].state == _S.QUEUED:
            self._apply(dag_run_id, Start(instance=i, at=event.at, because=f"its try runs on {event.hostname}"), draft)
        extra = draft.reported(dag_run_id, i)
        extra.hostname, extra.pid = event.hostname, event.pid

    def _try_ended(self, event: TryEnded, draft: Draft) -> None:
        if event.row.dag_run_id in self._quarantined:
            return  # `effects.answer` leaves it with its agent
        place = self._views.tries.get(str(event.row.id))
        if place is None:
            log.info("outcome_refused", try_id=str(event.row.id), reason="the try is no longer current")
            return
        dag_run_id, i = place
        if event.rendered is not None:
            draft.reported(dag_run_id, i).rendered = event.rendered
        self._end(dag_run_id, i, event.outcome, draft)

    def _wait_ended(self, end: WaitEnd, draft: Draft) -> None:
        if end.dag_run_id in self._quarantined:
            return
        place = self._views.waiting.get(end.id)
        if place is None:
            log.info("wait_end_refused", wait_id=end.id, reason="nobody waits for it any more")
            return
        if end.resume is not None:
            self._apply(place[0], plan_resume(self._views.runs[place[0]].view, place[1], end.because), draft)
            draft.fired[place] = FiredWait(end.id, end.resume)
        elif end.outcome is not None:
            self._end(*place, end.outcome, draft)

    def _try_lost(self, try_id: str, because: str, draft: Draft) -> None:
        place = self._views.tries.get(try_id)
        if place is not None:
            facts = self._views.runs[place[0]].view.facts[place[1]]
            self._end(*place, _lost(facts, because, draft.now), draft)

    def _end(self, dag_run_id: int, i: int, outcome: Outcome, draft: Draft) -> Decision:
        view = self._views.runs[dag_run_id].view
        decision = plan_outcome(view, i, outcome, draft.now)
        self._apply(dag_run_id, decision, draft)
        if isinstance(decision, Defer) and outcome.deferral is not None:
            wait = wait_of_deferral(self._views.runs[dag_run_id], view.facts[i], outcome.deferral, draft.now)
            draft.waits[dag_run_id, i] = wait
        if isinstance(decision, Succeed):
            draft.xcoms.extend(
                XCom(
                    dag_run_id=dag_run_id,
                    task_id=view.node_of(i).spec.task_id,
                    map_index=view.facts[i].map_index,
                    key=item.key,
                    value=item.value,
                )
                for item in outcome.xcoms
            )
        return decision

    def _host_attached(self, event: HostAttached, draft: Draft) -> None:
        """What this launcher's agent does not know: queued = the launch never arrived; running = it died unreported.

        Another daemon's launch that never arrived is lost with it: nobody repeats it there.
        """
        for try_id, (dag_run_id, i) in list(self._views.tries.items()):
            if try_id not in self._views.tries:
                continue  # its run was set aside a moment ago
            view = self._views.runs[dag_run_id].view
            if try_id in event.known_try_ids or executor_of(view.node_of(i).spec) != EXECUTOR:
                continue
            facts = view.facts[i]
            if facts.launcher not in ("", event.launcher) or (facts.queued_at and facts.queued_at > event.at):
                continue
            if facts.state == _S.QUEUED and self._is_ours(facts):
                draft.launches.append((dag_run_id, i))
                continue
            with self._contained(dag_run_id, draft):
                self._try_lost(try_id, f"the agent on {event.hostname} was started anew and does not know it", draft)

    def _launch_again(self, draft: Draft) -> None:
        for dag_run_id, i in self._views.tries.values():
            facts = self._views.runs[dag_run_id].view.facts[i]
            waited = draft.now - facts.queued_at if facts.queued_at else None
            if facts.state != _S.QUEUED or waited is None or waited.total_seconds() <= LAUNCH_AGAIN_S:
                continue
            if self._is_ours(facts) or executor_of(self._views.runs[dag_run_id].view.node_of(i).spec) != EXECUTOR:
                draft.launches.append((dag_run_id, i))

    def _is_ours(self, facts: InstanceFacts) -> bool:
        """Was its try given to the executor of this daemon?"""
        return facts.launcher in ("", self._launcher)

    # --- deciding ---------------------------------------------------------------------------------------------

    def _start_runs(self, draft: Draft) -> None:
        for loaded in draft.starting:
            dag_run_id, dag_id = loaded.view.dag_run_id, loaded.view.dag_id
            running = self._views.running.get(dag_id, set())
            start = plan_start(loaded.view.state, active_runs=len(running), max_active_runs=loaded.max_active_runs)
            if start is None or loaded.is_paused:  # changed since there was room: its turn comes again
                self._views.enqueue(dag_id, dag_run_id, loaded.facts.run_after)
                self._views.more_to_start.discard(dag_id)  # the sweep knows more
                continue
            with self._contained(dag_run_id, draft):
                self._views.running.setdefault(dag_id, set()).add(dag_run_id)
                self._apply(dag_run_id, start, draft)
                timeout_at = run_timeout_at(loaded.view)
                if timeout_at is not None:
                    self._views.wake_at(timeout_at, dag_run_id)
                draft.to_plan[dag_run_id] = None

    def _plan_and_grant(self, draft: Draft) -> None:
        """Until nothing follows: what is granted may fail at once, and something follows from that too."""
        while True:
            for dag_run_id in list(draft.to_plan):
                with self._contained(dag_run_id, draft):
                    self._plan(dag_run_id, draft)
            self._grant(draft)
            if not draft.to_plan:
                return

    def _plan(self, dag_run_id: int, draft: Draft) -> None:
        touched = draft.to_plan.pop(dag_run_id)
        loaded = self._views.runs.get(dag_run_id)
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
            # What follows from them was not part of this plan; those that are tried again have a timer.
            touched = {i for i in failed if loaded.view.facts[i].state in FINISHED}
        draft.to_plan.pop(dag_run_id, None)  # a plan is total: what it touched itself is planned

    def _defer(self, loaded: LoadedRun, decision: Defer, draft: Draft) -> bool:
        """Begin the wait that a try begins with; False when its templates cannot be rendered, which fails the try.

        In a pool that counts deferred tasks it competes for a slot first.
        """
        i, dag_run_id = decision.instance, loaded.view.dag_run_id
        if self._views.counts_deferred(loaded, i) and not self._views.ledger.is_occupied((dag_run_id, i)):
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

    def _grant(self, draft: Draft) -> None:
        if not self._may_launch():
            return
        for request in self._views.ledger.grant():
            dag_run_id, i = request.key
            because = f"{request.slots} slot(s) of pool {request.pool!r} were free"
            with self._contained(dag_run_id, draft):
                loaded = self._views.runs[dag_run_id]
                spec = loaded.view.node_of(i).spec
                if begins_with_wait(spec) and not loaded.view.facts[i].wait:
                    self._defer(loaded, plan_wait(spec, i, because), draft)
                    continue
                queue = Queue(instance=i, try_id=str(uuid.uuid4()), because=because, launcher=self._launcher)
                self._apply(dag_run_id, queue, draft)
                draft.launches.append((dag_run_id, i))

    def _apply(self, dag_run_id: int, decision: Decision, draft: Draft) -> None:
        """Change the view as the decision says, and note what is to be written."""
        loaded = self._views.runs[dag_run_id]
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
            draft.ended_tries.setdefault(before.id, (dag_run_id, before))
        self._views.account(loaded, i, before, after)
        if after.state in (_S.UP_FOR_RETRY, _S.UP_FOR_RESCHEDULE) and after.due_at is not None:
            self._views.wake_at(after.due_at, dag_run_id)
        if after.state not in NOTHING_FOLLOWS:
            draft.touch_plan(dag_run_id, i)

    # --- writing, and what follows ----------------------------------------------------------------------------

    async def _commit_part(self, draft: Draft, dag_run_ids: list[int]) -> None:
        """One transaction for all these runs, without those that somebody changed since they were read.

        When Postgres refuses the content, halves of it, down to the guilty run.
        """
        while dag_run_ids:
            try:
                await self._write(draft, dag_run_ids)
            except StaleViews as stale:
                if stale.dag_run_ids.isdisjoint(dag_run_ids):
                    raise
                self._stale += 1
                log.info("step_stale", dag_run_ids=sorted(stale.dag_run_ids))
                for dag_run_id in stale.dag_run_ids.intersection(dag_run_ids):
                    self._leave_out(dag_run_id, draft)
                dag_run_ids = [i for i in dag_run_ids if i not in stale.dag_run_ids]
            except CONTENT_ERRORS as refused:
                self._refused += 1
                log.warning("batch_refused", dag_run_ids=dag_run_ids, error=str(refused))
                if len(dag_run_ids) == 1:
                    self._set_aside(dag_run_ids[0], refused, draft)
                    return
                middle = len(dag_run_ids) // 2
                await self._commit_part(draft, dag_run_ids[:middle])
                dag_run_ids = dag_run_ids[middle:]
            else:
                return

    def _leave_out(self, dag_run_id: int, draft: Draft) -> None:
        draft.stale[dag_run_id] = draft.revisions[dag_run_id]
        self._views.forget(dag_run_id)
        draft.drop(dag_run_id)

    async def _write(self, draft: Draft, dag_run_ids: list[int]) -> None:
        batch = batch_of(draft, self._views, dag_run_ids)
        async with self._db.scheduler.pipelined_transaction() as conn:
            await write_batch(conn, batch, term=self._term, now=draft.now)
        self._steps += 1
        self._transitions += len(batch.instances)
        for dag_run_id in dag_run_ids:
            self._voided.pop(dag_run_id, None)

    def _follow_up(self, draft: Draft) -> list[Event]:
        """Runs that may start now, and runs whose tasks wait for a past that has just changed."""
        waiting = self._waiting_for_the_past(draft)
        dags_with_room = set()
        for dag_run_id in draft.moved_runs:
            loaded = self._views.runs[dag_run_id]
            view = loaded.view
            if view.state not in (DagRunState.SUCCESS, DagRunState.FAILED):
                continue
            because = view.run.because
            log.info("dag_run_ended", dag_id=view.dag_id, run_id=view.run_id, state=view.state.value, because=because)
            self._views.leave_running(view.dag_id, dag_run_id)
            if not view.live_count:
                self._views.forget(dag_run_id)
            self._run_ended(view.dag_id)
            if view.dag_id in self._views.queued:
                dags_with_room.add(view.dag_id)
        for dag_id in draft.left_dags:
            self._run_ended(dag_id)
        self._views.park_idle()
        return [*map(StartRuns, sorted(dags_with_room)), *map(ReadAgain, sorted(waiting))]

    def _waiting_for_the_past(self, draft: Draft) -> set[int]:
        """Running runs in which a task may wait for one that has finished, or was changed by hand, in this step."""
        views = self._views
        waiting: set[int] = set()
        for dag_run_id, i in draft.first:
            loaded = views.runs.get(dag_run_id)
            if loaded is None or loaded.view.facts[i].state not in FINISHED:
                continue
            spec = loaded.view.node_of(i).spec
            if spec.depends_on_past or spec.wait_for_downstream or _feeds_wait_for_downstream(loaded, i):
                waiting |= views.running.get(loaded.view.dag_id, set()) - {dag_run_id}
        for dag_id in (draft.changed_dags | draft.left_dags) & views.asks_past:
            waiting |= views.running.get(dag_id, set()) - draft.just_read
        return waiting


def _runs_of(event: Event) -> set[int]:
    """Of reports: the runs that they are about."""
    match event:
        case TryStarted() | TryEnded():
            return {event.row.dag_run_id}
        case TryLost():
            return {event.dag_run_id}
        case WaitsEnded():
            return {end.dag_run_id for end in event.ends}
        case _:
            return set()


def _fail_replies(events: Iterable[Event]) -> None:
    for event in events:
        if isinstance(event, TryEnded | WaitsEnded):
            event.reply.fail()


def _feeds_wait_for_downstream(loaded: LoadedRun, i: int) -> bool:
    node = loaded.view.node_of(i)
    return any(loaded.view.shape.nodes[up].spec.wait_for_downstream for up in node.upstream)


def _lost(facts: InstanceFacts, because: str, now: datetime) -> Outcome:
    return Outcome(kind=OutcomeKind.LOST, because=because, start_date=facts.start_date or now, end_date=now)
