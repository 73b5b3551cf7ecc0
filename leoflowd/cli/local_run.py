"""A dag run in memory, for `leoflow test`: the pure core decides, `local_try` runs each task in a process of its own.

Nothing is stored and no server is asked. Time is `Clock`'s: when no process runs and nothing can be decided, it leaps
to the next moment at which something is due, be it a retry, a poke or a timeout.
"""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.local_clock import Clock, pause, shown_ahead
from leoflowd.cli.local_human import Answers
from leoflowd.cli.local_try import LocalTry, shim_folder
from leoflowd.cli.local_waits import LocalWait, failed_for_good
from leoflowd.contract.agent_messages import DagRunFacts, Outcome, OutcomeKind, ResumeCall, TrySpec, XComInput
from leoflowd.contract.callback_spec import NewCallback
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.contract.staging import VARIABLE
from leoflowd.contract.states import FINISHED, LIVE, DagRunState, TaskInstanceState
from leoflowd.contract.values import conf_text
from leoflowd.contract.wait_spec import Deferral
from leoflowd.contract.waits import TriggerCall
from leoflowd.contract.xcoms import RETURN_KEY
from leoflowd.core.asset_events import NewEvent, events_of
from leoflowd.core.callbacks import plan_callback, plan_dag_callback
from leoflowd.core.choices import choice_among
from leoflowd.core.dag_run_plan import (
    due_moments,
    plan_dag_run,
    plan_outcome,
    plan_resume,
    run_timeout_at,
    wait_timeout_at,
)
from leoflowd.core.dag_shape import shape_of
from leoflowd.core.decisions import Decision, Expand, FinishDagRun, Queue, Start, StartDagRun
from leoflowd.core.run_view import InstanceFacts, RunView
from leoflowd.core.simple_templates import TemplateFault
from leoflowd.core.timetable import manual_interval
from leoflowd.core.transitions import apply
from leoflowd.core.try_spec import Artifact, TryFacts, build_callback_spec, build_try_spec
from leoflowd.scheduler.waits import first_wait, wait_of_deferral

if TYPE_CHECKING:
    from leoflowd.cli.local_triggers import LocalTriggers

LOOK_S = 0.5
"""How often running times are shown anew and the clock is looked at."""
CALLBACK_TIMEOUT_S = 300.0
"""Where the DAG names none, as a server's `callbacks.timeout_s`."""

_S = TaskInstanceState
_DUE = (_S.UP_FOR_RETRY, _S.UP_FOR_RESCHEDULE)
Told = Callable[[str, dict[str, Any]], None]
"""task_id and a log line of it, or `{"state", "event"}`; called from several threads."""


