"""DAG objects -> the artifact's plain data (`leoflowd.contract.dag_spec`).

Called by the compiler's loader only. Every argument of Airflow is in exactly one place: carried into the artifact here,
honoured at run time from the object itself, or refused with a remedy (`refused_arguments`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from airflow._leoflow import executor_config
from airflow._leoflow.asset_specs import asset_specs, condition_spec
from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.callbacks import DAG_EVENTS, TASK_EVENTS, events_of, mails_of
from airflow._leoflow.checked_values import (
    backoff,
    count,
    inside,
    moment,
    one_of,
    optional_count,
    params_of,
    seconds,
)
from airflow._leoflow.connectors import has_airflow
from airflow._leoflow.custom_timetable import timetable_spec
from airflow._leoflow.dag import DAG
from airflow._leoflow.dag_checks import check_dag, check_task
from airflow._leoflow.deadlines import deadlines_of
from airflow._leoflow.enums import TriggerRule, WeightRule
from airflow._leoflow.errors import AuthoringError, Warned, warned
from airflow._leoflow.mapped_group import MappedTaskGroup
from airflow._leoflow.mapped_plain import RealPackageNeeded, item_form, plain_form
from airflow._leoflow.mapping import MappedOperator
from airflow._leoflow.names import MODULES
from airflow._leoflow.old_names import warn_of_context
from airflow._leoflow.plugin_bases import weight_of
from airflow._leoflow.refused_arguments import (
    REFUSED_DAG_ARGUMENTS,
    REFUSED_TASK_ARGUMENTS,
    has_poke,
    links_of,
    refuse_others,
    refuse_set,
    warn_of_set,
)
from airflow._leoflow.shown_values import display
from airflow._leoflow.task_group import TaskGroup
from airflow._leoflow.task_order import in_order, inner_groups
from airflow._leoflow.templating import as_json, texts
from airflow._leoflow.timetables import iso_utc
from airflow._leoflow.timezone import convert_to_utc
from airflow._leoflow.triggers import StartTriggerArgs
from airflow._leoflow.xcom_arg import iter_outputs

YAML_DEFAULTS: dict[str, Any] = {
    "retries": 0,
    "retry_delay": timedelta(minutes=5),
    "execution_timeout": None,
    "owner": "airflow",
    "pool": "default_pool",
}
"""Arguments for which leoflow.yaml may have a default, with Airflow's."""
EVERY_TRIGGER_RULE = tuple(rule.value for rule in TriggerRule)
EVERY_WEIGHT_RULE = tuple(rule.value for rule in WeightRule)
DOC_LANGUAGES = {"doc_json": "json", "doc_yaml": "yaml", "doc_rst": "rst", "doc": ""}


def serialize_dag(dag: DAG, project: str) -> dict[str, Any]:
    """The DAG as `DagSpec` takes it, without what the compiler adds; `project` is the folder of the project.

    `file` and `line`, here and in each task, say where it is made; the compiler takes them out.
    """
    return _written_down(_serialize_dag, dag, project, f"dag {dag.dag_id!r}")


