"""What a task wants skipped, in both runtimes: `tasks` of Airflow's `DownstreamTasksSkipped`, as ids."""

from __future__ import annotations

from typing import Any

_NAMED_MAX = 5


def success(tasks: Any, xcoms: list[dict[str, str]], map_index: int) -> dict[str, Any]:
    """The outcome of a task that ends so: a success. Raises ValueError for what the daemon has no word for."""
    skips = _task_ids(tasks, map_index)
    named = ", ".join(skips[:_NAMED_MAX]) + (", ..." if len(skips) > _NAMED_MAX else "")
    return {"kind": "success", "because": f"The task returned, and skips {named}.", "xcoms": xcoms, "skips": skips}


def _task_ids(tasks: Any, map_index: int) -> list[str]:
    """`tasks` is an id, or a list of ids and of (id, map index)."""
    found = []
    for task in tasks if isinstance(tasks, list) else [tasks]:
        task_id, index = task if isinstance(task, (list, tuple)) else (task, map_index)
        if index not in (-1, map_index):
            raise ValueError(
                f"it skips map index {index} of task {task_id!r}, and can skip a whole task, or the instances of its "
                "own map index; raise AirflowSkipException in that task instead"
            )
        found.append(task_id)
    return found
