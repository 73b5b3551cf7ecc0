"""DAG objects -> the artifact's plain data (`leoflowd.contract.dag_spec`), refusing what could not be honoured.

Called by the compiler's loader only. Every argument of Airflow is in exactly one place here: carried into the
artifact, honoured at run time from the object itself, or refused with a remedy.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta, timezone
from typing import Any

from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.connectors import has_airflow
from airflow._leoflow.dag import DAG
from airflow._leoflow.enums import TriggerRule, WeightRule
from airflow._leoflow.errors import AuthoringError, ShimUnsupported, describe
from airflow._leoflow.names import MODULES
from airflow._leoflow.params import DagParam
from airflow._leoflow.sensors import BaseSensorOperator
from airflow._leoflow.task_group import TaskGroup
from airflow._leoflow.templating import as_json
from airflow._leoflow.timetables import iso_utc
from airflow._leoflow.triggers import StartTriggerArgs
from airflow._leoflow.xcom_arg import Literal, XComArg, iter_outputs

CALLBACK = (
    "callbacks are not run yet",
    "remove it; a task with trigger_rule='one_failed' or 'all_done' can take its place",
)
REFUSED_TASK_ARGUMENTS: dict[str, tuple[str, str]] = {
    **{f"on_{event}_callback": CALLBACK for event in ("execute", "failure", "success", "retry", "skipped")},
    "sla": ("Airflow 3 has removed it", "remove it; use execution_timeout or dagrun_timeout"),
    "retry_policy": ("retry policies are not supported", "use retries, retry_delay and AirflowFailException"),
    "resources": ("Kubernetes resources live outside the code", "set tasks.<id>.resources in leoflow.yaml"),
    "run_as_user": ("all tasks run as the user of the agent", "remove it"),
    "map_index_template": ("dynamic task mapping is not supported yet", "remove it"),
    "executor": ("Leoflow chooses the executor", "remove it"),
    "executor_config": ("there is no executor to configure", "use tasks.<id>.execution in leoflow.yaml"),
    "inlets": ("assets are not supported yet", "remove it"),
    "outlets": ("assets are not supported yet", "remove it"),
    "wait_for_past_depends_before_skipping": ("it is not supported yet", "remove it"),
}
REFUSED_DAG_ARGUMENTS: dict[str, tuple[str, str]] = {
    "on_success_callback": CALLBACK,
    "on_failure_callback": CALLBACK,
    "sla_miss_callback": ("Airflow 3 has removed it", "remove it; use dagrun_timeout"),
    "deadline": ("deadline alerts are not supported yet", "remove it; use dagrun_timeout"),
    "access_control": ("rights are given to roles and users, not in the code", "set them in the UI"),
    "allowed_run_types": ("every type of run is allowed", "remove it"),
    "disable_bundle_versioning": ("a run keeps the version it started with", "remove it"),
    "rerun_with_latest_version": ("a cleared task runs the run's own version", "remove it"),
}
YAML_DEFAULTS: dict[str, Any] = {
    "retries": 0,
    "retry_delay": timedelta(minutes=5),
    "execution_timeout": None,
    "owner": "airflow",
    "pool": "default_pool",
}
"""Arguments for which leoflow.yaml may have a default, with Airflow's."""
LOADING_SINCE = datetime.now(timezone.utc).replace(microsecond=0)
"""The loader imports this module just before it runs the author's file; whole, as files often cut the microseconds."""
EVERY_TRIGGER_RULE = tuple(rule.value for rule in TriggerRule)
EVERY_WEIGHT_RULE = tuple(rule.value for rule in WeightRule)
DISPLAY_DEPTH = 32
UNCARRIED = re.compile("[\x00\ud800-\udfff]")
DOC_LANGUAGES = {"doc_json": "json", "doc_yaml": "yaml", "doc_rst": "rst", "doc": ""}


