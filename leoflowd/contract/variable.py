"""A variable in the clear: between store, agents, the loader of DAG files, and the files that variables come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from leoflowd.contract.errors import Invalid
from leoflowd.contract.overriding import override
from leoflowd.contract.values import byte_size, checked_text

ENVIRONMENT_PREFIX = "AIRFLOW_VAR_"
KEY_MAX = 250
VALUE_MAX_BYTES = 512 * 1024
"""Of the text as UTF-8: a task's question and a person's request carry it whole, escaped as JSON."""
DESCRIPTION_MAX = 5_000
BASE_URL = "AIRFLOW__API__BASE_URL"
"""Where the UI is, for the links that tasks make (`ti.log_url`)."""
OF_PEOPLE = ("AIRFLOW_VAR_", "AIRFLOW_CONN_", "AIRFLOW__SECRETS__", "AIRFLOW__WORKERS__SECRETS_BACKEND", BASE_URL)
"""Names in the environment of whoever starts us that tasks and triggers get too: what they read variables and
connections from."""


class VariableFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Airflow's Variable. `repr` hides the value."""

    key: str
    value: str
    description: str | None = None

    @override
    def __repr__(self) -> str:
        return f"VariableFacts({self.key!r})"


def from_environment(key: str, environment: Mapping[str, str]) -> str | None:
    """`AIRFLOW_VAR_<KEY>`, as Airflow reads it; None when it is not set."""
    return environment.get(ENVIRONMENT_PREFIX + key.upper())


def text_of(value: Any) -> str:
    """What is stored of a JSON value: a text as it is, everything else as JSON text, as `Variable.set` writes it."""
    return value if isinstance(value, str) else json.dumps(value, indent=2)


def checked_variable(facts: VariableFacts) -> VariableFacts:
    """The variable itself, if it can be stored. Raises `Invalid` that never quotes the value."""
    checked_text(facts.key, "the key of a variable", max_length=KEY_MAX)
    what = f"the value of variable {facts.key!r}"
    checked_text(facts.value, what, max_length=VALUE_MAX_BYTES, allow_empty=True)
    if byte_size(facts.value) > VALUE_MAX_BYTES:
        raise Invalid(f"{what} is larger than {VALUE_MAX_BYTES} bytes; keep it in a file or an object store")
    checked_text(
        facts.description or "",
        f"the description of variable {facts.key!r}",
        max_length=DESCRIPTION_MAX,
        allow_empty=True,
    )
    return facts


def described(document: Any) -> tuple[VariableFacts, ...]:
    """The variables of a file: `{key: value}` or `{key: {"value": ..., "description": ...}}`, mixed as one likes.

    Raises `Invalid`.
    """
    if not isinstance(document, dict):
        raise Invalid('variables are one mapping, e.g. {"region": "eu", "limits": {"rows": 10}}')
    return tuple(_described(key, value) for key, value in document.items())


def _described(key: Any, given: Any) -> VariableFacts:
    if not isinstance(key, str):
        raise Invalid(f"the key {key!r} of a variable is no text; put it in quotes")
    description = None
    if isinstance(given, dict) and "value" in given and given.keys() <= {"value", "description"}:
        given, description = given["value"], given.get("description")
    if not isinstance(description, str | None):
        raise Invalid(f"the description of variable {key!r} is no text")
    try:
        return checked_variable(VariableFacts(key=key, value=text_of(given), description=description))
    except (TypeError, ValueError) as error:  # YAML has dates, JSON has not
        raise Invalid(f"the value of variable {key!r} is not JSON: {type(given).__name__}; put it in quotes") from error
