"""The order of a DAG's tasks and groups in its artifact, and the cycles that no order has."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.dag import DAG
from airflow._leoflow.errors import AuthoringError
from airflow._leoflow.task_group import TaskGroup


def in_order(dag: DAG) -> list[BaseOperator]:
    """Topological order, ties by id: independent of the order of declaration, which sets may shuffle."""
    waiting = {task_id: len(task.upstream_task_ids) for task_id, task in dag.task_dict.items()}
    ready = [task_id for task_id, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    ordered: list[BaseOperator] = []
    while ready:
        task = dag.task_dict[heapq.heappop(ready)]
        ordered.append(task)
        for after in task.downstream_task_ids:
            waiting[after] -= 1
            if waiting[after] == 0:
                heapq.heappush(ready, after)
    if len(ordered) < len(dag.task_dict):
        raise _cycle(dag, {task.task_id for task in ordered})
    return ordered


def _cycle(dag: DAG, done: set[str]) -> AuthoringError:
    """Walk upstream among the tasks that never became ready: each has one, so the walk must meet itself."""
    path = [min(task_id for task_id in dag.task_dict if task_id not in done)]
    while True:
        before = min(task_id for task_id in dag.task_dict[path[-1]].upstream_task_ids if task_id not in done)
        if before in path:
            circle = [before, *reversed(path[path.index(before) :])]
            return AuthoringError(
                f"the tasks of dag {dag.dag_id!r} form a cycle: {' >> '.join(circle)}",
                "none of them could ever start",
                "remove one of these dependencies",
                dag.task_dict[before]._location,
            )
        path.append(before)


def inner_groups(group: TaskGroup) -> Iterable[TaskGroup]:
    inner = [child for child in group.children.values() if isinstance(child, TaskGroup)]
    for child in sorted(inner, key=lambda found: found.node_id):
        yield child
        yield from inner_groups(child)
