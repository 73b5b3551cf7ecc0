"""A dag run in memory, for `leoflow test`: the pure core decides, `local_try` runs each task in a process of its own.

Nothing is stored and no server is asked. Retry delays and moments (`local_waits`) are not waited for; a reschedule
waits for the world and is.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.local_human import Answers
from leoflowd.cli.local_try import LocalTry
from leoflowd.cli.local_waits import NOT_WAITED_FOR, end_of
from leoflowd.contract.agent_messages import DagRunFacts, Outcome, OutcomeKind, ResumeCall, TrySpec, XComInput
from leoflowd.contract.dag_spec import DagSpec, TaskSpec, of_instance
from leoflowd.contract.states import FINISHED, LIVE, DagRunState, TaskInstanceState
from leoflowd.contract.values import conf_text
from leoflowd.contract.wait_spec import Deferral
from leoflowd.core.asset_events import NewEvent, events_of
from leoflowd.core.choices import choice_among
from leoflowd.core.dag_run_plan import due_moments, plan_dag_run, plan_outcome, plan_resume
from leoflowd.core.dag_shape import shape_of
from leoflowd.core.decisions import Decision, Expand, FinishDagRun, Queue, Start, StartDagRun
from leoflowd.core.run_view import InstanceFacts, RunView
from leoflowd.core.transitions import apply
from leoflowd.core.try_spec import Artifact, TryFacts, build_try_spec

LOOK_S = 0.5
"""How often running times are shown anew and the clock is looked at."""

_S = TaskInstanceState
Told = Callable[[str, dict[str, Any]], None]
"""task_id and a log line of it, or `{"state", "event"}`; called from several threads."""


class LocalRun:
    """One dag run in memory. One thread decides; each try has a thread that ends with its outcome in a queue."""

    def __init__(
        self,
        spec: DagSpec,
        folder: Path,
        python: Path,
        *,
        conf: dict[str, Any],
        parallel: int,
        told: Told,
        variables: dict[str, str],
        answers: Answers,
    ) -> None:
        now = datetime.now(UTC)
        self.spec = spec
        self.run_id = f"test__{now.isoformat(timespec='seconds')}"
        self._folder = folder
        self._python = python
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
            logical_date=now,
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
        self._deferrals: dict[int, Deferral] = {}
        """What tasks that gave their process back wait for; a native sensor's wait is in its spec."""
        self._resumes: dict[int, ResumeCall] = {}
        self._ended: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()

    def name_of(self, instance: int) -> str:
        """For people: with the map index, if it has one."""
        task_id, map_index = self.task_of(instance).task_id, self.view.facts[instance].map_index
        return task_id if map_index < 0 else f"{task_id}[{map_index}]"

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
        finally:
            for running in self._running.values():
                running.kill()
            while self._running:
                self._ended_try(*self._ended.get(), keep=False)

    def document(self) -> dict[str, Any]:
        """The result as one JSON document."""
        return {
            "dag_id": self.spec.dag_id,
            "dag_run_id": self.run_id,
            "state": str(self.view.state),
            "because": self.because,
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
        now = datetime.now(UTC)
        for decision in plan_dag_run(self.view, now, touched=touched):
            self._apply(decision, now)

    def _apply(self, decision: Decision, now: datetime) -> None:
        match decision:
            case FinishDagRun(state=state, because=because):
                self.view.run = msgspec.structs.replace(self.view.run, state=state, end_date=now)
                self.because = because
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
        decisions = plan_outcome(self.view, instance, outcome, now)
        for decision in decisions:
            self._apply(decision, now)
        if outcome.kind is OutcomeKind.SUCCESS:
            self._note_events(instance, outcome)
        if outcome.kind is OutcomeKind.SUCCESS and (choice := choice_among(outcome.xcoms)) is not None:
            self.view.choose(instance, choice)
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
        """No pool watches anything here; the instances that this touches."""
        waiting = {i for i, facts in enumerate(self.view.facts) if facts.wait == "waiting"}
        touched = set(waiting)
        for instance in waiting:
            now = datetime.now(UTC)
            native = Deferral(wait=of_instance(self.task_of(instance), self.view.facts[instance].map_index).wait)
            deferral = self._deferrals.pop(instance, native)
            ask = partial(self._answers.of, self.task_of(instance).task_id, self.name_of(instance), now=now)
            end = end_of(deferral, now, ask)
            if isinstance(end, ResumeCall):
                self._resumes[instance] = end
                self._apply(plan_resume(self.view, instance, NOT_WAITED_FOR), now)
            else:
                touched |= self._end(instance, end, now)
        return touched

    def _start_scheduled(self) -> None:
        """Highest priority first, as far as `--parallel` and the DAG's own limit allow."""
        limit = min(self._parallel, self.spec.max_active_tasks or self._parallel)
        waiting = [i for i, facts in enumerate(self.view.facts) if facts.state is _S.SCHEDULED]
        waiting.sort(key=lambda i: (-self.view.node_of(i).weight, i))
        for instance in waiting[: max(0, limit - len(self._running))]:
            now = datetime.now(UTC)
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
        """Until something ended or is due; the instances it touches."""
        while True:
            try:
                return self._ended_try(*self._ended.get(timeout=LOOK_S if self._running else 0.0))
            except queue.Empty:
                refresh()
            due = self._make_due()
            if due:
                return due
            if not self._running and min(due_moments(self.view), default=None) is None:
                raise CommandFailed(ExitCode.UNEXPECTED, "nothing runs and nothing is due: the DAG cannot go on")
            if not self._running:
                time.sleep(LOOK_S)

    def _make_due(self) -> set[int]:
        """Retries are due at once here; a reschedule waits for the world and keeps its time."""
        now = datetime.now(UTC)
        due = set()
        for instance, facts in enumerate(self.view.facts):
            if facts.state is _S.UP_FOR_RETRY and facts.due_at is not None:
                self.view.put(instance, msgspec.structs.replace(facts, due_at=now))
                due.add(instance)
            elif facts.state is _S.UP_FOR_RESCHEDULE and facts.due_at is not None and facts.due_at <= now:
                due.add(instance)
        timeout_s = self.view.dagrun_timeout_s
        if timeout_s is not None and self.view.start_date and (now - self.view.start_date).total_seconds() >= timeout_s:
            due.update(self.view.unfinished())
        return due

    def _ended_try(self, instance: int, outcome: Outcome, *, keep: bool = True) -> set[int]:
        del self._running[instance]
        if not keep or self.view.facts[instance].state not in LIVE:
            return {instance}
        for item in outcome.xcoms:
            self.xcoms[self.task_of(instance).task_id, self.view.facts[instance].map_index, item.key] = item.value
        if outcome.deferral is not None:
            self._deferrals[instance] = outcome.deferral
        return self._end(instance, outcome, datetime.now(UTC))

    # --- what a try needs ---

    def _try_spec(self, instance: int, began: datetime | None) -> TrySpec:
        """As the daemon builds it, for an environment that is here."""
        start = self.view.start_date
        assert start is not None
        run = DagRunFacts(
            dag_id=self.spec.dag_id,
            run_id=self.run_id,
            run_type="manual",
            run_after=start,
            logical_date=start,
            data_interval_start=start,
            data_interval_end=start,
            start_date=start,
            triggered_by="test",
            conf=conf_text(self._conf),
        )
        one = TryFacts(dag_run_id=0, facts=self.view.facts[instance], run=run, artifact=self._artifact)
        pushed = [
            XComInput(task_id=task_id, key=key, map_index=map_index, value=value)
            for (task_id, map_index, key), value in sorted(self.xcoms.copy().items())
            if (0, task_id) in one.wanted_xcoms or (0, task_id, map_index) in one.wanted_instances
        ]
        return msgspec.structs.replace(
            build_try_spec(one, pushed, self._resumes.pop(instance, None)),
            bundle_path=str(self._folder),
            python=str(self._python),
            warm=False,
            first_started_at=began,
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


def _shown_events(events: tuple[NewEvent, ...]) -> list[dict[str, Any]]:
    return [
        {"name": event.name, "uri": event.uri, "extra": msgspec.json.decode(event.extra), "aliases": event.aliases}
        for event in events
    ]
