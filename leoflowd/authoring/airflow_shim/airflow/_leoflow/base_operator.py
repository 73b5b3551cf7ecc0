"""`BaseOperator`: a task with its arguments, and how it runs.

Arguments are only stored here; `serialize.py` refuses those we cannot honour, because attributes may also be set after
construction.
"""

from __future__ import annotations

import functools
import inspect
import logging
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow._leoflow import asset_records, context, enums, old_names, templating
from airflow._leoflow.asset_specs import as_list
from airflow._leoflow.errors import (
    AuthoringError,
    Location,
    TaskDeferralError,
    TaskDeferralTimeout,
    TaskDeferred,
    user_location,
)
from airflow._leoflow.moved import Rules
from airflow._leoflow.params import ParamsDict
from airflow._leoflow.task import Task
from airflow._leoflow.xcom_arg import XComArg, iter_outputs

if TYPE_CHECKING:
    from airflow._leoflow.dag import DAG
    from airflow._leoflow.task_group import TaskGroup


FAILED_WAIT = "__fail__"
"""Airflow's `next_method` of a task whose trigger failed or was too late."""
TRIGGER_TIMEOUT = "Trigger timeout"


class OperatorMeta(ABCMeta):
    """Fills in `default_args` at every level of the class tree and finishes an operator after its last `__init__`."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> OperatorMeta:
        init = namespace.get("__init__")
        if init is not None:
            namespace["__init__"] = _with_defaults(init)
        return super().__new__(mcs, name, bases, namespace)

    def __call__(cls, /, *args: Any, **kwargs: Any) -> Any:
        if args:
            raise AuthoringError(
                f"{cls.__name__} is given positional arguments",
                "operators take keyword arguments only",
                f"write {cls.__name__}(task_id=..., ...)",
            )
        dag = kwargs.get("dag") or context.current_dag()
        group = kwargs.get("task_group") or context.current_group(dag)
        own_defaults = kwargs.get("default_args")
        operator = cls.__new__(cls)
        operator._location = user_location()
        operator._given = frozenset(kwargs)
        operator._defaults = {
            **(dag.default_args if dag is not None else {}),
            **(group.default_args if group is not None else {}),
            **old_names.default_arguments(operator, own_defaults),
        }
        if cls.leoflow_rules:
            kwargs = old_names.modern(operator, kwargs, cls.leoflow_rules)
        operator.__init__(**kwargs)  # type: ignore[misc]
        if not context.is_unmapping:  # else it has the edges of the mapped task
            operator.depend_on_outputs()
        if operator.start_from_trigger and operator.start_trigger_args is not None:
            operator.execute = functools.partial(_start_from_trigger, operator)
        return operator


def is_user_code(cls: type, methods: Sequence[str]) -> bool:
    """Whether one of these methods is the author's: what we can do without a process, they cannot."""
    modules = [getattr(getattr(cls, name), "__module__", None) or "" for name in methods]
    return not all(module.startswith("airflow._leoflow") for module in modules)


def _start_from_trigger(operator: BaseOperator, context: Any) -> NoReturn:
    """`start_from_trigger`: in place of `execute`, the trigger that the class describes."""
    arguments = operator.start_trigger_args
    raise TaskDeferred(
        trigger=_DescribedTrigger(arguments.trigger_cls, arguments.trigger_kwargs or {}),
        method_name=arguments.next_method,
        kwargs=arguments.next_kwargs,
        timeout=arguments.timeout,
    )


class _DescribedTrigger:
    """A trigger by its class path, which nobody needs to import here."""

    def __init__(self, classpath: str, kwargs: dict[str, Any]) -> None:
        self.classpath = classpath
        self.kwargs = kwargs

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return self.classpath, self.kwargs


def _with_defaults(init: Callable[..., None]) -> Callable[..., None]:
    names = tuple(
        name
        for name, parameter in inspect.signature(init).parameters.items()
        if name not in {"self", "task_id", "dag", "default_args", "params", "task_group"}
        and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    )

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        defaults = self._defaults
        if defaults:
            for name in names:
                if name in defaults and name not in kwargs:
                    kwargs[name] = defaults[name]
        init(self, *args, **kwargs)

    return wrapped


