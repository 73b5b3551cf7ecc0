"""A run's conf against its DAG's params. Called by `store.asked_runs`: whoever asks for a run is checked alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jsonschema
import referencing

from leoflowd.contract.values import shown

_NOTHING_FETCHED: referencing.Registry[Any] = referencing.Registry()
"""A `$ref` to a URL in a param's schema fails instead of being fetched by the daemon."""


def checked_conf(params: Mapping[str, Any], conf: dict[str, Any] | None) -> dict[str, Any]:
    """The conf as the run keeps it. Keys without a param are allowed, as in Airflow. Raises ValueError."""
    given = conf or {}
    for name, param in params.items():
        schema = param.get("schema") or {}
        value = given.get(name, param.get("value"))
        validator = jsonschema.Draft202012Validator(
            schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER, registry=_NOTHING_FETCHED
        )
        try:
            fault = next(iter(validator.iter_errors(value)), None)
        except (jsonschema.exceptions.SchemaError, referencing.exceptions.Unresolvable, re.error) as error:
            raise ValueError(shown(f"Invalid schema of param {name}: {error}")) from error
        except (ArithmeticError, RecursionError) as error:  # 2**2000 against `multipleOf: 0.1`; a `$ref` to itself
            raise ValueError(shown(f"Invalid input for param {name}: it cannot be checked: {error}")) from error
        if fault is not None:
            raise ValueError(shown(f"Invalid input for param {name}: {fault.message}"))
    return given
