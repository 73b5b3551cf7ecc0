"""What Airflow refuses of a whole DAG, and we therefore too. `serialize.py` asks when the file has been loaded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.checked_values import text_of
from airflow._leoflow.dag import DAG
from airflow._leoflow.errors import AuthoringError, ParamValidationError, describe


def check_dag(dag: DAG) -> None:
    """Raises `AuthoringError`."""
    who, where = f"dag {dag.dag_id!r}", dag._location
    is_scheduled = dag.timetable.summary is not None
    if dag.timetable.summary == "@continuous" and dag.max_active_runs != 1:
        raise AuthoringError(
            f"{who} has schedule='@continuous' and max_active_runs={dag.max_active_runs}",
            "a continuous DAG starts its next run when the last one has ended",
            "set max_active_runs=1",
            where,
        )
    if is_scheduled and dag.catchup and dag.start_date is None:
        raise AuthoringError(
            f"{who} has catchup=True and no start_date", "nothing says where to begin", "pass start_date=...", where
        )
    if is_scheduled:
        _check_params(dag)
    for task in dag.tasks:
        if dag.fail_fast and text_of(task.trigger_rule) not in {"all_success", "all_done_setup_success"}:
            raise AuthoringError(
                f"{who} has fail_fast=True and task {task.task_id!r} has another trigger_rule",
                "fail_fast allows only the trigger rule all_success",
                "remove one of the two",
                task._location,
            )


def _check_params(dag: DAG) -> None:
    for name in dag.params:
        param = dag.params.get_param(name)
        try:
            param.resolve()
        except ParamValidationError as error:
            raise AuthoringError(
                f"dag {dag.dag_id!r} has a schedule, and its param {name!r} has no valid default",
                f"a scheduled run has nobody who could fill it in: {error}",
                "give it a default that its schema allows, or schedule=None",
                dag._location,
            ) from error


def check_task(task: BaseOperator) -> None:
    """Raises `AuthoringError`."""
    who, where = f"task {task.task_id!r}", task._location
    if task.execution_timeout is not None and not isinstance(task.execution_timeout, timedelta):
        value: Any = task.execution_timeout
        raise AuthoringError(
            f"{who} has execution_timeout={describe(value)}",
            "it must be a timedelta",
            f"write execution_timeout=timedelta(seconds={value})" if isinstance(value, int | float) else "correct it",
            where,
        )
    if task.is_setup and task.is_teardown:
        raise AuthoringError(
            f"{who} is a setup and a teardown", "a task can be one of the two", "remove one of the two", where
        )
    if not task.is_setup:
        return
    for after in task.downstream_list:
        if not after.is_teardown and text_of(after.trigger_rule) != "all_success":
            raise AuthoringError(
                f"task {after.task_id!r} follows the setup {task.task_id!r} with another trigger_rule",
                "what a setup prepares is only there when it succeeded",
                "use trigger_rule='all_success' after a setup",
                after._location,  # type: ignore[attr-defined]  # every task is an operator
            )
