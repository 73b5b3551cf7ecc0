"""Answers to "why is this not running?" and "why is it in this state?", from the functions that decide.

Called by `leoflow explain`, the API and the UI's panel. Nothing is stored for it, so nothing can be out of date.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import assert_never

import msgspec

from leoflowd.contract.dag_spec import TaskSpec
from leoflowd.contract.human import HUMAN_KIND
from leoflowd.contract.pool_view import WaitExplanation
from leoflowd.contract.states import FINISHED, DagRunState, TaskInstanceState
from leoflowd.contract.values import shown
from leoflowd.contract.wait_spec import ProbeSpec, WaitTerms
from leoflowd.contract.waits import TRIGGER_KIND
from leoflowd.core.explain_causes import causes, open_upstream
from leoflowd.core.explain_run import RunLimit, what_holds_up
from leoflowd.core.human_times import ago, when
from leoflowd.core.pool_slots import UNLIMITED
from leoflowd.core.run_view import SET_ASIDE, RunView
from leoflowd.core.secret_names import masked
from leoflowd.core.trigger_rules import Verdict

_S = TaskInstanceState
_ARGUMENTS_LENGTH = 200
"""Of a wait's arguments, in a sentence."""
_HOLDERS_NAMED = 3
GRANTED_NEXT = "it gets its slot at the next decision"
SILENT_AFTER = timedelta(seconds=30)
"""A daemon beats every 5 s; by another clock than ours, so that less is nothing to tell a person."""


class WaitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A stored wait that is still waited for."""

    id: str
    probe: ProbeSpec
    terms: WaitTerms
    registered_at: datetime
    deadline_at: datetime | None
    is_paused: bool
    """Of its DAG: the pool leaves its waits alone."""


class KnownWait(msgspec.Struct, frozen=True):
    """A wait as the store knows it and, while the pool watches it, as the pool does."""

    facts: WaitFacts
    seen: WaitExplanation | None
    is_elsewhere: bool = False
    """Another daemon watches it."""


class SlotHolder(msgspec.Struct, frozen=True):
    """Slots of a pool that instances of one DAG hold."""

    dag_id: str | None
    """None: of all DAGs together that whoever asks may not see."""
    slots: int


class SlotUse(msgspec.Struct, frozen=True, kw_only=True):
    """What a scheduled instance competes with, counted as `SlotLedger` does: live tries, and waits that hold a slot."""

    pool_slots: int | None
    """None: there is no such pool."""
    holders: tuple[SlotHolder, ...]
    """Most slots first."""
    in_run: int
    of_task: int
    """Over all runs of its DAG."""
    of_task_in_run: int


class LauncherFacts(msgspec.Struct, frozen=True):
    """The daemon that was given a try, as its last beat told."""

    name: str
    agents: int
    heard_at: datetime


def explain_instance(
    view: RunView,
    instance: int,
    now: datetime,
    *,
    slots: SlotUse | None = None,
    launcher: LauncherFacts | None = None,
    wait: KnownWait | None = None,
    is_paused: bool = False,
    run_after: datetime | None = None,
    limit: RunLimit | None = None,
    is_building: bool = False,
) -> tuple[str, ...]:
    """Sentences, the state first, then what holds up the whole run, then what holds up this task, or decided its end.

    `slots`: what a scheduled instance competes with; `launcher`: who was given a queued one; `wait`: what it waits
    for; `is_paused`: its DAG; `run_after`: when its run may begin; `limit`: what a queued run competes with;
    `is_building`: the environment of a queued one is not there yet.
    """
    facts = view.facts[instance]
    first = f"task {view.node_of(instance).spec.task_id!r} is in state {facts.state}"
    sentences = [f"{first}: {facts.because}" if facts.because else first]
    held_up = what_holds_up(view, now, is_paused=is_paused, run_after=run_after, limit=limit)
    sentences.extend(held_up if facts.state not in FINISHED else ())
    sentences.extend(causes(view, instance))
    if view.state in (DagRunState.SUCCESS, DagRunState.FAILED):
        sentences.append(f"the dag run is over ({view.state}); clear the task to run it again")
    elif view.state is DagRunState.RUNNING and not view.run.because.startswith(SET_ASIDE):
        is_held = is_paused and facts.state is _S.SCHEDULED
        sentences.extend(() if is_held else _of_state(view, instance, now, slots, launcher, wait, is_building))
    return tuple(sentences)


def explain_try(try_number: int, state: str | None, because: str) -> str:
    """How an earlier try ended. One that was tried again is archived while it waits for that: it had failed."""
    ended = "failed" if state in (None, _S.UP_FOR_RETRY, _S.SCHEDULED, _S.QUEUED, _S.RESTARTING) else state
    return f"try {try_number} ended in state {ended}" + (f": {because}" if because else "")


def explain_wait(wait: KnownWait, now: datetime) -> tuple[str, ...]:
    """What it waits for and since when; why still; when somebody looks again; when it gives up; what follows."""
    return tuple(_of_wait(wait, now))


def what_is_awaited(wait: KnownWait) -> str:
    """In the kind's own words, or kind and arguments while the pool does not watch it. Secrets by name are masked."""
    probe = wait.facts.probe
    if probe.kind == HUMAN_KIND:
        return f"a person's answer to {shown(str(probe.arguments.get('subject')), _ARGUMENTS_LENGTH)!r}"
    if wait.seen is not None:
        return wait.seen.waits_for
    if probe.kind == TRIGGER_KIND:
        return f"trigger {probe.arguments.get('classpath')}"
    text = msgspec.json.encode(masked(probe.arguments), order="sorted").decode()
    return f"{probe.kind} {text[:_ARGUMENTS_LENGTH]}{'...' if len(text) > _ARGUMENTS_LENGTH else ''}"