def serialize_dag(dag: DAG, project: str) -> dict[str, Any]:
    """The DAG as `DagSpec` takes it, without what the compiler adds; `project` is the folder of the project.

    `file` and `line`, here and in each task, say where it is made; the compiler takes them out.
    """
    return _written_down(_serialize_dag, dag, project, f"dag {dag.dag_id!r}")


def _serialize_dag(dag: DAG, project: str) -> dict[str, Any]:
    _refuse_set(dag, REFUSED_DAG_ARGUMENTS, f"dag {dag.dag_id!r}", dag._location)
    for task in dag.tasks:
        task.depend_on_outputs()
    spec = {
        "dag_id": dag.dag_id,
        "dag_display_name": dag.dag_display_name if dag.dag_display_name != dag.dag_id else None,
        "description": dag.description,
        "doc_md": _read_doc(dag.doc_md, project),
        "tags": sorted(str(tag) for tag in dag.tags),
        "owner_links": dict(sorted(dag.owner_links.items())),
        "timetable": dag.timetable.to_spec(),
        "timetable_summary": dag.timetable.summary,
        "timezone": dag.timezone,
        "start_date": _moment(dag.start_date, "start_date", dag._location),
        "end_date": _moment(dag.end_date, "end_date", dag._location),
        "catchup": dag.catchup,
        "max_active_runs": _count(dag.max_active_runs, "max_active_runs", 0, dag._location),
        "max_active_tasks": _count(dag.max_active_tasks, "max_active_tasks", 0, dag._location),
        "max_consecutive_failed_dag_runs": _count(
            dag.max_consecutive_failed_dag_runs, "max_consecutive_failed_dag_runs", 0, dag._location
        ),
        "dagrun_timeout_s": _seconds(dag.dagrun_timeout, "dagrun_timeout", dag._location),
        "fail_fast": dag.fail_fast,
        "is_paused_upon_creation": dag.is_paused_upon_creation,
        "render_template_as_native_obj": dag.render_template_as_native_obj,
        "template_searchpath": [_inside(path, project) for path in dag.template_searchpath],
        "default_args": {str(key): display(value) for key, value in sorted(dag.default_args.items())},
        "params": _params(dag.params.serialize("dag"), dag._location),
        "tasks": [_written_down(serialize_task, task, project, f"task {task.task_id!r}") for task in _in_order(dag)],
        "groups": [serialize_group(group) for group in _groups(dag.task_group)],
        "edge_labels": [
            {"upstream_id": before, "downstream_id": after, "label": label}
            for (before, after), label in sorted(dag.edge_labels.items())
            if label
        ],
        "line": dag._location[1],
        "file": dag._location[0],
    }
    if dag.timetable.summary == "@continuous" and dag.max_active_runs != 1:
        raise AuthoringError(
            f"dag {dag.dag_id!r} has schedule='@continuous' and max_active_runs={dag.max_active_runs}",
            "a continuous DAG starts its next run when the last one has ended",
            "set max_active_runs=1",
            dag._location,
        )
    if dag.fail_fast:
        _check_fail_fast(dag)
    return spec


def _check_fail_fast(dag: DAG) -> None:
    for task in dag.tasks:
        if _text(task.trigger_rule) not in {"all_success", "all_done_setup_success"}:
            raise AuthoringError(
                f"dag {dag.dag_id!r} has fail_fast=True and task {task.task_id!r} has another trigger_rule",
                "fail_fast allows only the trigger rule all_success",
                "remove one of the two",
                task._location,
            )


# --- order and cycles --------------------------------------------------------------------------------------------


