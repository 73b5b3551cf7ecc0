"""`@task`, `@dag`, `@task_group`, `@setup`, `@teardown`."""

from __future__ import annotations

import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from airflow._leoflow import mapped_group, mapping
from airflow._leoflow.context import KNOWN_CONTEXT_KEYS
from airflow._leoflow.dag import DAG
from airflow._leoflow.errors import AirflowSkipException, AuthoringError, ShimUnsupported, describe
from airflow._leoflow.moved import CONTEXT as OLD_CONTEXT
from airflow._leoflow.operators import _BashDecoratedOperator, _PythonDecoratedOperator
from airflow._leoflow.sensors import DecoratedSensorOperator
from airflow._leoflow.task_group import TaskGroup
from airflow._leoflow.xcom_arg import XComArg

MORE_DECORATORS = {
    "branch": "branching:_BranchPythonDecoratedOperator",
    "short_circuit": "branching:_ShortCircuitDecoratedOperator",
    "virtualenv": "virtualenv:_PythonVirtualenvDecoratedOperator",
    "external_python": "virtualenv:_PythonExternalDecoratedOperator",
    "branch_virtualenv": "virtualenv:_BranchPythonVirtualenvDecoratedOperator",
    "branch_external_python": "virtualenv:_BranchExternalPythonDecoratedOperator",
}
"""Those that few files use: imported when they are."""

NOT_RUN = {"stub": "tasks in other languages are not supported"}


class TaskDecorator:
    """A decorated function; calling it inside a DAG makes a task and gives its output."""

    def __init__(self, function: Callable[..., Any], operator_class: type, kwargs: Mapping[str, Any]) -> None:
        if isinstance(function, staticmethod):
            function = function.__func__
        if not callable(function):
            raise AuthoringError(
                f"@task is applied to {describe(function)}", "it decorates functions", "put it above a `def`"
            )
        self.function = function
        self.operator_class = operator_class
        self.kwargs = dict(kwargs)
        self.is_setup = False
        self.is_teardown = False
        self.on_failure_fail_dagrun = False
        functools.update_wrapper(self, function)
        self._signature = _signature(function)
        if "self" in self._signature.parameters:
            raise TypeError("@task does not support methods")

    def __call__(self, *args: Any, **kwargs: Any) -> XComArg:
        arguments = self.operator_arguments()
        fail_dagrun = arguments.pop("on_failure_fail_dagrun")
        check_arguments(self._signature, args, kwargs, getattr(self.operator_class, "filled_in", frozenset()))
        operator = self.operator_class(python_callable=self.function, op_args=args, op_kwargs=kwargs, **arguments)
        self.mark(operator, fail_dagrun)
        return XComArg(operator)

    def operator_arguments(self) -> dict[str, Any]:
        """Those of the task, `on_failure_fail_dagrun` among them."""
        arguments = {"task_id": self.function.__name__, **self.kwargs}
        if self.is_teardown and "trigger_rule" in arguments:
            raise ValueError("Trigger rule not configurable for teardown tasks.")
        if self.is_teardown:
            arguments["trigger_rule"] = "all_done_setup_success"
        arguments.setdefault("on_failure_fail_dagrun", self.on_failure_fail_dagrun)
        if arguments.get("multiple_outputs") is None:
            arguments["multiple_outputs"] = returns_mapping(self.function)
        if hasattr(self.operator_class, "captured_from"):
            captured: Any = importlib.import_module("airflow._leoflow.captured")
            captured.check_capture(self.operator_class, arguments)
        return arguments

    def mark(self, operator: Any, fail_dagrun: bool) -> None:
        """What the decorators said of the task, and the docstring of its function."""
        operator.is_setup = self.is_setup
        operator.is_teardown = self.is_teardown
        operator.on_failure_fail_dagrun = fail_dagrun
        docs = (operator.doc, operator.doc_json, operator.doc_md, operator.doc_rst, operator.doc_yaml)
        if self.function.__doc__ and not any(docs):
            operator.doc_md = self.function.__doc__

    def partial(self, **kwargs: Any) -> TaskDecorator:
        """The same function with some of its arguments, which all instances share."""
        return self.override(op_kwargs=mapping.partial_function(self, kwargs)["op_kwargs"])

    def expand(self, **kwargs: Any) -> XComArg:
        return mapping.expand_function(self, kwargs)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> XComArg:
        return mapping.expand_function_kwargs(self, kwargs, strict=strict)

    def override(self, **kwargs: Any) -> TaskDecorator:
        """The same function with other task arguments."""
        other = TaskDecorator(self.function, self.operator_class, {**self.kwargs, **kwargs})
        other.is_setup, other.is_teardown = self.is_setup, self.is_teardown
        other.on_failure_fail_dagrun = self.on_failure_fail_dagrun
        return other

    def __rshift__(self, other: Any) -> Any:
        raise self.not_called()

    __lshift__ = __rrshift__ = __rlshift__ = __rshift__

    def not_called(self) -> AuthoringError:
        name = self.function.__name__
        return AuthoringError(
            f"the function {name!r} is used as a task",
            "a @task function becomes a task when it is called",
            f"write {name}() instead of {name}",
        )


