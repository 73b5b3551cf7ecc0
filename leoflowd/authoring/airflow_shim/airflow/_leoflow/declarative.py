"""`dag.yaml` -> the same DAG objects that a Python file makes.

The compiler parses the YAML and hands over plain data with the line of every key; nothing here reads YAML.

    dag_id: hello                      # default: the project's
    schedule: "0 6 * * *"              # cron, preset, or absent
    start_date: 2024-01-01
    tasks:
      fetch:   {bash: "curl -s $URL", env: {URL: "https://example.org"}}
      count:   {python: "steps:count", inputs: {text: fetch}, retries: 2}
      report:  {python: "steps:report", inputs: {total: "count[total]"}, kwargs: {title: "{{ ds }}"}}
      done:    {empty: true, depends_on: [report]}
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.dag import DAG
from airflow._leoflow.errors import AuthoringError, describe
from airflow._leoflow.operators import BashOperator, EmptyOperator, PythonOperator
from airflow._leoflow.xcom_arg import XComArg

INPUT = re.compile(r"(?P<task>[\w.-]+)(\[(?P<key>[^\]]+)\])?")


class _At:
    """Where in the document we are, for messages."""

    def __init__(self, lines: Mapping[str, int], source: str) -> None:
        self.lines = lines
        self.source = source

    def error(self, path: str, what: str, why: str, remedy: str) -> AuthoringError:
        line = self.lines.get(path, self.lines.get(path.rpartition(".")[0], 1))
        return AuthoringError(what, why, remedy, (self.source, line))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _sequence(value: Any) -> bool:
    return isinstance(value, list)


def _text_mapping(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _text_or_list(value: Any) -> bool:
    return _text(value) or (isinstance(value, list) and all(map(_text, value)))


Check = tuple[Callable[[Any], bool], str]
TEXT: Check = (_text, "a text")
WHOLE: Check = (_whole, "a whole number")
NUMBER: Check = (_number, "a number of seconds")
BOOLEAN: Check = (_boolean, "true or false")
MAPPING: Check = (_mapping, "a mapping")
LIST: Check = (_sequence, "a list")

SETTINGS: dict[str, Check] = {
    "retries": WHOLE,
    "retry_delay_seconds": NUMBER,
    "retry_exponential_backoff": NUMBER,
    "max_retry_delay_seconds": NUMBER,
    "execution_timeout_seconds": NUMBER,
    "trigger_rule": TEXT,
    "depends_on_past": BOOLEAN,
    "owner": TEXT,
    "pool": TEXT,
    "pool_slots": WHOLE,
    "priority_weight": WHOLE,
    "weight_rule": TEXT,
    "queue": TEXT,
    "do_xcom_push": BOOLEAN,
    "multiple_outputs": BOOLEAN,
}
TASK_KEYS: dict[str, Check] = {
    **SETTINGS,
    "bash": TEXT,
    "env": (_text_mapping, "a mapping of texts"),
    "append_env": BOOLEAN,
    "cwd": TEXT,
    "python": TEXT,
    "args": LIST,
    "kwargs": MAPPING,
    "inputs": (_text_mapping, "a mapping of texts"),
    "empty": BOOLEAN,
    "depends_on": (_text_or_list, "a task id or a list of task ids"),
    "params": MAPPING,
    "doc_md": TEXT,
    "task_display_name": TEXT,
}
DAG_KEYS: dict[str, Check] = {
    "dag_id": TEXT,
    "dag_display_name": TEXT,
    "description": TEXT,
    "doc_md": TEXT,
    "schedule": TEXT,
    "start_date": TEXT,
    "end_date": TEXT,
    "catchup": BOOLEAN,
    "tags": (_text_or_list, "a list of texts"),
    "params": MAPPING,
    "max_active_runs": WHOLE,
    "max_active_tasks": WHOLE,
    "dagrun_timeout_seconds": NUMBER,
    "fail_fast": BOOLEAN,
    "is_paused_upon_creation": BOOLEAN,
    "default_args": MAPPING,
    "tasks": MAPPING,
}
KINDS = {"bash": {"env", "append_env", "cwd"}, "python": {"args", "kwargs", "inputs"}, "empty": set()}


def build_dags(document: Any, lines: Mapping[str, int], source: str) -> list[DAG]:
    """The one DAG of a `dag.yaml`, or of the `dbt:` block of a `leoflow.yaml`."""
    at = _At(lines, source)
    if os.path.basename(source) == "leoflow.yaml":
        return [_dbt_dag(document, at)]
    _check(document, DAG_KEYS, "", at)
    if "dag_id" not in document:
        raise at.error("", "dag_id is missing", "a DAG needs an id", "add `dag_id: my_dag`")
    if not document.get("tasks"):
        raise at.error(
            "tasks", "there are no tasks", "a DAG needs at least one", "add `tasks:` with one entry per task"
        )
    dag = _dag(_dag_arguments(document, at), at)
    dag._location = (source, lines.get("dag_id", 1))
    with dag:
        operators = {task_id: _task(task_id, spec, at) for task_id, spec in document["tasks"].items()}
        for task_id, spec in document["tasks"].items():
            _connect(task_id, spec, operators, at)
    return [dag]


def _dbt_dag(document: Any, at: _At) -> DAG:
    from airflow._leoflow.dbt_dag import fill

    block = document["dbt"]
    lines = {**at.lines, **{key.removeprefix("dbt."): line for key, line in at.lines.items()}}
    of_the_block = {name: block[name] for name in ("schedule", "start_date", "end_date", "catchup") if name in block}
    at_block = _At(lines, at.source)
    dag = _dag(_dag_arguments({"dag_id": document["dag_id"], **of_the_block}, at_block), at_block)
    dag._location = (at.source, at.lines.get("dbt", 1))
    fill(dag, block, at)
    return dag


def _dag(arguments: dict[str, Any], at: _At) -> DAG:
    try:
        return DAG(**arguments)
    except AuthoringError as error:
        key = "schedule" if "schedule" in error.what else "dag_id"
        raise at.error(key, error.what, error.why, error.remedy) from error


def _check(value: Any, keys: Mapping[str, Check], path: str, at: _At) -> None:
    where = path or "the document"
    if not isinstance(value, dict):
        raise at.error(path, f"{where} is {describe(value)}", "it must be a mapping", "write `key: value` lines")
    for key, item in value.items():
        full = f"{path}.{key}" if path else key
        if key not in keys:
            raise at.error(
                full, f"unknown key {full!r}", f"known are {', '.join(sorted(keys))}", "correct or remove it"
            )
        is_right, expected = keys[key]
        if not is_right(item):
            raise at.error(full, f"{full} is {describe(item)}", f"it must be {expected}", "correct it")


def _dag_arguments(document: Mapping[str, Any], at: _At) -> dict[str, Any]:
    same = ("dag_id", "dag_display_name", "description", "doc_md", "schedule", "catchup", "params", "max_active_runs")
    more = ("max_active_tasks", "fail_fast", "is_paused_upon_creation")
    arguments = {name: document[name] for name in (*same, *more) if name in document}
    for name in ("start_date", "end_date"):
        if name in document:
            arguments[name] = _moment(document[name], name, at)
    if "tags" in document:
        arguments["tags"] = [document["tags"]] if isinstance(document["tags"], str) else document["tags"]
    if "dagrun_timeout_seconds" in document:
        arguments["dagrun_timeout"] = timedelta(seconds=document["dagrun_timeout_seconds"])
    if "default_args" in document:
        _check(document["default_args"], SETTINGS, "default_args", at)
        arguments["default_args"] = _settings(document["default_args"])
    return arguments


def _moment(text: str, path: str, at: _At) -> datetime:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise at.error(path, f"{path} is {text!r}", "it must be an ISO date or time", "write 2024-01-31") from None


def _settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Operator arguments; `..._seconds` becomes the timedelta that operators take."""
    found = {}
    for key in SETTINGS:
        if key not in spec:
            continue
        if key.endswith("_seconds"):
            found[key.removesuffix("_seconds")] = timedelta(seconds=spec[key])
        else:
            found[key] = spec[key]
    return found


