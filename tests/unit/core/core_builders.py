"""Short ways to write DAGs, views and moments in tests of the core, and a synchronous stand-in for the shells."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.contract.states import DagRunState, TaskInstanceState
from leoflowd.core.dag_run_plan import plan_dag_run, plan_outcome
from leoflowd.core.dag_shape import shape_of
from leoflowd.core.decisions import Decision, Expand, FinishDagRun, Queue, Start, StartDagRun
from leoflowd.core.run_view import InstanceFacts, RunView
from leoflowd.core.transitions import apply, apply_to_run

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
S = TaskInstanceState


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def task(task_id: str, *upstream: str, **fields: object) -> TaskSpec:
    fields.setdefault("operator", "PythonOperator")
    return TaskSpec(task_id=task_id, upstream_task_ids=upstream, **fields)  # type: ignore[arg-type]


def empty(task_id: str, *upstream: str, **fields: object) -> TaskSpec:
    return task(task_id, *upstream, kind="empty", **fields)


def dag(*tasks: TaskSpec, **fields: object) -> DagSpec:
    return DagSpec(dag_id="d", tasks=tasks, **fields)  # type: ignore[arg-type]


def view_of(
    *tasks: TaskSpec,
    states: dict[str, TaskInstanceState] | None = None,
    facts: dict[str, dict[str, object]] | None = None,
    fail_fast: bool = False,
    **fields: object,
) -> RunView:
    """A running dag run; instance i is of node i. `facts` sets more than the state."""
    shape = shape_of(dag(*tasks, fail_fast=fail_fast))
    instances = []
    for node in shape.nodes:
        task_id = node.spec.task_id
        given: dict[str, object] = {"state": (states or {}).get(task_id, S.NONE), "max_tries": node.spec.retries}
        given.update((facts or {}).get(task_id, {}))
        instances.append(InstanceFacts(id=f"{task_id}-0", node=node.index, **given))  # type: ignore[arg-type]
    given_run: dict[str, object] = {"state": DagRunState.RUNNING, "start_date": NOW, "logical_date": NOW, **fields}
    return RunView(dag_run_id=1, dag_id="d", run_id="r", shape=shape, facts=instances, **given_run)  # type: ignore[arg-type]


def at(view: RunView, task_id: str) -> int:
    """Position of a task's only instance."""
    (position,) = view.instances_of(view.shape.index_of[task_id])
    return position


def state_of(view: RunView, task_id: str) -> TaskInstanceState:
    return view.facts[at(view, task_id)].state


def states_of(view: RunView) -> dict[str, str]:
    return {node.spec.task_id: state_of(view, node.spec.task_id).value for node in view.shape.nodes}


def carry_out(view: RunView, decisions: Sequence[Decision], now: datetime = NOW) -> None:
    """What the shell does with a plan, without the store."""
    for decision in decisions:
        if isinstance(decision, StartDagRun | FinishDagRun):
            view.run = apply_to_run(view.run, decision, now)
        elif isinstance(decision, Expand):
            view.expand(decision.node, decision.count)
        else:
            position = decision.instance
            view.put(position, apply(view.facts[position], view.node_of(position), decision, now))


def settle(view: RunView, now: datetime = NOW, touched: Sequence[int] | None = None) -> tuple[Decision, ...]:
    """Plan, carry out, and make sure that nothing is left to plan."""
    decisions = plan_dag_run(view, now, touched=touched)
    carry_out(view, decisions, now)
    assert plan_dag_run(view, now) == ()
    return decisions


def outcome(kind: OutcomeKind, *, started_at: datetime = NOW, ended_at: datetime = NOW, **fields: object) -> Outcome:
    return Outcome(kind=kind, because=f"it said {kind.value}", start_date=started_at, end_date=ended_at, **fields)  # type: ignore[arg-type]


def end_try(view: RunView, task_id: str, kind: OutcomeKind, now: datetime = NOW, **fields: object) -> Decision:
    """Report an outcome and settle what follows from it; returns the decision about the try."""
    return end_instance(view, at(view, task_id), kind, now, **fields)


def begin_try(view: RunView, position: int, now: datetime = NOW) -> None:
    """A process runs for this instance."""
    carry_out(view, [Queue(instance=position, try_id=f"try-{position}", because="a slot is free")], now)
    carry_out(view, [Start(instance=position, at=now, because="it said hello")], now)


def end_instance(view: RunView, position: int, kind: OutcomeKind, now: datetime = NOW, **fields: object) -> Decision:
    decisions = plan_outcome(view, position, outcome(kind, ended_at=now, **fields), now)  # type: ignore[arg-type]
    carry_out(view, decisions, now)
    settle(view, now, touched=[one.instance for one in decisions])
    return decisions[0]
