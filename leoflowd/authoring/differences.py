"""What differs between two loads of one file: pinned, left to the task's process, or an error where it begins."""

from __future__ import annotations

from typing import Any

from leoflowd.authoring.errors import DagCompileError

PINNED_OF_DAG = ("start_date", "end_date", "description", "doc_md", "default_args", "params", "param_order")
PINNED_OF_TASK = ("start_date", "end_date", "doc_md", "params")
"""Clocks and chance in these are the value of one moment: what the first loading gave holds for the version."""
INLINE = ("wait", "http", "mapped_values", "mapped_items", "deferral")
REMEDY = "take clocks and random values inside a task, or as a template; what a secret goes into may stay as it is"


def reconcile(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    """Arguments may differ, as in `TimeSensor(target_time=datetime.now().time())`: the task's process evaluates them,
    as Airflow would. Dates and texts are pinned, with a warning. Structure that differs is left as it is, and an error.
    """
    for one_dag, other_dag in zip(first, second, strict=False):
        if len(one_dag["tasks"]) == len(other_dag["tasks"]):
            for one, other in zip(one_dag["tasks"], other_dag["tasks"], strict=True):
                _reconcile_task(one, other, one_dag)
        pinned = _pin(one_dag, other_dag, PINNED_OF_DAG)
        if pinned:
            _warn(one_dag, one_dag, f"{', '.join(pinned)} of the DAG", "pinned when the file is compiled")
        other_dag["warnings"] = one_dag["warnings"]


def _reconcile_task(one: dict[str, Any], other: dict[str, Any], dag: dict[str, Any]) -> None:
    if one["task_id"] != other["task_id"]:
        return
    fields = sorted(one["template_fields"])
    if one["template_fields"] != other["template_fields"] and fields == sorted(other["template_fields"]):
        one["template_fields"] = other["template_fields"] = fields  # of a set, as in Google's operators of pods
    pinned = _pin(one, other, PINNED_OF_TASK)
    own = [name for name in pinned if one[name] != dag.get(name)]
    if own:
        _warn(dag, one, f"{', '.join(own)} of task {one['task_id']!r}", "pinned when the file is compiled")
    arguments = [key for key in (*INLINE, "template_values") if one.get(key) != other.get(key)]
    if arguments:
        for task in (one, other):
            task["template_values"] = {}  # what the artifact would say of them holds for one load only
            task["deferral"] = None
            if task["kind"] in INLINE or task.get("mapped_items"):
                drop_arguments(task)
        _warn(dag, one, f"arguments of task {one['task_id']!r}", "evaluated again by each try")


def _pin(one: dict[str, Any], other: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    found = [name for name in names if one.get(name) != other.get(name)]
    for name in found:
        other[name] = one[name]
    return found


def _warn(dag: dict[str, Any], node: dict[str, Any], what: str, how: str) -> None:
    line = max(1, node["line"])
    if any(warning.get("varies") and warning["line"] == line for warning in dag["warnings"]):
        return  # seen while loading: it is the moment of the loading itself
    what = f"{what}: not the same each time the file is loaded"
    remedy = f"{how}; {REMEDY}"
    dag["warnings"].append({"path": node["file"], "line": line, "what": what, "remedy": remedy, "varies": True})


def drop_arguments(task: dict[str, Any]) -> None:
    """A wait gets its spec from a short process; a call is made by a process."""
    task["mapped_values"], task["mapped_items"] = [], []
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
        "do not use the clock, random values, secrets, or the order of a set for ids and dependencies; sort sets",
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