def _task(task_id: str, spec: Any, at: _At) -> BaseOperator:
    path = f"tasks.{task_id}"
    _check(spec, TASK_KEYS, path, at)
    kinds = [kind for kind in KINDS if kind in spec]
    if len(kinds) != 1 or spec.get("empty") is False:
        raise at.error(
            path,
            f"task {task_id!r} has {' and '.join(kinds) or 'nothing'} to run",
            "each task does exactly one thing",
            "give it one of `bash: command`, `python: module:function`, `empty: true`",
        )
    kind = kinds[0]
    foreign = {key for other, keys in KINDS.items() if other != kind for key in keys if key in spec} - KINDS[kind]
    if foreign:
        name = min(foreign)
        raise at.error(
            f"{path}.{name}", f"task {task_id!r} has {name!r}", f"a {kind} task has no use for it", "remove it"
        )
    arguments = _settings(spec)
    arguments.update(
        {key: spec[key] for key in ("params", "doc_md", "task_display_name", *KINDS["bash"]) if key in spec}
    )
    operator: BaseOperator
    try:
        if kind == "bash":
            operator = BashOperator(task_id=task_id, bash_command=spec["bash"], **arguments)
        elif kind == "python":
            function = _function(spec["python"], f"{path}.python", at)
            operator = PythonOperator(
                task_id=task_id,
                python_callable=function,
                op_args=spec.get("args"),
                op_kwargs=spec.get("kwargs"),
                **arguments,
            )
        else:
            operator = EmptyOperator(task_id=task_id, **arguments)
    except AuthoringError as error:
        if error.location[0] != at.source:
            error.location = (at.source, at.lines.get(path, 1))
        raise
    operator._location = (at.source, at.lines.get(path, 1))
    return operator