def _serialize_dag(dag: DAG, project: str) -> dict[str, Any]:
    refuse_set(dag, REFUSED_DAG_ARGUMENTS, f"dag {dag.dag_id!r}", dag._location)
    warn_of_set(dag, ["access_control"], f"dag {dag.dag_id!r}", dag.dag_id)
    check_dag(dag)
    for task in dag.tasks:
        task.depend_on_outputs()
    return {
        "dag_id": dag.dag_id,
        "dag_display_name": dag.dag_display_name if dag.dag_display_name != dag.dag_id else None,
        "description": dag.description,
        "doc_md": _read_doc(dag.doc_md, project),
        "tags": sorted(str(tag) for tag in dag.tags),
        "owner_links": dict(sorted(dag.owner_links.items())),
        "timetable": timetable_spec(dag, project),
        "asset_condition": condition_spec(
            getattr(dag.timetable, "asset_condition", None), f"dag {dag.dag_id!r}", dag._location
        ),
        **partitions_of(dag),
        "timetable_summary": dag.timetable.summary,
        "timezone": dag.timezone,
        "start_date": moment(dag.start_date, "start_date", dag._location),
        "end_date": moment(dag.end_date, "end_date", dag._location),
        "catchup": dag.catchup,
        "max_active_runs": count(dag.max_active_runs, "max_active_runs", 0, dag._location),
        "max_active_tasks": count(dag.max_active_tasks, "max_active_tasks", 0, dag._location),
        "max_consecutive_failed_dag_runs": count(
            dag.max_consecutive_failed_dag_runs, "max_consecutive_failed_dag_runs", 0, dag._location
        ),
        "dagrun_timeout_s": seconds(dag.dagrun_timeout, "dagrun_timeout", dag._location),
        "fail_fast": dag.fail_fast,
        "is_paused_upon_creation": dag.is_paused_upon_creation,
        "render_template_as_native_obj": dag.render_template_as_native_obj,
        "template_searchpath": [inside(path, project) for path in dag.template_searchpath],
        "default_args": {str(key): display(value) for key, value in sorted(dag.default_args.items())},
        "callbacks": events_of(dag, DAG_EVENTS, f"dag {dag.dag_id!r}"),
        "deadlines": deadlines_of(dag),
        "params": params_of(dag.params.serialize("dag"), dag._location),
        "param_order": [] if list(dag.params) == sorted(dag.params) else list(dag.params),
        "tasks": [_written_down(serialize_task, task, project, f"task {task.task_id!r}") for task in in_order(dag)],
        "groups": [serialize_group(group) for group in inner_groups(dag.task_group)],
        "edge_labels": [
            {"upstream_id": before, "downstream_id": after, "label": label}
            for (before, after), label in sorted(dag.edge_labels.items())
            if label
        ],
        "warnings": warnings_of(dag, project),
        "line": dag._location[1],
        "file": dag._location[0],
    }


