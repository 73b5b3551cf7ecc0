"""`leoflow.yaml`: every key the original knew is honoured or refused with a reason; any other key is an error.

`config_of` is called by the compiler, the Lite watcher and the CLI; `discovery` says which projects there are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from leoflowd.authoring.alerts import check_alert
from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.yaml_lines import Document, read_yaml
from leoflowd.contract.callback_spec import CALLBACK_TIMEOUT_MAX_S
from leoflowd.contract.dag_spec import ID_PATTERN, EnvironmentSpec

CONFIG_NAME = "leoflow.yaml"
SOURCE_NAMES = ("dag.py", "dag.yaml")
PYTHON_VERSIONS = ("3.10", "3.11", "3.12", "3.13")
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"
CONNECTOR = r"^[a-z0-9]+([.-][a-z0-9]+)*$"


class ProjectConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `leoflow.yaml`, checked. `lines` maps a key's dotted path to its line."""

    dag_id: str | None = None
    description: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] | None = None
    python_version: str | None = None
    base_image: str | None = None
    image: str | None = None
    dependencies: tuple[str, ...] = ()
    connectors: tuple[str, ...] = ()
    system_packages: tuple[str, ...] = ()
    dag_source: str | None = None
    include_paths: tuple[str, ...] = (".",)
    exclude_paths: tuple[str, ...] = ()
    build: dict[str, Any] = {}
    registry: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    staging: dict[str, Any] = {}
    tasks: dict[str, dict[str, Any]] = {}
    max_active_tasks: int | None = None
    pool: str | None = None
    warm: bool = True
    cron_data_intervals: bool = False
    alerts: list[dict[str, Any]] = []
    callback_timeout_seconds: int | None = None
    dbt: dict[str, Any] = {}
    lines: dict[str, int] = {}

    def error(self, at: str, what: str, why: str, remedy: str) -> DagCompileError:
        return Document(CONFIG_NAME, None, self.lines).error(at, what, why, remedy)


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """Where a project is. `path` is its name in messages, relative to the workspace."""

    folder: Path
    source_path: str
    path: str
    base: str = ""
    """Of a tree: where `dags/` and what lies beside it are in `folder`, with a slash at its end."""
    in_tree: bool = False
    """One DAG file of a folder that it shares with others: of the Python files there it has those that it imports."""
    import_paths: tuple[str, ...] = ()
    """As in the artifact."""
    neighbours: tuple[str, ...] = ()
    """The DAG files of the tree, this one among them, with which it shares an environment."""
    excluded: tuple[str, ...] = ()
    """Paths in `folder` that belong to other projects; they are no part of this one's bundle."""


def repository_of(folder: Path) -> Path:
    """Above it lies what is somebody else's; and above a folder that is in no repository."""
    return next((one for one in (folder, *folder.parents) if os.path.lexists(one / ".git")), folder)


# --- the schema --------------------------------------------------------------------------------------------------

Check = Callable[[Any, str, Document], None]


def _expect(is_right: Callable[[Any], bool], expected: str) -> Check:
    def check(value: Any, at: str, document: Document) -> None:
        if not is_right(value):
            raise document.error(at, f"{at} is {value!r}", f"it must be {expected}", "correct it")

    return check


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _matching(pattern: str, expected: str) -> Check:
    return _expect(lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None, expected)


def _one_of(*allowed: str) -> Check:
    return _expect(lambda value: value in allowed, f"one of {', '.join(allowed)}")


def _at_least(least: int) -> Check:
    return _expect(lambda value: _is_whole(value) and value >= least, f"a whole number of at least {least}")


def _list_of(inner: Check) -> Check:
    def check(value: Any, at: str, document: Document) -> None:
        _expect(lambda found: isinstance(found, list), "a list")(value, at, document)
        for index, item in enumerate(value):
            inner(item, f"{at}.{index}", document)

    return check


def _map_of(inner: Check) -> Check:
    def check(value: Any, at: str, document: Document) -> None:
        _expect(lambda found: isinstance(found, dict), "a mapping")(value, at, document)
        for key, item in value.items():
            inner(item, f"{at}.{key}", document)

    return check


def _closed(keys: Mapping[str, Check]) -> Check:
    def check(value: Any, at: str, document: Document) -> None:
        _expect(lambda found: isinstance(found, dict), "a mapping")(value, at or "the file", document)
        for key, item in value.items():
            full = f"{at}.{key}" if at else key
            if key not in keys:
                raise document.error(
                    full, f"unknown key {full!r}", f"known are {', '.join(sorted(keys))}", "correct or remove it"
                )
            keys[key](item, full, document)

    return check


def _either(first: Check, is_first: Callable[[Any], bool], second: Check) -> Check:
    def check(value: Any, at: str, document: Document) -> None:
        (first if is_first(value) else second)(value, at, document)

    return check


