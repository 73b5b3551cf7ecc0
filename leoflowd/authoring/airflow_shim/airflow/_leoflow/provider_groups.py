"""Task groups of providers that add tasks of their own: which those are, so that the artifact has them.

The task's process makes the group again, with the real class.
"""

from __future__ import annotations

from typing import Any

from airflow._leoflow.captured import CapturedOperator, check_provider
from airflow._leoflow.errors import ShimUnsupported
from airflow._leoflow.task_group import TaskGroup

DATABRICKS = "airflow.providers.databricks.operators.databricks_workflow"
_GROUP_ARGUMENTS = frozenset(
    """group_id prefix_group_id parent_group dag default_args tooltip ui_color ui_fgcolor add_suffix_on_collision
    group_display_name doc_md""".split()
)


class DatabricksWorkflowTaskGroup(TaskGroup):
    """Its tasks are one job of Databricks, which a task `launch` starts before them."""

    def __init__(self, databricks_conn_id: str, **kwargs: Any) -> None:
        check_provider(DATABRICKS, f"task group {kwargs.get('group_id')!r} is a {type(self).__name__}")
        super().__init__(**{name: kwargs.pop(name) for name in tuple(kwargs) if name in _GROUP_ARGUMENTS})
        self._job = {"databricks_conn_id": databricks_conn_id, **kwargs}

    def __exit__(self, *failure: object) -> None:
        if not any(failure):
            self._launch()
        super().__exit__(*failure)

    def _launch(self) -> None:
        first = list(self.get_roots())
        job = {name: value for name, value in self._job.items() if name != "notebook_packages"}
        launch = _CreateDatabricksWorkflowOperator(task_id="launch", dag=self.dag, task_group=self, **job)
        for task in first:
            task.set_upstream(launch)
        # Edges drawn before the `with` found neither this task nor any other.
        for task_id in sorted(self.upstream_task_ids):
            launch.set_upstream(self.dag.get_task(task_id))
        for task_id in sorted(self.downstream_task_ids):
            for task in self.get_leaves():
                task.set_downstream(self.dag.get_task(task_id))


class _CreateDatabricksWorkflowOperator(CapturedOperator):
    __module__ = DATABRICKS  # for the artifact
    captured_from = DATABRICKS


GROUPS = {(DATABRICKS, "DatabricksWorkflowTaskGroup"): DatabricksWorkflowTaskGroup}


def group_class(module: str, name: str) -> type:
    """The class of a provider's task group. One that is not known here may be imported, not made."""
    if (module, name) in GROUPS:
        return GROUPS[module, name]

    def refuse(cls: type, *_: Any, **__: Any) -> Any:
        raise ShimUnsupported(
            f"a {name} of {module} is made",
            "which tasks it adds only its own package knows",
            "use a TaskGroup and the operators of the provider",
        )

    return type(name, (), {"__module__": module, "__new__": refuse})
