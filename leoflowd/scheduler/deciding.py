"""Where decisions are taken: events and views in, moves out, by the pure functions of `core`. Waits for nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime

from leoflowd import telemetry
from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.states import FINISHED, LIVE, TaskInstanceState
from leoflowd.contract.waits import WaitEnd
from leoflowd.contract.xcoms import RETURN_KEY, XCom
from leoflowd.core.callbacks import is_asked_for, plan_callback, plan_dag_callback
from leoflowd.core.choices import choice_among
from leoflowd.core.dag_run_plan import (
    begins_with_wait,
    plan_dag_run,
    plan_outcome,
    plan_resume,
    plan_start,
    plan_wait,
    run_timeout_at,
    wait_timeout_at,
)
from leoflowd.core.decisions import Decision, Defer, Expand, FinishDagRun, Queue, Schedule, Start, StartDagRun, Succeed
from leoflowd.core.run_view import InstanceFacts
from leoflowd.core.simple_templates import TemplateFault
from leoflowd.core.transitions import apply, apply_to_run, replaces_try
from leoflowd.scheduler.aside import SetAside
from leoflowd.scheduler.draft import EXECUTOR, Draft, executor_of
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
from leoflowd.scheduler.waits import first_wait, shown_fields, wait_of_deferral
from leoflowd.store.run_views import LoadedRun
from leoflowd.store.waits import FiredWait

log = telemetry.get_logger(__name__)

_S = TaskInstanceState

NOTHING_FOLLOWS = LIVE | {_S.SCHEDULED, _S.DEFERRED, _S.UP_FOR_RETRY, _S.UP_FOR_RESCHEDULE}
"""Until somebody reports or a timer comes, also one that is due at once: a step must end."""
LAUNCH_AGAIN_S = 5.0
"""A try still queued after this is launched again: its first launch may have been lost with a leader."""


class Deciding:
    """Changes the views as decided, and notes in the draft what is to be written and done. `launcher`: this daemon."""

    def __init__(
        self,
        views: Views,
        aside: SetAside,
        may_launch: Callable[[], bool],
        launcher: str,
        max_map_length: int,
    ) -> None:
        self._views = views
        self._aside = aside
        self._may_launch = may_launch
        self._launcher = launcher
        self._max_map_length = max_map_length

    def decide(self, events: Sequence[Event], draft: Draft) -> None:
        for event in events:
            match event:
                case TryStarted():
                    with self._aside.contained(event.row.dag_run_id, draft):
                        self._try_started(event, draft)
                case TryEnded():
                    draft.tries_ended.append(event)
                    with self._aside.contained(event.row.dag_run_id, draft):
                        self._try_ended(event, draft)
                case TryLost():
                    with self._aside.contained(event.dag_run_id, draft):
                        self._try_lost(event.try_id, event.because, draft)
                case WaitsEnded():
                    draft.waits_ended.append(event)
                    for end in event.ends:
                        with self._aside.contained(end.dag_run_id, draft):
                            self._wait_ended(end, draft)
                case HostAttached():
                    self._host_attached(event, draft)
                case Sweep():
                    self._launch_again(draft)
                case RunChanged() | ReadAgain() | StartRuns() | DagChanged():
                    pass
        self._start_runs(draft)
        self._plan_and_grant(draft)

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
        if event.row.dag_run_id in self._aside:
            return  # `effects` leaves it with its agent
        place = self._views.tries.get(str(event.row.id))
        if place is None:
            log.info("outcome_refused", try_id=str(event.row.id), reason="the try is no longer current")
            return
        dag_run_id, i = place
        if event.rendered is not None:
            draft.reported(dag_run_id, i).rendered = event.rendered
        self._end(dag_run_id, i, event.outcome, draft)

    def _wait_ended(self, end: WaitEnd, draft: Draft) -> None:
        if end.dag_run_id in self._aside:
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

    def _host_attached(self, event: HostAttached, draft: Draft) -> None:
        """What this launcher's agent does not know: queued = the launch never arrived; running = it died unreported.

        Another daemon's launch that never arrived is lost with it: nobody repeats it there. Of an agent that stayed
        only launches are judged: what runs speaks for itself.
        """
        because = (
            f"the agent on {event.hostname} was started anew and does not know it"
            if event.is_new
            else f"the daemon of the agent on {event.hostname} lost its lead before it handed this launch over"
        )
        for try_id, (dag_run_id, i) in list(self._views.tries.items()):
            if try_id not in self._views.tries:
                continue  # its run was set aside a moment ago
            view = self._views.runs[dag_run_id].view
            # Whether a mapped call was given to an agent hangs on its items, which a new leader may not have: the
            # limits of silence end a process of those.
            if try_id in event.known_try_ids or view.node_of(i).spec.http is not None:
                continue
            facts = view.facts[i]
            if facts.launcher not in ("", event.launcher) or (facts.queued_at and facts.queued_at > event.at):
                continue
            if facts.state == _S.QUEUED and self._is_ours(facts):
                draft.launches.append((dag_run_id, i))
                continue
            if not event.is_new and facts.state != _S.QUEUED:
                continue
            with self._aside.contained(dag_run_id, draft):
                self._try_lost(try_id, because, draft)

    def _launch_again(self, draft: Draft) -> None:
        for dag_run_id, i in self._views.tries.values():
            view = self._views.runs[dag_run_id].view
            facts = view.facts[i]
            waited = draft.now - facts.queued_at if facts.queued_at else None
            if facts.state != _S.QUEUED or waited is None or waited.total_seconds() <= LAUNCH_AGAIN_S:
                continue
            if self._is_ours(facts) or executor_of(view, i) != EXECUTOR:
                draft.launches.append((dag_run_id, i))

    def _is_ours(self, facts: InstanceFacts) -> bool:
        """Was its try given to the executor of this daemon?"""
        return facts.launcher in ("", self._launcher)

    # --- plans ------------------------------------------------------------------------------------------------

    def _start_runs(self, draft: Draft) -> None:
        for loaded in draft.starting:
            dag_run_id, quota = loaded.view.dag_run_id, loaded.quota
            active_runs = self._views.active_count(quota, loaded.facts.run_after)
            start = plan_start(loaded.view.state, active_runs=active_runs, max_active_runs=loaded.max_active_runs)
            if start is None or loaded.is_paused:  # changed since there was room: its turn comes again
                self._views.enqueue(quota, dag_run_id, loaded.facts.run_after, loaded.ordinal)
                self._views.more_to_start.discard(quota)  # the sweep knows more
                continue
            with self._aside.contained(dag_run_id, draft):
                self._views.enter_running(quota, dag_run_id)
                self._apply(dag_run_id, start, draft)
                timeout_at = run_timeout_at(loaded.view)
                if timeout_at is not None:
                    self._views.wake_at(timeout_at, dag_run_id)
                draft.to_plan[dag_run_id] = None

    def _plan_and_grant(self, draft: Draft) -> None:
        """Until nothing follows: what is granted may fail at once, and something follows from that too."""
        while True:
            for dag_run_id in list(draft.to_plan):
                with self._aside.contained(dag_run_id, draft):
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
            deferred: set[int] = set()
            for decision in plan_dag_run(loaded.view, draft.now, touched=touched):
                if isinstance(decision, Defer):
                    self._defer(loaded, decision, draft)
                    deferred.add(decision.instance)
                else:
                    self._apply(dag_run_id, decision, draft)
            # What follows from those that failed at once was not part of this plan; one tried again has a timer.
            touched = {i for i in deferred if loaded.view.facts[i].state in FINISHED}
        draft.to_plan.pop(dag_run_id, None)  # a plan is total: what it touched itself is planned

    def _defer(self, loaded: LoadedRun, decision: Defer, draft: Draft) -> None:
        """Begin the wait that a try begins with; templates that cannot be rendered fail the try.

        In a pool that counts deferred tasks it competes for a slot first.
        """
        i, dag_run_id = decision.instance, loaded.view.dag_run_id
        if self._views.counts_deferred(loaded, i) and not self._views.ledger.is_occupied((dag_run_id, i)):
            self._apply(dag_run_id, Schedule(instance=i, because=decision.because), draft)
            return
        self._apply(dag_run_id, decision, draft)
        try:
            one = loaded.try_facts(i)
            wait = first_wait(one, draft.now)
        except TemplateFault as fault:
            outcome = Outcome(kind=OutcomeKind.FAILED, because=str(fault), start_date=draft.now, end_date=draft.now)
            self._end(dag_run_id, i, outcome, draft)
            return
        draft.waits[dag_run_id, i] = wait
        draft.reported(dag_run_id, i).rendered = shown_fields(one, wait, draft.now)

    def _grant(self, draft: Draft) -> None:
        if not self._may_launch():
            return
        for request in self._views.ledger.grant():
            dag_run_id, i = request.key
            because = f"{request.slots} slot(s) of pool {request.pool!r} were free"
            with self._aside.contained(dag_run_id, draft):
                loaded = self._views.runs[dag_run_id]
                if begins_with_wait(loaded.view, i) and not loaded.view.facts[i].wait:
                    self._defer(loaded, plan_wait(loaded.view.node_of(i).spec, i, because), draft)
                    continue
                queue = Queue(instance=i, try_id=str(uuid.uuid4()), because=because, launcher=self._launcher)
                self._apply(dag_run_id, queue, draft)
                draft.launches.append((dag_run_id, i))

    # --- moves ------------------------------------------------------------------------------------------------

    def _end(self, dag_run_id: int, i: int, outcome: Outcome, draft: Draft) -> None:
        loaded = self._views.runs[dag_run_id]
        view, before = loaded.view, loaded.view.facts[i]
        if outcome.kind is OutcomeKind.LOST:
            draft.lost_tries[before.id] = outcome
        decisions = plan_outcome(view, i, outcome, draft.now, max_map_length=self._max_map_length)
        for decision in decisions:
            self._apply(dag_run_id, decision, draft)
        own = decisions[0]
        task, dag = view.node_of(i).spec, loaded.version.spec
        if is_asked_for(task, dag):
            called = plan_callback(dag_run_id, task, dag, before, view.facts[i], own, outcome.because)
            draft.callbacks.extend([called] if called is not None else [])
        if isinstance(own, Defer) and outcome.deferral is not None:
            one = self._views.runs[dag_run_id].try_facts(i)
            wait = wait_of_deferral(one, outcome.deferral, draft.now)
            draft.waits[dag_run_id, i] = wait
        if isinstance(own, Succeed):
            if outcome.assets:
                draft.asset_records[dag_run_id, i] = outcome.assets
            if (choice := choice_among(outcome.xcoms)) is not None:
                view.choose(i, choice)
            view.keep_items(i, next((item.value for item in outcome.xcoms if item.key == RETURN_KEY), None))
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

    def _apply(self, dag_run_id: int, decision: Decision, draft: Draft) -> None:
        """Change the view as the decision says, and note what is to be written."""
        loaded = self._views.runs[dag_run_id]
        view = loaded.view
        draft.touch(view.dag_run_id, view.revision)
        if isinstance(decision, StartDagRun | FinishDagRun):
            view.run = apply_to_run(view.run, decision, draft.now)
            draft.moved_runs.add(dag_run_id)
            if isinstance(decision, FinishDagRun):
                called = plan_dag_callback(view, loaded.version.spec, decision)
                draft.callbacks.extend([called] if called is not None else [])
            return
        if isinstance(decision, Expand):
            added = view.expand(decision.node, decision.count)
            self._views.grown(len(added))
            draft.expanded(view, decision.node, added)
            return
        i = decision.instance
        before = view.facts[i]
        after = apply(before, view.node_of(i), decision, draft.now)
        view.put(i, after)
        draft.changed(dag_run_id, i, before)
        if replaces_try(before, after):
            draft.ended_tries.setdefault(before.id, (dag_run_id, before))
        self._views.account(loaded, i, before, after)
        if after.state in (_S.UP_FOR_RETRY, _S.UP_FOR_RESCHEDULE) and after.due_at is not None:
            self._views.wake_at(after.due_at, dag_run_id)
        timeout_at = wait_timeout_at(view, i, after)
        if timeout_at is not None:
            self._views.wake_at(timeout_at, dag_run_id)
        if after.state not in NOTHING_FOLLOWS:
            draft.touch_plan(dag_run_id, i)


def _lost(facts: InstanceFacts, because: str, now: datetime) -> Outcome:
    return Outcome(kind=OutcomeKind.LOST, because=because, start_date=facts.start_date or now, end_date=now)