def _refused(why: str, remedy: str) -> Check:
    def check(value: Any, at: str, document: Document) -> None:
        raise document.error(at, f"{at} is set", why, remedy)

    return check


TEXT = _expect(lambda value: isinstance(value, str), "a text")
BOOLEAN = _expect(lambda value: isinstance(value, bool), "true or false")
TEXTS = _list_of(TEXT)
ENV = _map_of(_expect(lambda value: isinstance(value, str), "a text; put quotes around numbers and booleans"))
AMOUNT = _matching(QUANTITY, "a Kubernetes quantity such as 500m or 1Gi")
AMOUNTS = _closed({"cpu": AMOUNT, "memory": AMOUNT})
NO_DBT_GROUPS = _refused(
    "groups of dbt are written where their DAG is",
    "use dbt_group(...) of leoflow.dbt in the DAG file, or `dbt:` in the leoflow.yaml of the project's folder",
)
LATER_SECRETS = _refused(
    "scoped delivery of connections and variables arrives later",
    "until then a task reads AIRFLOW_CONN_* and AIRFLOW_VAR_* from its environment",
)
RELATIVE = _expect(
    lambda value: isinstance(value, str) and value != "" and not value.startswith("/") and ".." not in value.split("/"),
    "a path inside the project",
)

EXECUTIONS = ("inline", "process")
"""Where a task runs that could run in both: in the daemon, or in a process of its own."""
PLACEMENT = _closed(
    {
        "node_selector": ENV,
        "tolerations": _list_of(_map_of(_expect(lambda value: isinstance(value, str | int), "a text or a number"))),
        "service_account": TEXT,
        "image_pull_policy": _one_of("Always", "IfNotPresent", "Never"),
    }
)
TASK_KEYS: dict[str, Check] = {
    "retries": _at_least(0),
    "retry_delay_seconds": _at_least(0),
    "execution_timeout_seconds": _at_least(1),
    "env": ENV,
    "pool": TEXT,
    "resources": _closed({"requests": AMOUNTS, "limits": AMOUNTS}),
    "execution": _either(_one_of(*EXECUTIONS), lambda value: isinstance(value, str), PLACEMENT),
    "alerts": _refused("alerts are for all tasks", "write it at the top, with `on: [task_failure]` or task_retry"),
    "connections": LATER_SECRETS,
    "variables": LATER_SECRETS,
    "placement": _refused(
        "placement arrives with the Kubernetes executor", "use execution.node_selector and tolerations"
    ),
}
DBT = _closed(
    {
        "project_dir": RELATIVE,
        "connection": TEXT,
        "adapter": TEXT,
        "target": TEXT,
        "select": TEXTS,
        "exclude": TEXTS,
        "granularity": _one_of("node", "level", "folder"),
        "tests": _one_of("after", "end", "none"),
        "vars": _expect(lambda value: isinstance(value, dict), "a mapping"),
        "threads": _at_least(1),
        "schedule": TEXT,
        "start_date": TEXT,
        "end_date": TEXT,
        "catchup": BOOLEAN,
    }
)
"""What the shim's `dbt_dag` makes a DAG of."""
KEYS: dict[str, Check] = {
    "schema_version": _one_of("1.0"),
    "dag_id": _matching(ID_PATTERN, "1 to 250 letters, digits, dashes, dots and underscores"),
    "description": TEXT,
    "owner": TEXT,
    "tags": TEXTS,
    "python_version": _one_of(*PYTHON_VERSIONS),
    "base_image": TEXT,
    "image": _matching(r"\S+", "the name of an image, such as registry.example/etl@sha256:..."),
    "dependencies": TEXTS,
    "system_packages": TEXTS,
    "dag_source": RELATIVE,
    "include_paths": _list_of(RELATIVE),
    "exclude_paths": TEXTS,
    "build": _closed({"dockerfile": TEXT, "context": TEXT, "platforms": TEXTS, "labels": ENV}),
    "registry": _closed(
        {
            "url": TEXT,
            "auth_method": _one_of("docker_config", "env", "iam"),
            "image_name": TEXT,
            "tag_strategy": _one_of("version", "git_sha", "git_tag", "custom"),
        }
    ),
    "defaults": _closed(
        {
            "retries": _at_least(0),
            "retry_delay_seconds": _at_least(0),
            "execution_timeout_seconds": _at_least(1),
            "resources": AMOUNTS,
            "node_selector": ENV,
        }
    ),
    "staging": _closed({"enabled": BOOLEAN, "size": AMOUNT, "storage_class": TEXT}),
    "tasks": _map_of(_closed(TASK_KEYS)),
    "connectors": _list_of(
        _matching(CONNECTOR, "the short name of an Airflow provider, such as http or cncf.kubernetes")
    ),
    "dbt": DBT,
    "dbt_groups": NO_DBT_GROUPS,
    "alerts": _list_of(check_alert),
    "callback_timeout_seconds": _expect(
        lambda value: _is_whole(value) and 1 <= value <= CALLBACK_TIMEOUT_MAX_S,
        f"a whole number of seconds, at most {CALLBACK_TIMEOUT_MAX_S:.0f}",
    ),
    "connections": LATER_SECRETS,
    "variables": LATER_SECRETS,
    "max_active_tasks": _at_least(0),
    "pool": TEXT,
    "placement": _refused("placement arrives with the Kubernetes executor", "use tasks.<id>.execution"),
    "min_idle_workers": _refused("it never did anything", "remove it; Lite keeps a warm interpreter per DAG by itself"),
    "warm": BOOLEAN,
    "cron_data_intervals": BOOLEAN,
}
OF_ONE_DAG = ("dag_id", "description", "tasks", "dbt")
NEED_CLUSTER = {
    "base_image": "Lite builds a venv, no image",
    "system_packages": "Lite installs no system packages: install them on this machine yourself",
    "image": "without a cluster tasks run as processes of this machine",
    "build": "Lite builds no image",
    "registry": "Lite pushes no image",
}


