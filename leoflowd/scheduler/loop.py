"""The loop: told something, it reads, decides, commits once, and only then lets anything happen outside.

One task owns all views. A step takes every event that is waiting (at most `batch_max`), reads what it must (`reading`),
lets the pure functions decide on the views (`deciding`), writes all of it in one transaction by compare-and-set
(`committing`), and then does what follows (`effects`). While a step commits, the next batch gathers: group commit
without a timer. A run whose rows are not what the plan assumed is left out of the commit: its view is dropped, read
again, and its events are decided anew. It waits for its inbox and for Postgres, and for nobody else (ADR 19).

What fails for one dag run fails for it alone (`aside`), also when Postgres refuses its content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.config import SchedulerConfig
from leoflowd.contract.states import FINISHED, DagRunState
from leoflowd.contract.waits import Waits
from leoflowd.core.dag_run_plan import is_held_by_the_past
from leoflowd.core.delays import DelayCounts
from leoflowd.scheduler.aside import SetAside
from leoflowd.scheduler.committing import Committing
from leoflowd.scheduler.deciding import Deciding
from leoflowd.scheduler.draft import Draft
from leoflowd.scheduler.effects import Effects, Offer, effects_of
from leoflowd.scheduler.inbox import (
    Event,
    ReadAgain,
    RunChanged,
    StartRuns,
    Sweep,
    TryEnded,
    TryLost,
    TryStarted,
    WaitsEnded,
)
from leoflowd.scheduler.reading import Reading
from leoflowd.scheduler.tracing import Tracing
from leoflowd.scheduler.views import Views
from leoflowd.store.database import Database
from leoflowd.store.run_views import LoadedRun, Quota

log = telemetry.get_logger(__name__)

LONGEST_WAIT_S = 3600.0


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
    start_delays: DelayCounts


class Scheduler:
    """Leads for one term. `receive` is the inbox; `offers` are the executors' outboxes; `run_ended` tells the clock.

    `launcher` is the id of this daemon, which launches the tries that are queued in this term.
    """

    def __init__(
        self,
        *,
        db: Database,
        receive: trio.MemoryReceiveChannel[Event],
        offers: Mapping[str, Offer],
        config: SchedulerConfig,
        term: int,
        now: Callable[[], datetime],
        run_ended: Callable[[str], None],
        waits: Waits,
        may_launch: Callable[[], bool] = lambda: True,
        launcher: str = "",
        call_back: Callable[[], None] = lambda: None,
        tracing: Tracing | None = None,
    ) -> None:
        self._receive = receive
        self._config = config
        self._now = now
        self._views = Views(max_instances=config.views_max_instances)
        self._aside = SetAside(db, self._views)
        self._reading = Reading(db, self._views, self._aside)
        self._deciding = Deciding(self._views, self._aside, may_launch, launcher, config.max_map_length)
        self._committing = Committing(db, self._views, self._aside, term)
        self._effects = Effects(offers, waits, run_ended, call_back)
        self._tracing = tracing
        self._term = term
        self._later: list[Event] = []
        """Events about runs that somebody changed meanwhile, to be decided again."""
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
            steps=self._committing.steps,
            transitions=self._committing.transitions,
            stale_steps=self._committing.stale,
            refused_batches=self._committing.refused,
            dropped_launches=self._effects.dropped_launches,
            quarantined_runs=len(self._aside),
            next_timer=self._views.next_timer(),
            start_delays=self._committing.start_delays.counts(),
        )

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

    async def _step(self, events: Sequence[Event]) -> None:
        """Decide on these events and whatever is due, and on what follows from that, until nothing does."""
        while True:
            draft = Draft(self._now())
            try:
                await trio.lowlevel.checkpoint_if_cancelled()  # in here: whoever told these events is to be answered
                await self._reading.read(events, draft)
                self._deciding.decide(events, draft)
                await self._committing.commit(draft)
            except BaseException:
                _fail_replies(events)
                raise
            self._put_off(events, draft)
            self._effects.carry_out(effects_of(draft, self._views, self._aside))
            if self._tracing is not None:
                self._tracing.step_committed(draft, self._views)
            await self._aside.write_reasons(draft)
            follow_up = self._follow_up(draft)
            if not follow_up:
                return
            # With what was put off: until it is read again, neither its slots nor its runs are counted.
            put_off, self._later = self._later, []
            events = [*put_off, *follow_up]

    def _put_off(self, events: Sequence[Event], draft: Draft) -> None:
        """What concerns runs that somebody changed meanwhile is decided again, with whatever else has come by then."""
        self._aside.note_voided(draft)
        self._later += [RunChanged(dag_run_id) for dag_run_id in draft.stale]
        self._later += [event for event in events if _runs_of(event) & draft.stale.keys()]

    def _follow_up(self, draft: Draft) -> list[Event]:
        """Runs that may start now, and runs whose tasks wait for a past that has just changed."""
        waiting = self._waiting_for_the_past(draft)
        with_room = set()
        for dag_run_id in draft.moved_runs:
            loaded = self._views.runs[dag_run_id]
            view = loaded.view
            if view.state not in (DagRunState.SUCCESS, DagRunState.FAILED):
                continue
            because = view.run.because
            log.info("dag_run_ended", dag_id=view.dag_id, run_id=view.run_id, state=view.state.value, because=because)
            self._views.leave_running(loaded.quota, dag_run_id)
            if not view.live_count:
                self._views.forget(dag_run_id)
            if loaded.quota in self._views.queued:
                with_room.add(loaded.quota)
        with_room |= self._held_by_their_past(draft)
        self._views.park_idle()
        return [*map(StartRuns, sorted(with_room)), *map(ReadAgain, sorted(waiting))]

    def _held_by_their_past(self, draft: Draft) -> set[Quota]:
        """A queued run of these, cleared, may be what a running one waits for: see `Views.active_count`."""
        views = self._views
        return {
            loaded.quota
            for dag_run_id in {dag_run_id for dag_run_id, _ in draft.first}
            if (loaded := views.runs.get(dag_run_id)) is not None
            and loaded.view.dag_id in views.asks_past
            and loaded.quota in views.queued
            and is_held_by_the_past(loaded.view)
        }

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