class BaseOperator(Task, metaclass=OperatorMeta):
    """One task. A subclass of yours runs as it is: its `execute(context)` is called in the task's process."""

    kind = "python"
    is_mapped = False
    template_fields: Sequence[str] = ()
    template_ext: Sequence[str] = ()
    template_fields_renderers: dict[str, str] = {}
    ui_color = "#fff"
    ui_fgcolor = "#000"
    custom_operator_name = ""
    operator_extra_links: Sequence[Any] = ()
    inherits_from_skipmixin = False
    """Does what it chose to skip hold for whoever is cleared later? Airflow's name."""
    start_from_trigger = False
    start_trigger_args: Any = None
    leoflow_arguments: frozenset[str] | None = None
    """What its constructor takes, if that is not to be seen here (`sdk_classes.py`)."""
    leoflow_rules: tuple[Rules, ...] = ()
    """What became of arguments that this class once had."""
    _location: Location = ("", 0)
    _given: frozenset[str] = frozenset()
    _defaults: Mapping[str, Any] = {}

    def __init__(
        self,
        *,
        task_id: str,
        owner: str | None = "airflow",
        email: Any = None,
        email_on_retry: bool = True,
        email_on_failure: bool = True,
        retries: int | str | None = 0,
        retry_delay: timedelta | float = timedelta(minutes=5),
        retry_exponential_backoff: float = 0,
        max_retry_delay: timedelta | float | None = None,
        retry_policy: Any = None,
        start_date: Any = None,
        end_date: Any = None,
        depends_on_past: bool = False,
        ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False,
        wait_for_downstream: bool = False,
        dag: DAG | None = None,
        params: Mapping[str, Any] | None = None,
        default_args: Mapping[str, Any] | None = None,
        priority_weight: int = 1,
        weight_rule: Any = "downstream",
        queue: str = "default",
        pool: str | None = None,
        pool_slots: int = 1,
        execution_timeout: timedelta | None = None,
        on_execute_callback: Any = None,
        on_failure_callback: Any = None,
        on_success_callback: Any = None,
        on_retry_callback: Any = None,
        on_skipped_callback: Any = None,
        pre_execute: Callable[[Any], None] | None = None,
        post_execute: Callable[[Any, Any], None] | None = None,
        trigger_rule: Any = "all_success",
        resources: Any = None,
        run_as_user: str | None = None,
        map_index_template: str | None = None,
        max_active_tis_per_dag: int | None = None,
        max_active_tis_per_dagrun: int | None = None,
        executor: str | None = None,
        executor_config: Any = None,
        do_xcom_push: bool = True,
        multiple_outputs: bool = False,
        inlets: Any = None,
        outlets: Any = None,
        task_group: TaskGroup | None = None,
        doc: str | None = None,
        doc_md: str | None = None,
        doc_json: str | None = None,
        doc_yaml: str | None = None,
        doc_rst: str | None = None,
        task_display_name: str | None = None,
        logger_name: str | None = None,
        allow_nested_operators: bool = True,
        render_template_as_native_obj: bool | None = None,
        **kwargs: Any,
    ) -> None:
        today = {"max_active_tis_per_dag": max_active_tis_per_dag, "do_xcom_push": do_xcom_push}
        both = {**kwargs, **{name: value for name, value in today.items() if name in self._given}}
        old = old_names.task_arguments(self, both) if kwargs else {}
        max_active_tis_per_dag = old.pop("max_active_tis_per_dag", max_active_tis_per_dag)
        do_xcom_push = old.pop("do_xcom_push", do_xcom_push)
        if old:
            raise AuthoringError(
                f"task {task_id!r}: {type(self).__name__} has no argument {', '.join(map(repr, sorted(old)))}",
                "Airflow 3 refuses it as well",
                "correct the name, or remove it",
                self._location,
            )
        dag = dag or context.current_dag()
        self._take_place(task_id, dag, task_group)
        self.params = ParamsDict(dag.params if dag is not None else None)
        for source in (self._defaults.get("params"), params):
            if source is not None:
                self.params.update(source)
        self._own_params = [*(self._defaults.get("params") or ()), *(params or ())]
        self.owner = "airflow" if owner is None else owner
        self.email = email
        self.email_on_retry = email_on_retry
        self.email_on_failure = email_on_failure
        self.retries = _number(retries)
        self.retry_delay = retry_delay
        self.retry_exponential_backoff = retry_exponential_backoff
        self.max_retry_delay = max_retry_delay
        self.retry_policy = retry_policy
        self.start_date = start_date
        self.end_date = end_date
        self.wait_for_downstream = wait_for_downstream
        self.depends_on_past = depends_on_past or wait_for_downstream
        self.ignore_first_depends_on_past = ignore_first_depends_on_past
        self.wait_for_past_depends_before_skipping = wait_for_past_depends_before_skipping
        self.priority_weight = priority_weight
        self.weight_rule = weight_rule
        self.queue = queue
        self.pool = "default_pool" if pool is None else pool
        self.pool_slots = pool_slots
        self.execution_timeout = execution_timeout
        self.on_execute_callback = on_execute_callback
        self.on_failure_callback = on_failure_callback
        self.on_success_callback = on_success_callback
        self.on_retry_callback = on_retry_callback
        self.on_skipped_callback = on_skipped_callback
        self._pre_execute_hook = pre_execute
        self._post_execute_hook = post_execute
        self.trigger_rule = enums.trigger_rule(old_names.trigger_rule(trigger_rule, dag, self._location))
        self.resources = resources
        self.run_as_user = run_as_user
        self.map_index_template = map_index_template
        self.max_active_tis_per_dag = max_active_tis_per_dag
        self.max_active_tis_per_dagrun = max_active_tis_per_dagrun
        self.executor = executor
        self.executor_config = executor_config
        self.do_xcom_push = do_xcom_push
        self.multiple_outputs = multiple_outputs
        self.inlets = as_list(inlets)
        self.outlets = as_list(outlets)
        self.doc = doc
        self.doc_md = doc_md
        self.doc_json = doc_json
        self.doc_yaml = doc_yaml
        self.doc_rst = doc_rst
        self.task_display_name = task_display_name
        self.logger_name = logger_name
        self.allow_nested_operators = allow_nested_operators
        self.render_template_as_native_obj = render_template_as_native_obj
        if self.task_group is not None:
            self.task_group.add(self)
        if dag is not None:
            dag.add_task(self)

    def add_inlets(self, inlets: Iterable[Any]) -> None:
        self.inlets.extend(inlets)

    def add_outlets(self, outlets: Iterable[Any]) -> None:
        self.outlets.extend(outlets)

    def depend_on_outputs(self) -> None:
        """The outputs in template fields become dependencies: after the last `__init__`, and once more when the DAG is
        complete, for fields that were set later. Watching every assignment would double the cost of a task."""
        for name in self.template_fields:
            value = getattr(self, name, None)
            for output in iter_outputs(value) if value is not None else ():
                self.set_upstream(output.operator)

    # -- what it is

    @property
    def task_type(self) -> str:
        return type(self).__name__

    @property
    def operator_class(self) -> type:
        """The author's class, also of a task that is mapped."""
        return type(self)

    @property
    def inherits_from_empty_operator(self) -> bool:
        return any(cls.__name__ == "EmptyOperator" for cls in self.operator_class.__mro__)

    @property
    def operator_name(self) -> str:
        return self.custom_operator_name or self.task_type

    @property
    def output(self) -> XComArg:
        return XComArg(self)

    @property
    def log(self) -> logging.Logger:
        return logging.getLogger(self.logger_name or f"airflow.task.operators.{type(self).__module__}.{self.task_type}")

    def __repr__(self) -> str:
        return f"<Task({self.task_type}): {self.task_id}>"

    # -- running (only ever in the task's process)

    def pre_execute(self, context: Any) -> None:
        if self._pre_execute_hook is not None:
            asset_records.call(self._pre_execute_hook, context, context)

    def execute(self, context: Any) -> Any:
        raise NotImplementedError(f"{self.task_type} has no execute()")

    def post_execute(self, context: Any, result: Any = None) -> None:
        if self._post_execute_hook is not None:
            asset_records.call(self._post_execute_hook, context, context, result)

    def defer(
        self,
        *,
        trigger: Any,
        method_name: str,
        kwargs: dict[str, Any] | None = None,
        timeout: timedelta | float | None = None,
    ) -> NoReturn:
        """Give the process back until the trigger fires; `method_name` then goes on, in another process."""
        raise TaskDeferred(trigger=trigger, method_name=method_name, kwargs=kwargs, timeout=timeout)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Called instead of `execute` when the trigger has fired, failed or come too late."""
        arguments = next_kwargs or {}
        if next_method != FAILED_WAIT:
            return getattr(self, next_method)(context, **arguments)
        if arguments.get("traceback"):
            self.log.error("Trigger failed:\n%s", "\n".join(arguments["traceback"]))
        error = arguments.get("error", "Unknown")
        raise TaskDeferralTimeout(error) if error == TRIGGER_TIMEOUT else TaskDeferralError(error)

    def render_template(self, content: Any, context: Any, jinja_env: Any = None, seen_oids: Any = None) -> Any:
        """Texts in `content` rendered, however deep, and outputs of tasks in it as their values."""
        return templating.of_running_task(self).render(content, context, jinja_env)

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        for name in self.template_fields:
            setattr(self, name, self.render_template(getattr(self, name, None), context, jinja_env))

    def get_template_env(self, dag: Any = None) -> Any:
        """The Jinja environment of its DAG, with the DAG's macros and filters."""
        return templating.of_running_task(self).environment()

    def on_kill(self) -> None:
        """Called before the process is ended; subclasses stop what they started elsewhere."""

    def xcom_pull(self, context: Any, *args: Any, **kwargs: Any) -> Any:
        return context["ti"].xcom_pull(*args, **kwargs)

    def xcom_push(self, context: Any, key: str, value: Any) -> None:
        context["ti"].xcom_push(key=key, value=value)

    # -- mapping

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """The arguments that all instances share; `expand` and `expand_kwargs` of what it gives make the task."""
        from airflow._leoflow import mapping  # it needs this class

        kwargs = old_names.partial_arguments(cls, kwargs)
        if hasattr(cls, "captured_from"):
            from airflow._leoflow.captured import check_capture

            check_capture(cls, kwargs)
        return mapping.OperatorPartial(cls, kwargs)

    @classmethod
    def unnamed_arguments(cls) -> Iterable[str]:
        """What its constructor takes beside the parameters that it names."""
        return ()

    @classmethod
    def note_mapped(cls, mapped: BaseOperator) -> None:
        """A task that is mapped was made of this class: what of its arguments does not hold for it as a whole."""


def _number(retries: Any) -> Any:
    """A whole number may be written as text, as environment variables and Airflow's Variables give it."""
    if retries is None:
        return 0
    return int(retries) if isinstance(retries, str) and retries.strip().isdigit() else retries
