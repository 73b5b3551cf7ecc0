"""Arguments of Airflow that Leoflow does not honour: which, why, and what to do instead. `serialize` asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.errors import AuthoringError, ShimUnsupported, warn
from airflow._leoflow.mapping import MappedOperator
from airflow._leoflow.sensors import BaseSensorOperator
from airflow._leoflow.xcom_arg import MappedArgument, XComArg

WITHOUT_PROCESS = frozenset({"empty", "wait", "http"})
REFUSED_TASK_ARGUMENTS: dict[str, tuple[str, str]] = {
    "retry_policy": ("retry policies are not supported", "use retries, retry_delay and AirflowFailException"),
    "resources": ("Kubernetes resources live outside the code", "set tasks.<id>.resources in leoflow.yaml"),
    "run_as_user": ("all tasks run as the user of the agent", "remove it"),
    "wait_for_past_depends_before_skipping": ("it is not supported yet", "remove it"),
}
REFUSED_DAG_ARGUMENTS: dict[str, tuple[str, str]] = {
    "allowed_run_types": ("every type of run is allowed", "remove it"),
    "disable_bundle_versioning": ("a run keeps the version it started with", "remove it"),
    "rerun_with_latest_version": ("a cleared task runs the run's own version", "remove it"),
}


WITHOUT_EFFECT = {
    "access_control": "it gives nobody a right: those are given to roles (`leoflow roles`), by id, tag or team",
    "executor": "Leoflow chooses what runs it: remove it",
}
"""What can only give more, or only place work: a warning is enough."""


def warn_of_set(node: Any, names: Iterable[str], who: str, dag_id: str) -> None:
    for name in names:
        if getattr(node, name, None):
            warn(f"{who} has {name}, which has no effect here", WITHOUT_EFFECT[name], node._location, dag_id)


def refuse_set(node: Any, refused: Mapping[str, tuple[str, str]], who: str, where: Any) -> None:
    for name, (why, remedy) in refused.items():
        if getattr(node, name, None):
            raise ShimUnsupported(f"{who} has {name}", why, remedy, where)


def links_of(task: BaseOperator) -> list[Any]:
    """Its `operator_extra_links`. Raises `AuthoringError` for what is no link."""
    links = task.operator_extra_links
    if not isinstance(links, (list, tuple)):  # a property, of a mapped task's class
        return []
    for link in links:
        name = None if isinstance(link, type) else getattr(link, "name", None)
        if not (isinstance(name, str) and name and callable(getattr(link, "get_link", None))):
            raise AuthoringError(
                f"task {task.task_id!r} has {link!r:.80} among its operator_extra_links",
                "it is no link with a name and get_link()",
                "make it of a subclass of airflow.sdk.BaseOperatorLink",
                task._location,
            )
    return list(links)


def refuse_others(task: BaseOperator) -> None:
    who, where = f"task {task.task_id!r}", task._location
    if not task.allow_nested_operators:
        raise ShimUnsupported(f"{who} has allow_nested_operators=False", "it is not supported", "remove it", where)
    if links_of(task) and task.kind in WITHOUT_PROCESS:
        raise ShimUnsupported(
            f"{who} has operator_extra_links",
            f"a task's process makes them, and a {task.task_type} has none",
            "remove them",
            where,
        )
    shared = task.arguments if isinstance(task, MappedOperator) else {}
    for name, value in {**shared, **vars(task)}.items():
        is_output = isinstance(value, (XComArg, MappedArgument)) and not name.startswith("_")
        if is_output and name not in task.template_fields:
            source = value.operator.task_id if isinstance(value, XComArg) else value.key
            raise AuthoringError(
                f"{who} has the output of task {source!r} as {name}",
                f"{name} is not a template field of {task.task_type}, so it is needed before that task has run",
                f"pass a plain value; outputs may go into {', '.join(task.template_fields) or 'none of its fields'}",
                where,
            )
    described = task.operator_class if isinstance(task, MappedOperator) else task
    if described.start_from_trigger and described.start_trigger_args is not None:
        return
    if task.kind == "python" and task.operator_class.execute is BaseOperator.execute:
        raise AuthoringError(
            f"{who} is a {task.task_type} without an execute() method",
            "there is nothing to run",
            "use EmptyOperator, or write `def execute(self, context)`",
            where,
        )
    if task.kind == "sensor" and not has_poke(task) and task.operator_class.execute is BaseSensorOperator.execute:
        raise AuthoringError(
            f"{who} is a {task.task_type} without a poke() method",
            "there is nothing to run",
            "write `def poke(self, context)`; a native sensor without one runs no pre_execute and post_execute",
            where,
        )


def has_poke(task: BaseOperator) -> bool:
    cls = task.operator_class
    return issubclass(cls, BaseSensorOperator) and cls.poke is not BaseSensorOperator.poke
