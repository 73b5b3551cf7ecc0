"""From the decision to wait to the wait itself: rendered arguments, key, deadline. Reads nothing, writes nothing.

The scheduler calls this while it decides, stores the result with the move, and hands it to the pool after the commit.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from leoflowd.contract.dag_spec import TaskSpec
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
from leoflowd.core.run_view import InstanceFacts
from leoflowd.core.simple_templates import names_of, render
from leoflowd.store.run_views import LoadedRun

HTTP_KIND = "http"
"""`TaskSpec.kind` of inline HTTP tasks."""
DEFAULT_POKE_INTERVAL_S = 60.0


def first_wait(run: LoadedRun, facts: InstanceFacts, now: datetime) -> NewWait:
    """The wait that a try of this task begins with; raises `core.simple_templates.TemplateFault`."""
    spec = run.view.shape.nodes[facts.node].spec
    if spec.deferral is not None:
        return wait_of_deferral(run, facts, spec.deferral, now)
    assert spec.wait is not None
    return _new(run, facts, _rendered(spec.wait, _names(run, facts, spec, now)), now)


def wait_of_deferral(run: LoadedRun, facts: InstanceFacts, deferral: Deferral, now: datetime) -> NewWait:
    """The wait that a task process asked for: rendered already, or a trigger."""
    if deferral.wait is not None:
        return _new(run, facts, deferral.wait, now)
    assert deferral.trigger is not None, "a deferral has a wait or a trigger"
    terms = WaitTerms(
        mode=WaitMode.DEFERRABLE,
        poke_interval_s=_poke_interval_s(deferral.trigger.kwargs),
        timeout_s=deferral.timeout_s,
        resume=Resume(next_method=deferral.next_method, next_kwargs=deferral.next_kwargs),
    )
    spec = known_wait(deferral.trigger, terms)
    if spec is None:
        call = _trigger_call(run, facts, deferral.trigger)
        spec = WaitSpec(probe=ProbeSpec(kind=TRIGGER_KIND, arguments=msgspec.to_builtins(call)), terms=terms)
    return _new(run, facts, spec, now)


def inline_call(run: LoadedRun, facts: InstanceFacts, now: datetime) -> HttpCall:
    """The rendered call of an inline HTTP task; raises `core.simple_templates.TemplateFault`."""
    spec = run.view.shape.nodes[facts.node].spec
    assert spec.http is not None
    return msgspec.convert(render(msgspec.to_builtins(spec.http), _names(run, facts, spec, now)), HttpCall)


def _rendered(spec: WaitSpec, names: dict[str, Any]) -> WaitSpec:
    probe = msgspec.structs.replace(
        spec.probe,
        arguments=render(spec.probe.arguments, names),
        connection_id=render(spec.probe.connection_id, names),
    )
    terms = msgspec.structs.replace(spec.terms, predicate=render(spec.terms.predicate, names))
    return WaitSpec(probe=probe, terms=terms)


def _names(run: LoadedRun, facts: InstanceFacts, spec: TaskSpec, now: datetime) -> dict[str, Any]:
    described = {**run.version.spec.params, **spec.params}
    params = {name: one.get("value") if isinstance(one, dict) else one for name, one in described.items()}
    dag_run = msgspec.structs.replace(run.facts, state=run.view.state.value, start_date=run.view.start_date)
    names: dict[str, Any] = names_of(
        dag_run,
        task_id=spec.task_id,
        params={**params, **msgspec.json.decode(run.facts.conf)},
        registered_at=now,
        try_number=facts.try_number,
        map_index=facts.map_index,
    )
    return names


def _new(run: LoadedRun, facts: InstanceFacts, spec: WaitSpec, now: datetime) -> NewWait:
    # A sensor's timeout is cumulative over its try; a trigger's counts from its own deferral, as in Airflow.
    since = now if spec.terms.resume is not None else facts.start_date or now
    timeout_s = spec.terms.timeout_s
    return NewWait(
        id=UUID(facts.id),
        dag_run_id=run.view.dag_run_id,
        dag_id=run.view.dag_id,
        spec=spec,
        key=coalescing_key(spec.probe, facts.id),
        registered_at=now,
        deadline_at=None if timeout_s is None else later(since, timeout_s),
    )


def _trigger_call(run: LoadedRun, facts: InstanceFacts, trigger: TriggerSpec) -> TriggerCall:
    return TriggerCall(
        classpath=trigger.classpath,
        kwargs=trigger.kwargs,
        environment=msgspec.to_builtins(run.version.spec.environment),
        bundle_digest=run.version.bundle_digest,
        source_path=run.version.spec.source_path,
        dag_id=run.view.dag_id,
        run_id=run.view.run_id,
        task_id=run.view.shape.nodes[facts.node].spec.task_id,
        map_index=facts.map_index,
        try_number=facts.try_number,
        try_id=facts.id,
        dag_run_id=run.view.dag_run_id,
    )


def _poke_interval_s(kwargs: Any) -> float:
    """Most polling triggers of Airflow name theirs like this."""
    for name in ("poke_interval", "poll_interval", "polling_interval", "polling_period_seconds"):
        value = kwargs.get(name) if isinstance(kwargs, dict) else None
        if isinstance(value, int | float) and value > 0:
            return float(value)
    return DEFAULT_POKE_INTERVAL_S
