"""`airflow.configuration.conf` and `airflow.settings`, as far as they mean something without an Airflow installation.

An option is `AIRFLOW__SECTION__KEY` of the environment, else the `fallback` that the caller names, else one of the few
defaults that everybody has; any other is an error that says what to do.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

from airflow._leoflow import timezone
from airflow._leoflow.errors import AirflowConfigException, ShimUnsupported

_NOT_SET: Any = object()
_DEFAULTS = {
    ("core", "default_timezone"): "utc",
    ("core", "load_examples"): "False",
    ("core", "executor"): "LocalExecutor",
    ("core", "parallelism"): "32",
    ("core", "max_active_tasks_per_dag"): "16",
    ("core", "dag_concurrency"): "16",
    ("core", "max_active_runs_per_dag"): "16",
    ("scheduler", "catchup_by_default"): "False",
    ("operators", "default_owner"): "airflow",
    ("smtp", "smtp_mail_from"): "airflow@example.com",
    ("api", "base_url"): "http://localhost:8080",
    ("logging", "remote_logging"): "False",
    ("logging", "remote_base_log_folder"): "",
    ("kubernetes", "namespace"): "default",
    ("kubernetes_executor", "namespace"): "default",
    ("kubernetes_executor", "worker_container_repository"): "",
    ("kubernetes_executor", "worker_container_tag"): "",
    ("webserver", "base_url"): "http://localhost:8080",
}
_IN_HOME = {
    ("core", "base_log_folder"): "logs",
    ("logging", "base_log_folder"): "logs",
    ("scheduler", "child_process_log_directory"): "logs/scheduler",
}
"""Folders below AIRFLOW_HOME, which DAGs that tidy up look for."""
_TRUE, _FALSE = {"t", "true", "1"}, {"f", "false", "0"}

dags_folder = ""
"""The folder of the project that is loaded, or the `dags` in it; set by `_leoflow_runtime.load_project`."""


class Unknown(ShimUnsupported, AirflowConfigException):
    """An option that nobody set. Airflow's own error too, which DAG files catch."""


class Configuration:
    """Reads one option at a time."""

    def get(self, section: str, key: str, fallback: Any = _NOT_SET, **_: Any) -> Any:
        value = self._find(section.lower(), key.lower())
        if value is not None:
            return value
        if fallback is not _NOT_SET:
            return fallback
        raise Unknown(
            f"the option [{section}] {key} of airflow.cfg is read",
            "Airflow's configuration does not exist here",
            f"set {_variable(section, key)} in the environment, or pass fallback=...",
        )

    def _find(self, section: str, key: str) -> str | None:
        text = os.environ.get(_variable(section, key))
        if text is None and (section, key) == ("core", "dags_folder"):
            return dags_folder or None
        if text is None and (section, key) in _IN_HOME:
            return os.path.join(_home(), _IN_HOME[section, key])
        return _DEFAULTS.get((section, key)) if text is None else text

    def getboolean(self, section: str, key: str, **options: Any) -> bool:
        value = self.get(section, key, **options)
        text = str(value).lower().strip()
        if text not in _TRUE | _FALSE:
            raise AirflowConfigException(f"[{section}] {key} is {value!r}; it must be true or false")
        return text in _TRUE

    def getint(self, section: str, key: str, **options: Any) -> int:
        return int(self.get(section, key, **options))

    def getfloat(self, section: str, key: str, **options: Any) -> float:
        return float(self.get(section, key, **options))

    def getlist(self, section: str, key: str, delimiter: str = ",", **options: Any) -> list[str]:
        value = self.get(section, key, **options)
        return [item.strip() for item in value.split(delimiter)] if isinstance(value, str) else list(value)

    def has_option(self, section: str, option: str, **_: Any) -> bool:
        return self._find(section.lower(), option.lower()) is not None

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise _no_such(f"conf.{name} of airflow.configuration")


def _variable(section: str, key: str) -> str:
    return f"AIRFLOW__{section.upper().replace('.', '_')}__{key.upper()}"


def _no_such(what: str) -> ShimUnsupported:
    return UsedInternal(
        f"{what} is used", "Leoflow has no Airflow installation behind it", "read environment variables inside a task"
    )


class UsedInternal(ShimUnsupported, AttributeError):
    """An AttributeError too, so that `getattr(value, name, default)` works."""


conf = Configuration()
get, getboolean, getint, getfloat, has_option = (
    conf.get,
    conf.getboolean,
    conf.getint,
    conf.getfloat,
    conf.has_option,
)
"""Airflow 1.10 had them as functions of the module."""


def __getattr__(name: str) -> Any:
    """`airflow.settings`' constants, found when they are asked for."""
    if name == "DAGS_FOLDER":
        return conf.get("core", "dags_folder")
    if name == "AIRFLOW_HOME":
        return _home()
    if name == "TIMEZONE":
        return timezone.utc
    raise AttributeError(name)


def _home() -> str:
    return os.environ.get("AIRFLOW_HOME") or os.path.dirname(dags_folder) or os.path.expanduser("~/airflow")