def _in_order(dag: DAG) -> list[BaseOperator]:
    """Topological order, ties by id: independent of the order of declaration, which sets may shuffle."""
    import heapq

    waiting = {task_id: len(task.upstream_task_ids) for task_id, task in dag.task_dict.items()}
    ready = [task_id for task_id, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    ordered: list[BaseOperator] = []
    while ready:
        task = dag.task_dict[heapq.heappop(ready)]
        ordered.append(task)
        for after in task.downstream_task_ids:
            waiting[after] -= 1
            if waiting[after] == 0:
                heapq.heappush(ready, after)
    if len(ordered) < len(dag.task_dict):
        raise _cycle(dag, {task.task_id for task in ordered})
    return ordered


def _cycle(dag: DAG, done: set[str]) -> AuthoringError:
    """Walk upstream among the tasks that never became ready: each has one, so the walk must meet itself."""
    path = [min(task_id for task_id in dag.task_dict if task_id not in done)]
    while True:
        before = min(task_id for task_id in dag.task_dict[path[-1]].upstream_task_ids if task_id not in done)
        if before in path:
            circle = [before, *reversed(path[path.index(before) :])]
            return AuthoringError(
                f"the tasks of dag {dag.dag_id!r} form a cycle: {' >> '.join(circle)}",
                "none of them could ever start",
                "remove one of these dependencies",
                dag.task_dict[before]._location,
            )
        path.append(before)


def _groups(group: TaskGroup) -> Iterable[TaskGroup]:
    inner = [child for child in group.children.values() if isinstance(child, TaskGroup)]
    for child in sorted(inner, key=lambda found: found.node_id):
        yield child
        yield from _groups(child)


# --- groups and tasks --------------------------------------------------------------------------------------------


def serialize_group(group: TaskGroup) -> dict[str, Any]:
    parent = group.parent_group
    return {
        "group_id": group.group_id,
        "label": group.group_display_name or group.label,
        "parent_group_id": parent.group_id if parent is not None else None,
        "tooltip": group.tooltip or group.doc_md or "",
        "prefix_group_id": group.prefix_group_id,
        "ui_color": group.ui_color,
        "ui_fgcolor": group.ui_fgcolor,
        "upstream_ids": sorted(group.upstream_group_ids | group.upstream_task_ids),
        "downstream_ids": sorted(group.downstream_group_ids | group.downstream_task_ids),
    }


def _written_down(make: Callable[[Any, str], dict[str, Any]], node: Any, project: str, who: str) -> dict[str, Any]:
    """What `make` gives, with the line of the author for what no check of ours has foreseen."""
    try:
        return make(node, project)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise AuthoringError(
            f"{who} has an argument that cannot be written down: {type(error).__name__}: {error}",
            "the artifact is JSON",
            "use plain values of a usual size",
            node._location,
        ) from error


def serialize_task(task: BaseOperator, project: str) -> dict[str, Any]:
    where = task._location
    _refuse_set(task, REFUSED_TASK_ARGUMENTS, f"task {task.task_id!r}", where)
    _refuse_others(task)
    cls = type(task)
    return {
        "task_id": task.task_id,
        "operator": cls.__name__,
        "operator_name": task.operator_name if task.operator_name != cls.__name__ else None,
        "module": _module_of(cls),
        **_how_it_runs(task),
        "task_display_name": task.task_display_name,
        "upstream_task_ids": sorted(task.upstream_task_ids),
        "group_id": task.task_group.group_id if task.task_group is not None else None,
        "trigger_rule": _one_of(task.trigger_rule, EVERY_TRIGGER_RULE, "trigger_rule", task),
        "is_setup": task.is_setup,
        "is_teardown": task.is_teardown,
        "on_failure_fail_dagrun": task.on_failure_fail_dagrun,
        "depends_on_past": bool(task.depends_on_past),
        "wait_for_downstream": bool(task.wait_for_downstream),
        "ignore_first_depends_on_past": bool(task.ignore_first_depends_on_past),
        "retries": _count(task.retries, "retries", 0, where),
        "retry_delay_s": _seconds(task.retry_delay, "retry_delay", where),
        "retry_exponential_backoff": _backoff(task.retry_exponential_backoff, where),
        "max_retry_delay_s": _seconds(task.max_retry_delay, "max_retry_delay", where),
        "execution_timeout_s": _seconds(task.execution_timeout, "execution_timeout", where),
        "pool": task.pool,
        "pool_slots": _count(task.pool_slots, "pool_slots", 1, where),
        "priority_weight": _count(task.priority_weight, "priority_weight", None, where),
        "weight_rule": _one_of(task.weight_rule, EVERY_WEIGHT_RULE, "weight_rule", task),
        "queue": task.queue,
        "max_active_tis_per_dag": _optional_count(task, "max_active_tis_per_dag"),
        "max_active_tis_per_dagrun": _optional_count(task, "max_active_tis_per_dagrun"),
        "start_date": _moment(task.start_date, "start_date", where),
        "end_date": _moment(task.end_date, "end_date", where),
        "owner": task.owner,
        "do_xcom_push": bool(task.do_xcom_push),
        "multiple_outputs": bool(task.multiple_outputs),
        "template_fields": list(task.template_fields),
        "template_values": {name: display(getattr(task, name, None)) for name in task.template_fields},
        "xcom_refs": _xcom_refs(task),
        "params": _params({k: v for k, v in task.params.serialize("task").items() if k in task._own_params}, where),
        "doc_md": _task_doc(task, project),
        "ui_color": task.ui_color,
        "ui_fgcolor": task.ui_fgcolor,
        "line": where[1],
        "file": where[0],
        "given": sorted(name for name in YAML_DEFAULTS if _is_given(task, name)),
    }


def _how_it_runs(task: BaseOperator) -> dict[str, Any]:
    """`kind`, and for a wait or a call what it is; `process_kind`: how it would run in a process, None if it cannot."""
    found: dict[str, Any] = {"kind": task.kind, "process_kind": task.kind}
    if task.kind == "wait":
        found["wait"] = None if task.needs_process() else as_json(task.leoflow_wait())  # type: ignore[attr-defined]
        found["prepare"] = "process" if found["wait"] is None else "daemon"
        found["process_kind"] = "sensor" if _has_poke(task) else "operator" if has_airflow() else None
    elif task.kind == "http":
        found["http"] = as_json(task.leoflow_http())  # type: ignore[attr-defined]
        found["process_kind"] = "operator" if has_airflow() else "python"
        found["kind"] = task.kind if found["http"] is not None else found["process_kind"]
    elif task.kind == "empty":
        found["process_kind"] = None
    elif task.start_from_trigger and task.start_trigger_args is not None:
        found["deferral"] = _first_deferral(task.start_trigger_args)
    return found


def _first_deferral(arguments: StartTriggerArgs) -> dict[str, Any] | None:
    """What a try begins with; None when its arguments are more than plain JSON: a process then defers with them."""
    timeout = arguments.timeout
    found = {
        "trigger": {"classpath": arguments.trigger_cls, "kwargs": arguments.trigger_kwargs or {}},
        "next_method": arguments.next_method,
        "next_kwargs": arguments.next_kwargs or {},
        "timeout_s": None if timeout is None else max(0.0, timeout.total_seconds()),
    }
    return found if _is_plain(found) else None


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and not key.startswith("__") and _is_plain(one) for key, one in value.items())
    if type(value) is list:
        return all(map(_is_plain, value))
    return value is None or type(value) in (str, bool, int, float)


