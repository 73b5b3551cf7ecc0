"""What differs between two loads of one file: left to the task's process, or an error at its first difference."""

from __future__ import annotations

from typing import Any

from leoflowd.authoring.errors import DagCompileError


def leave_to_processes(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    """Arguments of a wait or a call may differ, as in `TimeSensor(target_time=datetime.now().time())`.

    The task's process evaluates them, as Airflow would. Structure that differs is left as it is, and an error.
    """
    for one_dag, other_dag in zip(first, second, strict=False):
        for one, other in zip(one_dag["tasks"], other_dag["tasks"], strict=False):
            is_inline = {one["kind"], other["kind"]} in ({"wait"}, {"http"})
            if is_inline and any(one.get(key) != other.get(key) for key in ("wait", "http", "template_values")):
                _prepare_in_process(one)
                _prepare_in_process(other)


def _prepare_in_process(task: dict[str, Any]) -> None:
    """What the artifact would say of its arguments holds for one load only."""
    task["template_values"] = {}
    drop_arguments(task)


def drop_arguments(task: dict[str, Any]) -> None:
    """A wait gets its spec from a short process; a call is made by a process."""
    if task["kind"] == "wait":
        task["wait"], task["prepare"] = None, "process"
    else:
        task["kind"], task["http"] = task["process_kind"], None


def not_deterministic(first: Any, second: Any, shown: str) -> DagCompileError:
    where, line = _first_difference(first, second)
    return DagCompileError(
        shown,
        line,
        f"loading the file twice gave two different DAGs (first difference: {where})",
        "a version must mean the same each time it is loaded",
        "do not use the clock, random values, or the order of a set at the top of the file; sort sets",
    )


def _first_difference(first: Any, second: Any, path: str = "", line: int = 1) -> tuple[str, int]:
    if isinstance(first, dict) and isinstance(second, dict):
        line = first.get("line", line)
        name = first.get("task_id") or first.get("dag_id")
        path = f"{path} ({name})" if name else path
        for key in sorted(first.keys() | second.keys()):
            if first.get(key) != second.get(key):
                return _first_difference(first.get(key), second.get(key), f"{path}.{key}".lstrip("."), line)
    if isinstance(first, list) and isinstance(second, list):
        for index, (one, other) in enumerate(zip(first, second, strict=False)):
            if one != other:
                return _first_difference(one, other, f"{path}[{index}]", line)
        return f"{path} has {len(first)} and {len(second)} entries", line
    return f"{path}: {str(first)[:80]!r} and {str(second)[:80]!r}", line
