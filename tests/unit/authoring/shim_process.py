"""What the task runner does with an operator of the shim, in this process: load, find, set the context, call."""

from __future__ import annotations

from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any

LOGICAL_DATE = datetime(2024, 3, 1, tzinfo=UTC)
STARTED_AT = datetime(2024, 3, 2, 7, tzinfo=UTC)


class TaskInstance:
    """What sensors ask of `ti`."""

    def __init__(self, first_started_at: datetime | None = None) -> None:
        self.start_date = STARTED_AT
        self.first_started_at = first_started_at
        self.pushed: dict[str, Any] = {}
        self.map_index = -1
        self.task: Any = None
        self.latest_window: Any = None

    def get_first_reschedule_date(self, context: Any) -> datetime | None:
        return self.first_started_at

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


class Process:
    """A task process that has loaded one project."""

    def __init__(self, runtime: ModuleType, folder: str, *, first_started_at: datetime | None = None) -> None:
        self.runtime = runtime
        self.dags = runtime.load_project(folder)
        self.ti = TaskInstance(first_started_at)
        self.context: dict[str, Any] = {
            "ti": self.ti,
            "logical_date": LOGICAL_DATE,
            "data_interval_end": LOGICAL_DATE,
            "dag_run": SimpleNamespace(run_after=LOGICAL_DATE, logical_date=LOGICAL_DATE, run_type="scheduled"),
            "ds": "2024-03-01",
        }
        runtime.set_current_context(self.context)

    def task(self, task_id: str) -> Any:
        (dag,) = self.dags.values()
        return dag.task_dict[task_id]

    def run(self, task_id: str) -> Any:
        self.ti.task = self.task(task_id)
        return self.runtime.execute(self.ti.task, self.context)
