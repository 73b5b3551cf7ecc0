"""The end states that our core reaches: its plans and outcomes carried out in memory, in a random order."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from leoflowd.contract.agent_messages import Outcome, OutcomeKind, XComItem
from leoflowd.contract.dag_spec import DagSpec, MapInput, MappedSpec, TaskGroupSpec, TaskSpec
from leoflowd.contract.states import DagRunState, TaskInstanceState, TriggerRule
from leoflowd.contract.wait_spec import Deferral, ProbeSpec, WaitSpec
from leoflowd.core.choices import CHOICE_KEY, choice_among
from leoflowd.core.dag_run_plan import plan_dag_run, plan_outcome, plan_resume
from leoflowd.core.dag_shape import shape_of
from leoflowd.core.decisions import Decision, Expand, FinishDagRun, Queue, Start, StartDagRun
from leoflowd.core.run_view import InstanceFacts, RunView
from leoflowd.core.transitions import apply, apply_to_run
from tests.oracle.plans import Plan, choice_of, outcome_of, pause_of, returned_by, sources_of, tasks_in

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
STEPS_MAX = 500
_MAY_GO_ON = (TaskInstanceState.SCHEDULED, TaskInstanceState.DEFERRED)

Order = list[list[Any]]
"""[task id, map index] of each try, as they ended."""
EndState = dict[str, str]
"""`task_id[map_index]` -> state, and `` -> the state of the run."""


def spec_of(plan: Plan) -> DagSpec:
    groups = [
        TaskGroupSpec(group_id=name, label=name, mapped=_mapped(mapping)) for name, mapping in plan["groups"].items()
    ]
    return DagSpec(dag_id="d", tasks=tuple(map(_task_spec, plan["tasks"])), groups=tuple(groups))


def _task_spec(task: dict[str, Any]) -> TaskSpec:
    return TaskSpec(
        task_id=task["id"],
        operator="PythonOperator",
        kind="empty" if task["kind"] == "empty" else "python",
        upstream_task_ids=tuple(task["ups"]),
        group_id=task["group"],
        trigger_rule=TriggerRule(task["rule"]),
        retries=task["retries"],
        retry_delay_s=0.0,
        is_setup=task["kind"] == "setup",
        is_teardown=task["kind"] == "teardown",
        decides=task["kind"] in ("branch", "short"),
        mapped=None if task["mapping"] is None else _mapped(task["mapping"]),
    )


def _mapped(mapping: dict[str, Any]) -> MappedSpec:
    return MappedSpec(inputs=(_input(mapping, "x"),), needs=tuple(sorted(tasks_in(mapping))))


def _input(mapping: dict[str, Any], name: str = "") -> MapInput:
    if "zip" in mapping:
        return MapInput(name=name, parts=tuple(map(_input, mapping["zip"])), combine="zip")
    return MapInput(name=name, task_id=mapping.get("task"), length=mapping.get("length"))


def run(plan: Plan, order_seed: int) -> tuple[EndState, Order]:
    """One dag run to its end, in an order drawn from this seed."""
    chance = random.Random(order_seed)
    view = _view(plan)
    tasks = {task["id"]: task for task in plan["tasks"]}
    order: Order = []
    paused: set[tuple[int, int]] = set()
    _carry_out(view, plan_dag_run(view, NOW))
    for _ in range(STEPS_MAX):
        ready = [i for i, facts in enumerate(view.facts) if facts.state in _MAY_GO_ON]
        if view.state is not DagRunState.RUNNING or not ready:
            return _end_state(view), order
        position = chance.choice(ready)
        task_id = view.node_of(position).spec.task_id
        order.append([task_id, view.facts[position].map_index])
        if view.facts[position].state is TaskInstanceState.DEFERRED:
            _carry_out(view, [plan_resume(view, position, "its event came")])
        elif not _pause(view, position, plan, tasks[task_id], paused):
            _end_a_try(view, position, plan, tasks[task_id])
    raise AssertionError(f"plan {plan['seed']} comes to no end")


def _view(plan: Plan) -> RunView:
    shape = shape_of(spec_of(plan))
    facts = [InstanceFacts(id=str(n.index), node=n.index, max_tries=n.spec.retries) for n in shape.nodes]
    return RunView(
        dag_run_id=1, dag_id="d", run_id="r", shape=shape, state=DagRunState.RUNNING, start_date=NOW, facts=facts
    )


def _begin(view: RunView, position: int) -> None:
    _carry_out(view, [Queue(instance=position, try_id=f"{position}/{len(view.facts)}", because="a slot is free")])
    _carry_out(view, [Start(instance=position, at=NOW, because="it began")])


def _pause(view: RunView, position: int, plan: Plan, task: dict[str, Any], paused: set[tuple[int, int]]) -> bool:
    """Does the try give its process back, once, before it ends?"""
    facts = view.facts[position]
    _begin(view, position)
    key = position, view.facts[position].try_number
    kind = pause_of(plan, task, facts.map_index, key[1])
    if kind is None or key in paused:
        return False
    paused.add(key)
    outcome = Outcome(
        kind=OutcomeKind(kind),
        because=kind,
        start_date=NOW,
        end_date=NOW,
        reschedule_at=NOW if kind == "reschedule" else None,
        deferral=Deferral(wait=WaitSpec(probe=ProbeSpec(kind="time"))) if kind == "deferred" else None,
    )
    _carry_out(view, plan_outcome(view, position, outcome, NOW))
    _carry_out(view, plan_dag_run(view, NOW, touched=[position]))
    return True


def _end_a_try(view: RunView, position: int, plan: Plan, task: dict[str, Any]) -> None:
    facts = view.facts[position]
    kind = OutcomeKind(outcome_of(plan, task, facts.map_index, facts.try_number))
    choice = choice_of(plan, task, facts.map_index) if kind is OutcomeKind.SUCCESS else None
    xcoms = tuple(_xcoms(plan, task, facts.map_index, choice))
    outcome = Outcome(
        kind=kind,
        because=kind.value,
        start_date=NOW,
        end_date=NOW,
        skips=tuple(choice[1]) if choice else (),
        xcoms=xcoms,
    )
    decisions = plan_outcome(view, position, outcome, NOW)
    _carry_out(view, decisions)
    chosen = choice_among(xcoms)
    if chosen is not None:
        view.choose(position, chosen)
    _carry_out(view, plan_dag_run(view, NOW, touched=[decision.instance for decision in decisions]))


def _xcoms(plan: Plan, task: dict[str, Any], map_index: int, choice: Any) -> Iterator[XComItem]:
    returned = returned_by(plan, task, map_index) if task["id"] in sources_of(plan) else None
    if returned is not None:
        yield XComItem(key="return_value", value=json.dumps(returned))
    if choice is not None:
        yield XComItem(key=CHOICE_KEY, value=json.dumps(choice[0]))


def _carry_out(view: RunView, decisions: tuple[Decision, ...] | list[Decision]) -> None:
    for decision in decisions:
        if isinstance(decision, StartDagRun | FinishDagRun):
            view.run = apply_to_run(view.run, decision, NOW)
        elif isinstance(decision, Expand):
            view.expand(decision.node, decision.count)
        else:
            position = decision.instance
            view.put(position, apply(view.facts[position], view.node_of(position), decision, NOW))


def _end_state(view: RunView) -> EndState:
    found = {"": view.state.value}
    for facts in view.facts:
        found[f"{view.shape.nodes[facts.node].spec.task_id}[{facts.map_index}]"] = facts.state.value
    return found
