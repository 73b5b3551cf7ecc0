"""Answers to "why is this not running?" and "why is it in this state?", from the functions that decide.

Called by `leoflow explain`, the API and the UI's panel. Nothing is stored for it, so nothing can be out of date.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import assert_never

from leoflowd.contract.states import DagRunState, TaskInstanceState
from leoflowd.core.run_view import RunView
from leoflowd.core.trigger_rules import Verdict

_S = TaskInstanceState


def explain_instance(view: RunView, instance: int, now: datetime, *, waiting: str | None = None) -> tuple[str, ...]:
    """Sentences, the state first. `waiting`: what `SlotLedger.why_waiting` says of it."""
    facts = view.facts[instance]
    first = f"task {view.node_of(instance).spec.task_id!r} is in state {facts.state}"
    sentences = [f"{first}: {facts.because}" if facts.because else first]
    if view.state is DagRunState.QUEUED:
        sentences.append("the dag run itself is queued: it begins when max_active_runs of its dag allows it")
    elif view.state is not DagRunState.RUNNING:
        sentences.append(f"the dag run is over ({view.state}); clear the task to run it again")
    else:
        sentences.extend(_of_state(view, instance, now, waiting))
    return tuple(sentences)


def _of_state(view: RunView, instance: int, now: datetime, waiting: str | None) -> Iterator[str]:
    facts = view.facts[instance]
    match facts.state:
        case _S.NONE | _S.UP_FOR_RETRY | _S.UP_FOR_RESCHEDULE:
            yield from _why_not_scheduled(view, instance, now)
        case _S.SCHEDULED:
            yield f"it waits for a slot: {waiting}" if waiting else "it waits for a slot"
        case _S.QUEUED:
            yield f"try {facts.try_number} was handed to the executor{_since(facts.queued_at, now)} and has not begun"
        case _S.RUNNING:
            yield f"try {facts.try_number} is running{_since(facts.start_date, now)}"
        case _S.RESTARTING:
            yield "it was cleared while it ran: it starts again when the old try is gone"
        case _S.DEFERRED:
            yield "it waits for its trigger to fire"
        case _S.SUCCESS | _S.FAILED | _S.SKIPPED | _S.UPSTREAM_FAILED | _S.REMOVED:
            yield "it is done; clear it to run it again"
        case _:
            assert_never(facts.state)


def _why_not_scheduled(view: RunView, instance: int, now: datetime) -> Iterator[str]:
    facts = view.facts[instance]
    if facts.node in view.absent:
        yield "its own start_date and end_date leave this logical date out: it will be removed"
        return
    ruling = view.rule_verdict(instance)
    yield f"upstream: {ruling.because}"
    if ruling.verdict is Verdict.WAIT:
        yield from _unfinished_upstream(view, instance)
    if facts.due_at is not None and now < facts.due_at:
        wait_s = (facts.due_at - now).total_seconds()
        yield f"it may go on from {facts.due_at.isoformat(sep=' ', timespec='seconds')} on, in {wait_s:.0f} s"
    if not view.is_past_ok(facts.node):
        yield "depends_on_past: its instance in the previous dag run (or what follows it there) has not succeeded"
    if ruling.verdict is Verdict.RUN and view.is_past_ok(facts.node) and (facts.due_at is None or now >= facts.due_at):
        yield "nothing is in its way: it is scheduled at the next decision"


def _unfinished_upstream(view: RunView, instance: int) -> Iterator[str]:
    node = view.node_of(instance)
    needed = sorted({*node.upstream, *node.indirect_setups, *node.scope} - view.absent)
    open_ids = [view.shape.nodes[up].spec.task_id for up in needed if not view.is_node_done(up)]
    if open_ids:
        more = f" and {len(open_ids) - 5} more" if len(open_ids) > 5 else ""
        yield f"not done yet: {', '.join(open_ids[:5])}{more}"


def _since(moment: datetime | None, now: datetime) -> str:
    return "" if moment is None else f" {(now - moment).total_seconds():.0f} s ago"
