"""`with setup:`, `with teardown:`: the tasks made inside run between the setups and the teardowns of the scope.

As in Airflow: of the tasks of a scope those without upstream come after its setups, those without downstream before
its teardowns; an inner scope lies between the setups and the teardowns of the outer one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow._leoflow import context
from airflow._leoflow.errors import AuthoringError

if TYPE_CHECKING:
    from airflow._leoflow.dependencies import Dependable
    from airflow._leoflow.task import Task


class Scope:
    """What `with` gives: `add_task` takes in a task that was made before."""

    def __init__(self, task: Task) -> None:
        self.setups = [task] if task.is_setup else [up for up in task.upstream_list if up.is_setup]
        self.teardowns = [task] if task.is_teardown else [down for down in task.downstream_list if down.is_teardown]
        self._tasks: list[Task] = []

    def add_task(self, task: Dependable) -> None:
        """Also the output of a task."""
        self._tasks += task.leaves

    def close(self, outer: Scope | None) -> None:
        """Draw the edges."""
        work = [task for task in self._tasks if not task.is_setup and not task.is_teardown]
        first = [task for task in work if not task.upstream_task_ids] or work[:1]
        last = [task for task in work if not task.downstream_task_ids] or work[-1:]
        _connect_all(self.setups, first)
        _connect_all(last, self.teardowns)
        if outer is not None:
            _connect_all(outer.setups, self.setups)
            _connect_all(self.teardowns, outer.teardowns)


def _connect_all(before: list[Task], after: list[Task]) -> None:
    for task in before:
        task.set_downstream([other for other in after if other is not task])


def open_scope(task: Task) -> Scope:
    if not task.is_setup and not task.is_teardown:
        raise AuthoringError(
            f"task {task.task_id!r} is used in a `with` statement",
            "only setup and teardown tasks have a scope",
            "mark it with .as_setup() or .as_teardown(), @setup or @teardown",
        )
    scope = Scope(task)
    context.open_scopes.append(scope)
    return scope


def close_scope(*, is_failed: bool) -> None:
    scope = context.open_scopes.pop()
    if not is_failed:
        scope.close(context.open_scopes[-1] if context.open_scopes else None)