class LocalRun:
    """One dag run in memory, of `logical_date` or of now.

    One thread decides; each try has a thread that ends with its outcome in a queue."""

    def __init__(
        self,
        spec: DagSpec,
        folder: Path,
        python: Path,
        *,
        staging: Path,
        conf: dict[str, Any],
        logical_date: datetime | None,
        parallel: int,
        told: Told,
        variables: dict[str, str],
        answers: Answers,
        clock: Clock,
    ) -> None:
        now = clock.now()
        self.clock = clock
        self.spec = spec
        self.run_id = f"test__{now.isoformat(timespec='seconds')}"
        self._folder = folder
        self._python = python
        self._staging = staging
        self._conf = {**{name: param.get("value") for name, param in spec.params.items()}, **conf}
        self._parallel = parallel
        self._artifact = Artifact(spec=spec, shape=shape_of(spec), bundle_digest=spec.bundle_digest, version_number=1)
        self._told = told
        self._variables = variables
        """What tasks write stays in here."""
        self._answers = answers
        shape = self._artifact.shape
        self.view = RunView(
            dag_run_id=0,
            dag_id=spec.dag_id,
            run_id=self.run_id,
            shape=shape,
            state=DagRunState.RUNNING,
            start_date=now,
            logical_date=logical_date or now,
            dagrun_timeout_s=spec.dagrun_timeout_s,
            facts=[
                InstanceFacts(id=str(uuid.uuid4()), node=node.index, max_tries=node.spec.retries)
                for node in shape.nodes
            ],
            past_ok=dict.fromkeys(range(len(shape.nodes)), True),
        )
        self.because = ""
        self.xcoms: dict[tuple[str, int, str], str] = {}
        """By task, map index and key: JSON text."""
        self.asset_events: dict[int, tuple[NewEvent, ...]] = {}
        """By instance: what its success would make."""
        self._running: dict[int, LocalTry] = {}
        self._callbacks: list[tuple[threading.Thread, LocalTry]] = []
        self._deferrals: dict[int, Deferral] = {}
        """What tasks that gave their process back wait for; a native sensor's wait is in its spec."""
        self._waits: dict[int, LocalWait] = {}
        self._pokes: dict[int, int] = {}
        """How often a try has given its process back to be started again later."""
        self._resumes: dict[int, ResumeCall] = {}
        self._ended: queue.SimpleQueue[tuple[int, Outcome] | None] = queue.SimpleQueue()
        """None: a trigger has spoken."""
        self._triggers: LocalTriggers | None = None

    def name_of(self, instance: int) -> str:
        """For people: with the map index, if it has one."""
        return named(self.task_of(instance).task_id, self.view.facts[instance].map_index)

    def task_of(self, instance: int) -> TaskSpec:
        return self.view.node_of(instance).spec

    def to_the_end(self, refresh: Callable[[], None]) -> None:
        """Decide and run until the dag run is finished. Ctrl-C ends all tries first."""
        try:
            touched: set[int] | None = None
            while self.view.state is DagRunState.RUNNING:
                self._decide(touched)
                touched = self._end_waits()
                if touched:
                    continue
                self._start_scheduled()
                refresh()
                if self.view.state is DagRunState.RUNNING:
                    touched = self._wait(refresh)
            for thread, _ in self._callbacks:
                thread.join()
        finally:
            for running in [*self._running.values(), *(one for _, one in self._callbacks)]:
                running.kill()
            while self._running:
                if (ended := self._ended.get()) is not None:
                    self._ended_try(*ended, keep=False)
            if self._triggers is not None:
                self._triggers.close()
            for thread, _ in self._callbacks:
                thread.join()

    def document(self) -> dict[str, Any]:
        """The result as one JSON document."""
        return {
            "dag_id": self.spec.dag_id,
            "dag_run_id": self.run_id,
            "state": str(self.view.state),
            "because": self.because,
            "clock_ahead_s": round(self.clock.ahead.total_seconds(), 3),
            "task_instances": [self._task_document(instance) for instance in range(len(self.view.facts))],
        }

    def _task_document(self, instance: int) -> dict[str, Any]:
        facts, task = self.view.facts[instance], self.task_of(instance)
        return {
            "task_id": task.task_id,
            **({"map_index": facts.map_index} if facts.map_index >= 0 else {}),
            "state": None if facts.state is _S.NONE else str(facts.state),
            "try_number": facts.try_number,
            "start_date": facts.start_date and facts.start_date.isoformat(),
            "end_date": facts.end_date and facts.end_date.isoformat(),
            "because": facts.because,
            "xcoms": {
                key: msgspec.json.decode(value)
                for (task_id, map_index, key), value in self.xcoms.items()
                if (task_id, map_index) == (task.task_id, facts.map_index)
            },
            **({"asset_events": _shown_events(events)} if (events := self.asset_events.get(instance)) else {}),
        }

    # --- deciding ---

    def _decide(self, touched: set[int] | None) -> None:
        now = self.clock.now()
        for decision in plan_dag_run(self.view, now, touched=touched):
            self._apply(decision, now)

    def _apply(self, decision: Decision, now: datetime) -> None:
        match decision:
            case FinishDagRun(state=state, because=because):
                self.view.run = msgspec.structs.replace(self.view.run, state=state, end_date=now)
                self.because = because
                self._call_back(plan_dag_callback(self.view, self.spec, decision))
            case StartDagRun():
                raise AssertionError("the run of a test starts as running")
            case Expand(node=node, count=count):
                self.view.expand(node, count)
            case _:
                instance = decision.instance
                facts = apply(self.view.facts[instance], self.view.node_of(instance), decision, now)
                self.view.put(instance, facts)
                if facts.state in FINISHED or facts.state in {_S.UP_FOR_RETRY, _S.UP_FOR_RESCHEDULE, _S.DEFERRED}:
                    self._told(self.name_of(instance), {"state": str(facts.state), "event": facts.because})

    def _end(self, instance: int, outcome: Outcome, now: datetime) -> set[int]:
        """The instances that this decides: its own, and those that it skips."""
        before = self.view.facts[instance]
        decisions = plan_outcome(self.view, instance, outcome, now)
        for decision in decisions:
            self._apply(decision, now)
        task, after = self.task_of(instance), self.view.facts[instance]
        self._call_back(plan_callback(0, task, self.spec, before, after, decisions[0], outcome.because))
        if outcome.kind is OutcomeKind.SUCCESS:
            self._note_events(instance, outcome)
        if outcome.kind is OutcomeKind.SUCCESS and (choice := choice_among(outcome.xcoms)) is not None:
            self.view.choose(instance, choice)
        if outcome.kind is OutcomeKind.SUCCESS:
            returned = self.xcoms.get((self.task_of(instance).task_id, before.map_index, RETURN_KEY))
            self.view.keep_items(instance, returned)
        return {decision.instance for decision in decisions}

    def _note_events(self, instance: int, outcome: Outcome) -> None:
        """The events of assets that its success would make; nobody gets them here."""
        events = events_of(self.task_of(instance).outlets, outcome.assets)
        self.asset_events[instance] = events
        for event in events:
            extra = "" if event.extra == "{}" else f" with extra {event.extra}"
            told = f"Would make an event of asset {event.name or event.uri}{extra}"
            self._told(self.name_of(instance), {"event": told, "level": "info"})

    def _end_waits(self) -> set[int]:
        """Looks at each wait that is due; the instances whose wait has ended, and those that it touches."""
        touched: set[int] = set()
        for instance in [i for i, facts in enumerate(self.view.facts) if facts.wait == "waiting"]:
            wait = self._waits.get(instance)
            try:
                wait = wait or self._registered(instance)
                if wait.next_at is None or wait.next_at > self.clock.now():
                    continue
                end = wait.look()
            except TemplateFault as fault:
                end = failed_for_good(str(fault), self.clock.now())
            if end is None:
                continue
            self._waits.pop(instance, None)
            touched.add(instance)
            now = self.clock.now()
            if isinstance(end, ResumeCall):
                self._resumes[instance] = end
                self._apply(plan_resume(self.view, instance, end.error or "it goes on"), now)
            else:
                touched |= self._end(instance, end, now)
        return touched

    def _registered(self, instance: int) -> LocalWait:
        """Raises `TemplateFault`."""
        deferral, one, now = self._deferrals.pop(instance, None), self._facts_of(instance), self.clock.now()
        wait = first_wait(one, now) if deferral is None else wait_of_deferral(one, deferral, now)
        ask = partial(self._answers.of, one.task.task_id, self.name_of(instance), now=now)
        self._waits[instance] = LocalWait(wait, self.clock, ask, self._trigger_hosts)
        return self._waits[instance]

    def _trigger_hosts(self) -> LocalTriggers:
        """Begun with the first trigger of the run that nothing else knows."""
        from leoflowd.cli.local_triggers import LocalTriggers

        def log(call: TriggerCall, line: dict[str, Any]) -> None:
            self._told(named(call.task_id, call.map_index), line)

        if self._triggers is None:
            self._triggers = LocalTriggers(
                folder=self._folder,
                python=self._python,
                shim=shim_folder(),
                variables=self._variables,
                log=log,
                spoke=lambda: self._ended.put(None),
            )
        return self._triggers

    def _call_back(self, called: NewCallback | None) -> None:
        """In a process of its own, beside the run. Mails and alerts are a server's."""
        if called is None or not called.call.calls_functions:
            return
        called = msgspec.structs.replace(called, call=msgspec.structs.replace(called.call, email=(), alerts=()))
        spec = build_callback_spec(
            called, str(uuid.uuid4()), self._run_facts(), self._artifact, timeout_s=CALLBACK_TIMEOUT_S
        )
        task_id = None if called.call.of_dag else called.task_id
        whose = self.spec.dag_id if task_id is None else named(task_id, called.map_index)
        name = f"{whose} on_{called.call.event}_callback"

        def log(line: dict[str, Any]) -> None:
            self._told(name, line)

        process = LocalTry(
            self._placed(spec), log=log, pull=self._pull, push=lambda _key, _value: None, variables=self._variables
        )

        def run() -> None:
            outcome = process.run()
            if outcome.kind is not OutcomeKind.SUCCESS:
                log({"event": outcome.because, "level": "error"})

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._callbacks.append((thread, process))
        thread.start()

    def _start_scheduled(self) -> None:
        """Highest priority first, as far as `--parallel` and the DAG's own limit allow."""
        limit = min(self._parallel, self.spec.max_active_tasks or self._parallel)
        waiting = [i for i, facts in enumerate(self.view.facts) if facts.state is _S.SCHEDULED]
        waiting.sort(key=lambda i: (-self.view.node_of(i).weight, i))
        for instance in waiting[: max(0, limit - len(self._running))]:
            now = self.clock.now()
            facts = self.view.facts[instance]
            began = facts.start_date if facts.end_date is None else None
            self._apply(Queue(instance=instance, try_id=str(uuid.uuid4()), because="a process is free"), now)
            self._apply(Start(instance=instance, at=now, because="its process was started"), now)
            self._start(instance, began)

    def _start(self, instance: int, began: datetime | None) -> None:
        """`began`: when the same try had a process before, which it gave back."""
        task, map_index, name = self.task_of(instance), self.view.facts[instance].map_index, self.name_of(instance)
        if began is None:
            self._forget_xcoms(task.task_id, map_index)
            self._pokes.pop(instance, None)
            self._waits.pop(instance, None)

        def log(line: dict[str, Any]) -> None:
            self._told(name, line)

        def push(key: str, value: str) -> None:
            self.xcoms[task.task_id, map_index, key] = value

        running = LocalTry(
            self._try_spec(instance, began), log=log, pull=self._pull, push=push, variables=self._variables
        )
        self._running[instance] = running

        def wait_for_it() -> None:
            try:
                outcome = running.run()
            except Exception as error:  # noqa: BLE001  # a thread's only way out; the run must not wait for ever
                moment = datetime.now(UTC)
                outcome = Outcome(
                    kind=OutcomeKind.FAILED_FOR_GOOD,
                    because=f"cannot run it: {error}",
                    start_date=moment,
                    end_date=moment,
                )
            self._ended.put((instance, outcome))

        threading.Thread(target=wait_for_it, name=name, daemon=True).start()

    def _forget_xcoms(self, task_id: str, map_index: int) -> None:
        for key in [key for key in self.xcoms if key[:2] == (task_id, map_index)]:
            del self.xcoms[key]

    def _wait(self, refresh: Callable[[], None]) -> set[int]:
        """Until something ended or is due; whom it touches. Time leaps only while none of the author's code runs."""
        while True:
            if due := self._due():
                return due
            if self._running or self._has_live_trigger():
                try:
                    ended = self._ended.get(timeout=LOOK_S)
                except queue.Empty:
                    refresh()
                    continue
                if ended is not None:
                    return self._ended_try(*ended)
                continue
            moment = self._next_moment()
            if moment is None:
                raise CommandFailed(ExitCode.UNEXPECTED, "nothing runs and nothing is due: the DAG cannot go on")
            self._pass(moment)
            refresh()

    def _has_live_trigger(self) -> bool:
        return any(wait.is_real and self.view.facts[i].wait == "waiting" for i, wait in self._waits.items())

    def _pass(self, moment: datetime) -> None:
        if self.clock.is_real:
            pause(max(0.0, min(LOOK_S, (moment - self.clock.now()).total_seconds())))
            return
        before = shown_ahead(self.clock.ahead)
        self.clock.leap_to(moment)
        if (ahead := shown_ahead(self.clock.ahead)) != before:
            self._told("clock", {"event": f"{ahead}: nothing to do until then"})

    def _next_moment(self) -> datetime | None:
        waits = [wait.next_at for i, wait in self._waits.items() if self.view.facts[i].wait == "waiting"]
        return min((moment for moment in (*due_moments(self.view), *waits) if moment is not None), default=None)

    def _due(self) -> set[int]:
        """The instances whose retry, reschedule, poke or timeout has come; all when the run's own has."""
        now = self.clock.now()
        due = set()
        for instance, facts in enumerate(self.view.facts):
            wait = self._waits.get(instance) if facts.wait == "waiting" else None
            moments = (
                facts.due_at if facts.state in _DUE else None,
                wait_timeout_at(self.view, instance, facts),
                None if wait is None else wait.next_at,
            )
            if any(moment is not None and moment <= now for moment in moments):
                due.add(instance)
        ends_at = run_timeout_at(self.view)
        if ends_at is not None and ends_at <= now:
            due.update(self.view.unfinished())
        return due

    def _ended_try(self, instance: int, outcome: Outcome, *, keep: bool = True) -> set[int]:
        """What its process says in real time is ours by one difference: time hardly leaps while a process runs."""
        del self._running[instance]
        if not keep or self.view.facts[instance].state not in LIVE:
            return {instance}
        for item in outcome.xcoms:
            self.xcoms[self.task_of(instance).task_id, self.view.facts[instance].map_index, item.key] = item.value
        if outcome.deferral is not None:
            self._deferrals[instance] = outcome.deferral
        outcome = self._on_our_clock(instance, outcome)
        self.clock.leap_to(outcome.end_date)  # it may have skipped its own pokes' sleep
        return self._end(instance, outcome, self.clock.now())

    def _on_our_clock(self, instance: int, outcome: Outcome) -> Outcome:
        ahead, again_at = self.clock.ahead, outcome.reschedule_at
        if again_at is not None:
            self._pokes[instance] = self._pokes.get(instance, 0) + 1
            interval_s = (again_at - outcome.end_date).total_seconds()
            again_at = outcome.end_date + ahead + self.clock.after(interval_s, self._pokes[instance])
        return msgspec.structs.replace(
            outcome,
            start_date=outcome.start_date + ahead,
            end_date=outcome.end_date + ahead,
            reschedule_at=again_at,
        )

    # --- what a try needs ---

    def _try_spec(self, instance: int, began: datetime | None) -> TrySpec:
        """As the daemon builds it, for an environment that is here."""
        one = self._facts_of(instance)
        pushed = [
            XComInput(task_id=task_id, key=key, map_index=map_index, value=value)
            for (task_id, map_index, key), value in sorted(self.xcoms.copy().items())
            if (0, task_id) in one.wanted_xcoms or (0, task_id, map_index) in one.wanted_instances
        ]
        # its process counts by the real clock how long it has waited
        return msgspec.structs.replace(
            self._placed(build_try_spec(one, pushed, self._resumes.pop(instance, None))),
            first_started_at=began and began - self.clock.ahead,
            skips_sleep=not self.clock.is_real,
        )

    def _placed(self, spec: TrySpec) -> TrySpec:
        env = spec.env if VARIABLE not in spec.env else {**spec.env, VARIABLE: str(self._staging)}
        code = str(self._folder)
        return msgspec.structs.replace(spec, env=env, bundle_path=code, python=str(self._python), warm=False)

    def _facts_of(self, instance: int) -> TryFacts:
        return TryFacts(
            dag_run_id=0,
            facts=self.view.facts[instance],
            run=self._run_facts(),
            artifact=self._artifact,
            # a call is made by a process here
            items=self.view.items_of(instance) if self.task_of(instance).wait is not None else None,
        )

    def _run_facts(self) -> DagRunFacts:
        start, logical_date = self.view.start_date, self.view.logical_date
        assert start is not None
        assert logical_date is not None
        interval = manual_interval(self.spec.timetable, logical_date)
        return DagRunFacts(
            dag_id=self.spec.dag_id,
            run_id=self.run_id,
            run_type="manual",
            state=str(self.view.state),
            run_after=start,
            logical_date=logical_date,
            data_interval_start=interval[0],
            data_interval_end=interval[1],
            start_date=start,
            triggered_by="test",
            conf=conf_text(self._conf),
        )

    def _pull(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        """XComs of this run; there are no others."""
        if question.get("run_id") not in (None, self.run_id) or question.get("dag_id") not in (None, self.spec.dag_id):
            return []
        wanted, task_ids = question.get("key", "return_value"), question.get("task_ids")
        indexes = question.get("map_indexes")
        return [
            {"task_id": task_id, "key": key, "map_index": map_index, "value": value}
            for (task_id, map_index, key), value in sorted(self.xcoms.copy().items())
            if key == wanted and (task_ids is None or task_id in task_ids) and (indexes is None or map_index in indexes)
        ]


def named(task_id: str, map_index: int) -> str:
    return task_id if map_index < 0 else f"{task_id}[{map_index}]"


def _shown_events(events: tuple[NewEvent, ...]) -> list[dict[str, Any]]:
    return [
        {"name": event.name, "uri": event.uri, "extra": msgspec.json.decode(event.extra), "aliases": event.aliases}
        for event in events
    ]
