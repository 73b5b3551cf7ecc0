"""What a loader of DAG files may rely on: the border between this shim and the programs that load `dag.py`.

Callers: `leoflowd/authoring/loader.py` (compiles) and the task runner `leoflow_agent/runner/` (runs one try). Both put
the folder that holds this package first on `sys.path`. Standard library only, Python 3.10 and newer.

Loading
    dags = load_project(folder, "dag.py", ())    # {dag_id: DAG}; `folder`, or the named ones in it, go on sys.path
    op = find_task(dags, dag_id, task_id)        # the operator object; KeyError names the ids that exist

Operator attributes
    task_id, dag, dag_id, task_type (class name), operator_name ("@task", "@task.bash" or the class name)
    kind                 "python" | "bash" | "empty"
    is_mapped            it is expanded: see `unmap`
    template_fields      names of attributes to render, in this order
    template_ext         file endings: a string that ends so names a template file, looked up in
                         dag.template_searchpath and the project folder
    multiple_outputs, do_xcom_push, execution_timeout (timedelta | None), params (ParamsDict: dag's and task's), retries
    render_template_as_native_obj  None = as the DAG says
    python_callable, op_args, op_kwargs, templates_dict                            kind "python", and `@task.bash`
    bash_command, env, append_env, cwd, output_encoding, skip_on_exit_code         kind "bash"
    log                  its logger, named `airflow.task.operators.<class>` or as `logger_name=` says
DAG attributes for the Jinja environment
    template_searchpath (tuple), template_undefined (class or None = StrictUndefined), user_defined_macros,
    user_defined_filters, jinja_environment_kwargs, render_template_as_native_obj, params (ParamsDict), timezone

Running one try (in this order)
    set_current_context(context)                 # for get_current_context(); None clears it
    set_renderer(render)                         # render(text) -> value; for `@task.bash`, whose command is known late
    set_templates(templates)                     # .render(content, context, jinja_env), .environment()
    for field in op.template_fields:
        setattr(op, field, resolve(getattr(op, field), pull, text=render, context=context))
    value = execute(op, context)                 # pre_execute, execute, post_execute; coroutine functions too
    value = resume(op, context, method, kwargs)  # the same for a task that deferred: its method instead of execute
    op.leoflow_wait()                            # kind "wait": its `WaitSpec` as plain data, nothing is executed
    op.on_kill()                                 # from the runner's SIGTERM handling
    set_supervisor(ask)                          # ask(kind, question) -> answer, before anything is rendered
    op, fixed = unmap(op, map_index, pull)       # before it is rendered; `fixed` is `as_they_are` of `resolve`
    relation(op, source)                         # "one", "alike", "all" or "inside": which outputs `pull` is to give

`pull(task_id, key)` answers `MISSING` when that output was never pushed: `resolve` makes None of it for
`return_value` and for tasks with multiple outputs, else raises `airflow.exceptions.XComNotFound`, as Airflow does.
`resolve` copies the list, tuple, set or dict that it walks, leaves `literal(...)` values alone, and never changes
the operator. Outcomes are exceptions of `airflow.exceptions`: AirflowSkipException, AirflowFailException,
AirflowRescheduleException(.reschedule_date), AirflowTaskTimeout, AirflowException; anything else is a failure too.
DownstreamTasksSkipped(.tasks) is a success.
A task that only wants to wait raises TaskDeferred(.trigger, .method_name, .kwargs, .timeout), where
`trigger.serialize()` is (class path, arguments), or LeoflowDefer(.wait, .next_method).
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from airflow._leoflow import asset_records as _asset_records
from airflow._leoflow import conf as _conf
from airflow._leoflow import context as _context
from airflow._leoflow import operators as _operators
from airflow._leoflow import plugin_macros as _plugin_macros
from airflow._leoflow import supervisor as _supervisor
from airflow._leoflow import templating as _templating
from airflow._leoflow import tree_package as _tree_package
from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.dag import DAG
from airflow._leoflow.errors import (
    AuthoringError,
    DownstreamTasksSkipped,  # noqa: F401 - for the runner
    LeoflowDefer,
    TaskDeferred,
    TaskNotFound,
    warn,
    warned,
)
from airflow._leoflow.mapping import MappedOperator, closest_mapped_group
from airflow._leoflow.params import DagParam
from airflow._leoflow.xcom_arg import MISSING as MISSING  # what `pull` answers for an output that was never pushed
from airflow._leoflow.xcom_arg import Literal, MappedArgument, XComArg

DECLARATIVE_FOLDER = ".leoflow"
"""Where `authoring.bundle` puts the JSON form of a `dag.yaml`: the author's interpreter may have no YAML parser."""


