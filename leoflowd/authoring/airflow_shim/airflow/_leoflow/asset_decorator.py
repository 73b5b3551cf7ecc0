"""`@asset` and `@asset.multi`: a function that makes assets, as a DAG of one task."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from airflow._leoflow.assets import Asset, AssetAll, BaseAsset
from airflow._leoflow.dag import DAG
from airflow._leoflow.decorators import TaskDecorator
from airflow._leoflow.errors import ShimUnsupported
from airflow._leoflow.operators import PythonOperator

_FILLED_IN = ("self", "context")


class _AssetMainOperator(PythonOperator):
    """Calls the function with the assets that its parameters name."""

    def __init__(self, *, definition_name: str, uri: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._definition_name = definition_name

    def call(self, context: Any) -> Any:
        return self.call_with(dict(self._arguments(context)), context)

    def _arguments(self, context: Any) -> Iterator[tuple[str, Any]]:
        for name, parameter in inspect.signature(self.python_callable).parameters.items():
            if parameter.default is not parameter.empty:
                yield name, parameter.default
            elif name == "context":
                yield name, context
            else:
                yield name, context["outlet_events"].asset_named(self._definition_name if name == "self" else name)


class AssetDefinition(Asset):
    """What `@asset` leaves in place of the function."""

    def __init__(self, function: Any, source: asset, **fields: Any) -> None:
        super().__init__(**fields)
        self._function = function
        _make_dag(self, source, self.name)

    def iter_outlets(self) -> Iterator[BaseAsset]:
        yield self


class MultiAssetDefinition(AssetAll):
    """What `@asset.multi` leaves: all its assets."""

    def __init__(self, function: Any, source: Any) -> None:
        super().__init__(*source.outlets)
        self.name = function.__name__
        self._function = function
        _make_dag(self, source, self.name)

    def iter_outlets(self) -> Iterator[BaseAsset]:
        yield from self.objects


class _DagArguments:
    """What both take for their DAG."""

    def __init__(
        self,
        *,
        schedule: Any,
        is_paused_upon_creation: bool | None = None,
        dag_id: str | None = None,
        dag_display_name: str | None = None,
        description: str | None = None,
        params: Mapping[str, Any] | None = None,
        on_success_callback: Any = None,
        on_failure_callback: Any = None,
        access_control: Any = None,
        owner_links: Mapping[str, str] | None = None,
        tags: Collection[str] = (),
    ) -> None:
        self.dag_id = dag_id
        self.dag_display_name = dag_display_name
        self.arguments = {
            "schedule": schedule,
            "is_paused_upon_creation": is_paused_upon_creation,
            "catchup": False,
            "description": description,
            "params": params,
            "on_success_callback": on_success_callback,
            "on_failure_callback": on_failure_callback,
            "access_control": access_control,
            "owner_links": dict(owner_links or {}),
            "tags": set(tags),
        }


class asset(_DagArguments):  # noqa: N801  Airflow's name
    """The function below makes this asset; each run of the DAG of its name calls it."""

    def __init__(
        self,
        *,
        name: str | None = None,
        uri: Any = None,
        group: str = Asset.asset_type,
        extra: Mapping[str, Any] | None = None,
        watchers: Collection[Any] = (),
        **dag_arguments: Any,
    ) -> None:
        super().__init__(**dag_arguments)
        refuse_watchers_of_decorator(watchers)
        self.name = name
        self.uri = uri
        self.group = group
        self.extra = extra

    def __call__(self, function: Callable[..., Any]) -> AssetDefinition:
        _check_place(function)
        name = self.name or function.__name__
        uri = name if self.uri is None else str(self.uri)
        return AssetDefinition(function, self, name=name, uri=uri, group=self.group, extra=self.extra)

    class multi(_DagArguments):  # noqa: N801  Airflow's name
        """The function below makes several assets."""

        def __init__(self, *, outlets: Collection[BaseAsset], **dag_arguments: Any) -> None:
            super().__init__(**dag_arguments)
            self.outlets = outlets

        def __call__(self, function: Callable[..., Any]) -> MultiAssetDefinition:
            _check_place(function)
            if not self.outlets:
                raise ValueError("no outlets provided")
            return MultiAssetDefinition(function, self)


def refuse_watchers_of_decorator(watchers: Collection[Any]) -> None:
    if watchers:
        raise ShimUnsupported(
            "@asset has watchers",
            "Airflow takes them there and never runs them",
            "give them to an Asset(...) that a schedule names: Asset(name, watchers=[AssetWatcher(...)])",
        )


def _check_place(function: Any) -> None:
    if function.__name__ != function.__qualname__:
        raise ValueError("nested function not supported")


def _make_dag(definition: Any, source: _DagArguments, default_dag_id: str) -> None:
    dag_id = source.dag_id or default_dag_id
    with DAG(dag_id, dag_display_name=source.dag_display_name or dag_id, **source.arguments):
        if isinstance(definition._function, TaskDecorator):
            _make_task(definition._function, list(definition.iter_outlets()))
        else:
            _make_main_task(definition, list(definition.iter_outlets()))


def _make_task(function: TaskDecorator, outlets: list[BaseAsset]) -> None:
    if "outlets" in function.kwargs:
        raise TypeError("@task decorator with 'outlets' argument is not supported in @asset")
    function.kwargs["outlets"] = outlets
    function()


def _make_main_task(definition: Any, outlets: list[BaseAsset]) -> None:
    parameters = inspect.signature(definition._function).parameters
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise TypeError(f"wildcard '{stars}{name}' is not supported in @asset")
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
            raise TypeError(f"positional-only argument '{name}' without a default is not supported in @asset")
    _AssetMainOperator(
        task_id=definition._function.__name__,
        inlets=[
            Asset.ref(name=name)
            for name, parameter in parameters.items()
            if name not in _FILLED_IN and parameter.default is parameter.empty
        ],
        outlets=outlets,
        python_callable=definition._function,
        definition_name=definition.name,
    )