def _has_poke(task: BaseOperator) -> bool:
    return isinstance(task, BaseSensorOperator) and type(task).poke is not BaseSensorOperator.poke


def _is_given(task: BaseOperator, name: str) -> bool:
    """True when the code chose this value: it then wins over the `defaults` of leoflow.yaml."""
    return name in task._given or name in task._defaults or getattr(task, name) != YAML_DEFAULTS[name]


def _module_of(cls: type) -> str:
    """Where Airflow's documentation has the class."""
    if not cls.__module__.startswith("airflow._leoflow"):
        return cls.__module__
    return MODULES_OF_OPERATORS.get(cls.__name__, "")


MODULES_OF_OPERATORS = {
    "_PythonDecoratedOperator": "airflow.providers.standard.decorators.python",
    "_BashDecoratedOperator": "airflow.providers.standard.decorators.bash",
    "DecoratedSensorOperator": "airflow.providers.standard.decorators.sensor",
    **{
        name: module
        for module, names in MODULES.items()
        if module.startswith("airflow.providers.") and {"operators", "sensors"} & set(module.split("."))
        for name in names
    },
}


def _refuse_set(node: Any, refused: Mapping[str, tuple[str, str]], who: str, where: Any) -> None:
    for name, (why, remedy) in refused.items():
        if getattr(node, name, None):
            raise ShimUnsupported(f"{who} has {name}", why, remedy, where)


