"""What leoflow.yaml says over the loaded DAGs: which of them, their defaults, and where each task runs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from leoflowd.authoring.alerts import alerts_of
from leoflowd.authoring.differences import drop_arguments
from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.project import Project, ProjectConfig
from leoflowd.contract import dag_spec
from leoflowd.contract.dag_spec import DagSpec, DagWarning
from leoflowd.contract.dispatch import Placement
from leoflowd.contract.errors import Invalid
from leoflowd.core.pod_wishes import PodRefused, wishes_of
from leoflowd.core.simple_templates import is_simple

KEPT_FOR_PODS = "it is kept for a cluster; Lite starts each task as a process, and does not look at it"
_OF_A_TASK = re.compile(r"^task '[^']*'")
"""The beginning of a sentence about one."""


def choose(
    dags: list[dict[str, Any]], dag_id: str | None, config: ProjectConfig, project: Project
) -> list[dict[str, Any]]:
    found = sorted(dag["dag_id"] for dag in dags)
    if not found:
        raise no_dag(project)
    for wanted, complain in ((dag_id, None), (config.dag_id, config)):
        if wanted is None:
            continue
        if wanted not in found:
            what = f"dag_id is {wanted!r}"
            why = f"{project.source_path} defines {', '.join(map(repr, found))}"
            if complain is not None:
                raise complain.error("dag_id", what, why, "use the same id in both files, or remove `dag_id:`")
            raise DagCompileError(project.source_path, 1, what, why, "ask for one of these")
        return [dag for dag in dags if dag["dag_id"] == wanted]
    return dags


def no_dag(project: Project) -> DagCompileError:
    return DagCompileError(
        project.source_path,
        1,
        "the file defines no DAG",
        "only DAGs at the top of the file, entered with `with`, or made by calling a @dag function count",
        "create one; for a @dag function, call it at the end of the file",
    )


def finish(
    raw: dict[str, Any], config: ProjectConfig, common: Mapping[str, Any], project: Project, *, for_pods: bool = False
) -> DagSpec:
    _check_task_ids(raw, config)
    places = _places(raw, project)
    for warning in raw["warnings"]:
        warning["path"] = _relative(warning["path"], project)
    timetable = dict(raw["timetable"])
    if timetable.pop("from_text", False):
        timetable["data_interval"] = config.cron_data_intervals
    overrides: dict[str, Any] = {"timetable": timetable, "tasks": [_finish_task(task, config) for task in raw["tasks"]]}
    if config.description is not None:
        overrides["description"] = config.description
    if config.tags is not None:
        overrides["tags"] = sorted(set(config.tags))
    if config.alerts:
        overrides["alerts"] = msgspec.to_builtins(alerts_of(config.alerts))
    if config.callback_timeout_seconds is not None:
        overrides["callback_timeout_s"] = config.callback_timeout_seconds
    if config.max_active_tasks is not None:
        overrides["max_active_tasks"] = config.max_active_tasks
    try:
        spec = dag_spec.checked(msgspec.convert({**raw, **overrides, **common}, DagSpec))
    except Invalid as error:
        path, line = places.get(error.location, places["dag",])
        raise DagCompileError(path, line, str(error), "it could not be stored or run", "correct it") from error
    except msgspec.ValidationError as error:
        named = re.search(r"\$\.tasks\[(\d+)\]", str(error))
        path, line = places["tasks", raw["tasks"][int(named[1])]["task_id"]] if named else places["dag",]
        raise DagCompileError(
            path,
            line,
            f"dag {raw['dag_id']!r} does not fit the artifact",
            str(error),
            "correct that argument",
        ) from error
    warnings = _warnings_of_pods(spec, places, is_refused=for_pods or bool(spec.image))
    return msgspec.structs.replace(spec, warnings=_folded((*spec.warnings, *warnings)))


def _warnings_of_pods(
    spec: DagSpec, places: Mapping[tuple[str | int, ...], tuple[str, int]], *, is_refused: bool
) -> list[DagWarning]:
    """What no cluster would give a task's pod is refused here, where its line is known, and not at its first launch.
    Without a cluster nobody looks at it, and the author is warned."""
    warnings = []
    for task in spec.tasks:
        path, line = places["tasks", task.task_id]
        try:
            wishes_of(Placement("", task.resources, task.execution, task.executor_config))
        except PodRefused as refused:
            what, remedy = f"task {task.task_id!r} asks for what no pod gets", "remove it"
            if is_refused:
                raise DagCompileError(path, line, what, str(refused), remedy) from refused
            warnings.append(
                DagWarning(path=path, line=line, what=f"{what}: {refused}", remedy=f"{remedy} for a cluster")
            )
        else:
            if task.executor_config and not is_refused:
                what = f"task {task.task_id!r} has executor_config"
                warnings.append(DagWarning(path=path, line=line, what=what, remedy=KEPT_FOR_PODS))
    return warnings


def _folded(warnings: tuple[DagWarning, ...]) -> tuple[DagWarning, ...]:
    """One for the tasks that one line makes, in a loop or by a function, where they differ in the task alone."""
    alike: dict[DagWarning, list[DagWarning]] = {}
    for one in warnings:
        alike.setdefault(msgspec.structs.replace(one, what=_OF_A_TASK.sub("task", one.what)), []).append(one)
    return tuple(_with_more(first, len(others)) for first, *others in alike.values())


def _with_more(one: DagWarning, others: int) -> DagWarning:
    told = _OF_A_TASK.sub(rf"\g<0> (and {others} more)", one.what)
    return msgspec.structs.replace(one, what=told) if others else one


def _places(raw: dict[str, Any], project: Project) -> dict[tuple[str | int, ...], tuple[str, int]]:
    """Where the file makes the DAG and each of its tasks, by the locations of `dag_spec.checked`."""

    def place(node: dict[str, Any]) -> tuple[str, int]:
        file = _relative(str(node.pop("file")), project)
        return file or project.source_path, max(1, int(node.pop("line")))

    return {("dag",): place(raw), **{("tasks", task["task_id"]): place(task) for task in raw["tasks"]}}


def _relative(file: str, project: Project) -> str:
    return file.removeprefix(f"{project.folder}{os.sep}")


def _check_task_ids(raw: Mapping[str, Any], config: ProjectConfig) -> None:
    known = sorted(task["task_id"] for task in raw["tasks"])
    for task_id in config.tasks:
        if task_id not in known:
            raise config.error(
                f"tasks.{task_id}",
                f"tasks.{task_id} is no task of dag {raw['dag_id']!r}",
                f"its tasks are {', '.join(known)}",
                "correct the id",
            )


def _finish_task(task: dict[str, Any], config: ProjectConfig) -> dict[str, Any]:
    """`tasks.<id>` of leoflow.yaml wins over the code, the code over `defaults`, those over Airflow's defaults."""
    given = set(task.pop("given"))
    own = config.tasks.get(task["task_id"], {})
    _place(task, own.get("execution"), config)
    for name, key, field in (
        ("retries", "retries", "retries"),
        ("retry_delay", "retry_delay_seconds", "retry_delay_s"),
        ("execution_timeout", "execution_timeout_seconds", "execution_timeout_s"),
    ):
        if key in own:
            task[field] = own[key]
        elif name not in given and key in config.defaults:
            task[field] = config.defaults[key]
    if config.owner is not None and "owner" not in given:
        task["owner"] = config.owner
    if "pool" in own or (config.pool is not None and "pool" not in given):
        task["pool"] = own.get("pool", config.pool)
    task["env"] = own.get("env", {})
    task["resources"] = own.get("resources", _both(config.defaults.get("resources")))
    placement = own.get("execution")
    task["execution"] = placement if isinstance(placement, dict) else _selector(config.defaults.get("node_selector"))
    return task


