"""Dynamic task mapping: `partial`, `expand` and `expand_kwargs` of operators and @task functions, as in Airflow 3.2.

While a file is loaded a mapped task is a `MappedOperator`: the arguments that all instances share, and what they are
mapped over. The process of one instance makes the operator that the author wrote of it (`unmap`). Mapped task groups
are in `mapped_group.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from airflow._leoflow import context
from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.errors import AuthoringError, describe
from airflow._leoflow.ids import unique_task_id
from airflow._leoflow.xcom_arg import (
    RETURN_VALUE,
    Pull,
    XComArg,
    is_sequence,
    item_at,
    iter_outputs,
)

_OWN_ARGUMENTS = frozenset(inspect.signature(BaseOperator.__init__).parameters) - {"self", "kwargs"}
_MAPPABLE_OWN = frozenset({"params"})
"""Of the arguments that every operator has: the scheduler must know the others before anything runs."""


# --- what is mapped over -----------------------------------------------------------------------------------------


class ExpandInput:
    """`expand(**value)`: instances are the product of all lists, the last one varying first."""

    kind = "expand"

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.value = dict(value)

    def outputs(self) -> Iterator[XComArg]:
        """The outputs that it maps over, as they were given."""
        yield from (one for one in self.value.values() if isinstance(one, XComArg))

    def references(self) -> Iterator[XComArg]:
        for output in self.outputs():
            yield from output.references()

    def spec(self) -> dict[str, Any]:
        """As `MappedSpec` of the artifact says it."""
        needs = sorted({output.operator.task_id for output in self.references()})
        return {"kind": self.kind, "inputs": self._inputs(), "needs": needs}

    def _inputs(self) -> list[dict[str, Any]]:
        return [{"name": name, **_length(one)} for name, one in self.value.items()]

    def literals(self) -> list[Any]:
        """What it maps over that is no output, but may hold some."""
        return [one for one in self.value.values() if not isinstance(one, XComArg)]

    def resolve(self, map_index: int, pull: Pull) -> tuple[dict[str, Any], set[int]]:
        """The arguments of one instance, and the ids of those that are no templates, since they come from outputs."""
        found: dict[str, Any] = {}
        rest = map_index
        for name, one in reversed(list(self.value.items())):
            values = one.resolve(pull) if isinstance(one, XComArg) else one
            if not is_sequence(values) and not isinstance(values, Mapping):
                raise TypeError(f"can't map over value of type {type(values)}")
            if not len(values):
                raise IndexError(f"index {map_index} is over mapped length: {name} is empty")
            found[name] = item_at(values, rest % len(values))
            rest //= len(values)
        from_outputs = {id(found[name]) for name, one in self.value.items() if isinstance(one, XComArg)}
        return {name: found[name] for name in self.value}, from_outputs


class KwargsInput(ExpandInput):
    """`expand_kwargs(value)`: one dict of arguments for each instance."""

    kind = "expand_kwargs"

    def __init__(self, value: Any) -> None:
        self.value: Any = value

    def outputs(self) -> Iterator[XComArg]:
        ones = [self.value] if isinstance(self.value, XComArg) else self.value
        yield from (one for one in ones if isinstance(one, XComArg))

    def _inputs(self) -> list[dict[str, Any]]:
        return [_length(self.value)]

    def literals(self) -> list[Any]:
        return [] if isinstance(self.value, XComArg) else list(self.value)

    def resolve(self, map_index: int, pull: Pull) -> tuple[dict[str, Any], set[int]]:
        values = self.value.resolve(pull) if isinstance(self.value, XComArg) else self.value
        if not is_sequence(values):
            raise ValueError(f"expand_kwargs() expects a list[dict], not {_type(values)}")
        one = values[map_index]
        is_output = isinstance(self.value, XComArg) or isinstance(one, XComArg)
        if isinstance(one, XComArg):
            one = one.resolve(pull)
        if not isinstance(one, Mapping):
            raise ValueError(f"expand_kwargs() expects a list[dict], not list[{_type(one)}]")
        for key in one:
            if not isinstance(key, str):
                raise ValueError(
                    f"expand_kwargs() input dict keys must all be str, but {key!r} is of type {_type(key)}"
                )
        return dict(one), {id(value) for value in one.values()} if is_output else set()


def _length(value: Any) -> dict[str, Any]:
    return value.length() if isinstance(value, XComArg) else {"length": len(value)}


def _type(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def expand_input(value: Mapping[str, Any], known: Callable[[str], bool], who: str) -> ExpandInput:
    """The input of `expand(**value)`. Raises `AuthoringError` in Airflow's words."""
    if not value:
        raise AuthoringError(
            f"{who}.expand() is called without arguments",
            "no arguments to expand against",
            "name an argument and what it is mapped over: expand(x=[1, 2, 3])",
        )
    check_names(value, known, who, "expand")
    for name, one in value.items():
        if not _is_mappable(one):
            raise AuthoringError(
                f"{who}.expand() got an unexpected type {type(one).__name__!r} for keyword argument {name}",
                "only lists, tuples, dicts and the outputs of tasks can be mapped over",
                "put the value into partial(), or into a list",
            )
    _check_outputs(value)
    return ExpandInput(value)


