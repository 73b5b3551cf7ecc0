"""A DAG file loaded by Airflow's own SDK and real packages, where the DAG's environment has them (ADR 40).

`loader.py` has put this folder into the real `airflow` package, so that `airflow._leoflow` is there beside
`airflow.sdk`. What the file may read is what it may read under the shim: `Variable` and `Connection` are the shim's.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

from airflow._leoflow import moved, old_names, sdk_calls
from airflow._leoflow.dag import DAG
from airflow._leoflow.errors import user_location
from airflow._leoflow.sdk_objects import shim_dag
from airflow._leoflow.services import Connection
from airflow._leoflow.variables import Variable

_folder: str | None = None


def begin(folder: str, beside: Any) -> None:
    """Once the real packages are imported, and before the file is."""
    global _folder
    _folder = folder + os.sep
    beside.adapt()
    dag: Any = importlib.import_module("airflow.sdk.definitions.dag").DAG
    dag.test, dag.cli = DAG.test, DAG.cli
    sdk_calls.begin(folder)
    for name in ("airflow.sdk.definitions.variable", "airflow.models.variable"):
        _take_over(importlib.import_module(name).Variable, Variable, ("get", "set", "delete", "setdefault"))
    connection: Any = importlib.import_module("airflow.sdk.definitions.connection").Connection
    _take_over(connection, Connection, ("get",))
    hook: Any = importlib.import_module("airflow.sdk.bases.hook").BaseHook
    hook.get_connection = classmethod(lambda cls, conn_id: Connection.get(conn_id))
    importlib.import_module("airflow.sdk.execution_time.supervisor").block_orm_access()


def _take_over(real: Any, ours: Any, names: Sequence[str]) -> None:
    for name in names:
        setattr(real, name, staticmethod(getattr(ours, name)))


def load_project(folder: str, source_path: str, import_paths: Sequence[str]) -> dict[str, DAG]:
    """As `_leoflow_runtime.load_project`."""
    runtime: Any = importlib.import_module("airflow._leoflow_runtime")
    contexts: Any = importlib.import_module("airflow.sdk.definitions._internal.contextmanager").DagContext
    runtime.put_on_path(folder, import_paths)
    contexts.current_autoregister_module_name = "airflow"  # any module that is there: only the DAGs count
    module = runtime.run_file(os.path.join(folder, source_path))
    registered = {id(dag) for dag, _ in contexts.autoregistered_dags}
    found = [dag for dag in sdk_calls.dags if id(dag) in registered]
    made = {id(dag) for dag in sdk_calls.dags}
    found += [value for value in vars(module).values() if id(value) in made]
    by_id = runtime.by_id([_Placed(dag) for dag in {id(dag): dag for dag in found}.values()])
    return {dag_id: shim_dag(placed.real) for dag_id, placed in by_id.items()}


class _Placed:
    """What `by_id` asks of a DAG."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.dag_id = real.dag_id
        self._location = sdk_calls.calls[id(real)].location


def old_name(module: str, name: str) -> None:
    """A file imports an old name; what the packages import is theirs."""
    if _folder is None or not user_location()[0].startswith(_folder):
        return
    if remedy := moved.remedy_of(module, name):
        old_names.warn_of_gone(module, name, remedy)
    elif target := moved.resolve(module, name):
        old_names.warn_of_name(module, name, target)