def _refuse_others(task: BaseOperator) -> None:
    who, where = f"task {task.task_id!r}", task._location
    if task.email and (task.email_on_failure or task.email_on_retry):
        raise ShimUnsupported(
            f"{who} has email={task.email!r}",
            "mails are not sent",
            "remove it, or set email_on_failure=False and email_on_retry=False",
            where,
        )
    if not task.allow_nested_operators:
        raise ShimUnsupported(f"{who} has allow_nested_operators=False", "it is not supported", "remove it", where)
    if task.operator_extra_links:
        raise ShimUnsupported(f"{who} has operator_extra_links", "they are not supported yet", "remove it", where)
    for name, value in vars(task).items():
        if isinstance(value, XComArg) and not name.startswith("_") and name not in task.template_fields:
            raise AuthoringError(
                f"{who} has the output of task {value.operator.task_id!r} as {name}",
                f"{name} is not a template field of {task.task_type}, so it is needed before that task has run",
                f"pass a plain value; outputs may go into {', '.join(task.template_fields) or 'none of its fields'}",
                where,
            )
    if task.start_from_trigger and task.start_trigger_args is not None:
        return
    if task.kind == "python" and type(task).execute is BaseOperator.execute:
        raise AuthoringError(
            f"{who} is a {task.task_type} without an execute() method",
            "there is nothing to run",
            "use EmptyOperator, or write `def execute(self, context)`",
            where,
        )
    if task.kind == "sensor" and not _has_poke(task) and type(task).execute is BaseSensorOperator.execute:  # type: ignore[attr-defined]
        raise AuthoringError(
            f"{who} is a {task.task_type} without a poke() method",
            "there is nothing to run",
            "write `def poke(self, context)`; a native sensor without one runs no pre_execute and post_execute",
            where,
        )


def _xcom_refs(task: BaseOperator) -> list[dict[str, str]]:
    found = {
        (output.operator.task_id, output.key)
        for name in task.template_fields
        for output in iter_outputs(getattr(task, name, None))
    }
    return [{"task_id": task_id, "key": key} for task_id, key in sorted(found)]


def _task_doc(task: BaseOperator, project: str) -> str | None:
    if task.doc_md:
        return _read_doc(task.doc_md, project)
    for name, language in DOC_LANGUAGES.items():
        text = getattr(task, name)
        if text:
            return f"```{language}\n{text}\n```" if language else str(text)
    return None