def load_project(path: str, source_path: str = "dag.py", import_paths: Sequence[str] = ()) -> dict[str, DAG]:
    """Load the DAGs of one source file of the project folder `path`: {dag_id: DAG}, in order of appearance.

    `import_paths`, folders in `path`, go on the path of modules; without any it is `path` itself. Raises whatever the
    file raises; `AuthoringError` for faults that we know.
    """
    folder = os.path.abspath(path)
    put_on_path(folder, import_paths)
    source = os.path.join(folder, source_path)
    _context.begin_load()
    warned.clear()
    inside = source_path.partition("/")[0]
    _conf.dags_folder = os.path.join(folder, inside) if inside == "dags" else folder
    if source.endswith((".yaml", ".yml")):
        from airflow._leoflow.declarative import build_dags

        document, lines = _read_declarative(folder, source_path)
        found = build_dags(document, lines, source)
    else:
        module = run_file(source)
        found = [*_context.registered_dags, *(value for value in vars(module).values() if isinstance(value, DAG))]
    return by_id(found)


def put_on_path(folder: str, import_paths: Sequence[str]) -> None:
    """The folders of a tree come last, as in Airflow: `dags/redis.py` does not hide the library of that name.

    The tree is Airflow's home, below which its files look for others.
    """
    if import_paths:
        os.environ.setdefault("AIRFLOW_HOME", folder)
    if not import_paths and folder not in sys.path:
        sys.path.insert(1, folder)
    for path in import_paths:
        name, is_package, _ = path.partition("=.")
        if is_package:
            _tree_package.put(name, folder)
            continue
        entry = os.path.normpath(os.path.join(folder, path))
        if entry not in sys.path:
            sys.path.append(entry)
    _plugin_macros.begin(folder, import_paths)


def by_id(found: list[DAG]) -> dict[str, DAG]:
    dags: dict[str, DAG] = {}
    for dag in {id(dag): dag for dag in found}.values():
        known = dags.pop(dag.dag_id, dag)  # the later one comes later
        if known is not dag:
            warn(
                f"two DAGs have the id {dag.dag_id!r}, of which the last one counts",
                "rename one of them",
                dag._location,
                dag.dag_id,
            )
        dags[dag.dag_id] = dag
    return dags


def run_file(source: str) -> types.ModuleType:
    """Execute the file as a module under its own name, fresh each time; never as `__main__`."""
    stem = os.path.splitext(os.path.basename(source))[0]
    module = types.ModuleType(stem if _is_free(stem, source) else f"leoflow_dag_{stem}")
    module.__file__ = source
    with open(source, "rb") as file:
        code = compile(file.read(), source, "exec", dont_inherit=True)
    sys.modules[module.__name__] = module  # dataclasses, pickle and typing look modules up by name
    exec(code, module.__dict__)  # noqa: S102 - running the author's file is what we are here for
    return module


def _is_free(stem: str, source: str) -> bool:
    """False when the file's name is that of a module that something else may import (`json.py`, `redis.py`)."""
    if not stem.isidentifier() or stem in sys.stdlib_module_names:
        return False
    if stem in sys.modules:
        return getattr(sys.modules[stem], "__file__", None) == source
    found = importlib.util.find_spec(stem)
    return found is None or found.origin == source


def _read_declarative(folder: str, source_path: str) -> tuple[Any, Mapping[str, int]]:
    path = os.path.join(folder, DECLARATIVE_FOLDER, source_path + ".json")
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError:
        raise AuthoringError(
            f"{path} is missing",
            "the compiled form of a YAML DAG is part of its bundle",
            "compile the project again",
            (os.path.join(folder, source_path), 1),
        ) from None
    return content["document"], content["lines"]