def why_no_slot(task: TaskSpec, max_active_tasks: int | None, use: SlotUse) -> str:
    """The first thing that it lacks, in the order in which `SlotLedger` asks; GRANTED_NEXT when it lacks nothing."""
    if use.pool_slots is None:
        return f"pool {task.pool!r} does not exist: create it (`leoflow pools set`), or name another pool in the task"
    if max_active_tasks and use.in_run >= max_active_tasks:
        return f"{use.in_run} task instances of this dag run hold slots, and its max_active_tasks is {max_active_tasks}"
    per_dag, per_run, of = task.max_active_tis_per_dag, task.max_active_tis_per_dagrun, f"of task {task.task_id!r}"
    if per_dag and use.of_task >= per_dag:
        return f"{use.of_task} instances {of} hold slots in all its dag runs: its max_active_tis_per_dag is {per_dag}"
    if per_run and use.of_task_in_run >= per_run:
        used = use.of_task_in_run
        return f"{used} instances {of} hold slots in this dag run: its max_active_tis_per_dagrun is {per_run}"
    if use.pool_slots == UNLIMITED:
        return GRANTED_NEXT
    if task.pool_slots > use.pool_slots:
        return f"it needs {task.pool_slots} slots, but pool {task.pool!r} has only {use.pool_slots}: enlarge the pool"
    taken = sum(holder.slots for holder in use.holders)
    if task.pool_slots > use.pool_slots - taken:
        return (
            f"pool {task.pool!r} is full: {taken} of {use.pool_slots} slots are taken ({_who(use.holders)}), "
            f"and it needs {task.pool_slots}"
        )
    return GRANTED_NEXT


def _who(holders: Sequence[SlotHolder]) -> str:
    named = [
        f"{holder.slots} by " + ("DAGs that you may not see" if holder.dag_id is None else f"dag {holder.dag_id!r}")
        for holder in holders[:_HOLDERS_NAMED]
    ]
    more = sum(holder.slots for holder in holders[_HOLDERS_NAMED:])
    return ", ".join([*named, f"{more} by others"] if more else named)