def _place(task: dict[str, Any], wanted: Any, config: ProjectConfig) -> None:
    """Who runs it, and who renders it; `execution: inline` or `process` of leoflow.yaml decides where both would do."""
    inline_kind = task["kind"] in {"wait", "http"} or bool(task.get("mapped_items"))
    if inline_kind and not is_simple([task.get("wait") or task.get("http"), task.get("mapped_values")]):
        drop_arguments(task)
    process_kind = task.pop("process_kind")
    if wanted == "process" and inline_kind:
        if process_kind is None:
            raise _cannot_place(task, config, "Leoflow has no code for it that a process could run", "remove it")
        task |= {"kind": process_kind, "wait": None, "http": None, "prepare": "daemon"}
        task |= {"mapped_values": [], "mapped_items": []}
    elif wanted == "process" and process_kind is None:
        raise _cannot_place(task, config, "it has nothing to run", "remove it")
    elif wanted == "inline" and task["kind"] not in {"wait", "http", "empty"}:
        why = "it runs code of yours, and the daemon runs none"
        remedy = "remove it, or use a native sensor or HttpOperator with plain data and simple templates"
        raise _cannot_place(task, config, why, remedy)


def _cannot_place(task: Mapping[str, Any], config: ProjectConfig, why: str, remedy: str) -> DagCompileError:
    at = f"tasks.{task['task_id']}.execution"
    shown = task["operator_name"] or task["operator"]
    return config.error(at, f"{at} is {config.tasks[task['task_id']]['execution']}, and it is a {shown}", why, remedy)


def _both(amounts: Mapping[str, str] | None) -> dict[str, Any]:
    return {"requests": dict(amounts), "limits": dict(amounts)} if amounts else {}


def _selector(labels: Mapping[str, str] | None) -> dict[str, Any]:
    return {"node_selector": dict(labels)} if labels else {}
