"""`DAG`: a workflow with its tasks, its schedule and how its runs behave.

Arguments are only stored here; `serialize.py` refuses those we cannot honour, because attributes may also be set after
construction.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow._leoflow import asset_schedule, context, old_names
from airflow._leoflow.dependencies import as_list
from airflow._leoflow.errors import (
    AuthoringError,
    Location,
    TaskAlreadyInTaskGroup,
    TaskNotFound,
    user_location,
    warn,
)
from airflow._leoflow.ids import near_miss, validate_id
from airflow._leoflow.params import NOTSET, DagParam, ParamsDict
from airflow._leoflow.task_group import TaskGroup
from airflow._leoflow.timetables import create_timetable, timezone_name
from airflow._leoflow.timezone import parse

if TYPE_CHECKING:
    from airflow._leoflow.base_operator import BaseOperator
    from airflow._leoflow.task import Task


class DAG:
    """A workflow: its tasks, its schedule, and how its runs behave."""

    def __init__(self, dag_id: str, *positional: Any, **given: Any) -> None:
        """Arguments of Airflow 3, and those of Airflow 1.10 and 2 (`moved.py`), by their names or in their order."""
        location = user_location()
        arguments, keeps_intervals = old_names.dag_arguments(dag_id, positional, given, location)
        self._begin(dag_id, location, keeps_intervals=keeps_intervals, **arguments)

    @property
    def task(self) -> Any:
        """`@dag.task`: `@task` for this DAG, which need not be open."""
        from airflow._leoflow.decorators import task  # it needs this class

        return functools.partial(task, dag=self)

    def _begin(
        self,
        dag_id: str,
        location: Location,
        *,
        keeps_intervals: bool,
        description: str | None = None,
        default_args: Mapping[str, Any] | None = None,
        start_date: Any = None,
        end_date: Any = None,
        schedule: Any = None,
        template_searchpath: str | Iterable[str] | None = None,
        template_undefined: Any = None,
        user_defined_macros: dict[str, Any] | None = None,
        user_defined_filters: dict[str, Any] | None = None,
        max_active_tasks: int = 16,
        max_active_runs: int = 16,
        max_consecutive_failed_dag_runs: int = 0,
        dagrun_timeout: timedelta | None = None,
        deadline: Any = None,
        catchup: bool = False,
        on_success_callback: Any = None,
        on_failure_callback: Any = None,
        doc_md: str | None = None,
        params: Mapping[str, Any] | None = None,
        access_control: Any = None,
        is_paused_upon_creation: bool | None = None,
        jinja_environment_kwargs: dict[str, Any] | None = None,
        render_template_as_native_obj: bool = False,
        tags: Iterable[str] | None = None,
        owner_links: dict[str, str] | None = None,
        auto_register: bool = True,
        fail_fast: bool = False,
        allowed_run_types: Any = None,
        dag_display_name: str | None = None,
        disable_bundle_versioning: bool = False,
        rerun_with_latest_version: bool | None = None,
        **unknown: Any,
    ) -> None:
        self._location = location
        if unknown:
            raise _unknown_dag_arguments(dag_id, unknown)
        self.dag_id = validate_id(dag_id, "dag_id")
        self.description = description
        self.default_args: dict[str, Any] = _with_moments(dict(default_args or {}))
        self.start_date = start_date if start_date is not None else self.default_args.get("start_date")
        self.end_date = end_date if end_date is not None else self.default_args.get("end_date")
        self.timezone = timezone_name(getattr(self.start_date, "tzinfo", None))
        self.schedule = schedule
        self.timetable = asset_schedule.timetable_of(schedule) or create_timetable(
            schedule, self.timezone, keeps_intervals=keeps_intervals
        )
        searchpath = [template_searchpath] if isinstance(template_searchpath, str) else template_searchpath or ()
        self.template_searchpath: tuple[str, ...] = tuple(searchpath)
        self.template_undefined = template_undefined
        self.user_defined_macros = user_defined_macros
        self.user_defined_filters = user_defined_filters
        self.jinja_environment_kwargs = jinja_environment_kwargs
        self.render_template_as_native_obj = bool(render_template_as_native_obj)
        self.max_active_tasks = max_active_tasks
        self.max_active_runs = max_active_runs
        self.max_consecutive_failed_dag_runs = max_consecutive_failed_dag_runs
        self.dagrun_timeout = dagrun_timeout
        self.deadline = deadline
        self.catchup = bool(catchup)
        self.on_success_callback = on_success_callback
        self.on_failure_callback = on_failure_callback
        self.doc_md = doc_md
        self.params = ParamsDict(self.default_args.get("params"))
        self.params.update(params or {})
        self.access_control = access_control
        self.is_paused_upon_creation = is_paused_upon_creation
        self.tags: set[str] = set(tags or ())
        self.owner_links: dict[str, str] = dict(owner_links or {})
        self.auto_register = auto_register
        self.fail_fast = fail_fast
        self.allowed_run_types = allowed_run_types
        self.dag_display_name = dag_display_name or dag_id
        self.disable_bundle_versioning = disable_bundle_versioning
        self.rerun_with_latest_version = rerun_with_latest_version
        self.task_dict: dict[str, BaseOperator] = {}
        self.used_ids: set[str] = set()
        self.suffixes: dict[str, int] = {}
        self.edge_labels: dict[tuple[str, str], str] = {}
        self.task_group = TaskGroup(None, dag=self)
        self.fileloc = self._location[0]

    def add_task(self, task: Task) -> None:
        """Take a task in; called by the operator itself, and for tasks that were made before their DAG."""
        if task._dag is self:
            return
        if task.task_group is None:
            task.task_group = self.task_group
            self.task_group.add(task)
        elif task.task_group.dag is not self:
            raise TaskAlreadyInTaskGroup(f"task {task.task_id!r} is in a group of dag {task.task_group.dag.dag_id!r}")
        task._dag = self
        self.task_dict[task.task_id] = task  # type: ignore[assignment]  # the only tasks that there are

    def __rshift__(self, other: Any) -> Any:
        """`dag >> first >> second`, as Airflow 1 had it: the tasks beside it are the DAG's."""
        old_names.warn_of_dag_in_chain(self.dag_id, user_location())
        for node in as_list(other):
            for task in node.roots:
                task.dag = self
        return other

    __lshift__ = __rshift__

    def add_tasks(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            self.add_task(task)

    @property
    def tasks(self) -> list[BaseOperator]:
        return list(self.task_dict.values())

    @property
    def task_ids(self) -> list[str]:
        return list(self.task_dict)

    @property
    def task_count(self) -> int:
        return len(self.task_dict)

    @property
    def owner(self) -> str:
        """Of all its tasks, as the UI shows it."""
        return ", ".join(sorted({task.owner for task in self.tasks}))

    @property
    def folder(self) -> str:
        """Where its file lies."""
        return os.path.dirname(self.fileloc)

    @property
    def roots(self) -> list[BaseOperator]:
        return [task for task in self.tasks if not task.upstream_task_ids]

    @property
    def leaves(self) -> list[BaseOperator]:
        return [task for task in self.tasks if not task.downstream_task_ids]

    def has_task(self, task_id: str) -> bool:
        return task_id in self.task_dict

    def get_task(self, task_id: str) -> BaseOperator:
        try:
            return self.task_dict[task_id]
        except KeyError:
            near = near_miss(task_id, self.task_dict)
            raise TaskNotFound(f"dag {self.dag_id!r} has no task {task_id!r}{near}") from None

    def param(self, name: str, default: Any = NOTSET) -> DagParam:
        return DagParam(self, name, default)

    def set_edge_info(self, upstream_task_id: str, downstream_task_id: str, info: Mapping[str, Any]) -> None:
        self.edge_labels[(upstream_task_id, downstream_task_id)] = info.get("label") or ""

    def __enter__(self) -> DAG:
        context.open_dags.append(self)
        context.open_groups.append(self.task_group)
        return self

    def __exit__(self, *_: object) -> None:
        context.open_dags.pop()
        context.open_groups.pop()
        if self.auto_register and self not in context.registered_dags:
            context.registered_dags.append(self)

    def test(self, *_: Any, **__: Any) -> None:
        """Left out in tries as well: each would run the whole DAG."""
        warn(f"dag {self.dag_id!r} calls .test(), which has no effect", "run `leoflow test FOLDER`", dag_id=self.dag_id)

    def cli(self) -> None:
        warn(f"dag {self.dag_id!r} calls .cli(), which has no effect", "use the `leoflow` command", dag_id=self.dag_id)

    def __repr__(self) -> str:
        return f"<DAG: {self.dag_id}>"


def _with_moments(default_args: dict[str, Any]) -> dict[str, Any]:
    """`default_args` may write a date as ISO text, as in Airflow."""
    for name in ("start_date", "end_date"):
        if isinstance(default_args.get(name), str):
            default_args[name] = parse(default_args[name])
    return default_args


def _unknown_dag_arguments(dag_id: str, unknown: Mapping[str, Any]) -> AuthoringError:

    return AuthoringError(
        f"dag {dag_id!r} has the argument {', '.join(sorted(unknown))}", "Airflow does not know it", "remove it"
    )
