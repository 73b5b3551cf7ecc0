"""DAGs that the real SDK has made, made again of the shim's classes, so that one serializer writes both down (ADR 40).

A DAG, a timetable or an operator of Airflow's is made by the call that the author wrote (`sdk_calls.py`), and what was
set on it later is set again. Of an operator class of the author's own the constructor has run on the real one: the
shim's object takes the arguments that its base class got from it. Edges, groups and outputs are the real ones.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from airflow._leoflow import (
    asset_schedule,
    context,
    enums,
    mapping,
    partitions,
    sdk_assets,
    sdk_deadlines,
    timetables,
)
from airflow._leoflow.asset_specs import as_list
from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.checked_values import text_of
from airflow._leoflow.custom_timetable import OfAirflow
from airflow._leoflow.dag import DAG
from airflow._leoflow.decorators import TaskDecorator
from airflow._leoflow.errors import Location, replayed
from airflow._leoflow.mapped_group import MappedTaskGroup
from airflow._leoflow.mapping import ExpandInput, KwargsInput
from airflow._leoflow.params import NOTSET, DagParam, Param, ParamsDict
from airflow._leoflow.sdk_calls import POSITIONAL, TIMETABLES, Call, attributes, calls, expansions
from airflow._leoflow.sdk_classes import arguments, is_known, shim_class
from airflow._leoflow.task_group import TaskGroup
from airflow._leoflow.timetables import BaseTimetable, create_timetable
from airflow._leoflow.xcom_arg import MISSING, ConcatXComArg, Literal, MappedArgument, MapXComArg, XComArg, ZipXComArg

OF_THE_PLACE = frozenset({"task_id", "dag", "task_group", "default_args", "params", "kwargs", "self"})
"""Arguments of an operator that its place in the DAG decides, or that are not kept as they are."""
HOOKS = {"pre_execute": "_pre_execute_hook", "post_execute": "_post_execute_hook"}
OWN = mapping._OWN_ARGUMENTS - OF_THE_PLACE
SET_ELSEWHERE = frozenset(
    {"dag", "task_group", "task_id", "params", "label", "upstream_task_ids", "downstream_task_ids"}
)
OF_A_DAG = frozenset({"task_dict", "task_group", "edge_info", "params", "timetable", "timezone", "schedule", "fileloc"})


def shim_dag(real: Any) -> DAG:
    """Raises `AuthoringError` for what the shim refuses, with the author's line."""
    return _Copy(real).dag