def _of_state(
    view: RunView,
    instance: int,
    now: datetime,
    slots: SlotUse | None,
    launcher: LauncherFacts | None,
    wait: KnownWait | None,
    is_building: bool,
) -> Iterator[str]:
    facts = view.facts[instance]
    match facts.state:
        case _S.DEFERRED | _S.UP_FOR_RESCHEDULE if wait is not None:
            yield from explain_wait(wait, now)
        case _S.NONE | _S.UP_FOR_RETRY | _S.UP_FOR_RESCHEDULE:
            yield from _why_not_scheduled(view, instance, now)
        case _S.SCHEDULED:
            why = None if slots is None else why_no_slot(view.node_of(instance).spec, view.max_active_tasks, slots)
            yield f"it waits for a slot: {why}" if why else "it waits for a slot"
        case _S.QUEUED:
            yield f"try {facts.try_number} was handed to the executor{_since(facts.queued_at, now)} and has not begun"
            if is_building:
                yield "its environment is being built (packages are installed): it begins when that is there"
            elif launcher is not None and view.node_of(instance).spec.kind != "http":  # those need no agent
                yield from _of_launcher(launcher, now)
        case _S.RUNNING:
            begun = f", begun{_since(facts.start_date, now)}" if facts.start_date is not None else ""
            yield f"try {facts.try_number} is running{begun}"
        case _S.RESTARTING:
            yield "it was cleared while it ran: it starts again when the old try is gone"
        case _S.DEFERRED:
            yield "what it waited for is over: it moves on at the next decision"
        case _S.SUCCESS | _S.FAILED | _S.SKIPPED | _S.UPSTREAM_FAILED | _S.REMOVED:
            yield "it is done; clear it to run it again"
        case _:
            assert_never(facts.state)


def _of_launcher(launcher: LauncherFacts, now: datetime) -> Iterator[str]:
    """What is wrong with the daemon that was given the try, if anything is."""
    if now - launcher.heard_at > SILENT_AFTER:
        heard = f"was last heard{_since(launcher.heard_at, now)}"
        yield f"the daemon {launcher.name} that was given it {heard}: the try runs again if it stays silent"
    elif not launcher.agents:
        yield f"no agent is attached to the daemon {launcher.name} that was given it: it begins when one is"


def _why_not_scheduled(view: RunView, instance: int, now: datetime) -> Iterator[str]:
    facts = view.facts[instance]
    if facts.node in view.absent:
        yield "its own start_date and end_date leave this logical date out: it will be removed"
        return
    ruling = view.rule_verdict(instance)
    yield f"upstream: {ruling.because}"
    if ruling.verdict is Verdict.WAIT:
        yield from open_upstream(view, instance, now)
    if facts.due_at is not None and now < facts.due_at:
        yield f"it may go on {when(facts.due_at, now)}"
    if not view.is_past_ok(facts.node):
        yield "depends_on_past: its instance in the previous dag run (or what follows it there) has not succeeded"
    if ruling.verdict is Verdict.RUN and view.is_past_ok(facts.node) and (facts.due_at is None or now >= facts.due_at):
        yield "nothing is in its way: it is scheduled at the next decision"


def _of_wait(wait: KnownWait, now: datetime) -> Iterator[str]:
    facts = wait.facts
    yield f"it waits for {what_is_awaited(wait)}; it began{_since(facts.registered_at, now)}"
    if wait.seen is None:
        yield _why_unwatched(facts, is_elsewhere=wait.is_elsewhere)
    else:
        yield from _what_the_pool_sees(wait.seen, now)
    due_at = None if wait.seen is None else wait.seen.due_at
    if due_at is not None and facts.deadline_at is not None and facts.deadline_at <= due_at:
        yield "that moment is beyond its timeout: it times out first"
    yield "it has no deadline" if facts.deadline_at is None else f"it times out {when(facts.deadline_at, now)}"
    if facts.terms.resume is not None:
        yield f"then the task goes on in a process of its own, in {facts.terms.resume.next_method}"


def _why_unwatched(wait: WaitFacts, *, is_elsewhere: bool) -> str:
    if wait.is_paused:
        return "its DAG is paused: nobody looks until it is unpaused"
    if is_elsewhere:
        return "another daemon watches it, and knows what was seen last: ask there"
    return "the cheap-task pool does not watch it yet: it was registered this moment, or the pool is starting"


def _what_the_pool_sees(seen: WaitExplanation, now: datetime) -> Iterator[str]:
    yield seen.why_still
    if seen.blocked_by is not None:
        yield seen.blocked_by
    if seen.is_probing:
        yield "it is probed at this moment"
    elif seen.due_at is not None:
        yield f"it comes true {when(seen.due_at, now)}"
    elif seen.next_probe_at is not None:
        yield f"the next probe is {when(seen.next_probe_at, now)}"
    if seen.shared_with:
        yield f"one probe serves it and {seen.shared_with} other waits"


def _since(moment: datetime | None, now: datetime) -> str:
    return "" if moment is None else f" {ago(moment, now)}"
