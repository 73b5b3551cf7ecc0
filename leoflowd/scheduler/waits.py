"""From the decision to wait to the wait itself: rendered arguments, key, deadline. Reads nothing, writes nothing.

The scheduler calls this while it decides, stores the result with the move, and hands it to the pool after the commit.
"""

from __future__ import annotations

import functools
import operator
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from leoflowd.contract.dag_spec import of_instance
from leoflowd.contract.human import HUMAN_KIND, Question
from leoflowd.contract.values import later
from leoflowd.contract.wait_spec import (
    Deferral,
    HttpCall,
    ProbeSpec,
    Resume,
    TriggerSpec,
    WaitMode,
    WaitSpec,
    WaitTerms,
)
from leoflowd.contract.waits import TRIGGER_KIND, NewWait, TriggerCall, coalescing_key
from leoflowd.core.known_triggers import native_wait as known_wait
from leoflowd.core.simple_templates import TemplateFault, names_of, render
from leoflowd.core.try_spec import TryFacts

DEFAULT_POKE_INTERVAL_S = 60.0


def first_wait(one: TryFacts, now: datetime) -> NewWait:
    """The wait that this try begins with; raises `core.simple_templates.TemplateFault`."""
    task = of_instance(one.task, one.facts.map_index)
    if task.deferral is not None:
        return wait_of_deferral(one, task.deferral, now)
    assert task.wait is not None
    spec = _rendered(task.wait, _names(one, now))
    if one.items is not None:
        spec = msgspec.convert(_with_items(one, msgspec.to_builtins(spec)), WaitSpec)
    return _new(one, spec, now)


def shown_fields(one: TryFacts, wait: NewWait, now: datetime) -> dict[str, Any]:
    """The template fields of a try that begins with this wait, rendered, as its process would report them.

    Of a task that is mapped over values of the file only the wait has those of the instance.
    """
    if one.task.mapped_values:
        return {**wait.spec.probe.arguments, **wait.spec.terms.predicate}
    names = _names(one, now)
    return {name: _shown(value, names) for name, value in one.task.template_values.items()} | (one.items or {})


def _shown(value: Any, names: dict[str, Any]) -> Any:
    try:
        return render(value, names)
    except TemplateFault:  # a field that its wait does not use
        return value


def wait_of_deferral(one: TryFacts, deferral: Deferral, now: datetime) -> NewWait:
    """The wait that a task process asked for: rendered already, or a trigger."""
    if deferral.wait is not None:
        return _new(one, deferral.wait, now)
    assert deferral.trigger is not None, "a deferral has a wait or a trigger"
    terms = WaitTerms(
        mode=WaitMode.DEFERRABLE,
        poke_interval_s=_poke_interval_s(deferral.trigger.kwargs),
        timeout_s=deferral.timeout_s,
        resume=Resume(next_method=deferral.next_method, next_kwargs=deferral.next_kwargs),
    )
    spec = known_wait(deferral.trigger, terms)
    if spec is None:
        call = _trigger_call(one, deferral.trigger)
        spec = WaitSpec(probe=ProbeSpec(kind=TRIGGER_KIND, arguments=msgspec.to_builtins(call)), terms=terms)
    return _new(one, spec, now)


def inline_call(one: TryFacts, now: datetime) -> HttpCall:
    """The rendered call of an inline HTTP task; raises `core.simple_templates.TemplateFault`."""
    task = of_instance(one.task, one.facts.map_index)
    assert task.http is not None
    call = render(msgspec.to_builtins(task.http), _names(one, now))
    return msgspec.convert(_with_items(one, call), HttpCall)


def _with_items(one: TryFacts, document: dict[str, Any]) -> dict[str, Any]:
    """What it is mapped over in its places. Last, since what a task returned is no template."""
    items = one.items or {}
    for takes in one.task.mapped_items if items else ():
        for *above, last in takes.paths:
            functools.reduce(operator.getitem, above, document)[last] = items[takes.name]
    return document


def _rendered(spec: WaitSpec, names: dict[str, Any]) -> WaitSpec:
    probe = msgspec.structs.replace(
        spec.probe,
        arguments=render(spec.probe.arguments, names),
        connection_id=render(spec.probe.connection_id, names),
    )
    terms = msgspec.structs.replace(spec.terms, predicate=render(spec.terms.predicate, names))
    return WaitSpec(probe=probe, terms=terms)


def _names(one: TryFacts, now: datetime) -> dict[str, Any]:
    task = one.task
    described = {**one.artifact.spec.params, **task.params}
    params = {name: given.get("value") if isinstance(given, dict) else given for name, given in described.items()}
    names: dict[str, Any] = names_of(
        one.run,
        task_id=task.task_id,
        params={**params, **msgspec.json.decode(one.run.conf)},
        registered_at=now,
        try_number=one.facts.try_number,
        map_index=one.facts.map_index,
    )
    return names


def _new(one: TryFacts, spec: WaitSpec, now: datetime) -> NewWait:
    return NewWait(
        id=UUID(one.try_id),
        dag_run_id=one.dag_run_id,
        dag_id=one.run.dag_id,
        spec=spec,
        key=coalescing_key(spec.probe, one.try_id),
        registered_at=now,
        deadline_at=_deadline(one, spec, now),
    )


def _deadline(one: TryFacts, spec: WaitSpec, now: datetime) -> datetime | None:
    if spec.probe.kind == HUMAN_KIND:
        return msgspec.convert(spec.probe.arguments, Question).respond_by
    # A sensor's timeout is cumulative over its try; a trigger's counts from its own deferral, as in Airflow.
    since = now if spec.terms.resume is not None else one.facts.start_date or now
    return None if spec.terms.timeout_s is None else later(since, spec.terms.timeout_s)


def _trigger_call(one: TryFacts, trigger: TriggerSpec) -> TriggerCall:
    artifact = one.artifact
    return TriggerCall(
        classpath=trigger.classpath,
        kwargs=trigger.kwargs,
        environment=msgspec.to_builtins(artifact.spec.environment),
        bundle_digest=artifact.bundle_digest,
        source_path=artifact.spec.source_path,
        import_paths=artifact.spec.import_paths,
        image=artifact.spec.image,
        dag_id=one.run.dag_id,
        run_id=one.run.run_id,
        task_id=one.task.task_id,
        map_index=one.facts.map_index,
        try_number=one.facts.try_number,
        try_id=one.try_id,
        dag_run_id=one.dag_run_id,
    )


def _poke_interval_s(kwargs: Any) -> float:
    """Most polling triggers of Airflow name theirs like this."""
    for name in ("poke_interval", "poll_interval", "polling_interval", "polling_period_seconds"):
        value = kwargs.get(name) if isinstance(kwargs, dict) else None
        if isinstance(value, int | float) and value > 0:
            return float(value)
    return DEFAULT_POKE_INTERVAL_S