def _read_doc(text: Any, project: str) -> str | None:
    """A text that ends in `.md` names a file, as in Airflow; a missing file is shown as the text itself."""
    if text is None or not str(text).endswith(".md"):
        return None if text is None else str(text)
    try:
        with open(os.path.join(project, str(text)), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return str(text)


# --- values ------------------------------------------------------------------------------------------------------


def display(value: Any, levels: int = DISPLAY_DEPTH) -> Any:
    """A value as JSON, for people: outputs as their Jinja text, other objects as a name without memory addresses.

    Whatever it holds can be stored: it is shown, never refused (ADR 18).
    """
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int:
        return value if value.bit_length() <= 63 else describe(value)
    if isinstance(value, float):
        return value if abs(value) < 2.0**63 else str(value)  # not a number is not smaller either
    if isinstance(value, Literal):
        return display(value.value, levels)
    if isinstance(value, (Mapping, set, frozenset, list, tuple)):
        return _display_all(value, levels - 1) if levels > 0 else "..."
    return _storable(_display_text(value))


def _display_all(value: Any, levels: int) -> Any:
    if isinstance(value, Mapping):
        return {_storable(str(key)): display(item, levels) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((display(item, levels) for item in value), key=repr)
    return [display(item, levels) for item in value]


def _display_text(value: Any) -> str:
    if isinstance(value, (str, XComArg, DagParam)):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (date, timedelta)):
        return str(value)
    if callable(value):
        return f"<callable {getattr(value, '__qualname__', type(value).__name__)}>"
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def _storable(text: str) -> str:
    """As `shown` of `leoflowd.contract.values`, which is out of reach here."""
    return UNCARRIED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _params(params: Mapping[str, Any], where: Any) -> dict[str, Any]:
    for name, param in params.items():
        if not isinstance(param["schema"], dict):
            raise AuthoringError(
                f"param {name!r} has schema={describe(param['schema'])}", "a JSON schema is a dict", "correct it", where
            )
    # JSON has text keys only; `values_display={1: "one", None: "none"}` is common, and its keys do not sort.
    normal: dict[str, Any] = json.loads(json.dumps(dict(params), allow_nan=False))
    return normal


def _seconds(value: Any, name: str, where: Any) -> float | None:
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
        raise AuthoringError(
            f"{name} is {describe(value)}", "it must be a timedelta or seconds, and not negative", "correct it", where
        )
    return float(seconds)


def _backoff(value: Any, where: Any) -> float:
    if value is True:
        return 2.0
    if not isinstance(value, (bool, int, float)) or not 0 <= value < float("inf"):
        raise AuthoringError(
            f"retry_exponential_backoff is {describe(value)}",
            "it must be True, False or a number >= 0",
            "correct it",
            where,
        )
    return float(value)


def _count(value: Any, name: str, least: int | None, where: Any) -> int:
    is_whole = isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 64
    if not is_whole or (least is not None and value < least):
        limit = "" if least is None else f" of at least {least}"
        raise AuthoringError(f"{name} is {describe(value)}", f"it must be a whole number{limit}", "correct it", where)
    return int(value)


def _optional_count(task: BaseOperator, name: str) -> int | None:
    value = getattr(task, name)
    return None if value is None else _count(value, name, 1, task._location)


def _moment(value: Any, name: str, where: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise AuthoringError(
            f"{name} is {describe(value)}", "it must be a datetime", "write for example datetime(2024, 1, 1)", where
        )
    try:
        written = iso_utc(value)
    except (ValueError, OverflowError) as error:
        raise AuthoringError(
            f"{name} is {describe(value)}", f"it has no form in UTC: {error}", "write a moment of our age", where
        ) from error
    if _is_now(value):
        raise AuthoringError(
            f"{name} is the moment at which the file was loaded",
            "each loading would give another DAG, and a version must mean the same each time",
            "write a fixed moment, for example datetime(2024, 1, 1)",
            where,
        )
    return written


def _is_now(value: datetime) -> bool:
    """Whether the file took it from its clock: two loads side by side may read the same microsecond."""
    now = datetime.now(timezone.utc)
    if abs(value.year - now.year) > 1:  # local time may not reach to the ends of time
        return False
    meanings = [value] if value.tzinfo else [value.astimezone(), value.replace(tzinfo=timezone.utc)]
    return any(LOADING_SINCE <= meaning <= now for meaning in meanings)


def _text(value: Any) -> str:
    return str(getattr(value, "value", value))


def _one_of(value: Any, allowed: Iterable[str], name: str, task: BaseOperator) -> str:
    text = _text(value)
    if text not in allowed:
        raise AuthoringError(
            f"task {task.task_id!r} has {name}={text!r}",
            "there is no such rule",
            f"use one of {', '.join(allowed)}",
            task._location,
        )
    return text


def _inside(path: str, project: str) -> str:
    """Paths inside the project are kept relative: the artifact must not name folders of the compiling machine."""
    absolute = os.path.abspath(os.path.join(project, path))
    relative = os.path.relpath(absolute, project)
    return absolute if relative.startswith("..") else relative