class _Copy:
    """One DAG, and what has been made of its parts."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._tasks: dict[str, BaseOperator] = {}
        self._groups: dict[str | None, TaskGroup] = {}
        self._inputs: dict[int, ExpandInput] = {}
        call = calls[id(real)]
        with _written(call.location):
            given = {name: self.value(one) for name, one in call.given.items() if name != POSITIONAL}
            self.dag = DAG(*map(self.value, call.given[POSITIONAL]), **given)
        self._groups[None] = self.dag.task_group
        self._set_later(self.dag, real, OF_A_DAG)
        self.dag.tags = set(real.tags)
        self.dag.params = self._params(real.params)
        for task in real.task_dict.values():
            self._task(task)
        for task in real.task_dict.values():
            self._connect(self._task(task), task)
        for group in _groups_of(real.task_group):
            self._connect_group(self._group(group), group)
        for upstream, others in real.edge_info.items():
            for downstream, info in others.items():
                self.dag.set_edge_info(upstream, downstream, info)

    # --- tasks ---------------------------------------------------------------------------------------------------

    def _task(self, real: Any) -> BaseOperator:
        task_id = text_of(real.task_id)
        if task_id in self._tasks:
            return self._tasks[task_id]
        call = _call_of(real)
        group = self._groups[None] if real.task_group is None else self._group(real.task_group)
        with _written(call.location), _inside(self.dag, group):
            task = self._expanded(real) if id(real) in expansions else self._made(real)
        self._tasks[task_id] = task
        self._set_later(task, real, SET_ELSEWHERE)
        return task

    def _made(self, real: Any) -> BaseOperator:
        cls, call = shim_class(type(real)), _call_of(real)
        given = {name: self.value(one) for name, one in call.given.items() if name not in OF_THE_PLACE}
        for name in ("default_args", "params"):
            if call.given.get(name) is not None:
                given[name] = self.value(call.given[name])
        if is_known(type(real)) and id(real) in calls:
            return cls(task_id=_label(real), **given)
        task = cls(task_id=_label(real), **self._arguments(real, cls), **self._params_given(real, given))
        task._given = frozenset(call.given)
        for name in task.template_fields:
            if hasattr(real, name):
                setattr(task, name, self.value(getattr(real, name)))
        return task

    def _arguments(self, real: Any, cls: type[BaseOperator]) -> dict[str, Any]:
        """What Airflow's class behind the author's got: as it keeps it, else as the author's own was given it."""
        written = real._BaseOperator__init_kwargs
        found = {name: getattr(real, name) for name in OWN - HOOKS.keys() if hasattr(real, name)}
        found["task_display_name"] = real._task_display_name
        found |= {name: getattr(real, kept, None) for name, kept in HOOKS.items()}
        for name in arguments(type(real)) - OWN - OF_THE_PLACE:
            if name in vars(real) or name in written:
                found[name] = vars(real).get(name, written.get(name))
        return {name: self.value(one) for name, one in found.items() if one is not None and one != [] and one != {}}

    def _params_given(self, real: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the task itself: the real one has them together with the DAG's."""
        dags = self._real.params
        own = {
            name: self._param(real.params.get_param(name))
            for name in real.params
            if name not in dags or _as_data(real.params.get_param(name)) != _as_data(dags.get_param(name))
        }
        found = {"params": own} if own else {}
        return {**found, "default_args": given["default_args"]} if "default_args" in given else found

    def _expanded(self, real: Any) -> BaseOperator:
        written, cls = expansions[id(real)], shim_class(real.operator_class)
        mapped = self._input(real._get_specified_expand_input())
        given = {name: self.value(one) for name, one in written.given.items() if name not in {"dag", "task_group"}}
        given["task_id"] = _label(real)
        if written.decorator is None:
            partial = cls.partial(**given)
            if isinstance(mapped, KwargsInput):
                return partial.expand_kwargs(mapped.value, strict=written.strict)  # type: ignore[no-any-return]
            return partial.expand(**mapped.value)  # type: ignore[no-any-return]
        decorator = TaskDecorator(real.python_callable, cls, {**given, "multiple_outputs": real.multiple_outputs})
        if written.decorator.is_teardown:
            decorator.kwargs.pop("trigger_rule", None)  # its own
        for name in ("is_setup", "is_teardown", "on_failure_fail_dagrun"):
            setattr(decorator, name, getattr(written.decorator, name))
        if isinstance(mapped, KwargsInput):
            return decorator.expand_kwargs(mapped.value, strict=written.strict).operator  # type: ignore[no-any-return]
        return decorator.expand(**mapped.value).operator  # type: ignore[no-any-return]

    def _set_later(self, made: Any, real: Any, but: frozenset[str]) -> None:
        """What the author, or a decorator, set on the object after its call."""
        before, now = _call_of(real).after, attributes(real)
        for name, one in now.items():
            is_later = name not in but and one is not before.get(name, MISSING)
            if is_later and not name.startswith("_") and hasattr(made, name):
                setattr(made, name, self.value(one))

    def _connect(self, task: BaseOperator, real: Any) -> None:
        task.upstream_task_ids = set(map(text_of, real.upstream_task_ids))
        task.downstream_task_ids = set(map(text_of, real.downstream_task_ids))
        for name in ("is_setup", "is_teardown", "on_failure_fail_dagrun"):
            setattr(task, name, getattr(real, name))
        for name in ("inlets", "outlets"):  # they may have grown since
            setattr(task, name, as_list(self.value(getattr(real, name))))
        if task.is_teardown:
            task.trigger_rule = self.value(real.trigger_rule)

    # --- groups --------------------------------------------------------------------------------------------------

    def _group(self, real: Any) -> TaskGroup:
        if real.group_id in self._groups:
            return self._groups[real.group_id]
        parent = self._groups[None] if real.parent_group is None else self._group(real.parent_group)
        given = {name: getattr(real, name) for name in ("prefix_group_id", "tooltip", "ui_color", "ui_fgcolor")}
        given |= {"group_id": real._group_id, "parent_group": parent, "dag": self.dag}
        given |= {"default_args": self.value(real.default_args), "group_display_name": real.group_display_name}
        if hasattr(real, "_expand_input"):
            made: TaskGroup = MappedTaskGroup(expand_input=self._input(real._expand_input), **given)
        else:
            made = TaskGroup(**given)
        self._groups[real.group_id] = made
        return made

    def _connect_group(self, group: TaskGroup, real: Any) -> None:
        for name in ("upstream_group_ids", "downstream_group_ids", "upstream_task_ids", "downstream_task_ids"):
            setattr(group, name, {text_of(one) for one in getattr(real, name) if one is not None})

    # --- values --------------------------------------------------------------------------------------------------

    def value(self, real: Any) -> Any:
        """The shim's object for one of the SDK's, in lists and dicts too; whatever else as it is."""
        kind = type(real)
        if kind in (list, tuple, set, frozenset):
            return kind(map(self.value, real))
        if kind is dict:
            return {self.value(key): self.value(one) for key, one in real.items()}
        if isinstance(real, Enum) and kind.__module__.startswith("airflow."):
            return getattr(enums, kind.__name__)(real.value) if hasattr(enums, kind.__name__) else real
        for cls in kind.__mro__:
            make = _MAKERS.get((cls.__module__, cls.__name__))
            if make is not None:
                return make(self, real)
        return self._with_fields(real)

    def _with_fields(self, real: Any) -> Any:
        """An object that names its own template fields, which may hold outputs of tasks."""
        if isinstance(real, type) or not isinstance(getattr(real, "template_fields", None), (list, tuple)):
            return real
        found = copy.copy(real)
        for name in real.template_fields:
            if hasattr(real, name):
                setattr(found, name, self.value(getattr(real, name)))
        return found

    def _operator(self, real: Any) -> Any:
        return self._task(self._real.task_dict.get(real.task_id, real))

    def _output(self, real: Any) -> XComArg:
        return XComArg(self._operator(real.operator), real.key)

    def _mapped_output(self, real: Any) -> XComArg:
        return MapXComArg(self.value(real.arg), real.callables)

    def _zipped(self, real: Any) -> XComArg:
        fill = MISSING if type(real.fillvalue).__name__ == "ArgNotSet" else real.fillvalue
        return ZipXComArg([self.value(one) for one in real.args], fill)

    def _concatenated(self, real: Any) -> XComArg:
        return ConcatXComArg([self.value(one) for one in real.args])

    def _mapped_argument(self, real: Any) -> MappedArgument:
        return MappedArgument(self._input(real._input), real._key)

    def _input(self, real: Any) -> ExpandInput:
        """One for each: the arguments of a mapped group share theirs."""
        if id(real) not in self._inputs:
            make = KwargsInput if type(real).__name__ == "ListOfDictsExpandInput" else ExpandInput
            self._inputs[id(real)] = make(self.value(real.value))
        return self._inputs[id(real)]

    def _dag_param(self, real: Any) -> DagParam:
        found = DagParam(self.dag, real._name)
        found._default = NOTSET if type(real._default).__name__ == "ArgNotSet" else real._default
        return found

    def _param(self, real: Any) -> Param:
        default = NOTSET if type(real.value).__name__ == "ArgNotSet" else real.value
        return Param(default, real.description, getattr(real, "source", None), schema=dict(real.schema))

    def _params(self, real: Any) -> ParamsDict:
        return ParamsDict({name: self._param(real.get_param(name)) for name in real})

    def _literal(self, real: Any) -> Literal:
        return Literal(real.value)

    def _timetable(self, real: Any) -> BaseTimetable:
        call = calls.get(id(real))
        name = type(real).__name__
        if call is None or type(real).__module__ not in TIMETABLES:
            if type(real).__module__.startswith(("airflow.timetables.", "airflow.sdk.")):  # one that the shim refuses
                return create_timetable(real, "")
            return OfAirflow(real)
        cls = next(getattr(one, name) for one in (partitions, asset_schedule, timetables) if hasattr(one, name))
        given = {name: self.value(one) for name, one in call.given.items() if name != POSITIONAL}
        return cls(*map(self.value, call.given[POSITIONAL]), **given)  # type: ignore[no-any-return]

    def _asset(self, real: Any) -> Any:
        return sdk_assets.shim_asset(real)

    def _deadline(self, real: Any) -> Any:
        return sdk_deadlines.shim_alert(real)

    def _dag(self, real: Any) -> Any:
        return self.dag if real is self._real else real


_XCOM = "airflow.sdk.definitions.xcom_arg"
_MAKERS = {
    (_XCOM, "PlainXComArg"): _Copy._output,
    (_XCOM, "MapXComArg"): _Copy._mapped_output,
    (_XCOM, "ZipXComArg"): _Copy._zipped,
    (_XCOM, "ConcatXComArg"): _Copy._concatenated,
    ("airflow.sdk.definitions._internal.expandinput", "MappedArgument"): _Copy._mapped_argument,
    ("airflow.sdk.definitions.param", "DagParam"): _Copy._dag_param,
    ("airflow.sdk.definitions.param", "Param"): _Copy._param,
    ("airflow.sdk.definitions.param", "ParamsDict"): _Copy._params,
    ("airflow.sdk.definitions._internal.templater", "LiteralValue"): _Copy._literal,
    **{(sdk_assets.MODULE, name): _Copy._asset for name in sdk_assets.NAMES},
    (sdk_deadlines.MODULE, "DeadlineAlert"): _Copy._deadline,
    ("airflow.sdk.definitions.dag", "DAG"): _Copy._dag,
    ("airflow.sdk.bases.operator", "BaseOperator"): _Copy._operator,
    ("airflow.sdk.definitions.mappedoperator", "MappedOperator"): _Copy._operator,
    ("airflow.sdk.definitions.taskgroup", "TaskGroup"): _Copy._group,
    ("airflow.sdk.bases.timetable", "BaseTimetable"): _Copy._timetable,
    ("airflow.timetables.base", "Timetable"): _Copy._timetable,
}


def _call_of(real: Any) -> Call:
    """Of a task that is a copy of another, nobody called its class: it is what its attributes say."""
    return calls.get(id(real)) or Call(real, ("", 0), {}, attributes(real))


def _label(real: Any) -> str:
    """Its id without the names of the groups around it."""
    group = real.task_group
    is_prefixed = group is not None and group.group_id and group.prefix_group_id
    return text_of(real.task_id).removeprefix(f"{group.group_id}." if is_prefixed else "")


def _as_data(param: Any) -> tuple[Any, ...]:
    return param.value, param.schema, param.description


def _groups_of(group: Any) -> Iterator[Any]:
    for child in group.children.values():
        if hasattr(child, "children"):
            yield child
            yield from _groups_of(child)


@contextlib.contextmanager
def _written(location: Location) -> Iterator[None]:
    """Whatever is made or refused now was written there."""
    replayed.append(location)
    try:
        yield
    finally:
        replayed.pop()


@contextlib.contextmanager
def _inside(dag: DAG, group: TaskGroup) -> Iterator[None]:
    context.open_dags.append(dag)
    context.open_groups.append(group)
    try:
        yield
    finally:
        context.open_dags.pop()
        context.open_groups.pop()
