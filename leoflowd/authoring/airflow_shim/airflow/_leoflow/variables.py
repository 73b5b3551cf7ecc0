"""`Variable`: the environment, then what the daemon stores; while a file is compiled, what the compiler was given.

The value of a secret is read in tasks only: while a file is compiled it would end in the artifact, so that a reference
to it is given then (`secret_references.py`).
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from airflow._leoflow import loading, supervisor
from airflow._leoflow.errors import AirflowException, AirflowNotFoundException, AuthoringError, ShimUnsupported
from airflow._leoflow.params import NOTSET
from airflow._leoflow.secret_names import names_a_secret, secrets_in
from airflow._leoflow.secret_references import json_reference, reference

_log = logging.getLogger("airflow.task")
_BACKENDS = ("AIRFLOW__WORKERS__SECRETS_BACKEND", "AIRFLOW__SECRETS__BACKEND")


class VariableNotFound(AirflowNotFoundException, KeyError):
    """No variable of this name; a KeyError too, which is what DAG files catch since Airflow 2."""

    def __str__(self) -> str:
        return str(self.args[0])


class VariableNotGiven(AuthoringError, VariableNotFound):
    """The same while a file is compiled."""

    holds_for_both = True


class Variable:
    """`Variable.get(key)`, `set`, `delete`, `setdefault`."""

    @staticmethod
    def get(key: str, default: Any = NOTSET, deserialize_json: bool = False, default_var: Any = NOTSET) -> Any:
        """The value; `default` (Airflow 2: `default_var`) if there is none, `VariableNotFound` without one."""
        text = loading.environment(environment_name(key))
        if text is None:
            refuse_backend(f"Variable.get({key!r})")
            text = loading.variable(key) if loading.is_compiling() else _asked(key)
        if text is None:
            fallback = default if default is not NOTSET else default_var
            if fallback is NOTSET:
                raise _not_found(key)
            return fallback
        if loading.is_compiling():
            return _told(key, text, deserialize_json)
        supervisor.hide(_secrets(key, text))
        return json.loads(text) if deserialize_json else text

    @staticmethod
    def set(key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        """Stored when this returns. Whoever reads it in a process that has `AIRFLOW_VAR_<KEY>` sees that one."""
        text = json.dumps(value, indent=2) if serialize_json else str(value)
        if environment_name(key) in os.environ:
            _log.warning("Variable %r is written, but %s is set here and is read first", key, environment_name(key))
        _write(key, text, description)

    @staticmethod
    def delete(key: str) -> None:
        """One that is not there is gone already."""
        _write(key, None, None)

    @classmethod
    def setdefault(cls, key: str, default: Any, description: str | None = None, deserialize_json: bool = False) -> Any:
        """The value; if there is none, `default`, which is stored then."""
        found = cls.get(key, None, deserialize_json)
        if found is None and default is not None:
            cls.set(key, default, description, serialize_json=deserialize_json)
            return default
        return found


def environment_name(key: str) -> str:
    return f"AIRFLOW_VAR_{key.upper()}"


def refuse_backend(call: str) -> None:
    """Another place to look at that nobody here can ask must not look like "there is none"."""
    for name in _BACKENDS:
        if os.environ.get(name):
            raise ShimUnsupported(
                f"{call} would ask the secrets backend of {name}",
                "only a task with the real Airflow packages can ask one",
                f"call it in a task of a DAG that has `connectors:` in leoflow.yaml, or unset {name}",
            )


def _asked(key: str) -> str | None:
    try:
        answer = supervisor.ask("variable", {"key": key})
    except supervisor.NotInTask:
        return None  # nobody stores any where a file is loaded by hand
    if answer.get("refused"):
        raise AirflowException(f"The variable {key!r} cannot be read: {answer['refused']}")
    value: str | None = answer.get("value")
    return value


def _write(key: str, text: str | None, description: str | None) -> None:
    if loading.is_compiling():
        raise ShimUnsupported(
            f"Variable {key!r} is {'deleted' if text is None else 'written'} while the file is loaded",
            "a DAG file is loaded again and again, and only describes the DAG",
            "move the call into a task",
        )
    answer = supervisor.ask("write_variable", {"key": key, "value": text, "description": description})
    if answer.get("refused"):
        raise AirflowException(f"The variable {key!r} cannot be written: {answer['refused']}")


def _secrets(key: str, text: str) -> list[str]:
    """What of it must not be seen in the log."""
    is_secret = names_a_secret(key)
    try:
        inner = secrets_in(json.loads(text), is_secret) if text.lstrip()[:1] in ("{", "[") else []
    except (ValueError, RecursionError):
        inner = []
    return [text, *inner] if is_secret else inner


def _not_found(key: str) -> Exception:
    if not loading.is_compiling():
        return VariableNotFound(
            f"Variable {key} does not exist; add it on the page Variables, with `leoflow variables set`, or as "
            f"{environment_name(key)}; for `leoflow test` by --variables FILE"
        )
    return VariableNotGiven(
        f"Variable.get({key!r}) finds no variable",
        "it is read while the file is loaded, and has no default",
        f"set it (`leoflow variables set {key} VALUE`, or {environment_name(key)} in the environment; in CI "
        "`--variables FILE` or `--server URL`), or give a default",
    )


# --- while a file is compiled ------------------------------------------------------------------------------------


def _told(key: str, text: str, deserialize_json: bool) -> Any:
    """The value; what stands for it, or for parts of its JSON, where that is a secret."""
    is_secret = text == loading.MASK or (text and names_a_secret(key))
    if deserialize_json:
        return json_reference("var.json", key) if is_secret else _told_json(json.loads(text), key)
    if is_secret or _secrets(key, text) or json.dumps(loading.MASK) in text:
        return reference("var.value", key)
    return text


def _told_json(value: Any, *path: str | int) -> Any:
    if isinstance(value, dict):
        return {name: _told_item(name, item, *path) for name, item in value.items()}
    return [_told_json(item, *path, at) for at, item in enumerate(value)] if isinstance(value, list) else value


def _told_item(name: str, value: Any, *path: str | int) -> Any:
    """The compiler may have put `***` in its place: it knows more names."""
    if (value and names_a_secret(name)) or value == loading.MASK or (type(value) is list and loading.MASK in value):
        return json_reference("var.json", *path, name)
    return _told_json(value, *path, name)
