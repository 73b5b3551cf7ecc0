"""Which of Airflow's provider packages the DAG's environment will have, by `leoflow.yaml`.

The loader says it before it runs the author's file. In a task's process nobody does: what was compiled is allowed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airflow._leoflow import context
from airflow._leoflow.errors import AuthoringError, ShimUnsupported

AIRFLOW_ITSELF = "standard"
"""The provider that comes with Airflow: whoever needs what only Airflow has needs no other."""
EVERY = "*"
"""Apache Airflow itself is a dependency: its extras may bring any provider."""
FAMILIES = frozenset({"apache", "atlassian", "cncf", "common", "dbt", "microsoft"})
"""`airflow.providers.<family>.<name>`: the package is named after both."""
BRINGS = {
    "common-sql": frozenset(
        """amazon apache-drill apache-druid apache-hive apache-impala apache-pinot databricks duckdb elasticsearch
        exasol google jdbc microsoft-mssql mysql odbc oracle postgres presto slack
        snowflake sqlite teradata trino vertica""".split()
    ),
}
"""Packages that come with others."""
OURS = frozenset({"standard", "common-compat"})
"""Every environment has what we run of these; what we do not run of them is refused, with or without Airflow."""

_packages: frozenset[str] | None = None


def allow(packages: Collection[str] | None) -> None:
    """`http`, `cncf-kubernetes`, ...; `*` for every one; None: whatever is asked for."""
    global _packages
    _packages = None if packages is None else frozenset(packages)


def has_airflow() -> bool:
    """Whether tasks run under the real Airflow."""
    return _packages is None or bool(_packages)


def names_any() -> bool:
    """The loader says that tasks will run under the real Airflow; never in a task's own process."""
    return bool(_packages)


def package_folder(module: str) -> tuple[str, ...]:
    """Where its package is installed: `airflow/providers/cncf/kubernetes`, in parts."""
    parts = module.split(".")
    return tuple(parts[: 4 if parts[2] in FAMILIES else 3])


def package_of(module: str) -> str:
    """`airflow.providers.cncf.kubernetes.operators.pod` -> `cncf-kubernetes`."""
    return "-".join(package_folder(module)[2:])


def connector_of(module: str) -> str:
    """The name to write below `connectors:`."""
    return package_of(module).replace("-", ".")


def is_ours(module: str) -> bool:
    return package_of(module) in OURS


def is_named(module: str) -> bool:
    """Whether leoflow.yaml names the provider that this module belongs to."""
    package = package_of(module)
    return (
        _packages is None
        or EVERY in _packages
        or package in _packages
        or not _packages.isdisjoint(BRINGS.get(package, ()))
    )


def is_missing(module: str) -> bool:
    """A task of this DAG, which runs under Airflow, could not import it, although we have a class of that name."""
    return names_any() and not is_ours(module) and not is_named(module)


def remedy(connector: str) -> str:
    return f"add `connectors: [{connector}]` to leoflow.yaml, so that the real package runs it"


def helped_by(error: AuthoringError, connector: str) -> AuthoringError:
    error.connector = connector
    return error


def needs_airflow(task: Any, argument: str, connector: str) -> None:
    """An argument that only the provider's own class honours: run that class where there is one, else refuse."""
    if _packages is None and context.is_unmapping:  # all that the file itself says is in Airflow's hands by now
        raise ShimUnsupported(
            f"task {task.task_id!r}: {type(task).__name__} has {argument}",
            "only the real package honours it, and that is told by the file, not by what another task returned",
            "pass it to partial(), so that the package runs all instances",
            task._location,
        )
    if not has_airflow():
        refused = ShimUnsupported(
            f"task {task.task_id!r}: {type(task).__name__} has {argument}",
            "Leoflow's own sensor or call cannot honour it",
            f"remove it, or {remedy(connector)}",
            task._location,
        )
        raise helped_by(refused, connector)
    task.kind = "operator"