@functools.lru_cache(maxsize=512)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """A comprehension over `task.override(...)` asks for the same one again and again."""
    return inspect.signature(function)


def check_arguments(
    signature: inspect.Signature,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    filled_in: frozenset[str] = frozenset(),
) -> None:
    """Raise TypeError as a call would, but let context keys and `filled_in` be absent: the task's process has them."""
    provided = signature.bind_partial(*args, **kwargs).arguments
    for name, parameter in signature.parameters.items():
        in_context = name in KNOWN_CONTEXT_KEYS
        if in_context and parameter.default not in (None, parameter.empty):
            raise ValueError(f"Context key parameter {name} can't have a default other than None")
        if (
            in_context
            or name in OLD_CONTEXT
            or name in filled_in
            or name in provided
            or parameter.default is not parameter.empty
        ):
            continue
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"missing a required argument: {name!r}")


def returns_mapping(function: Callable[..., Any]) -> bool:
    """Airflow's rule for `multiple_outputs`: the return annotation is a dict, a Mapping or a TypedDict."""
    annotations = getattr(function, "__annotations__", {})
    if "return" not in annotations:
        return False

    def only_return() -> None: ...

    only_return.__annotations__ = {"return": annotations["return"]}
    try:
        returned = typing.get_type_hints(only_return, getattr(function, "__globals__", None)).get("return")
    except (NameError, TypeError):
        return False
    kind = getattr(returned, "__origin__", returned)
    return isinstance(kind, type) and issubclass(kind, Mapping)


