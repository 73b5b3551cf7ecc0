"""`Param`, `ParamsDict` and `DagParam`: declared inputs of a dag run.

A param leaves the compiler as {value, schema, description, source}, the shape of the UI's trigger form. Values are
checked against their schema where `jsonschema` is installed; the daemon checks them again when a run is triggered.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from airflow._leoflow.errors import AuthoringError, ParamValidationError, describe


class _NotSet:
    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "NOTSET"


NOTSET = _NotSet()


class Param:
    """A default value with a JSON schema; keyword arguments other than the named ones are the schema."""

    def __init__(
        self, default: Any = NOTSET, description: str | None = None, source: str | None = None, **kwargs: Any
    ) -> None:
        if default is not NOTSET:
            _check_json(default)
        self.value = default
        self.description = description
        self.source = source
        self.schema: dict[str, Any] = kwargs.pop("schema") if "schema" in kwargs else kwargs

    @property
    def has_value(self) -> bool:
        return self.value is not NOTSET and self.value is not None

    def resolve(self, value: Any = NOTSET, suppress_exception: bool = False) -> Any:
        """The value after checking it; `value`, if given, replaces the default."""
        if value is not NOTSET:
            _check_json(value)
        final = self.value if value is NOTSET else value
        try:
            if final is NOTSET:
                raise ParamValidationError("no value was passed, and the param has no default")
            _validate(final, self.schema)
        except ParamValidationError:
            if suppress_exception:
                return None
            raise
        self.value = final
        return final

    def serialize(self) -> dict[str, Any]:
        return {
            "value": None if self.value is NOTSET else self.value,
            "description": self.description,
            "schema": self.schema,
            "source": self.source,
        }


def _check_json(value: Any) -> None:
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise AuthoringError(
            f"a param has the value {describe(value)}",
            "params are data, sent to the UI as JSON",
            "use strings, numbers, booleans, None, lists and dicts; write dates as ISO text",
        ) from error


def _validate(value: Any, schema: Mapping[str, Any]) -> None:
    if not schema:
        return
    try:
        import jsonschema
    except ImportError:
        return
    try:
        jsonschema.validate(value, schema, format_checker=jsonschema.FormatChecker())
    except jsonschema.ValidationError as error:
        raise ParamValidationError(error.message) from None


class ParamsDict(MutableMapping[str, Any]):
    """name -> Param; reading a name gives the checked value."""

    def __init__(self, dict_obj: Mapping[str, Any] | None = None, suppress_exception: bool = False) -> None:
        self._params: dict[str, Param] = {}
        self.suppress_exception = suppress_exception
        if dict_obj is not None:
            self.update(dict_obj)

    def __getitem__(self, key: str) -> Any:
        return self._params[key].resolve(suppress_exception=self.suppress_exception)

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, Param):
            self._params[key] = copy.copy(value)
        elif key in self._params:
            try:
                self._params[key].resolve(value, suppress_exception=self.suppress_exception)
            except ParamValidationError as error:
                raise ParamValidationError(f"invalid input for param {key}: {error}") from None
        else:
            self._params[key] = Param(value)

    def __delitem__(self, key: str) -> None:
        del self._params[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __contains__(self, key: object) -> bool:
        return key in self._params

    def __repr__(self) -> str:
        return repr(self.dump())

    def get_param(self, key: str) -> Param:
        return self._params[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        for source in (*args, kwargs):
            if isinstance(source, ParamsDict):
                self._params.update({key: copy.copy(param) for key, param in source._params.items()})
            else:
                for key, value in dict(source).items():
                    self[key] = value

    def dump(self) -> dict[str, Any]:
        return {key: param.resolve(suppress_exception=True) for key, param in self._params.items()}

    def validate(self) -> dict[str, Any]:
        return {key: self[key] for key in self._params}

    def serialize(self, source: str) -> dict[str, Any]:
        """All params in the artifact's form; `source` ("dag" or "task") fills in a missing one."""
        return {key: {**param.serialize(), "source": param.source or source} for key, param in self._params.items()}


class DagParam:
    """`dag.param("name", default)`: stands for the value that the run has for that param."""

    def __init__(self, current_dag: Any, name: str, default: Any = NOTSET) -> None:
        if default is not NOTSET:
            current_dag.params[name] = default
        self.current_dag = current_dag
        self._name = name
        self._default = default

    def __str__(self) -> str:
        return f"{{{{ params.{self._name} }}}}"

    def resolve(self, context: Mapping[str, Any]) -> Any:
        conf = getattr(context.get("dag_run"), "conf", None) or {}
        if self._name in conf:
            return conf[self._name]
        if self._default is not NOTSET:
            return self._default
        return context["params"][self._name]