def kwargs_input(value: Any, who: str) -> KwargsInput:
    """The input of `expand_kwargs(value)`."""
    items = value if is_sequence(value) else [value] if isinstance(value, XComArg) else None
    if items is None or not all(isinstance(one, (XComArg, Mapping)) for one in items):
        raise AuthoringError(
            f"{who}.expand_kwargs() is given {describe(value)}",
            f"expected XComArg or list[dict], not {type(value).__name__}",
            "give it a list of dicts, or the output of a task that returns one",
        )
    _check_outputs(value)
    return KwargsInput(value)


def check_names(names: Iterable[str], known: Callable[[str], bool], who: str, method: str) -> None:
    unknown = [name for name in names if not known(name)]
    if unknown:
        raise AuthoringError(
            f"{who}.{method}() got an unexpected keyword argument {', '.join(map(repr, unknown))}",
            "there is no such argument",
            "correct the name, or remove it",
        )


def check_duplicates(already: Collection[str], mapped: Iterable[str], who: str, why: str) -> None:
    twice = sorted(set(already) & set(mapped))
    if twice:
        raise AuthoringError(
            f"{who} has {', '.join(map(repr, twice))} twice",
            f"{why} argument{'s' if len(twice) > 1 else ''}: {', '.join(twice)}",
            "name it in partial() or in expand(), and not in both",
        )


def _is_mappable(value: Any) -> bool:
    return isinstance(value, (XComArg, Mapping)) or is_sequence(value)


def _check_outputs(value: Any) -> None:
    """Only what a task returns can be mapped over."""
    for output in iter_outputs(value if isinstance(value, (dict, list, tuple, XComArg)) else list(value)):
        if output.key != RETURN_VALUE:
            raise AuthoringError(
                f"the output {output.key!r} of task {output.operator.task_id!r} is mapped over",
                f"cannot map over XCom with custom key {output.key!r} from {output.operator!r}",
                "return the list from a task as a whole",
            )


def _check_always(rule: Any, value: Any, who: str, method: str) -> None:
    if str(getattr(rule, "value", rule)) == "always" and any(True for _ in iter_outputs(value)):
        raise AuthoringError(
            f"{who} has trigger_rule='always' and is mapped over the output of a task",
            f"Task-generated mapping within a task using {method!r} is not allowed with trigger rule 'always'",
            "use trigger_rule='all_done'",
        )


# --- mapped tasks ------------------------------------------------------------------------------------------------


