"""Branches: tasks that answer which of the tasks downstream are followed, so that the others are skipped.

What was chosen is pushed as the XCom `skipmixin_key`, and what is skipped at once is raised: the daemon commits both
with the success of the task. As in Airflow 3.2 a task that skips something pushes no `return_value`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.errors import AirflowException, DownstreamTasksSkipped, describe
from airflow._leoflow.ids import near_miss
from airflow._leoflow.operators import PythonOperator, _Decorated
from airflow._leoflow.services import LoggingMixin
from airflow._leoflow.task import Task
from airflow._leoflow.task_order import inner_groups

CHOICE_KEY = "skipmixin_key"
_NAMED_MAX = 20
"""Ids in a message; a task may have thousands downstream."""


class SkipMixin(LoggingMixin):
    """For operators that skip tasks downstream. `inherits_from_skipmixin` says that what they chose is remembered."""

    def skip(self, ti: Any, tasks: Iterable[Task]) -> None:
        """Skip these, whatever their trigger rules say."""
        ids = [task.task_id for task in tasks]
        if ids:
            ti.xcom_push(key=CHOICE_KEY, value={"skipped": ids})
            _skip_now(ids, ti)

    def skip_all_except(self, ti: Any, branch_task_ids: str | Iterable[str] | None) -> None:
        """Skip what is directly downstream, but for these tasks and what comes after them, which is where they join."""
        task = ti.task
        followed = _checked(task, branch_task_ids)
        self.log.info("Following branch %s", sorted(followed))
        kept = followed.union(*(task.dag.get_task(one).get_flat_relative_ids() for one in followed))
        direct = sorted(task.downstream_task_ids)
        skipped = [task_id for task_id in direct if task_id not in kept]
        if direct:
            self.log.info("Skipping tasks %s", skipped)
            ti.xcom_push(key=CHOICE_KEY, value={"followed": [task_id for task_id in direct if task_id in kept]})
            _skip_now(skipped, ti)


def _skip_now(task_ids: list[str], ti: Any) -> None:
    """What an instance of a mapped task chose holds for its own map index: it is asked for when their turn comes."""
    if task_ids and ti.map_index == -1:
        raise DownstreamTasksSkipped(tasks=task_ids)


def _checked(task: Task, answer: Any) -> set[str]:
    """The ids as a set. Raises AirflowException with those that are possible."""
    ids = [answer] if isinstance(answer, str) else [] if answer is None else answer
    if not isinstance(ids, Iterable):
        raise AirflowException(
            f"task {task.task_id!r} answered {describe(answer)}; "
            "a branch answers a task id, several, or None to skip all"
        )
    found = set(ids)
    downstream = task.get_flat_relative_ids()
    unknown = found - downstream
    if unknown:
        wrong = sorted(map(describe, unknown))
        possible = sorted(task.downstream_task_ids)
        named = ", ".join(possible[:_NAMED_MAX]) + (", ..." if len(possible) > _NAMED_MAX else "")
        raise AirflowException(
            f"task {task.task_id!r} wants to go on with {', '.join(wrong)}, which is no task downstream of it; "
            f"it can answer {named or 'None, as nothing is downstream of it'}"
            + (", ids of groups of them, or None to skip all" if possible else "")
            + "".join(near_miss(one, sorted(downstream)) for one in sorted(map(str, unknown)))
        )
    return found


class BranchMixIn(SkipMixin):
    """`do_branch` for operators that work out an answer of their own."""

    def do_branch(self, context: Any, branches_to_execute: Any) -> Any:
        """Follow these tasks and groups; None follows nothing. Gives them back when nothing is skipped."""
        self.log.info("Branch into %s", branches_to_execute)
        ti = context["ti"]
        self.skip_all_except(ti, _with_groups_opened(ti.task, branches_to_execute))
        return branches_to_execute


def _with_groups_opened(task: Task, answer: Any) -> Any:
    """The ids of groups are replaced by those of the tasks that these begin with."""
    if answer is None or not isinstance(answer, Iterable):
        return answer
    groups = {group.node_id: group for group in inner_groups(task.dag.task_group)}
    found: list[Any] = []
    for one in [answer] if isinstance(answer, str) else answer:
        group = groups.get(one) if isinstance(one, str) else None
        found += [one] if group is None else [root.task_id for root in group.roots]
    return found


class BaseBranchOperator(BaseOperator, BranchMixIn):
    """Derive from it and write `choose_branch`."""

    inherits_from_skipmixin = True

    def choose_branch(self, context: Any) -> str | Iterable[str] | None:
        """The id of a task or group directly downstream, several, or None to skip all."""
        raise NotImplementedError(f"{self.task_type} has no choose_branch()")

    def execute(self, context: Any) -> Any:
        return self.do_branch(context, self.choose_branch(context))


class BranchPythonOperator(BaseBranchOperator, PythonOperator):
    """A function answers."""

    def choose_branch(self, context: Any) -> Any:
        return PythonOperator.execute(self, context)


class _BranchPythonDecoratedOperator(_Decorated, BranchPythonOperator):
    template_fields: Sequence[str] = PythonOperator.template_fields
    custom_operator_name = "@task.branch"


# --- short circuits ----------------------------------------------------------------------------------------------


class ShortCircuitOperator(PythonOperator, SkipMixin):
    """Goes on only when its function answers something true.

    `ignore_downstream_trigger_rules=False` skips what is directly downstream; the rules of others then decide.
    """

    inherits_from_skipmixin = True

    def __init__(self, *, ignore_downstream_trigger_rules: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_downstream_trigger_rules = ignore_downstream_trigger_rules

    def execute(self, context: Any) -> Any:
        condition = super().execute(context)
        self.log.info("Condition result is %s", condition)
        if condition:
            return condition
        ignores_rules = self.ignore_downstream_trigger_rules is True
        after = self.get_flat_relatives() if ignores_rules else self.get_direct_relatives()
        self.log.info("Skipping downstream tasks")
        self.skip(context["ti"], [task for task in after if not task.is_teardown])
        return condition


class _ShortCircuitDecoratedOperator(_Decorated, ShortCircuitOperator):
    template_fields: Sequence[str] = PythonOperator.template_fields
    custom_operator_name = "@task.short_circuit"