def partitions_of(dag: DAG) -> dict[str, Any]:
    found = getattr(dag.timetable, "partitions_spec", None)
    return {} if found is None else {"partitions": found()}


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
        "mapped": group.expand_input.spec() if isinstance(group, MappedTaskGroup) else None,
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
    refuse_set(task, REFUSED_TASK_ARGUMENTS, f"task {task.task_id!r}", where)
    warn_of_set(task, ["executor"], f"task {task.task_id!r}", task.dag_id)
    refuse_others(task)
    check_task(task)
    warn_of_context(task, texts([getattr(task, name, None) for name in task.template_fields]))
    cls = task.operator_class
    priority_weight, weight_rule = weight_of(task)
    links = links_of(task)
    return {
        "task_id": task.task_id,
        "operator": cls.__name__,
        "operator_name": task.operator_name if task.operator_name != cls.__name__ else None,
        "module": _module_of(cls),
        **_how_it_runs(task),
        "task_display_name": task.task_display_name,
        "upstream_task_ids": sorted(task.upstream_task_ids),
        "group_id": task.task_group.group_id if task.task_group is not None else None,
        "trigger_rule": one_of(task.trigger_rule, EVERY_TRIGGER_RULE, "trigger_rule", task),
        "is_setup": task.is_setup,
        "is_teardown": task.is_teardown,
        "on_failure_fail_dagrun": task.on_failure_fail_dagrun,
        "decides": bool(task.inherits_from_skipmixin)
        or task.kind == "operator",  # what a captured class is, nobody knows
        "depends_on_past": bool(task.depends_on_past),
        "wait_for_downstream": bool(task.wait_for_downstream),
        "ignore_first_depends_on_past": bool(task.ignore_first_depends_on_past),
        "retries": count(task.retries, "retries", 0, where),
        "retry_delay_s": seconds(task.retry_delay, "retry_delay", where),
        "retry_exponential_backoff": backoff(task.retry_exponential_backoff, where),
        "max_retry_delay_s": seconds(task.max_retry_delay, "max_retry_delay", where),
        "execution_timeout_s": seconds(task.execution_timeout, "execution_timeout", where),
        "pool": task.pool,
        "pool_slots": count(task.pool_slots, "pool_slots", 1, where),
        "priority_weight": count(priority_weight, "priority_weight", None, where),
        "weight_rule": one_of(weight_rule, EVERY_WEIGHT_RULE, "weight_rule", task),
        "queue": task.queue,
        "max_active_tis_per_dag": optional_count(task, "max_active_tis_per_dag"),
        "max_active_tis_per_dagrun": optional_count(task, "max_active_tis_per_dagrun"),
        "start_date": _bound(task, "start_date", max),
        "end_date": _bound(task, "end_date", min),
        "owner": task.owner,
        "do_xcom_push": bool(task.do_xcom_push),
        "multiple_outputs": bool(task.multiple_outputs),
        "inlets": asset_specs(task, "inlets"),
        "outlets": asset_specs(task, "outlets"),
        "template_fields": list(task.template_fields),
        "template_values": {name: display(getattr(task, name, None)) for name in task.template_fields},
        "xcom_refs": _xcom_refs(task),
        "mapped": task.expand_input.spec() if isinstance(task, MappedOperator) else None,
        "executor_config": executor_config.carried(task),
        "params": params_of({k: v for k, v in task.params.serialize("task").items() if k in task._own_params}, where),
        "callbacks": events_of(task, TASK_EVENTS, f"task {task.task_id!r}"),
        **mails_of(task),
        "doc_md": _task_doc(task, project),
        "ui_color": task.ui_color,
        "ui_fgcolor": task.ui_fgcolor,
        "extra_links": [link.name for link in links],
        "extra_link_keys": [link.xcom_key for link in links],
        "line": where[1],
        "file": where[0],
        "given": sorted(name for name in YAML_DEFAULTS if _is_given(task, name)),
    }


def _how_it_runs(task: BaseOperator) -> dict[str, Any]:
    """`kind`, and for a wait or a call what it is; `process_kind`: how it would run in a process, None if it cannot."""
    found = _how_it_would_run(task)
    if task.on_execute_callback and found["kind"] == "wait" and not has_airflow():
        # a short process calls it and hands the wait over
        return {"kind": "wait", "wait": None, "prepare": "process", "process_kind": found["process_kind"]}
    if task.on_execute_callback and found["kind"] in {"wait", "http"}:
        return {"kind": found["process_kind"], "process_kind": found["process_kind"]}
    return found


def _how_it_would_run(task: BaseOperator) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": task.kind, "process_kind": task.kind}
    if isinstance(task, MappedOperator) and task.kind in {"wait", "http"}:
        return _how_its_instances_run(task)
    if task.kind == "wait":
        found["wait"] = None if task.needs_process() else as_json(task.leoflow_wait())  # type: ignore[attr-defined]
        found["prepare"] = "process" if found["wait"] is None else "daemon"
        found["process_kind"] = "sensor" if has_poke(task) else "operator" if has_airflow() else None
    elif task.kind == "http":
        found["http"] = as_json(task.leoflow_http())  # type: ignore[attr-defined]
        found["process_kind"] = "operator" if has_airflow() else "python"
        found["kind"] = task.kind if found["http"] is not None else found["process_kind"]
    elif task.kind == "empty" and (task.on_execute_callback or task.on_success_callback):
        found = {"kind": "python", "process_kind": "python"}  # as in Airflow, it has a try of its own then
    elif task.kind == "empty":
        found["process_kind"] = None
    elif task.start_from_trigger and task.start_trigger_args is not None:
        found["deferral"] = _first_deferral(task.start_trigger_args)
    return found


