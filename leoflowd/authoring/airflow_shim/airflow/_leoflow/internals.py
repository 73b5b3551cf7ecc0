"""Airflow's insides: its database, settings, logs, plugins. They may be imported; what uses them is told what to do.

A DAG file often imports a session, a model or a plugin class for one of its functions, or for none. `finder.py` makes
these modules; nothing in them does anything.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn

from airflow._leoflow.conf import UsedInternal
from airflow._leoflow.errors import ShimUnsupported

MODULES = frozenset(
    f"airflow.{name}"
    for name in """configuration dag_processing logging_config plugins_manager policies sentry settings stats typing
    version""".split()
)
PACKAGES = frozenset(
    f"airflow.{name}"
    for name in """api api.client api.common api.common.experimental api_connexion auth callbacks cli config_templates
    executors jobs kubernetes lineage listeners metrics models notifications observability secrets security
    serialization task
    ti_deps ti_deps.deps traces utils utils.log www""".split()
)
"""Packages whose modules nobody lists here."""
_DATABASE = (
    "Airflow's database does not exist here",
    "use XComs, variables and connections in a task, or ask the REST API of Leoflow",
)
_NOTHING_BEHIND = ("Leoflow has no Airflow installation behind it", "remove it, or move it into a task that needs it")
_OF_THE_DATABASE = (
    "airflow.models",
    "airflow.settings",
    "airflow.utils.db",
    "airflow.utils.session",
    "airflow.jobs",
    "airflow.api.common",
    "airflow.utils.sqlalchemy",
)


def is_module(name: str) -> bool:
    return name in MODULES or name in PACKAGES or name.rpartition(".")[0] in PACKAGES


def used(full_name: str) -> UsedInternal:
    is_database = any(full_name == one or full_name.startswith(one + ".") for one in _OF_THE_DATABASE)
    return UsedInternal(f"{full_name} is used", *(_DATABASE if is_database else _NOTHING_BEHIND))


class Internal(type):
    """A class, function or value of Airflow's insides: for imports, annotations and base classes."""

    def __call__(cls, *_: Any, **__: Any) -> NoReturn:
        raise used(_origin(cls))

    __getitem__ = __iter__ = __len__ = __contains__ = __enter__ = __exit__ = __call__

    def keys(cls) -> NoReturn:
        """For `{**VALUE}`, which takes an AttributeError for a value that is no mapping."""
        refusal = used(_origin(cls))
        raise ShimUnsupported(refusal.what, refusal.why, refusal.remedy)

    def __getattr__(cls, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise used(f"{_origin(cls)}.{name}")


def _origin(cls: type) -> str:
    """By the class that Airflow has: the author may have derived from it."""
    base = next(base for base in cls.__mro__ if "is_of_airflow" in vars(base))
    return f"{base.__module__}.{base.__name__}"


def stand_in(module: str, name: str) -> Any:
    if name == "provide_session":
        return provide_session
    return Internal(name, (), {"__module__": module, "is_of_airflow": True})


def provide_session(function: Callable[..., Any]) -> Callable[..., Any]:
    """The decorator; a function that wants a session is told when it is called."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("session") is None:
            raise used("airflow.utils.session.provide_session")
        return function(*args, **kwargs)

    return wrapped


def hookimpl(function: Any = None, **_: Any) -> Any:
    """The decorator of a listener's functions, which Airflow's processes call, and nobody here."""
    return function if function is not None else lambda inner: inner