def _function(text: str, path: str, at: _At) -> Any:
    module_name, _, name = text.partition(":")
    if not module_name or not name:
        raise at.error(path, f"{path} is {text!r}", "it must name a function", "write `module:function`")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        raise at.error(
            path,
            f"{path} names the module {module_name!r}",
            "there is no such module",
            f"create {module_name.replace('.', '/')}.py in the project, or correct the name",
        ) from None
    function = getattr(module, name, None)
    if not callable(function):
        raise at.error(path, f"{path} names {text!r}", f"the module has no function {name!r}", "correct the name")
    return getattr(function, "function", function)


def _connect(task_id: str, spec: Mapping[str, Any], operators: Mapping[str, BaseOperator], at: _At) -> None:
    operator = operators[task_id]
    before = spec.get("depends_on", [])
    for other in [before] if isinstance(before, str) else before:
        operator.set_upstream(_known(other, f"tasks.{task_id}.depends_on", operators, at))
    inputs = {}
    for name, text in spec.get("inputs", {}).items():
        path = f"tasks.{task_id}.inputs.{name}"
        match = INPUT.fullmatch(text)
        if match is None:
            raise at.error(path, f"{path} is {text!r}", "it must name an output", "write `task_id` or `task_id[key]`")
        upstream = _known(match["task"], path, operators, at)
        inputs[name] = XComArg(upstream, match["key"]) if match["key"] else XComArg(upstream)
    if inputs and isinstance(operator, PythonOperator):
        operator.op_kwargs = {**operator.op_kwargs, **inputs}


def _known(task_id: str, path: str, operators: Mapping[str, BaseOperator], at: _At) -> BaseOperator:
    if task_id not in operators:
        raise at.error(
            path,
            f"{path} names the task {task_id!r}",
            f"the tasks are {', '.join(sorted(operators))}",
            "correct the name",
        )
    return operators[task_id]