def _how_its_instances_run(task: MappedOperator) -> dict[str, Any]:
    """As the task itself, where the file names what it is mapped over; else only the process of an instance knows."""
    process_kind = "operator" if has_airflow() else "python" if task.kind == "http" else None
    if task.kind == "wait" and has_poke(task):
        process_kind = "sensor"
    found = {"kind": task.kind, "process_kind": process_kind, "wait": None}
    by_process = {"prepare": "process"} if task.kind == "wait" else {"kind": process_kind}
    try:
        plain = plain_form(task)
        with_items = item_form(task) if plain is None else None
    except RealPackageNeeded:
        return {"kind": "operator", "process_kind": "operator"}
    if task.map_index_template:  # only a process renders it
        return {**found, **by_process}
    if plain is not None:
        return {**found, task.kind: plain[0], "mapped_values": plain[1]}
    if with_items is not None:
        by_process |= {task.kind: with_items[0], "mapped_items": with_items[1]}
    return {**found, **by_process}


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


def _is_given(task: BaseOperator, name: str) -> bool:
    """True when the code chose this value: it then wins over the `defaults` of leoflow.yaml."""
    return name in task._given or name in task._defaults or getattr(task, name) != YAML_DEFAULTS[name]


def _module_of(cls: type) -> str:
    """Where Airflow's documentation has the class."""
    if not cls.__module__.startswith("airflow._leoflow"):
        return cls.__module__
    return MODULES_OF_OPERATORS.get(cls.__name__, "")


MODULES_OF_OPERATORS = {
    "_AssetMainOperator": "airflow.sdk.definitions.asset.decorators",
    "_PythonDecoratedOperator": "airflow.providers.standard.decorators.python",
    "_BashDecoratedOperator": "airflow.providers.standard.decorators.bash",
    "DecoratedSensorOperator": "airflow.providers.standard.decorators.sensor",
    "_BranchPythonDecoratedOperator": "airflow.providers.standard.decorators.branch_python",
    "_ShortCircuitDecoratedOperator": "airflow.providers.standard.decorators.short_circuit",
    "_PythonVirtualenvDecoratedOperator": "airflow.providers.standard.decorators.python_virtualenv",
    "_PythonExternalDecoratedOperator": "airflow.providers.standard.decorators.external_python",
    "_BranchPythonVirtualenvDecoratedOperator": "airflow.providers.standard.decorators.branch_virtualenv",
    "_BranchExternalPythonDecoratedOperator": "airflow.providers.standard.decorators.branch_external_python",
    **{
        name: module
        for module, names in MODULES.items()
        if module.startswith("airflow.providers.") and {"operators", "sensors"} & set(module.split("."))
        for name in names
    },
}


def _xcom_refs(task: BaseOperator) -> list[dict[str, str]]:
    found = {
        (output.operator.task_id, output.key)
        for name in task.template_fields
        for output in iter_outputs(getattr(task, name, None), also_mapped=False)
    }
    if isinstance(task, MappedOperator):
        found |= {(output.operator.task_id, output.key) for output in iter_outputs(task.expand_input.literals())}
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


def _bound(task: BaseOperator, name: str, pick: Callable[..., Any]) -> str | None:
    """A task's date, and its DAG's: the narrower one counts, as in Airflow."""
    own, dags = getattr(task, name), getattr(task.dag, name)
    if own is None or own == dags:
        return None if dags is None else iso_utc(dags)
    written = moment(own, name, task._location)
    return written if dags is None else iso_utc(pick(own, dags, key=convert_to_utc))


def warnings_of(dag: DAG, project: str) -> list[dict[str, Any]]:
    """What loading warned of: of this DAG, and of the file."""
    return [_warning(one, project) for one in warned if one.dag_id in (None, dag.dag_id)]


def _warning(one: Warned, project: str) -> dict[str, Any]:
    path, line = one.location
    relative = os.path.relpath(path, project) if path.startswith(project + os.sep) else os.path.basename(path)
    found = {"path": relative, "line": max(1, line), "what": one.what, "remedy": one.remedy}
    return {**found, "varies": True} if one.varies else found