class MappedOperator(BaseOperator):
    """A task that is mapped: `arguments` are those that its instances share, as they were given to `partial`.

    `function_arguments`: what is mapped are the arguments of a @task function, not those of its operator. `strict`: an
    argument may not come from both sides.
    """

    is_mapped = True

    def __init__(
        self,
        *,
        operator_class: type[BaseOperator],
        arguments: Mapping[str, Any],
        expand_input: ExpandInput,
        function_arguments: bool,
        strict: bool,
        **kwargs: Any,
    ) -> None:
        self._operator_class = operator_class
        self.arguments = dict(arguments)
        self.expand_input = expand_input
        self.function_arguments = function_arguments
        self.strict = strict
        self.kind = operator_class.kind
        self.template_ext = operator_class.template_ext
        self.template_fields_renderers = operator_class.template_fields_renderers
        self.ui_color = operator_class.ui_color
        self.ui_fgcolor = operator_class.ui_fgcolor
        self.operator_extra_links = operator_class.operator_extra_links
        names = [name for name in (*self.arguments, *self._expanded()) if name not in _OWN_ARGUMENTS]
        is_captured = hasattr(operator_class, "captured_from")  # which of its arguments are templates nobody knows here
        self.template_fields = tuple(dict.fromkeys((*operator_class.template_fields, *(names if is_captured else ()))))
        super().__init__(**kwargs)
        group = closest_mapped_group(self.task_group)
        if group is not None:
            raise AuthoringError(
                f"task {self.task_id!r} is mapped inside of the mapped task group {group.group_id!r}",
                "operator expansion in an expanded task group is not yet supported",
                "expand the group or the task, and not both",
            )
        for name, value in self.arguments.items():
            if name in self.template_fields:
                setattr(self, name, value)
        operator_class.note_mapped(self)

    def _expanded(self) -> Iterable[str]:
        value = self.expand_input.value
        return value if self.expand_input.kind == "expand" and not self.function_arguments else ()

    @property
    def operator_class(self) -> type[BaseOperator]:
        return self._operator_class

    @property
    def task_type(self) -> str:
        return self._operator_class.__name__

    @property
    def operator_name(self) -> str:
        return self._operator_class.custom_operator_name or self.task_type

    def depend_on_outputs(self) -> None:
        super().depend_on_outputs()
        for output in (*self.expand_input.references(), *iter_outputs(self.expand_input.literals())):
            self.set_upstream(output.operator)

    def execute(self, context: Any) -> Any:
        raise RuntimeError(f"task {self.task_id!r} is mapped: only its instances run")

    def unmap(self, map_index: int, pull: Pull) -> tuple[BaseOperator, set[int]]:
        """The operator of one instance, in its place in the DAG; and the ids of arguments that are no templates."""
        if map_index < 0:
            raise RuntimeError(f"can't resolve the arguments of task {self.task_id!r} without expanding it")
        mapped, from_outputs = self.expand_input.resolve(map_index, pull)
        return self.instance_with(mapped), from_outputs

    def instance_with(self, mapped: dict[str, Any]) -> BaseOperator:
        """The operator of an instance that is mapped over these arguments."""
        arguments = dict(self.arguments)
        if self.function_arguments:
            arguments["op_kwargs"] = self._both(arguments.get("op_kwargs") or {}, mapped)
        else:
            if "params" in mapped:
                mapped = {**mapped, "params": {**(arguments.pop("params", None) or {}), **mapped["params"]}}
            arguments = self._both(arguments, mapped)
        context.is_unmapping = True
        try:
            operator = self._operator_class(**{**arguments, "task_id": self.task_id, "default_args": self._defaults})
        finally:
            context.is_unmapping = False
        for name in ("_dag", "task_group", "label", "upstream_task_ids", "downstream_task_ids", "_location"):
            setattr(operator, name, getattr(self, name))
        for name in ("is_setup", "is_teardown", "on_failure_fail_dagrun"):
            setattr(operator, name, getattr(self, name))
        return operator

    def _both(self, shared: Mapping[str, Any], mapped: Mapping[str, Any]) -> dict[str, Any]:
        twice = sorted(set(shared) & set(mapped))
        if twice and self.strict:
            plural = "s" if len(twice) > 1 else ""
            raise TypeError(f"unmappable or already specified argument{plural}: {', '.join(twice)}")
        return {**shared, **mapped}

    def __repr__(self) -> str:
        return f"<Mapped({self.task_type}): {self.task_id}>"


def closest_mapped_group(group: Any) -> Any:
    """The innermost mapped group, this one or one around it; None when there is none."""
    while group is not None and not group.is_mapped:
        group = group.parent_group
    return group


def _make(
    operator_class: type[BaseOperator],
    arguments: Mapping[str, Any],
    expanded: ExpandInput,
    *,
    function_arguments: bool,
    strict: bool,
) -> MappedOperator:
    own = {name: value for name, value in arguments.items() if name in _OWN_ARGUMENTS}
    shared = {name: value for name, value in arguments.items() if name not in {"task_id", "dag", "task_group"}}
    return MappedOperator(
        operator_class=operator_class,
        arguments={name: value for name, value in shared.items() if name != "default_args"},
        expand_input=expanded,
        function_arguments=function_arguments,
        strict=strict,
        **own,
    )


# --- operators ---------------------------------------------------------------------------------------------------


