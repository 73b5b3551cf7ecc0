"""What upstream of a task instance decided its fate, down to the root. Called by `explain`; reads a view only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from leoflowd.contract.states import FINISHED, TaskInstanceState
from leoflowd.core.human_times import ago
from leoflowd.core.run_view import RunView

_S = TaskInstanceState
NAMED = 3
"""Roots, or upstream tasks, in sentences; the others are counted."""
_CARRIES = {_S.UPSTREAM_FAILED: frozenset({_S.UPSTREAM_FAILED, _S.FAILED}), _S.SKIPPED: frozenset({_S.SKIPPED})}
"""A state -> states of upstream tasks that may be why."""
_WORDS = {_S.NONE: "not scheduled yet", _S.UP_FOR_RETRY: "to be tried again", _S.UP_FOR_RESCHEDULE: "waiting"}


def causes(view: RunView, instance: int) -> Iterator[str]:
    """Of one that is `upstream_failed` or skipped: each task that began it, why, and the way from there to here."""
    facts = view.facts[instance]
    carriers = _CARRIES.get(facts.state)
    if carriers is None:
        return
    roots = list(_roots(view, facts.node, carriers))
    for path in roots[:NAMED]:
        *between, root = path
        first = view.facts[next(i for i in view.instances_of(root) if view.facts[i].state in carriers)]
        reason = f": {first.because}" if first.because else ""
        way = f" (by way of {', '.join(_name(view, node) for node in reversed(between))})" if between else ""
        yield f"it began with {_name(view, root)}, which is {first.state}{_tried(first.try_number)}{reason}{way}"
    if len(roots) > NAMED:
        yield f"and with {len(roots) - NAMED} more tasks upstream"


def open_upstream(view: RunView, instance: int, now: datetime) -> Iterator[str]:
    """Of one whose rule still waits: who is not done, and what has failed already."""
    node = view.node_of(instance)
    needed = sorted({*node.upstream, *node.indirect_setups, *node.scope} - view.absent)
    open_nodes = [up for up in needed if not view.is_node_done(up)]
    if open_nodes:
        more = f", and {len(open_nodes) - NAMED} more" if len(open_nodes) > NAMED else ""
        yield f"not done yet: {', '.join(_told(view, up, now) for up in open_nodes[:NAMED])}{more}"
    for up in [up for up in needed if view.is_node_done(up)]:
        ended = [view.facts[i] for i in view.instances_of(up)]
        failed = next((one for one in ended if one.state in (_S.FAILED, _S.UPSTREAM_FAILED)), None)
        if failed is not None:
            reason = f": {failed.because}" if failed.because else ""
            yield f"upstream, {_name(view, up)} is {failed.state}{_tried(failed.try_number)}{reason}"


def _roots(view: RunView, start: int, carriers: frozenset[TaskInstanceState]) -> Iterator[tuple[int, ...]]:
    """Nodes upstream in these states that have none above them, as paths that end in them; nearest first."""
    seen = {start}
    paths: list[tuple[int, ...]] = [()]
    while paths:
        path = paths.pop(0)
        here = path[-1] if path else start
        above = [up for up in view.shape.nodes[here].upstream if _is_in(view, up, carriers)]
        if path and not above:
            yield path
        for up in above:
            if up not in seen:
                seen.add(up)
                paths.append((*path, up))


def _is_in(view: RunView, node: int, states: frozenset[TaskInstanceState]) -> bool:
    return any(view.facts[i].state in states for i in view.instances_of(node))


def _told(view: RunView, node: int, now: datetime) -> str:
    facts = next(view.facts[i] for i in view.instances_of(node) if view.facts[i].state not in FINISHED)
    since = f", begun {ago(facts.start_date, now)}" if facts.state is _S.RUNNING and facts.start_date else ""
    return f"{_name(view, node)} ({_WORDS.get(facts.state, facts.state)}{since})"


def _name(view: RunView, node: int) -> str:
    return f"task {view.shape.nodes[node].spec.task_id!r}"


def _tried(try_number: int) -> str:
    return f" after {try_number} tries" if try_number > 1 else ""