def read_project(folder: Path) -> ProjectConfig:
    """The checked `leoflow.yaml` of a project, or the defaults when there is none."""
    file = folder / CONFIG_NAME
    if not os.path.lexists(file):
        return ProjectConfig()
    document = read_yaml(file)
    _closed(KEYS)(document.content, "", document)
    content = {key: value for key, value in document.content.items() if key != "schema_version"}
    for key in ("tags", "dependencies", "connectors", "system_packages", "include_paths", "exclude_paths"):
        if key in content:
            content[key] = tuple(content[key])
    return ProjectConfig(**content, lines=document.lines)


def config_of(project: Project) -> ProjectConfig:
    """The settings of a project. One `leoflow.yaml` stands over all files of a tree, so it says nothing of one DAG."""
    config = read_project(project.folder)
    if project.base and os.path.lexists(project.folder / project.base / CONFIG_NAME):
        raise DagCompileError(
            f"{project.base}{CONFIG_NAME}",
            1,
            "these settings have no effect here",
            f"DAG files beside it import what lies in {project.folder}, which is the project's folder therefore",
            "move it there, or import nothing from above",
        )
    if config.dbt:
        _check_dbt(project, config)
    if project.in_tree:
        for key in OF_ONE_DAG:
            if key in config.lines:
                raise config.error(
                    key,
                    f"{key} is set",
                    "this file stands over a folder of DAG files, and that is a setting of one DAG",
                    "remove it, or give the DAG a folder with a leoflow.yaml of its own",
                )
    return config


def _check_dbt(project: Project, config: ProjectConfig) -> None:
    others = [name for name in SOURCE_NAMES if (project.folder / name).exists()]
    if others or config.dag_source is not None:
        other = config.dag_source or others[0]
        raise config.error(
            "dbt", "dbt is set", f"it makes a DAG, and {other} makes one too", "give one of them a folder of its own"
        )
    if config.dag_id is None:
        raise config.error("dbt", "dbt is set and dag_id is not", "its DAG needs an id", "add `dag_id: my_dag`")
    if config.connectors:
        raise config.error(
            "connectors", "connectors are set", "tasks of dbt need no provider of Airflow", "remove `connectors:`"
        )


def airflow_packages(environment: EnvironmentSpec) -> tuple[str, ...]:
    """Which of Airflow the environment has: `http`, `cncf-kubernetes`, ...; `*` when all of it may be; empty = none."""
    found = {connector.replace(".", "-") for connector in environment.connectors}
    for dependency in environment.dependencies:
        named = re.match(r"[A-Za-z0-9._-]+", dependency.strip())
        name = re.sub(r"[-_.]+", "-", named[0]).lower() if named else ""
        if name.startswith("apache-airflow-providers-"):
            found.add(name.removeprefix("apache-airflow-providers-"))
        elif name == "apache-airflow":
            found.add("*")
        elif name in {"apache-airflow-core", "apache-airflow-task-sdk"}:
            found.add("standard")
    return tuple(sorted(found))


def unused_in_lite(config: ProjectConfig) -> tuple[str, ...]:
    """Keys that mean nothing without a cluster, one sentence each, for Lite and the CLI to say."""
    found = [f"{key}: {why}" for key, why in NEED_CLUSTER.items() if getattr(config, key)]
    for task_id, task in sorted(config.tasks.items()):
        found += [
            f"tasks.{task_id}.{key}: it is for Kubernetes"
            for key in ("resources", "execution")
            if key in task and not isinstance(task[key], str)
        ]
    found += [
        f"defaults.{key}: it is for Kubernetes" for key in ("resources", "node_selector") if key in config.defaults
    ]
    return tuple(found)