class OperatorPartial:
    """What `Operator.partial(...)` gives: it becomes a task when it is expanded."""

    def __init__(self, operator_class: type[BaseOperator], arguments: dict[str, Any]) -> None:
        self.operator_class = operator_class
        self.arguments = arguments
        self._known = _arguments_of(operator_class)
        check_names(arguments, self._known, operator_class.__name__, "partial")
        if "task_id" not in arguments:
            raise AuthoringError(
                f"{operator_class.__name__}.partial() is called without a task_id",
                "every task needs one",
                "pass task_id=...",
            )

    def expand(self, **mapped: Any) -> MappedOperator:
        who = self.operator_class.__name__
        expanded = expand_input(mapped, self._known, who)
        already = {*self.arguments, *(_OWN_ARGUMENTS - _MAPPABLE_OWN)}
        check_duplicates(already, mapped, f"task {self.arguments['task_id']!r}", "unmappable or already specified")
        _check_always(self.arguments.get("trigger_rule"), mapped, f"task {self.arguments['task_id']!r}", "expand")
        return _make(self.operator_class, self.arguments, expanded, function_arguments=False, strict=False)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> MappedOperator:
        expanded = kwargs_input(kwargs, self.operator_class.__name__)
        return _make(self.operator_class, self.arguments, expanded, function_arguments=False, strict=strict)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.operator_class.__name__}.partial({arguments})"


def _arguments_of(cls: type[BaseOperator]) -> Callable[[str], bool]:
    """Is this an argument of the class, at any level of it? Of a provider's operator, which is not here, anything may
    be one."""
    if cls.leoflow_arguments is not None:
        return cls.leoflow_arguments.__contains__
    if hasattr(cls, "captured_from"):
        return lambda _: True
    names = {
        name
        for base in cls.__mro__
        if "__init__" in vars(base) and base is not object
        for name, parameter in inspect.signature(base.__init__).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and name != "self"
    }
    return names.union(cls.unnamed_arguments()).__contains__


# --- @task functions ---------------------------------------------------------------------------------------------


def partial_function(decorator: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """The operator arguments of a @task function of which some arguments are given."""
    who = f"task {decorator.function.__name__!r}"
    _check_function(decorator, arguments, "partial")
    known = decorator.kwargs.get("op_kwargs") or {}
    check_duplicates(known, arguments, who, "duplicate partial")
    return {**decorator.kwargs, "op_kwargs": {**known, **arguments}}


def expand_function(decorator: Any, mapped: dict[str, Any]) -> XComArg:
    who = f"task {decorator.function.__name__!r}"
    _check_always(decorator.kwargs.get("trigger_rule"), mapped, who, "expand")
    expanded = expand_input(mapped, _parameters_of(decorator), decorator.function.__name__)
    _check_function(decorator, mapped, "expand")
    check_duplicates(decorator.kwargs.get("op_kwargs") or (), mapped, who, "mapping already partial")
    return _function_task(decorator, expanded, strict=False)


def expand_function_kwargs(decorator: Any, kwargs: Any, *, strict: bool) -> XComArg:
    if not isinstance(kwargs, XComArg):
        who = f"task {decorator.function.__name__!r}"
        _check_always(decorator.kwargs.get("trigger_rule"), kwargs, who, "expand_kwargs")
    return _function_task(decorator, kwargs_input(kwargs, decorator.function.__name__), strict=strict)


def _function_task(decorator: Any, expanded: ExpandInput, *, strict: bool) -> XComArg:
    """As a call of the decorated function makes its task."""
    arguments = decorator.operator_arguments()
    fail_dagrun = arguments.pop("on_failure_fail_dagrun")
    arguments["task_id"] = unique_task_id(arguments["task_id"], arguments.get("dag"), arguments.get("task_group"))
    arguments["python_callable"] = decorator.function
    operator = _make(decorator.operator_class, arguments, expanded, function_arguments=True, strict=strict)
    decorator.mark(operator, fail_dagrun)
    return XComArg(operator)


def _check_function(decorator: Any, arguments: Mapping[str, Any], method: str) -> None:
    name = decorator.function.__name__
    taken = sorted(context.KNOWN_CONTEXT_KEYS & set(arguments))
    if taken:
        raise AuthoringError(
            f"task {name!r} uses {method}() on {', '.join(map(repr, taken))}",
            f"cannot call {method}() on task context variable {', '.join(map(repr, taken))}",
            "rename the parameter of the function",
        )
    check_names(arguments, _parameters_of(decorator), name, method)


def _parameters_of(decorator: Any) -> Callable[[str], bool]:
    return parameters_of(decorator.function)


def parameters_of(function: Callable[..., Any]) -> Callable[[str], bool]:
    """Is this a parameter of the function? Anything is, if it takes `**kwargs`."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return lambda _: True
    return parameters.__contains__