class _TaskFactory:
    """The name `task`: bare, with arguments, and as `task.python`, `task.bash`, `task.branch` and others."""

    def __call__(self, python_callable: Any = None, multiple_outputs: bool | None = None, **kwargs: Any) -> Any:
        return _decorate(_PythonDecoratedOperator, python_callable, {**kwargs, "multiple_outputs": multiple_outputs})

    def python(self, python_callable: Any = None, multiple_outputs: bool | None = None, **kwargs: Any) -> Any:
        return self(python_callable, multiple_outputs, **kwargs)

    def bash(self, python_callable: Any = None, **kwargs: Any) -> Any:
        return _decorate(_BashDecoratedOperator, python_callable, {"multiple_outputs": False, **kwargs})

    def sensor(self, python_callable: Any = None, **kwargs: Any) -> Any:
        return _decorate(DecoratedSensorOperator, python_callable, {"multiple_outputs": False, **kwargs})

    def run_if(self, condition: Condition, skip_message: str | None = None) -> Any:
        """Above `@task`: the task is skipped unless `condition(context)` is true."""
        return _conditional("run_if", condition, skip_message, wanted=True)

    def skip_if(self, condition: Condition, skip_message: str | None = None) -> Any:
        """Above `@task`: the task is skipped if `condition(context)` is true."""
        return _conditional("skip_if", condition, skip_message, wanted=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in MORE_DECORATORS:
            return functools.partial(_decorate_with, _class_of(MORE_DECORATORS[name]))
        providers: Any = importlib.import_module("airflow._leoflow.provider_decorators")
        if name in providers.DECORATORS:
            return functools.partial(_decorate_with, providers.operator_class(name))
        raise ShimUnsupported(
            f"@task.{name} is used",
            NOT_RUN.get(name, "no such decorator is known"),
            "use @task, @task.bash, @task.sensor, @task.branch or an operator from airflow.providers.standard",
        )


def _decorate(operator_class: type, function: Any, kwargs: Mapping[str, Any]) -> Any:
    if function is None:
        return lambda function: TaskDecorator(function, operator_class, kwargs)
    return TaskDecorator(function, operator_class, kwargs)


def _class_of(where: str) -> type:
    module, _, name = where.partition(":")
    found: type = getattr(importlib.import_module(f"airflow._leoflow.{module}"), name)
    return found


def _decorate_with(
    operator_class: type, python_callable: Any = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> Any:
    if isinstance(python_callable, str):  # `@task.external_python("/path/to/python")`
        python_callable, kwargs = None, {"python": python_callable, **kwargs}
    return _decorate(operator_class, python_callable, {**kwargs, "multiple_outputs": multiple_outputs})


Condition = Callable[[Any], Any]
"""Of the context: a truth, or a pair of it and the message of the skip."""


def _conditional(name: str, condition: Condition, skip_message: str | None, *, wanted: bool) -> Any:
    def hook(context: Any) -> None:
        answer, message = condition(context), None
        if isinstance(answer, tuple):
            answer, message = answer
        if bool(answer) is not wanted:
            raise AirflowSkipException(message or skip_message or "Task was skipped due to condition.")

    def decorator(decorated: Any) -> TaskDecorator:
        if not isinstance(decorated, TaskDecorator):
            raise TypeError(f"{name} can only be used with task. decorate with @task before @{name}.")
        decorated.kwargs["pre_execute"] = _one_after_another(decorated.kwargs.get("pre_execute"), hook)
        return decorated

    return decorator


def _one_after_another(*hooks: Callable[[Any], None] | None) -> Callable[[Any], None]:
    def run(context: Any) -> None:
        for hook in hooks:
            if hook is not None:
                hook(context)

    return run


task = _TaskFactory()


def setup(function: Any) -> TaskDecorator:
    """Marks a task as setup; also makes a task of a plain function."""
    decorator = function if isinstance(function, TaskDecorator) else task(function)
    decorator.is_setup = True
    return typing.cast(TaskDecorator, decorator)


def teardown(function: Any = None, *, on_failure_fail_dagrun: bool = False) -> Any:
    """Marks a task as teardown, optionally one whose failure fails the dag run."""
    if function is None:
        return lambda inner: teardown(inner, on_failure_fail_dagrun=on_failure_fail_dagrun)
    decorator = function if isinstance(function, TaskDecorator) else task(function)
    decorator.is_teardown = True
    decorator.on_failure_fail_dagrun = on_failure_fail_dagrun
    return decorator


# --- @dag and @task_group ----------------------------------------------------------------------------------------


def dag(dag_id: Any = "", **kwargs: Any) -> Any:
    """Calling the decorated function makes the DAG; its parameters become params of the DAG."""
    if callable(dag_id):
        return _dag_factory(dag_id, "", {})
    return lambda function: _dag_factory(function, dag_id, kwargs)


def _dag_factory(function: Callable[..., Any], dag_id: str, kwargs: Mapping[str, Any]) -> Callable[..., DAG]:
    @functools.wraps(function)
    def factory(*args: Any, **arguments: Any) -> DAG:
        bound = inspect.signature(function).bind(*args, **arguments)
        bound.apply_defaults()
        with DAG(dag_id or function.__name__, **kwargs) as made:
            if made.doc_md is None and function.__doc__:
                made.doc_md = function.__doc__
            made.fileloc = function.__code__.co_filename
            made._location = (function.__code__.co_filename, function.__code__.co_firstlineno)
            function(**{name: made.param(name, value) for name, value in bound.arguments.items()})
        return made

    return factory


class TaskGroupDecorator:
    """A decorated function; calling it makes a group of the tasks that it creates."""

    def __init__(
        self, function: Callable[..., Any], kwargs: Mapping[str, Any], given: Mapping[str, Any] | None = None
    ) -> None:
        self.function = function
        self.kwargs = dict(kwargs)
        self.given = dict(given or {})
        """Arguments of the function, from `partial`."""
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.make_group(TaskGroup, args, kwargs)

    def make_group(self, make: Callable[..., TaskGroup], args: Any, kwargs: Mapping[str, Any]) -> Any:
        arguments = {"group_id": self.function.__name__, "add_suffix_on_collision": True, **self.kwargs}
        with make(**arguments) as group:
            if self.function.__doc__:
                group.tooltip = group.tooltip or self.function.__doc__
            returned = self.function(*args, **kwargs)
        return group if returned is None else returned

    def override(self, **kwargs: Any) -> TaskGroupDecorator:
        return TaskGroupDecorator(self.function, {**self.kwargs, **kwargs}, self.given)

    def partial(self, **kwargs: Any) -> TaskGroupDecorator:
        return TaskGroupDecorator(self.function, self.kwargs, mapped_group.partial_group(self, kwargs))

    def expand(self, **kwargs: Any) -> Any:
        return mapped_group.expand_group(self, kwargs)

    def expand_kwargs(self, kwargs: Any) -> Any:
        return mapped_group.expand_group_kwargs(self, kwargs)


def task_group(group_id: Any = None, **kwargs: Any) -> Any:
    if callable(group_id):
        return TaskGroupDecorator(group_id, kwargs)
    if group_id is not None:
        kwargs["group_id"] = group_id
    return lambda function: TaskGroupDecorator(function, kwargs)