def find_task(dags: Mapping[str, DAG], dag_id: str, task_id: str) -> BaseOperator:
    """The operator; KeyError or TaskNotFound with the ids that exist."""
    if dag_id not in dags:
        raise KeyError(f"the file defines no dag {dag_id!r}; it defines {', '.join(sorted(dags)) or 'none'}")
    dag = dags[dag_id]
    if task_id not in dag.task_dict:
        raise TaskNotFound(f"dag {dag_id!r} has no task {task_id!r}; it has {', '.join(sorted(dag.task_dict))}")
    return dag.task_dict[task_id]


def resolve(
    value: Any,
    pull: Callable[[str, str], Any],
    *,
    text: Callable[[str], Any] | None = None,
    context: Mapping[str, Any] | None = None,
    as_they_are: Collection[int] = (),
) -> Any:
    """A copy of `value` with each output replaced by what `pull` gives and each text by what `text` makes of it.

    `as_they_are`: ids of values that come from outputs already, which are data and no templates.
    """
    if as_they_are and id(value) in as_they_are:
        return value

    def inner(item: Any) -> Any:
        return resolve(item, pull, text=text, context=context, as_they_are=as_they_are)

    if isinstance(value, str):
        return value if text is None else text(value)
    if isinstance(value, XComArg):
        return value.resolve(pull)
    if isinstance(value, MappedArgument):
        return value.resolve((context or {})["ti"].map_index, pull)
    if isinstance(value, DagParam):
        return value.resolve(context or {})
    if isinstance(value, Literal):
        return value.value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(inner(item) for item in value))
    if type(value) in (list, tuple, set):
        return type(value)(inner(item) for item in value)
    if isinstance(value, dict):
        return {key: inner(item) for key, item in value.items()}
    if not isinstance(value, type) and isinstance(getattr(value, "template_fields", None), (list, tuple)):
        for name in value.template_fields:  # an object that names its own template fields, as Airflow allows
            setattr(value, name, inner(getattr(value, name, None)))
    return value


def unmap(operator: BaseOperator, map_index: int, pull: Callable[[str, str], Any]) -> tuple[BaseOperator, set[int]]:
    """The operator of this map index, and the ids of arguments that are no templates; of a task that is not mapped
    itself, the same."""
    return operator.unmap(map_index, pull) if isinstance(operator, MappedOperator) else (operator, set())


def relation(operator: BaseOperator, source: Any) -> str:
    """Which outputs of `source` an argument of `operator` means: its `one`, that of the same map index (`alike`), `all`
    of a mapped task, or those of a task `inside` of a mapped group."""
    if source is None:
        return "one"
    if source.is_mapped:
        return "all"
    group = closest_mapped_group(source.task_group)
    if group is None:
        return "one"
    return "alike" if closest_mapped_group(operator.task_group) is group else "inside"


def _nothing(context: Any) -> None:
    """Before a task executes."""


def execute(operator: BaseOperator, context: Any, before: Callable[[Any], None] = _nothing) -> Any:
    """Run the task in this process and give its output; `before` is called behind its `pre_execute`."""
    _asset_records.call(operator.pre_execute, context, context)
    before(context)
    value = operator.execute(context)
    _asset_records.call(operator.post_execute, context, context, value)
    return value


def resume(
    operator: BaseOperator,
    context: Any,
    next_method: str,
    next_kwargs: dict[str, Any],
    before: Callable[[Any], None] = _nothing,
) -> Any:
    """A deferred task goes on; the method `__fail__` raises what became of its trigger."""
    _asset_records.call(operator.pre_execute, context, context)
    before(context)
    value = operator.resume_execution(next_method, next_kwargs, context)
    _asset_records.call(operator.post_execute, context, context, value)
    return value


Deferred = (TaskDeferred, LeoflowDefer)
"""What a task raises that only wants to wait; BaseExceptions, so that user code does not catch them by chance."""


def set_current_context(context: Any) -> None:
    _context.set_current_context(context)


def set_supervisor(ask: Callable[[str, dict[str, Any]], dict[str, Any]] | None) -> None:
    """How connections are looked up, dag runs started and instances counted."""
    _supervisor.set_supervisor(ask)


def set_renderer(render: Callable[[str], Any] | None) -> None:
    """How `@task.bash` renders the command that its function returned."""
    _operators.renderer = render


def set_templates(templates: Any) -> None:
    """What `render_template` and `get_template_env` of the task use."""
    _templating.running = templates
